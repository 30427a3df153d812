"""The cost of one judgement of a large cell with many rules of a kind: foreign, stale, lost ones.

Each cell is judged in a process of its own. Time is that process's own, as a ratio to the same cell without the rules
in question; memory is the peak of the process, with the cell, its rules and its report.
"""

from __future__ import annotations

import multiprocessing
from functools import cache

import pytest

from support.growth import CELLS, Cost, measure

pytestmark = pytest.mark.bench


@cache
def _cost(what: str) -> Cost:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (what,))


@pytest.mark.parametrize("what", CELLS)
def test_one_judgement(what: str) -> None:
    """The target for all but the flushed chain: three times the plain cell, and 256 MiB."""
    cost, plain = _cost(what), _cost("nothing else")
    memory = "400" if "flushed" in what else "256"
    print(
        f"{what:<40} {cost.findings:>6} findings   first {cost.first:6.2f} s = {cost.first / plain.first:6.1f} x   "
        f"next {cost.next:6.2f} s   {cost.peak:5.0f} MiB   target 3 x, {memory} MiB",
        flush=True,
    )
