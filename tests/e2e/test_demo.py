"""The demo as people run it: real rules, the real agent, a policy server over mutual TLS.

Every fault is found, nothing stays behind.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from c2c_auditor.model.kind import Kind
from demo.faults import ALL, TOUR
from demo.namespace import PREFIX, Namespace, namespace
from support.shown_findings import hold

TOOLS = ("ip", "iptables-nft-save", "iptables-legacy-save")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    *(pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}") for tool in TOOLS),
]
DEMO = (sys.executable, "-m", "demo")
_PATHS = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _PATHS))}
SECONDS = 600


def left_of(pid: int) -> list[Path]:
    """What is left of the demo that the process ``pid`` ran."""
    return [path for path in (Path(f"/run/netns/{PREFIX}{pid}"), Path(f"/run/{PREFIX}{pid}")) if path.exists()]


def passed(text: str) -> list[str]:
    """The faults that the closing table says were passed."""
    return re.findall(r"│ (\S+) +│.*│ passed +│", text)


@pytest.mark.parametrize(("backend", "silk"), [("nft", "new"), ("legacy", "new"), ("nft", "2024")])
def test_the_tour_passes(backend: str, silk: str) -> None:
    """`make demo` finds each fault of its tour, sees it resolved, raises nothing else, and takes everything away."""
    with subprocess.Popen(
        [*DEMO, "--backend", backend, "--silk", silk, "--pause", "0.5"],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as demo:
        text, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 0, text
    assert passed(text) == [fault.name for fault in TOUR]
    assert "/metrics" in text
    assert "$ c2c-auditor mend > mend.sh; sh mend.sh" in text
    assert left_of(demo.pid) == []


@pytest.fixture(name="place")
def _place() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_every_fault_is_found(place: Namespace, backend: str, request: pytest.FixtureRequest) -> None:
    """Each fault raises its findings, confirmed, with the right app's name, and no outage or breach besides.

    What they say is what docs/findings/ shows of their kinds; `--update-golden` renews it.
    """
    inner = (sys.executable, "-m", "demo.inside", "--name", place.name, "--directory", str(place.directory))
    command = place.command((*inner, "--backend", backend, "--silk", "new", "--pause", "0", "--faults", "all"))
    demo = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=ENVIRONMENT)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert passed(demo.stdout) == [fault.name for fault in ALL]
    if backend == "nft":
        _are_shown(demo.stdout, update=request.config.getoption("--update-golden"))


def _are_shown(text: str, *, update: bool) -> None:
    """The first finding of each kind."""
    known: set[Kind] = set()
    for fault in ALL:
        _, _, text = text.partition(f"\n{fault.story}\n")
        told = re.findall(r"^  (breach|outage|residue|advice) (\w+) (.*)$", text.partition("\n\n")[0], re.MULTILINE)
        lines = {kind: (effect, summary) for effect, kind, summary in told}
        for kind in sorted(fault.kinds - known):
            effect, summary = lines[kind.value]
            said = f"{effect.upper()} {kind.value} {re.sub(' [(][0-9]+ more of this kind[)]$', '', summary)}"
            hold(kind, story=fault.story, said=said, update=update)
        known |= fault.kinds
    assert known == {kind for fault in ALL for kind in fault.kinds}


def _typed(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=False)


def test_interrupted_it_leaves_nothing() -> None:
    """Ctrl-C in the middle ends agent, policy server and namespace; the exit status says that it was interrupted.

    Until then the commands that it prints work from another terminal.
    """
    with subprocess.Popen([*DEMO, "--pause", "0"], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as demo:
        assert demo.stdout is not None
        commands: dict[str, str] = {}
        for line in demo.stdout:
            if "pending" in line:
                break
            if found := re.match(r"  (status|audit|page|metrics) +(\S.*?)(?: \(.*)?$", line):
                commands[found[1]] = found[2]
        said = {name: _typed(command).stdout for name, command in commands.items()}
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert left_of(demo.pid) == []
    assert set(said) == {"status", "audit", "page", "metrics"}
    for name in ("status", "audit", "page"):  # the tour goes on meanwhile: one fault or another is there, or none
        assert re.match(r"CLEAN: |\d+ (outage|breach|left-over|hint)", said[name]), said[name]
    assert "c2c_auditor_findings" in said["metrics"]
