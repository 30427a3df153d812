"""A report as people and machines see it: table, JSON, metrics, page, log lines. Foreign text harms none of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from c2c_auditor.export import catalogue
from c2c_auditor.export.document import report_document, to_json
from c2c_auditor.export.events import events
from c2c_auditor.export.metrics import ReportCollector
from c2c_auditor.export.page import landing_page
from c2c_auditor.export.plain import plain
from c2c_auditor.export.text import print_report
from c2c_auditor.model.finding import Kind, State
from c2c_auditor.model.report import Report
from support.mutations import with_rules
from support.recordings import GOLDEN, recording
from support.reports import NOW, blind_report, clean_report, flushed_report, hostile_report, report_of

DOCS = Path(__file__).parents[2] / "docs"


def _printed(report: Report, *, width: int = 80, colour: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None)
    print_report(report, console)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def _metrics(report: Report | None) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(lambda: report))
    return generate_latest(registry).decode()


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_clean_cell_is_said_in_one_line() -> None:
    """With how much was checked."""
    assert _printed(clean_report()).splitlines()[0] == "CLEAN: 3 policy rules are as they should be"


def test_a_broken_cell_says_what_for_whom_where_and_what_to_do() -> None:
    """At 80 columns, without colour."""
    text = " ".join(_printed(flushed_report()).split())
    for part in (
        "BREACH",
        "default_deny_missing",
        "dest-app (acme/dev) at 10.255.2.7 has lost its default deny",
        "everybody on the overlay reaches it on all ports",
        "filter FORWARD",
        "-j overlay--35bf992d-c9e9-4616-",
        "→ Recreate the container",
    ):
        assert part in text


def test_no_line_is_wider_than_the_terminal() -> None:
    """Neither at 80 columns nor at 140."""
    for width in (80, 140):
        assert max(map(len, _printed(flushed_report(), width=width).splitlines())) <= width


def test_many_findings_of_a_kind_stay_readable() -> None:
    """A flush on a cell of forty containers is no wall of text."""
    cell = recording("fleet-40")
    text = _printed(report_of(cell, with_rules(cell.ruleset, "FORWARD", ())))
    assert "… and 35 more of this kind (--format json has all)" in text
    assert len(text.splitlines()) < 250


def test_blindness_is_never_clean() -> None:
    """The source, the reason and the remedy are there."""
    text = _printed(blind_report())
    assert text.startswith("COULD NOT LOOK")
    assert "exit status 4" in text
    assert "CAP_NET_ADMIN" in text


@pytest.mark.parametrize("colour", [False, True])
def test_foreign_text_does_not_reach_the_terminal_as_control_characters(*, colour: bool) -> None:
    """Escapes, bells, right-to-left marks, markup of the table's own library."""
    text = _printed(hostile_report(), colour=colour)
    assert "\x1b]0;" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold]x" in text.replace("\n", "")


def test_plain_text_shows_everything_and_does_nothing() -> None:
    """And cuts what is too long, saying so."""
    assert plain("a\x1b[31m\n\u202eb\udcff") == "a\\x1b[31m\\n\\u202eb\\udcff"
    assert plain("x" * 2000).endswith("(2000 characters)")


def test_the_page_escapes_foreign_text() -> None:
    """No script, no tag of anybody else's."""
    page = landing_page(hostile_report())
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_json_holds_each_finding_with_its_evidence() -> None:
    """The fields that issue trackers and scripts rely on."""
    document = json.loads(to_json(flushed_report()))
    found = next(one for one in document["findings"] if one["kind"] == "default_deny_missing")
    assert (found["effect"], found["state"], found["family"]) == ("breach", "confirmed", "container")
    assert found["place"] == {"table": "filter", "chain": "FORWARD", "position": None}
    assert found["expected"].startswith("-A FORWARD -j overlay--")
    assert found["destination"]["app"] in {"source-app", "dest-app"}
    assert len({one["id"] for one in document["findings"]}) == len(document["findings"])


def test_every_report_fits_the_documented_schema() -> None:
    """docs/report-schema.json names every key that there is, and no other."""
    schema = json.loads((DOCS / "report-schema.json").read_text())
    for report in (clean_report(), flushed_report(), hostile_report(), blind_report()):
        document = json.loads(to_json(report))
        assert set(document) == set(schema["properties"]) == set(schema["required"])
        for finding in document["findings"]:
            properties = schema["$defs"]["finding"]["properties"]
            assert set(finding) == set(properties) == set(schema["$defs"]["finding"]["required"])
            assert finding["kind"] in properties["kind"]["enum"]
            assert finding["effect"] in properties["effect"]["enum"]
    assert sorted(schema["$defs"]["finding"]["properties"]["kind"]["enum"]) == sorted(kind.value for kind in Kind)


def test_the_golden_metrics_of_a_broken_cell(request: pytest.FixtureRequest) -> None:
    """Every family and every series; `make golden` rewrites it."""
    golden = GOLDEN / "metrics.txt"
    text = _metrics(flushed_report())
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_after_a_conclusive_audit_every_kind_is_there_with_0() -> None:
    """Pending and confirmed alike."""
    samples = _samples(_metrics(clean_report()))
    for kind in Kind:
        for state in (State.PENDING, State.CONFIRMED):
            labels = tuple(sorted({"kind": kind.value, "effect": kind.effect.value, "state": state.value}.items()))
            assert samples["c2c_auditor_findings", labels] == 0


def test_while_blind_findings_are_absent_and_never_0() -> None:
    """Unreadable is not clean."""
    text = _metrics(blind_report())
    assert "c2c_auditor_findings{" not in text
    assert 'c2c_auditor_source_up{source="rules"} 0.0' in text
    assert 'c2c_auditor_source_errors_total{reason="permission",source="rules"} 1.0' in text


def test_a_kind_that_could_not_be_judged_is_absent() -> None:
    """The others are there."""
    text = _metrics(evolve(clean_report(), unknown=frozenset({Kind.MARK_MISSING})))
    assert 'kind="mark_missing"' not in "\n".join(line for line in text.splitlines() if line.startswith("c2c_auditor_findings{"))
    assert 'kind="accept_missing"' in text


def test_the_size_of_metrics_does_not_grow_with_the_findings() -> None:
    """Forty containers without default deny, and the same series as one."""
    one = flushed_report()
    many = evolve(one, findings=one.findings * 500)
    assert len(_metrics(many)) < 64 << 10
    assert len(_metrics(many).splitlines()) == len(_metrics(one).splitlines())


def test_no_report_no_series() -> None:
    """Before the first audit nothing is claimed."""
    assert _metrics(None) == ""


def test_every_family_is_in_the_catalogue_and_its_page_is_current() -> None:
    """docs/metrics.md is generated."""
    names = {family.name.removeprefix(catalogue.PREFIX) for family in text_string_to_metric_families(_metrics(flushed_report()))}
    assert names <= set(catalogue.METRICS)
    assert (DOCS / "metrics.md").read_text() == catalogue.markdown()


def test_one_log_line_per_change_and_none_per_audit() -> None:
    """A source that fails says so once, and once when it is back or fails for another reason."""
    blind, clean = blind_report(), clean_report()
    assert [event.message for event in events(blind, None)] == ["source-failed"]
    assert not list(events(blind, blind))
    assert [event.message for event in events(clean, blind)] == ["source-back"]
    assert not list(events(clean, clean))


def test_confirmed_and_resolved_findings_are_logged_with_their_evidence() -> None:
    """Harm as an error, the rest as information."""
    broken = flushed_report()
    report = evolve(broken, confirmed=broken.findings[:1], resolved=broken.findings[1:2])
    told = list(events(report, None))
    assert [(event.level, event.message) for event in told] == [("error", "finding-confirmed"), ("info", "finding-resolved")]
    assert told[0].data["kind"] == broken.findings[0].kind.value
    assert json.dumps(report_document(report))
    assert report.time == NOW
