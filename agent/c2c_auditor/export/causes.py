"""A report's findings by what caused them.

Those that one thing explains (`audit.causes`) stand together; the others by kind and effect, for they share their
meaning and mostly their mend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from attrs import frozen

from c2c_auditor.export.verdict import omitted
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Effect, Kind, worst
from c2c_auditor.model.report import Report

_ORDER = {effect: place for place, effect in enumerate(Effect)}


@frozen(kw_only=True)
class Part:
    """Findings of one kind and effect. ``count`` includes those that a report of bounded size leaves out."""

    kind: Kind
    effect: Effect
    findings: tuple[Finding, ...]
    count: int

    @property
    def times(self) -> str:
        """How often, as it stands behind the kind's name; empty for one."""
        return f" × {self.count}" if self.count > 1 else ""


@frozen(kw_only=True)
class Group:
    """Findings with one cause. ``summary`` says what happened where they are of several kinds or places, else empty.

    ``parts`` are the findings by kind and effect, the worst first; a group without a summary has one.
    """

    summary: str
    parts: tuple[Part, ...]
    remedies: tuple[str, ...]

    @property
    def effect(self) -> Effect:
        """The worst effect."""
        return worst(part.effect for part in self.parts)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that the report has."""
        return tuple(finding for part in self.parts for finding in part.findings)

    @property
    def count(self) -> int:
        """How many findings there are."""
        return sum(part.count for part in self.parts)

    @property
    def name(self) -> str:
        """What happened; the kind with how often it was found, where nothing more is known."""
        return self.summary or f"{self.parts[0].kind.value}{self.parts[0].times}"

    @property
    def pending(self) -> bool:
        """Whether silk may still correct all of them."""
        return all(finding.state is State.PENDING for finding in self.findings)

    @property
    def first_seen(self) -> float:
        """When the first of them was seen, in seconds since the epoch; 0 if no time is known."""
        return min((finding.first_seen for finding in self.findings), default=0.0)


def causes(report: Report) -> Iterator[Group]:
    """All findings of ``report`` by cause, the worst first; of equal ones those first that explain several kinds."""
    by_cause: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_cause[finding.cause].append(finding)
    groups = []
    counted: defaultdict[tuple[Kind, Effect], int] = defaultdict(int)
    for cause in report.causes:
        for key, count in cause.counts.items():
            counted[key] += count
        parts = _parts(by_cause.get(cause.name, ()), cause.counts)
        if parts:
            groups.append(Group(summary=cause.summary, parts=parts, remedies=(cause.remedy,)))
    totals: defaultdict[tuple[Kind, Effect], int] = defaultdict(int)
    for finding in report.findings:
        totals[finding.kind, finding.effect] += 1
    for key in totals:
        totals[key] += omitted(report, key[1], key[0]) - counted[key]
    for part in _parts(by_cause.get("", ()), totals):
        remedies = tuple(dict.fromkeys(finding.remedy for finding in part.findings if finding.remedy))
        groups.append(Group(summary="", parts=(part,), remedies=remedies))
    groups.sort(key=lambda group: (_ORDER[group.effect], not group.summary))  # stable: kinds stay in their order
    yield from groups


def _parts(findings: Sequence[Finding], counts: Mapping[tuple[Kind, Effect], int]) -> tuple[Part, ...]:
    ordered = sorted(findings, key=lambda finding: (_ORDER[finding.effect], finding.kind.value))
    return tuple(
        Part(kind=kind, effect=effect, findings=members, count=max(counts.get((kind, effect), 0), len(members)))
        for (effect, kind), group in groupby(ordered, key=lambda finding: (finding.effect, finding.kind))
        for members in (tuple(group),)
    )
