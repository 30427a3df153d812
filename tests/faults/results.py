"""What came of the rows when they last ran with ``--update-golden``: a file per backend beside this module."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path

from attrs import asdict

from faults.driver import Outcome

_FILES = Path(__file__).parent / "results"


def record(backend: str, name: str, outcome: Outcome) -> None:
    """Keep one row's outcome; seconds to a tenth."""
    _FILES.mkdir(exist_ok=True)
    seconds = {key: None if value is None else round(value, 1) for key, value in _seconds(outcome).items()}
    with (_FILES / f"{backend}.json").open("a+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)  # rows run two at a time
        opened.seek(0)
        known = json.loads(opened.read() or "{}")
        known[name] = {**asdict(outcome), **seconds}
        opened.truncate(0)
        opened.write(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def read() -> dict[tuple[str, str], Outcome]:
    """The outcomes by backend and row."""
    found = {}
    for path in sorted(_FILES.glob("*.json")):
        for name, fields in json.loads(path.read_text()).items():
            found[path.stem, name] = Outcome(**{**fields, "problems": tuple(fields["problems"])})
    return found


def _seconds(outcome: Outcome) -> Mapping[str, float | None]:
    return {"seen": outcome.seen, "found": outcome.found}
