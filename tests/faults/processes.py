"""What can happen to processes: the agent's two, silk's, and what they are given of the machine."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from demo.world import FRONTEND, REDIS, NetworkPolicy
from faults.bench import READY_MAX_AGE, Bench
from faults.files import Inject
from faults.row import BOTH, Row, Sees

_CACHED_SECONDS = 15.0
_SMALL = 256 << 10
_PDEATH_SECONDS = 3.0
_NEVER_WRITTEN = NetworkPolicy(source=FRONTEND.guid, destination=REDIS.guid, first=61001, last=61001)


@contextmanager
def _auditor_stopped(bench: Bench) -> Iterator[None]:
    bench.daemon.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        bench.daemon.signal(signal.SIGCONT)


@contextmanager
def _auditor_killed(bench: Bench) -> Iterator[None]:
    bench.daemon.find_listeners()
    bench.daemon.signal(signal.SIGKILL)
    bench.daemon.process.wait()
    yield
    bench.daemon.end()
    bench.start()


@contextmanager
def _listener_stopped(bench: Bench) -> Iterator[None]:
    listeners = bench.daemon.find_listeners()
    _signal(listeners, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(listeners, signal.SIGCONT)


@contextmanager
def _listener_killed(bench: Bench) -> Iterator[None]:
    _signal(bench.daemon.find_listeners(), signal.SIGKILL)
    yield
    bench.daemon.end()
    bench.start()


@contextmanager
def _auditor_killed_beside_a_stopped_listener(bench: Bench) -> Iterator[None]:
    _signal(bench.daemon.find_listeners(), signal.SIGSTOP)
    bench.daemon.signal(signal.SIGKILL)
    bench.daemon.process.wait()
    yield
    bench.daemon.end()
    bench.start()


def _signal(pids: tuple[int, ...], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def limited(what: int, *, above: int) -> Inject:
    """A resource limit of the auditing process, ``above`` what it uses now."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        soft, hard = resource.prlimit(bench.daemon.pid, what)
        used = _used(bench.daemon.pid, what)
        resource.prlimit(bench.daemon.pid, what, (used + above, hard))
        yield
        with suppress(ProcessLookupError):
            resource.prlimit(bench.daemon.pid, what, (soft, hard))

    return inject


def _used(pid: int, what: int) -> int:
    if what == resource.RLIMIT_NOFILE:
        # A limit of descriptors bounds their numbers, and the lowest free one is given out next. For a moment some more
        # are open: for a program that is run, for a request.
        return min(_lowest_free(pid) for _ in range(20))
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def _lowest_free(pid: int) -> int:
    time.sleep(0.1)
    used = {int(opened.name) for opened in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in count() if number not in used)


@contextmanager
def _silk_stopped(bench: Bench) -> Iterator[None]:
    bench.start_process("vxlan-policy-agent")
    _until(lambda: bench.daemon.metric("silk_process_up", process="vxlan-policy-agent") == 1.0, _CACHED_SECONDS + 5)
    bench.end_process("vxlan-policy-agent")
    yield


def _until(holds: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while callable(holds) and not holds() and time.monotonic() < deadline:
        time.sleep(0.2)


@contextmanager
def _vpa_restarted(bench: Bench) -> Iterator[None]:
    """It plans afresh at its start."""
    bench.start_process("vxlan-policy-agent")
    bench.end_process("vxlan-policy-agent")
    bench.start_process("vxlan-policy-agent")
    bench.cell.replan()
    try:
        yield
    finally:
        bench.end_process("vxlan-policy-agent")


@contextmanager
def _vpa_wedged(bench: Bench) -> Iterator[None]:
    """It runs and writes nothing any more: a policy that is ordered never comes into force."""
    server = bench.cell.server
    server.truth = server.truth.adding(_NEVER_WRITTEN)
    try:
        yield
    finally:
        server.truth = server.truth.removing(_NEVER_WRITTEN)
        bench.cell.replan()


@contextmanager
def _log_to_a_full_pipe(bench: Bench) -> Iterator[None]:
    """Standard output is a full pipe without a reader."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"\n" * 4096)
        os.set_blocking(writing, True)
        with bench.restarted(output=writing):
            yield
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def _log_to_a_closed_pipe(bench: Bench) -> Iterator[None]:
    """Whoever read standard output has gone."""
    reading, writing = os.pipe()
    try:
        with bench.restarted(output=writing):
            os.close(reading)
            yield
    finally:
        os.close(writing)


@contextmanager
def _log_to_a_full_device(bench: Bench) -> Iterator[None]:
    """Every write fails with ENOSPC, from the first line on."""
    with Path("/dev/full").open("wb") as full, bench.restarted(output=full.fileno()):
        yield


@contextmanager
def _disk_fills_up(bench: Bench) -> Iterator[None]:
    """The disk that the log is on has room at the start, and then none."""
    disk = bench.directory / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "none", str(disk)), check=True, timeout=10)
    try:
        with bench.restarted(log=disk / "agent.log"):
            _until(lambda: bench.daemon.report() is not None, 15.0)
            with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
                while filler.write(b"\0" * 4096):
                    pass
            yield
    finally:
        # A process that has just been killed may hold it for a moment more.
        subprocess.run(("umount", "--lazy", str(disk)), check=True, timeout=10)


def rows() -> Iterator[Row]:
    """The rows of processes and of what they are given."""
    old = Sees(
        other=("`/readyz` 503 once the last report is too old", lambda bench: bench.daemon.get("/readyz")[0] == 503)
    )
    yield Row(
        source="auditing process",
        fault="SIGSTOP",
        inject=_auditor_stopped,
        sees=old,
        damage=False,
        within=READY_MAX_AGE + 5,
    )
    dead = Sees(gone=True)
    yield Row(source="auditing process", fault="SIGKILL", inject=_auditor_killed, sees=dead, damage=False)
    yield Row(
        source="auditing process",
        fault="SIGKILL beside a stopped listener",
        inject=_auditor_killed_beside_a_stopped_listener,
        sees=dead,
        damage=False,
        within=_PDEATH_SECONDS,
    )
    yield Row(
        source="listening process", fault="SIGSTOP", inject=_listener_stopped, sees=Sees(silent=True), damage=False
    )
    yield Row(source="listening process", fault="SIGKILL", inject=_listener_killed, sees=Sees(ended=True), damage=False)
    down = Sees(down=("store",))
    yield Row(
        source="auditing process",
        fault="no descriptors (RLIMIT_NOFILE)",
        inject=limited(resource.RLIMIT_NOFILE, above=0),
        sees=down,
        damage=False,
        commit=True,
    )
    yield Row(
        source="auditing process",
        fault="no more memory (RLIMIT_AS)",
        inject=limited(resource.RLIMIT_AS, above=0),
        damage=True,
        daily=False,
    )
    yield Row(
        source="silk's processes",
        fault="VPA stopped",
        inject=_silk_stopped,
        sees=Sees(process="vxlan-policy-agent"),
        within=_CACHED_SECONDS + 5,
        daily=False,
    )
    yield Row(source="silk's processes", fault="VPA restarted", inject=_vpa_restarted, on=BOTH)
    yield Row(
        source="silk's processes",
        fault="VPA wedged",
        inject=_vpa_wedged,
        sees=Sees(finding="accept_missing"),
        daily=True,
        expected=frozenset({"flow_blocked", "mark_missing"}),
    )
    for fault, inject, daily in (
        ("a pipe that nobody reads", _log_to_a_full_pipe, True),
        ("a closed pipe", _log_to_a_closed_pipe, False),
        ("ENOSPC from the start", _log_to_a_full_device, False),
        ("the disk fills up", _disk_fills_up, True),
    ):
        yield Row(source="log output", fault=fault, inject=inject, daily=daily)
