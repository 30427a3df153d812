"""``make demo``: a cell of its own, the real agent beside it, and faults that come and go.

Two processes. The outer one makes the namespace and takes it away again, whatever happens; the inner one
(`demo.inside`) runs inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from c2c_auditor.errors import UsageError
from demo import agent, silk_daemon
from demo.cell import Cell, Files, write_cni_config, write_vpa_config
from demo.command import run, search_path
from demo.fault import Fault
from demo.namespace import Namespace, namespace, signals_as_interrupt
from demo.policy_faults import FORWARD_FLUSHED
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.printed import mend_as_printed
from demo.replay import replay
from demo.screen import Screen
from demo.silk import RELEASES, Iptables, Release, Silk
from demo.watch import Outcome, Watch
from demo.world import SHOP, World

_FAREWELL = 20.0
_OTHER = {"nft": "legacy", "legacy": "nft"}


def run_demo(*, backend: str, silk: str, keep: bool, pause: float) -> int:
    """The demo; exit status 0 only if every fault was found and resolved and nothing false was said.

    Without root a recording is replayed.

    ``silk`` is one of `silk.RELEASES`; ``pause`` in seconds between faults; ``keep`` leaves cell and agent running
    until Ctrl-C. Raises UsageError when a program is missing.
    """
    if os.geteuid() != 0:
        return replay(Screen(Console()))
    needed = ("ip", f"iptables-{backend}", f"iptables-{backend}-restore", f"iptables-{backend}-save")
    missing = [name for name in needed if shutil.which(name, path=search_path()) is None]
    if missing:
        raise UsageError(f"not installed: {', '.join(missing)}; the demo needs the packages iproute2 and iptables")
    with namespace() as made:
        options = ("--backend", backend, "--silk", silk, "--pause", str(pause), *(("--keep",) if keep else ()))
        return _inside(made, options)


def _inside(made: Namespace, options: Sequence[str]) -> int:
    """Run the inner process; Ctrl-C reaches only this one, which asks the inner one to end and waits for it."""
    command = made.command(
        (sys.executable, "-m", "demo.inside", "--name", made.name, "--directory", str(made.directory), *options)
    )
    inner = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PATH": search_path(), "PYTHONPATH": _python_path()},
    )
    try:
        return inner.wait()
    except KeyboardInterrupt:
        inner.terminate()
        return inner.wait(_FAREWELL)


def _python_path() -> str:
    """Where the demo is, and what was given."""
    return os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))


def tour(
    *, name: str, directory: Path, backend: str, silk: str, faults: Sequence[Fault], keep: bool, pause: float
) -> int:
    """The demo, in the namespace ``name``; see `run_demo`."""
    screen = Screen(Console())
    status = 130
    try:
        with (
            signals_as_interrupt(),
            PolicyServer(certificates := make_certificates(directory), _truth(SHOP)).serving() as server,
            silk_daemon.serving(),
        ):
            files = Files.below(directory)
            write_vpa_config(files, url=server.url, certificates=certificates, release=RELEASES[silk])
            write_cni_config(files)
            cell = _cell(backend, files, server, RELEASES[silk])
            with agent.running(directory, files) as running:
                _introduce(screen, name, backend, cell)
                _tell_commands(screen, f"ip netns exec {name}", directory, files)
                printed = partial(mend_as_printed, agent.configuration_of(directory), screen)
                outcomes = show(faults, cell, Watch(running, screen), pause=pause, printed=printed)
                _conclude(screen, outcomes)
                status = 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1
                if keep:
                    screen.title("\nCell and agent go on running. Ctrl-C ends them.")
                    _while_owned()
    except KeyboardInterrupt:
        screen.said("ended")
    return status


def show(
    faults: Sequence[Fault], cell: Cell, watch: Watch, *, pause: float, printed: Callable[[], None] | None = None
) -> list[Outcome]:
    """Each of ``faults`` after the other, ``pause`` seconds apart; ``printed`` mends a flushed FORWARD, if given.

    None at all if the cell is not clean to begin with.
    """
    if not watch.start():
        false = watch.false() or ("the agent never said that the cell is clean",)
        return [Outcome(name="nothing done yet", false=false)]
    outcomes = []
    for fault in faults:
        watch.quiet(pause)
        outcomes.append(watch.follow(fault, cell, printed if fault is FORWARD_FLUSHED else None))
    return outcomes


def _truth(world: World) -> Truth:
    return Truth(groups=tuple(world.groups)).adding(*world.policies)


def _cell(backend: str, files: Files, server: PolicyServer, release: Release) -> Cell:
    silk = Silk(iptables=Iptables(backend=backend, run=run), groups=SHOP.groups, release=release)
    cell = Cell(files=files, silk=silk, other=Iptables(backend=_OTHER[backend], run=run), server=server)
    for instance in SHOP.instances:
        cell.create(instance)
    return cell


def _introduce(screen: Screen, name: str, backend: str, cell: Cell) -> None:
    apps = sorted({instance.app.name for instance in cell.instances})
    containers = f"{len(cell.instances)} containers of {', '.join(apps)}"
    screen.title(f"A cell in the namespace {name}: {containers}; real rules ({backend}), and the real agent.")
    screen.said(f"rules    ip netns exec {name} iptables-{backend}-save")


def _tell_commands(screen: Screen, inside: str, directory: Path, files: Files) -> None:
    """How to look at this cell from another terminal while the demo runs; with --keep that is as long as one likes."""
    command = _from_here(Path(sys.executable).with_name("c2c-auditor"))
    config = agent.configuration_of(directory)
    screen.said(f"status   {command} status --config {config}")
    screen.said(f"audit    {inside} {command} audit --config {config}")
    screen.said(f"page     curl --unix-socket {agent.socket_of(files)} http://cell/ (a browser gets HTML)")
    screen.said(f"metrics  curl --unix-socket {agent.socket_of(files)} http://cell/metrics")


def _from_here(path: Path) -> Path:
    """``path`` as a shell in this directory would be given it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _conclude(screen: Screen, outcomes: Sequence[Outcome]) -> None:
    rows = [
        (
            outcome.name,
            *(
                f"{seconds:.1f} s" if seconds is not None else "never"
                for seconds in (outcome.pending, outcome.confirmed, outcome.resolved)
            ),
            str(len(outcome.false)),
            "passed" if outcome.passed else "FAILED",
        )
        for outcome in outcomes
    ]
    screen.table(("fault", "pending", "confirmed", "resolved", "false", ""), rows)


def _while_owned() -> None:
    """Wait until interrupted, or until the outer process is gone and nobody could interrupt any more."""
    owner = os.getppid()
    while os.getppid() == owner:
        time.sleep(1)
