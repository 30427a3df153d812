"""A report as people and machines see it: table, JSON, metrics, page, log lines. Foreign text harms none of them."""

from __future__ import annotations

import io
import json
import re
import runpy
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
from c2c_auditor.export.text import print_report
from c2c_auditor.model.cell import Names
from c2c_auditor.model.finding import App, State
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.report import Counters, Histogram, Report, Result
from c2c_auditor.netfilter.render import render_rule
from fleet.cells import at_rest
from support.mutations import with_rules
from support.recordings import GOLDEN, recording
from support.reports import NOW, blind_report, clean_report, flushed_report, hostile_report, judged_report
from support.schema import violations

DOCS = Path(__file__).parents[2] / "docs"


def _printed(report: Report, *, width: int | None = None, colour: bool = False) -> str:
    """Into a pipe, or on a terminal of ``width`` columns."""
    output = io.StringIO()
    console = Console(
        file=output,
        width=width,
        force_terminal=colour or width is not None,
        color_system="standard" if colour else None,
    )
    print_report(report, console)
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
        '"dest-app" (acme/dev) at 10.255.2.7 has lost its default deny',
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


@pytest.mark.parametrize("width", [None, 80, 140])
def test_no_rule_is_ever_cut(width: int | None) -> None:
    """Its words stand whole on every terminal, and in a pipe the whole rule in one line, without blanks at the end."""
    report = hostile_report()
    text = _printed(report, width=width)
    rules = [render_rule(finding.expected) for finding in report.findings if finding.expected is not None]
    assert rules
    for rule in rules:
        assert rule in (text if width is None else " ".join(text.split()))
    assert all(line == line.rstrip() for line in text.splitlines())
    if width is None:
        assert max(map(len, text.splitlines())) > 140


def test_many_findings_of_a_kind_stay_readable() -> None:
    """A flush on a cell of forty containers is no wall of text."""
    cell = recording("fleet-40")
    text = _printed(judged_report(cell, with_rules(cell.ruleset, "FORWARD", ())))
    assert "… and 35 more of this kind (-o json has all)" in text
    assert len(text.splitlines()) < 250


def test_blindness_is_never_clean() -> None:
    """The source, the reason and the remedy are there."""
    text = _printed(blind_report())
    assert text.startswith("COULD NOT LOOK at everything: rules: exit status 4\n")
    assert "iptables-nft-save -t filter" in text
    assert "CAP_NET_ADMIN" in text


def test_findings_do_not_hide_blindness() -> None:
    """Both stand in the first lines: what was found is not all there is."""
    text = _printed(evolve(blind_report(), findings=flushed_report().findings), width=200).splitlines()[0]
    assert text.startswith("4 breaches")
    assert "COULD NOT LOOK at everything: rules: exit status 4" in text


def test_what_is_only_pending_is_said_in_the_first_line() -> None:
    """It may mend itself."""
    report = flushed_report()
    pending = tuple(evolve(finding, state=State.PENDING) for finding in report.findings)
    first = _printed(evolve(report, result=Result.UNSETTLED, findings=pending), width=200).splitlines()[0]
    assert first.endswith("all pending: silk may still correct them")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_gets_the_whole_report(encoding: str) -> None:
    """Also with names that it cannot show."""
    report = hostile_report()
    names = Names(app="日本 →", space="dev", org="acme")
    finding = evolve(report.findings[0], source=App(guid="some-guid", names=names))
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_report(
        evolve(report, findings=(finding, evolve(finding, subject=("another",)))), Console(file=stream, width=100)
    )
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert ("日本" if encoding == "utf-8" else "\\u65e5\\u672c") in text
    assert "Restart vxlan-policy-agent" in text


def test_findings_of_a_kind_stand_together_whatever_order_they_come_in() -> None:
    """The worst first."""
    report = flushed_report()
    assert _printed(evolve(report, findings=report.findings[::-1])).count("default_deny_missing") == 1
    assert "BREACH" in _printed(evolve(report, findings=report.findings[::-1])).partition("OUTAGE")[0]


@pytest.mark.parametrize("colour", [False, True])
def test_foreign_text_does_not_reach_the_terminal_as_control_characters(*, colour: bool) -> None:
    """Escapes, bells, right-to-left marks, markup of the table's own library."""
    text = _printed(hostile_report(), colour=colour)
    assert "\x1b]0;" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold]x" in text.replace("\n", "")


def test_json_holds_each_finding_with_its_evidence() -> None:
    """The fields that issue trackers and scripts rely on."""
    document = json.loads(to_json(flushed_report()))
    found = next(one for one in document["findings"] if one["kind"] == "default_deny_missing")
    assert (found["effect"], found["state"], found["family"]) == ("breach", "confirmed", "container")
    assert found["place"] == {"ip": "ipv4", "table": "filter", "chain": "FORWARD", "position": None}
    assert found["expected"].startswith("-A FORWARD -j overlay--")
    assert found["destination"]["app"] in {"source-app", "dest-app"}
    assert len({one["id"] for one in document["findings"]}) == len(document["findings"])


def test_every_report_fits_the_documented_schema() -> None:
    """docs/report-schema.json names every key and every value that there is, and no other."""
    schema = json.loads((DOCS / "report-schema.json").read_text())
    broken = flushed_report()
    for report in (clean_report(), evolve(broken, resolved=broken.findings), hostile_report(), blind_report()):
        assert not list(violations(json.loads(to_json(report)), schema, schema))


def test_the_schema_refuses_what_is_not_in_it() -> None:
    """Otherwise the test above would prove nothing."""
    schema = json.loads((DOCS / "report-schema.json").read_text())
    document = report_document(flushed_report())
    finding = document["findings"][0]
    for damaged in (
        {**document, "news": 1},
        {**document, "result": "fine"},
        {**document, "time": {"epoch": "now"}},
        {
            **document,
            "findings": [{**finding, "place": {"ip": "ipv4", "table": "filter", "chain": "FORWARD", "position": 0}}],
        },
        {**document, "findings": [{name: value for name, value in finding.items() if name != "id"}]},
    ):
        assert list(violations(damaged, schema, schema))


def test_the_generated_pages_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make docs` would change none of them."""
    monkeypatch.syspath_prepend(DOCS.parent / "packaging")
    generate = runpy.run_path(str(DOCS.parent / "packaging" / "generate_docs.py"))
    assert json.loads((DOCS / "report-schema.json").read_text()) == generate["schema"]()
    assert (DOCS / "findings.md").read_text() == generate["findings"]()
    for path, text in generate["finding_pages"]().items():
        assert (DOCS.parent / path).read_text() == text


def test_the_golden_metrics_of_a_broken_cell(request: pytest.FixtureRequest) -> None:
    """Every family and every series; `make golden` rewrites it."""
    golden = GOLDEN / "metrics.txt"
    text = _metrics(flushed_report())
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_after_a_conclusive_audit_every_kind_is_there_with_0() -> None:
    """Confirmed; pending only where 0 says something: the policy rules that may be on their way."""
    samples = _samples(_metrics(clean_report()))
    pending = {dict(labels)["kind"] for name, labels in samples if ("state", "pending") in labels}
    assert pending == {"mark_missing", "accept_missing", "ingress_missing", "policy_chain_missing"}
    for kind in Kind:
        labels = tuple(sorted({"kind": kind.value, "effect": kind.effect.value, "state": "confirmed"}.items()))
        assert samples["c2c_auditor_findings", labels] == 0


def test_packets_are_absent_until_they_were_counted() -> None:
    """Then both verdicts are there, also with 0."""
    text = _metrics(evolve(clean_report(), counters=Counters(packets={"accepted": 1, "refused": 0})))
    assert 'c2c_auditor_packets_total{verdict="accepted"} 1.0' in text
    assert 'c2c_auditor_packets_total{verdict="refused"} 0.0' in text
    assert "c2c_auditor_packets_total" not in _metrics(clean_report())


def test_a_cell_at_rest_exports_at_most_160_series() -> None:
    """A thousand cells share one Prometheus."""
    samples = [line for line in at_rest().decode().splitlines() if line and not line.startswith("#")]
    assert len(samples) <= 160


def test_while_blind_findings_are_absent_and_never_0() -> None:
    """Unreadable is not clean."""
    text = _metrics(blind_report())
    assert "c2c_auditor_findings{" not in text
    assert 'c2c_auditor_source_up{source="rules"} 0.0' in text
    assert 'c2c_auditor_source_errors_total{reason="permission",source="rules"} 1.0' in text


def test_a_kind_that_could_not_be_judged_is_absent() -> None:
    """The others are there; and it is named, so that nobody has to look for what is not there."""
    text = _metrics(evolve(clean_report(), unknown=frozenset({Kind.MARK_MISSING})))
    assert re.findall("^c2c_auditor_unknown_kinds.*", text, re.MULTILINE) == [
        'c2c_auditor_unknown_kinds{kind="mark_missing"} 1.0'
    ]
    assert "c2c_auditor_unknown_kinds{" not in _metrics(clean_report())
    assert 'kind="mark_missing"' not in "\n".join(
        line for line in text.splitlines() if line.startswith("c2c_auditor_findings{")
    )
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
    """With its type and its labels; docs/metrics.md is generated. A full report has them all."""
    full = evolve(hostile_report(), counters=_full_counters(), unknown=frozenset({Kind.MARK_STALE}))
    seen: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(_metrics(full)):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        seen[family.name.removeprefix(catalogue.PREFIX)] = (family.type, labels)
    assert seen == {metric.name: (metric.type, set(metric.labels)) for metric in catalogue.METRICS.values()}
    assert (DOCS / "metrics.md").read_text() == catalogue.markdown()


def _full_counters() -> Counters:
    return Counters(
        confirmed=dict.fromkeys(Effect, 1),
        resolved=dict.fromkeys(Effect, 1),
        audits=dict.fromkeys(Result, 1),
        source_errors={("rules", "timeout"): 1},
        ruleset_changes={"vpa": 1},
        packets={"accepted": 1},
        durations={"rules": Histogram.empty(0.1, 1.0).observed(0.5)},
    )


def test_histograms_are_cumulative() -> None:
    """As Prometheus wants them, the last bucket equal to the count."""
    samples = _samples(_metrics(evolve(clean_report(), counters=_full_counters())))
    name = "c2c_auditor_audit_duration_seconds"
    buckets = [samples[f"{name}_bucket", (("le", bound), ("phase", "rules"))] for bound in ("0.1", "1.0", "+Inf")]
    assert (
        buckets,
        samples[f"{name}_count", (("phase", "rules"),)],
        samples[f"{name}_sum", (("phase", "rules"),)],
    ) == ([0, 1, 1], 1, 0.5)


def test_an_effect_that_is_not_the_kinds_usual_one_has_its_own_series() -> None:
    """Beside the usual one, which stays at 0; pending and confirmed apart."""
    finding = evolve(flushed_report().findings[0], effects=frozenset({Effect.ADVICE}), state=State.PENDING)
    kind = finding.kind
    assert _of_kind(evolve(clean_report(), findings=(finding,)), kind) == {
        ("advice", "pending"): 1,
        (kind.effect.value, "confirmed"): 0,
    }


def test_a_finding_counts_once_for_each_of_its_effects() -> None:
    """An ACCEPT with another app's mark lets one in and stops another: both alerts have to see it."""
    both = frozenset({Effect.BREACH, Effect.OUTAGE})
    finding = evolve(flushed_report().findings[0], kind=Kind.ACCEPT_CHANGED, effects=both)
    report = evolve(clean_report(), findings=(finding,))
    assert _of_kind(report, Kind.ACCEPT_CHANGED) == {("breach", "confirmed"): 1, ("outage", "confirmed"): 1}
    oldest = [
        labels for name, labels in _samples(_metrics(report)) if name.endswith("oldest_finding_timestamp_seconds")
    ]
    assert oldest == [(("effect", "breach"),), (("effect", "outage"),)]


def _of_kind(report: Report, kind: Kind) -> dict[tuple[str, str], float]:
    """The findings of one kind by effect and state."""
    found = {}
    for (name, pairs), value in _samples(_metrics(report)).items():
        labels = dict(pairs)
        if name == "c2c_auditor_findings" and labels["kind"] == kind.value:
            found[labels["effect"], labels["state"]] = value
    return found


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
    logged = list(events(report, None))
    assert [(event.level, event.message) for event in logged] == [
        ("error", "finding-confirmed"),
        ("info", "finding-resolved"),
    ]
    assert logged[0].data["kind"] == broken.findings[0].kind.value
    assert json.dumps(report_document(report))
    assert report.time == NOW
