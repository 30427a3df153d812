"""Reports of bounded size: what a badly broken cell's report keeps, and what it counts."""

from __future__ import annotations

import io
import json
from pathlib import Path

from attrs import evolve
from prometheus_client.metrics_core import Metric
from rich.console import Console

from c2c_auditor.export.bounded import bounded
from c2c_auditor.export.document import to_json
from c2c_auditor.export.metrics import families
from c2c_auditor.export.status import status_lines
from c2c_auditor.export.text import print_report
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.report import Report
from support.reports import flushed_report
from support.schema import violations

SCHEMA = Path(__file__).parents[2] / "docs" / "report-schema.json"


def _broken(pending: int, resolved: int) -> Report:
    """A report with one confirmed finding, ``pending`` others of its kind, and ``resolved`` ones."""
    report = flushed_report()
    first = report.findings[0]

    def another(number: int, state: State) -> Finding:
        finding = evolve(first, subject=(*first.subject, str(number)), summary=f"finding {number}")
        # The last is the oldest.
        return finding.settled(state, first_seen=first.first_seen - number, since=first.since)

    return evolve(
        report,
        findings=(first, *(another(number, State.PENDING) for number in range(pending))),
        confirmed=(first,),
        resolved=tuple(another(number, State.RESOLVED) for number in range(resolved)),
    )


def _samples(metrics: list[Metric]) -> list[object]:
    return [(sample.name, sorted(sample.labels.items()), sample.value) for one in metrics for sample in one.samples]


def test_a_report_of_few_findings_keeps_them_all() -> None:
    """Nothing is left out."""
    report = _broken(20, 20)
    assert bounded(report) == evolve(report, confirmed=())


def test_of_many_of_one_kind_the_oldest_are_kept_in_their_order() -> None:
    """The others are counted by kind, effect and state, those that ended too."""
    report = _broken(20_000, 300)
    first = report.findings[0]
    small = bounded(report)
    assert small.findings == (first, *report.findings[-200:])
    assert small.resolved == report.resolved[-200:]
    assert small.omitted == {
        (first.kind, first.effect, State.PENDING): 19_800,
        (first.kind, first.effect, State.RESOLVED): 100,
    }
    assert bounded(small) == small


def test_metrics_count_all_findings() -> None:
    """Also the oldest one's time is that of all."""
    report = _broken(1000, 0)
    assert _samples(list(families(bounded(report)))) == _samples(list(families(report)))


def test_what_is_left_out_is_said() -> None:
    """In JSON that fits its schema, in the status, and in text."""
    small = bounded(_broken(1000, 300))
    document = json.loads(to_json(small))
    schema = json.loads(SCHEMA.read_text())
    assert not list(violations(document, schema, schema))
    assert [(one["state"], one["count"]) for one in document["omitted"]] == [("pending", 800), ("resolved", 100)]
    kind = small.findings[0].kind.value
    status = list(status_lines(small, small.time))
    assert any(kind in line and " 1001 " in line for line in status)
    assert "  … and 1000 more of this kind" in status
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as captured:
        print_report(small, console)
    assert "1001: " in captured.get()
    assert "more of this kind\n" in captured.get()
