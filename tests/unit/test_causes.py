"""One cause, one finding for people: what happened, what comes of it, and the mend; the parts stay in the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from attrs import evolve
from rich.console import Console

from c2c_auditor.audit.reporting import report_at_once
from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.export.bounded import bounded
from c2c_auditor.export.causes import causes
from c2c_auditor.export.document import to_json
from c2c_auditor.export.status import status_lines
from c2c_auditor.export.text import print_report
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.change import Author, Change
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Report
from c2c_auditor.silk import policy
from support.mutations import with_rules
from support.recordings import film, recording

PAIR, FLEET = recording("pair-nft"), recording("fleet-12-nft")
NOW = 1795400000.0
RULES = FLEET.ruleset.chains("filter")[FLEET.policy_chain].rules


def audited(facts: CellFacts, *rulesets: r.Ruleset) -> Report:
    """One audit of a cell."""
    return report_at_once(judge_cell(Reading(time=NOW, facts=facts, rulesets=rulesets)))


def emptied(ruleset: r.Ruleset, *tables: str) -> r.Ruleset:
    """``iptables -t TABLE -F`` and ``-X``, for each table."""
    for name in tables:
        chains = {
            chain.name: evolve(chain, rules=(), packets=None)
            for chain in ruleset.chains(name).values()
            if chain.policy is not None
        }
        ruleset = evolve(ruleset, tables={**ruleset.tables, name: r.Table(name=name, chains=chains)})
    return ruleset


def summaries(report: Report) -> list[str]:
    """What happened, by the report."""
    return [cause.summary for cause in report.causes]


CASES = {
    "FORWARD flushed": (with_rules(FLEET.ruleset, "FORWARD", ()), "FORWARD lost all of silk's jumps."),
    "INPUT flushed": (
        with_rules(FLEET.ruleset, "INPUT", ()),
        "INPUT lost all of its jumps to containers' chains.",
    ),
    "POSTROUTING flushed": (
        with_rules(FLEET.ruleset, "POSTROUTING", (), "nat"),
        "POSTROUTING lost the MASQUERADE rules of all containers.",
    ),
    "filter wiped": (emptied(FLEET.ruleset, "filter"), "The filter table holds nothing of silk's: it was emptied."),
    "all wiped": (
        emptied(FLEET.ruleset, "filter", "nat", "mangle"),
        "The filter table holds nothing of silk's: it was emptied.",
    ),
    "policy chain flushed": (
        with_rules(FLEET.ruleset, FLEET.policy_chain, ()),
        f"{FLEET.policy_chain} is empty: all of its {len(RULES)} rules are gone.",
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_happened_is_said_once_and_explains_every_harm(what: str) -> None:
    """Only hints stand beside it."""
    ruleset, summary = CASES[what]
    report = audited(FLEET.facts, ruleset)
    assert summaries(report) == [summary]
    (cause,) = report.causes
    assert {finding.cause for finding in report.findings if finding.effect.harms} == {cause.name}
    assert sum(cause.counts.values()) == sum(finding.cause == cause.name for finding in report.findings) > 1
    first = next(causes(report))
    assert (first.summary, first.remedies) == (summary, (cause.remedy,))


def test_the_containers_jumps_alone() -> None:
    """After a flush vxlan-policy-agent writes its own jump again, with its next change."""
    own = tuple(
        rule
        for rule in FLEET.ruleset.chains("filter")["FORWARD"].rules
        if isinstance(rule.target, r.Jump) and rule.target.chain == FLEET.policy_chain
    )
    report = audited(FLEET.facts, with_rules(FLEET.ruleset, "FORWARD", own))
    assert summaries(report) == ["FORWARD lost all of its jumps to containers' chains."]
    assert "vxlan-policy-agent" not in report.causes[0].remedy


def test_one_lost_rule_is_its_own_cause() -> None:
    """And so are a few of many."""
    forward = FLEET.ruleset.chains("filter")["FORWARD"].rules
    for gone in (1, 3):
        report = audited(FLEET.facts, with_rules(FLEET.ruleset, "FORWARD", forward[:-gone]))
        assert report.findings
        assert (report.causes, {finding.cause for finding in report.findings}) == ((), {""})


def test_rules_of_an_earlier_time() -> None:
    """A container that is there has no chain, and two that are gone have theirs: no truncated store looks like that."""
    frames = film()
    report = audited(frames[298].facts, frames[150].ruleset)
    (cause,) = report.causes
    assert cause.summary == (
        "The rules are those of an earlier time: 1 container that should have chains has none, and 2 that are gone "
        "still have chains. A saved ruleset was restored, or silk could not write for a while."
    )
    assert {finding.cause for finding in report.findings if finding.effect is not Effect.ADVICE} == {cause.name}


def test_two_backends() -> None:
    """What is wrong with the second backend's rules comes of their being there."""
    assert PAIR.facts.store is not None
    stale = policy.mark_rule(PAIR.facts.store.containers[0], 0x77)
    rules = (*PAIR.ruleset.chains("filter")[PAIR.policy_chain].rules, stale)
    other = with_rules(evolve(PAIR.ruleset, backend=r.Backend.LEGACY), PAIR.policy_chain, rules)
    report = audited(PAIR.facts, PAIR.ruleset, other)
    assert [cause.name for cause in report.causes] == ["two-backends"]
    split = next(finding for finding in report.findings if finding.kind is Kind.BACKEND_SPLIT)
    assert report.causes[0].summary == split.summary
    assert all(finding.cause == "two-backends" for finding in report.findings if finding.effect.harms)


def test_several_listings_are_not_grouped() -> None:
    """A finding does not tell in which of them its chain is."""
    reading = Reading(time=NOW, facts=FLEET.facts, rulesets=(FLEET.ruleset, CASES["INPUT flushed"][0]), listings=True)
    assert report_at_once(judge_cell(reading)).causes == ()


def test_a_bounded_report_keeps_the_counts() -> None:
    """The group and the kinds in it are counted whole."""
    report = audited(FLEET.facts, CASES["FORWARD flushed"][0])
    (whole, *_), (short, *_) = causes(report), causes(bounded(report, most=2))
    assert short.count == whole.count
    assert [part.count for part in short.parts] == [part.count for part in whole.parts]
    assert max(len(part.findings) for part in short.parts) == 2
    rest = sum(group.count for group in causes(bounded(report, most=2)))
    assert rest == len(report.findings)


def _lines(report: Report) -> Sequence[str]:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        print_report(report, console)
    return capture.get().splitlines()


def test_the_terminal_needs_a_screen_for_what_took_a_hundred_lines() -> None:
    """What happened, one example for each kind, and the mend."""
    report = audited(FLEET.facts, CASES["FORWARD flushed"][0])
    lines = _lines(report)
    begin = lines.index(" BREACH  FORWARD lost all of silk's jumps.")
    lines = lines[begin : lines.index("", begin)]
    assert len(lines) < 20 < len(report.findings)
    text = "\n".join(lines)
    assert " default_deny_missing \N{MULTIPLICATION SIGN} 12" in text
    assert text.count("→") == 1
    status = list(status_lines(report, NOW))
    assert "  FORWARD lost all of silk's jumps." in status


def test_who_did_it_stands_with_what_happened() -> None:
    """On the terminal and in `status`, once for all findings."""
    report = audited(FLEET.facts, CASES["FORWARD flushed"][0])
    change = Change(seen=NOW - 60, author=Author.FOREIGN, pid=4711, process="iptables", command="iptables -F FORWARD")
    findings = (evolve(finding, changed_by=change) if finding.cause else finding for finding in report.findings)
    report = evolve(report, findings=tuple(findings))
    for lines in (_lines(report), list(status_lines(report, NOW))):
        begin = next(at for at, line in enumerate(lines) if "FORWARD lost" in line)
        assert sum("iptables -F FORWARD" in line for line in lines[begin : begin + 20]) == 1


def test_the_json_has_the_parts_and_names_their_cause() -> None:
    """Each finding as before, with the name of what it comes of."""
    report = audited(FLEET.facts, CASES["FORWARD flushed"][0])
    document = json.loads(to_json(report))
    assert len(document["findings"]) == len(report.findings)
    assert {finding["cause"] for finding in document["findings"]} <= {document["causes"][0]["name"], None}
    assert document["causes"][0]["name"] == "emptied-filter-FORWARD"
