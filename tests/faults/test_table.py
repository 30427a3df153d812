"""The table of faults on the running daemon, row by row: see docs/reliability.md for what came of it."""

from __future__ import annotations

import runpy
from collections.abc import Iterator

import pytest

from faults import results
from faults.bench import Bench, bench, missing_tools, root
from faults.driver import Outcome, run
from faults.row import BOTH, Row
from faults.table import KNOWN_RED, ROWS
from repo.code import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not root(), reason="needs root: makes network namespaces"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {', '.join(missing_tools())}"),
]


def _cases() -> Iterator[object]:
    for backend in BOTH:
        for row in ROWS:
            if backend in row.on:
                marks = () if row.daily else (pytest.mark.soak,)
                yield pytest.param(backend, row, id=f"{backend}-{row.name}", marks=marks)


@pytest.fixture(name="bed", scope="module")
def _bed(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


@pytest.mark.parametrize(("bed", "row"), list(_cases()), indirect=["bed"])
def test_a_fault_is_seen_and_nothing_false_is_said(bed: Bench, row: Row, request: pytest.FixtureRequest) -> None:
    """The operator sees the fault, no false finding is confirmed, real damage is, and all is well afterwards."""
    outcome = run(row, bed)
    if request.config.getoption("--update-golden"):
        results.record(bed.cell.iptables.backend, row.name, outcome)
        assert bool(outcome.problems) == (row.name in KNOWN_RED), "record what is known as red in faults.table"
    _judge(row, outcome)


def _judge(row: Row, outcome: Outcome) -> None:
    why = KNOWN_RED.get(row.name)
    if why is not None and outcome.problems:
        pytest.xfail(f"{why}: {'; '.join(outcome.problems)}")
    assert outcome.problems == ()


def test_rows_have_names_of_their_own() -> None:
    """Names identify rows, and only rows of the table are known as red."""
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(KNOWN_RED) <= set(names)


def test_results_are_of_this_table() -> None:
    """There is one for each row on each of its backends, none of a row that is gone, and each red one is explained."""
    found = results.read()
    assert set(found) == {(backend, row.name) for row in ROWS for backend in row.on}
    assert {name for (_, name), outcome in found.items() if outcome.problems} == set(KNOWN_RED)


def test_the_page_is_current() -> None:
    """docs/reliability.md tells the table and its last results; `make docs` writes it."""
    page = runpy.run_path(str(ROOT / "packaging" / "reliability.py"))["page"]
    assert (ROOT / "docs" / "reliability.md").read_text() == page()
