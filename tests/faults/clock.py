"""A clock that steps: ``time.time`` of the daemon, plus an offset that is read from a file at each look.

Only Python's wall clock is changed, before the agent is imported. libfaketime changes the system's, and with it the
absolute deadlines by which Python 3.11 and newer sleep: sleeps then fail or last as long as the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.bench import Bench
from faults.files import Inject
from faults.row import Row, Sees

_HOUR, _YEAR = 3600, 365 * 86400
# Python imports a module of this name from PYTHONPATH at its start.
_SITECUSTOMIZE = """
import os, time
# Opened once: the listening process is another user, who may not open it.
_offset, _real = os.open(os.environ["STEPPED_CLOCK"], os.O_RDONLY), time.time
time.time = lambda: _real() + float(os.pread(_offset, 32, 0))
"""


def stepped(seconds: int) -> Inject:
    """The wall clock steps by ``seconds`` while the agent runs, and back; the steady clock does not."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        offset, modules = bench.directory / "clock", bench.directory / "clock-modules"
        _write(offset, 0)
        modules.mkdir(exist_ok=True)
        (modules / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        bench.environment = {"PYTHONPATH": str(modules), "STEPPED_CLOCK": str(offset)}
        with bench.restarted():
            bench.settle()
            _write(offset, seconds)
            yield
            _write(offset, 0)

    return inject


def _write(path: Path, seconds: int) -> None:
    """In place and in one piece: the daemon holds the file open."""
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.write(f"{seconds:+020d}".encode())


def rows() -> Iterator[Row]:
    """The rows of the clock."""
    for fault, seconds, daily in (
        ("an hour ahead", _HOUR, False),
        ("an hour back", -_HOUR, True),
        ("a year ahead", _YEAR, True),
        ("a year back", -_YEAR, False),
    ):
        # By a clock that went back silk's chain is of the future, and VPA, which removes only older ones, will leave
        # it.
        sees = Sees(finding="policy_chain_from_future") if seconds < 0 else Sees()
        yield Row(source="clock", fault=fault, inject=stepped(seconds), sees=sees, daily=daily, change=seconds < 0)
