"""Makes reports from scenes. How a report is shown belongs to `export`."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from c2c_auditor.audit.causes import with_causes
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.questions.pairs import mark_pairs
from c2c_auditor.audit.scene import Scene
from c2c_auditor.audit.settle import confirmed_at_once
from c2c_auditor.audit.shown import holds_silks
from c2c_auditor.errors import Reason
from c2c_auditor.model.cause import Cause
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Problem, Report, Result, SourceStatus


def judged_report(
    reading: Reading, judgement: Judgement, findings: tuple[Finding, ...], result: Result | None = None
) -> Report:
    """The report of a judged reading with these findings; the result follows from them unless it is given."""
    causes: tuple[Cause, ...] = ()
    if not reading.listings or len(reading.rulesets) == 1:  # of several, a finding's place does not tell which
        findings, causes = with_causes(findings, reading.rulesets)
    return Report(
        time=reading.time or 0.0,
        result=result if result is not None else overall_result(findings, judgement.unknown),
        backend=reading.rulesets[0].backend,
        findings=findings,
        causes=causes,
        unknown=judgement.unknown,
        sources=reading.sources,
        processes=reading.processes,
        netlink=reading.netlink,
        journal=reading.journal,
        tally=judgement.tally,
        notes=judgement.notes,
        statements=judgement.statements,
    )


def blind_report(reading: Reading) -> Report:
    """The report of a reading without rules: no kind of finding could be judged."""
    return Report(
        time=reading.time or 0.0,
        result=Result.BLIND,
        unknown=frozenset(Kind),
        sources=reading.sources,
        processes=reading.processes,
        netlink=reading.netlink,
        notes=reading.facts.notes,
    )


def report_at_once(scene: Scene) -> Report:
    """The report of a single audit: every finding counts as confirmed, and a source that failed makes it blind.

    With listings the result says what they show: that facts are missing is expected then, and no failure to look. But
    listings with nothing of silk's in them show nothing, unless the facts tell all that should be there.
    """
    reading, judgement = scene.reading, scene.judgement
    if reading.listings and judgement.unknown and not any(map(holds_silks, reading.rulesets)):
        return _report_of_nothing(scene)
    findings = confirmed_at_once(judgement, reading.time or 0.0)
    result = Result.FINDINGS if findings else Result.CLEAN
    if not reading.listings and (judgement.unknown or not all(status.up for status in reading.sources)):
        result = Result.BLIND
    report = judged_report(reading, judgement, findings, result)
    return evolve(report, pairs=mark_pairs(reading.rulesets, reading.facts)) if reading.listings else report


def _report_of_nothing(scene: Scene) -> Report:
    """The report of listings with nothing of silk's in them: blind, with what was found all the same."""
    reading, judgement = scene.reading, scene.judgement
    if any("iptables-legacy tables present" in note for note in judgement.notes):
        remedy = "this cell also has rules in iptables-legacy: give the output of iptables-legacy-save"
    elif all(ruleset.family is AddressFamily.IPV6 for ruleset in reading.rulesets):
        remedy = (
            "these are rules of ip6tables, and policies between containers are IPv4's: give the output of "
            "iptables-save of a Diego cell"
        )
    else:
        remedy = "no chain and no comment of silk's stands in it: give the output of iptables-save of a Diego cell"
    problem = Problem(
        source="rules",
        reason=Reason.MISSING.value,
        where=", ".join(ruleset.origin for ruleset in reading.rulesets),
        problem="nothing of silk's here: could not judge",
        remedy=remedy,
    )
    # A hint at a rule "behind silk's rules" says nothing where there are none.
    every = confirmed_at_once(judgement, reading.time or 0.0)
    findings = tuple(finding for finding in every if finding.kind is not Kind.FOREIGN_RULE)
    return evolve(
        judged_report(reading, judgement, findings, Result.BLIND),
        unknown=frozenset(Kind) - {finding.kind for finding in findings},
        sources=(*reading.sources, SourceStatus(name="rules", up=False, problem=problem)),
    )


def overall_result(findings: Sequence[Finding], unknown: frozenset[Kind]) -> Result:
    """One word for an audit: blind if anything could not be judged, then confirmed findings, then pending ones."""
    if unknown:
        return Result.BLIND
    if any(finding.state is State.CONFIRMED for finding in findings):
        return Result.FINDINGS
    return Result.UNSETTLED if findings else Result.CLEAN
