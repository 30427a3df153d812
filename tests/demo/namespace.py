"""A network namespace of the demo's own.

Nothing that the demo does touches the machine's rules, and nothing of it stays behind.

A namespace carries its owner's process id in its name, so a run that was killed outright is cleaned up after by the
next one.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from attrs import frozen

from c2c_auditor.errors import SourceError
from demo.command import run
from demo.world import OVERLAY_ADDRESS, UNDERLAY_ADDRESS, UNDERLAY_INTERFACE, VTEP

PREFIX = "c2c-auditor-demo-"
_MOUNTED = Path("/run/netns")
_DIRECTORIES = Path("/run")
_FAREWELL = 5.0


@frozen(kw_only=True)
class Namespace:
    """A namespace that exists, and a directory of its own (0700) that goes when it goes."""

    name: str
    directory: Path

    def command(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """The command that runs ``arguments`` inside."""
        return ("ip", "netns", "exec", self.name, *arguments)

    def run(self, arguments: Sequence[str], text: str = "", codes: Sequence[int] = (0,)) -> str:
        """Run a program inside; see `command.run`."""
        return run(self.command(arguments), text, codes)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace wired like a cell, for as long as the block lasts, whatever ends it.

    SIGTERM and SIGHUP end it like Ctrl-C.

    Left-overs of runs whose process is gone are removed first.
    """
    remove_leftovers()
    made = Namespace(name=f"{PREFIX}{os.getpid()}", directory=_DIRECTORIES / f"{PREFIX}{os.getpid()}")
    with signals_as_interrupt():
        try:
            run(("ip", "netns", "add", made.name))
            made.directory.mkdir(mode=0o700)
            _wire(made)
            yield made
        finally:
            with _signals_ignored():
                remove(made.name)


def remove_leftovers() -> tuple[str, ...]:
    """Remove namespaces and directories of demos whose process is gone; their names."""
    found = {path.name for place in (_MOUNTED, _DIRECTORIES) for path in place.glob(f"{PREFIX}*")}
    gone = tuple(sorted(name for name in found if not _owner_lives(name)))
    for name in gone:
        remove(name)
    return gone


def remove(name: str) -> None:
    """End what still runs in namespace ``name``, then delete it and its directory.

    Either may be missing, or go meanwhile: another demo that starts now removes the same left-overs.
    """
    mounted = _MOUNTED / name
    if mounted.exists():
        _end(_inside(name))
        try:
            run(("ip", "netns", "delete", name))
        except SourceError:
            if mounted.exists():
                raise
    shutil.rmtree(_DIRECTORIES / name, ignore_errors=True)


def _inside(name: str) -> list[psutil.Process]:
    # A name without a mounted namespace behind it (killed between creating and mounting) answers with an error: nobody
    # is in there.
    found = []
    with suppress(SourceError):
        for pid in run(("ip", "netns", "pids", name)).split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
    return found


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_FAREWELL)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_FAREWELL)


def _owner_lives(name: str) -> bool:
    owner = name.removeprefix(PREFIX)
    return not owner.isdigit() or psutil.pid_exists(int(owner))


def _wire(made: Namespace) -> None:
    """Loopback, the underlay's interface, and silk's VXLAN interface with group policy ids.

    The underlay's interface is one end of a pair, so nothing leaves.
    """
    for line in (
        "link set lo up",
        f"link add {UNDERLAY_INTERFACE} type veth peer name underlay",
        f"address add {UNDERLAY_ADDRESS}/24 dev {UNDERLAY_INTERFACE}",
        f"link set {UNDERLAY_INTERFACE} up",
        "link set underlay up",
        f"link add {VTEP} type vxlan id 1 local {UNDERLAY_ADDRESS} dev {UNDERLAY_INTERFACE} dstport 4789 gbp",
        f"address add {OVERLAY_ADDRESS}/32 dev {VTEP}",
        f"link set {VTEP} up",
    ):
        run(("ip", "-n", made.name, *line.split()))


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt for as long as the block lasts."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with _handled(interrupt, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _signals_ignored() -> Iterator[None]:
    with _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handled(handler: signal._HANDLER, *numbers: signal.Signals) -> Iterator[None]:
    before = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)
