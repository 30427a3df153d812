"""Writes docs/reliability.md: the table of faults in tests/faults, and what came of each row when it last ran."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))

from faults import results  # noqa: E402 - found on the path that was just made
from faults.driver import Outcome  # noqa: E402
from faults.row import NOTHING, Row  # noqa: E402
from faults.table import KNOWN_RED, ROWS  # noqa: E402

_HEAD = """\
# Reliability

Generated from `tests/faults` and its last results by `make docs`; do not edit. Each row was injected into the running
daemon beside a simulated cell with real rules, and withdrawn again. The tests hold the following for every row but the
red ones, which stand at the end:

- the operator sees what the third column says, in metrics, on the health endpoints and in the log;
- nothing false is confirmed, also where silk changes its rules meanwhile (rows marked with *);
- where rules can be read, damage done to them beside the fault is confirmed all the same: the fifth column says after
  how many seconds;
- once the fault is over, an audit is conclusive and clean again after as many audits as the last column says, two at
  most; the policy server is read by a clock of its own, and audits before its next reading do not count.

The agent audits every 0.5 s in these tests and confirms after 2 s, so that they are quick; on a cell the times follow
from the settings and VPA's polls. `source_up` and `silk_process_up` are metrics (`c2c_auditor_…`), `source-failed` is a
line of the log. Seconds are those of one run of `pytest tests/faults --update-golden`.
"""


def page() -> str:
    """The page."""
    found = results.read()
    lines = [_HEAD]
    order = list(dict.fromkeys(row.source for row in ROWS))
    for source, rows in groupby(sorted(ROWS, key=lambda row: order.index(row.source)), key=lambda row: row.source):
        lines += [f"## {source[:1].upper()}{source[1:]}", "", _TITLES, _RULE]
        lines += [line for row in rows for line in _lines(row, found)] + [""]
    red = sorted({name for (_, name), outcome in found.items() if outcome.problems})
    lines += ["## Red", ""]
    lines += [f"- {name}: {KNOWN_RED.get(name, 'not explained')}" for name in red] or ["None."]
    return "\n".join(lines) + "\n"


_TITLES = "| fault | rules | what the operator sees | after | damage found after | well again after |"
_RULE = "|---|---|---|---|---|---|"


def _lines(row: Row, found: dict[tuple[str, str], Outcome]) -> Iterator[str]:
    for backend in row.on:
        outcome = found.get((backend, row.name), Outcome())
        mark = "*" if row.change else ""
        if outcome.problems:
            yield f"| {row.fault}{mark} | {backend} | {row.sees.words()} | **red**, see below | | |"
            continue
        damage = _seconds(outcome.found) if row.damage else "rules cannot be read"
        seen = "" if row.sees == NOTHING else _seconds(outcome.seen)
        audits = "1 audit" if outcome.audits == 1 else f"{outcome.audits} audits"
        yield f"| {row.fault}{mark} | {backend} | {row.sees.words()} | {seen} | {damage} | {audits} |"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


if __name__ == "__main__":
    (ROOT / "docs" / "reliability.md").write_text(page())
