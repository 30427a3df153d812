"""A clock that steps: the daemon runs under libfaketime, whose offset is read from a file at each look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.bench import Bench
from faults.files import Inject
from faults.row import Row, Sees

_HOUR, _YEAR = 3600, 365 * 86400
_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def library() -> Path | None:
    """The library of libfaketime for threads, None where it is not installed (Debian: libfaketime)."""
    found = [Path(place) / "faketime" / "libfaketimeMT.so.1" for place in _PLACES]
    return next((path for path in found if path.exists()), None)


def stepped(seconds: int) -> Inject:
    """The wall clock steps by ``seconds`` while the agent runs, and back; the steady clock does not."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        offset = bench.directory / "faketime"
        _write(offset, 0)
        bench.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
        with bench.restarted():
            bench.settle()
            _write(offset, seconds)
            yield
            _write(offset, 0)

    return inject


def _write(path: Path, seconds: int) -> None:
    new = path.with_suffix(".new")
    new.write_text(f"{seconds:+d}s\n")
    new.replace(path)


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
