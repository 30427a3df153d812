"""The demo's namespace goes when the demo goes, however it ends; what a killed run left is removed by the next."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from c2c_auditor.errors import Reason, SourceError
from demo.namespace import namespace, remove, remove_leftovers

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)"),
]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
OWN_PREFIX = f"c2c-auditor-left-{os.getpid()}-"
"""What holders are named by here: a demo that another test starts meanwhile leaves them alone."""
# Holds a namespace, and starts a program inside that outlives its parent.
HOLDER = f"""
import subprocess, time
import demo.namespace
demo.namespace.PREFIX = {OWN_PREFIX!r}
with demo.namespace.namespace() as made:
    command = made.command(("sh", "-c", "echo entered; exec sleep 300"))
    inside = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    inside.stdout.readline()
    print(made.name, inside.pid, flush=True)
    time.sleep(300)
"""


def exists(name: str) -> bool:
    """Whether anything of a namespace is there."""
    return Path("/run/netns", name).exists() or Path("/run", name).exists()


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], str, psutil.Process]]:
    """Another process that holds a namespace: the process, the namespace's name and the program that runs inside."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stdout is not None
            name, inside = process.stdout.readline().split()
            yield process, name, psutil.Process(int(inside))
        finally:
            process.kill()
            process.wait(20)
            for left in Path("/run/netns").glob(f"{OWN_PREFIX}{process.pid}"):
                remove(left.name)


def test_it_is_wired_like_a_cell() -> None:
    """Loopback, the underlay's interface with its address, silk's VXLAN interface with group policy ids.

    Its directory is private.
    """
    with namespace() as made:
        links = made.run(("ip", "-details", "address"))
        assert "inet 10.0.0.101/24 scope global eth0" in links
        assert "inet 10.255.30.0/32 scope global silk-vtep" in links
        assert "gbp" in links
        assert "inet 127.0.0.1/8" in links
        assert made.directory.stat().st_mode & 0o777 == 0o700
    assert not exists(made.name)


def test_it_goes_with_an_exception() -> None:
    """Whatever is raised inside goes on its way, and the namespace is gone."""
    with pytest.raises(LookupError), namespace() as made:
        raise LookupError
    assert not exists(made.name)


def test_programs_inside_end_with_it() -> None:
    """A program that still runs inside is ended first: it would keep the namespace alive unseen."""
    with ExitStack() as stack:
        with namespace() as made:
            command = made.command(("sh", "-c", "echo entered; exec sleep 300"))
            inside = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            assert inside.stdout is not None
            assert inside.stdout.readline() == b"entered\n"
        assert not psutil.pid_exists(inside.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_goes_with_a_signal(number: signal.Signals) -> None:
    """Ctrl-C, a polite kill and a closed terminal leave nothing: no namespace, no directory, no program inside."""
    with holder() as (process, name, inside):
        assert exists(name)
        process.send_signal(number)
        process.wait(20)
        assert not exists(name)
        assert not inside.is_running()


def test_the_next_run_cleans_up_after_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL leaves everything; the next run removes it, and spares a namespace whose owner lives."""
    monkeypatch.setattr("demo.namespace.PREFIX", OWN_PREFIX)
    with holder() as (_, spared, _), holder() as (process, name, inside):
        process.kill()
        process.wait(20)
        assert exists(name)
        assert inside.is_running()
        assert remove_leftovers() == (name,)
        assert not exists(name)
        assert not inside.is_running()
        assert exists(spared)


def test_runs_that_start_at_once_clean_up_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another removed meanwhile is no failure."""
    monkeypatch.setattr("demo.namespace.PREFIX", OWN_PREFIX)
    with ExitStack() as stack:
        holders = [stack.enter_context(holder()) for _ in range(4)]
        for process, _, _ in holders:
            process.kill()
            process.wait(20)
        with ThreadPoolExecutor(4) as several:
            list(several.map(lambda _: remove_leftovers(), range(4)))
        assert not [name for _, name, _ in holders if exists(name)]


def test_a_command_that_fails_says_why() -> None:
    """The error holds the command, its exit status and its own words; codes that are no failure can be named."""
    with namespace() as made:
        with pytest.raises(SourceError, match=r"ip link show dev nowhere.*exit 1.*nowhere") as caught:
            made.run(("ip", "link", "show", "dev", "nowhere"))
        assert caught.value.reason is Reason.FAILED
        assert made.run(("ip", "link", "show", "dev", "nowhere"), codes=(1,)) == ""
