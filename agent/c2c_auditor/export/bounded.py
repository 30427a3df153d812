"""A report of bounded size, for the process that serves it: a broken cell may have 20,000 findings of one kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from attrs import evolve

from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Effect, Kind, worst
from c2c_auditor.model.report import Report

MOST = 200
_Group = tuple[Kind, Effect, State]


def bounded(report: Report, most: int = MOST) -> Report:
    """The report with the oldest ``most`` findings of each kind, effects and state; ``omitted`` counts the others.

    Findings keep their order. ``confirmed`` and ``changes`` are left out, as only the log uses them.
    """
    if len(report.findings) <= most and len(report.resolved) <= most:
        return evolve(report, confirmed=(), changes=())
    findings, findings_left_out = _bounded(report.findings, most)
    resolved, resolved_left_out = _bounded(report.resolved, most)
    return evolve(
        report,
        findings=findings,
        resolved=resolved,
        confirmed=(),
        changes=(),
        omitted=Counter(report.omitted) + findings_left_out + resolved_left_out,
    )


def _bounded(findings: Iterable[Finding], most: int) -> tuple[tuple[Finding, ...], Counter[_Group]]:
    groups: dict[tuple[Kind, frozenset[Effect], State], list[tuple[int, Finding]]] = defaultdict(list)
    for position, finding in enumerate(findings):
        groups[finding.kind, finding.effects, finding.state].append((position, finding))
    remaining: list[tuple[int, Finding]] = []
    omitted: Counter[_Group] = Counter()
    for (kind, effects, state), members in groups.items():
        if len(members) > most:
            members.sort(key=lambda member: member[1].first_seen)
            omitted[kind, worst(effects), state] += len(members) - most
        remaining += members[:most]
    remaining.sort(key=lambda member: member[0])
    return tuple(finding for _, finding in remaining), omitted
