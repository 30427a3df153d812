"""A report's findings by what caused them: those of one kind and effect share their meaning and mostly their mend."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from attrs import frozen

from c2c_auditor.export.verdict import omitted
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.report import Report

_ORDER = {effect: place for place, effect in enumerate(Effect)}


@frozen(kw_only=True)
class Cause:
    """The findings of one kind and effect.

    ``count`` includes those that a report of bounded size leaves out.
    """

    kind: Kind
    effect: Effect
    findings: tuple[Finding, ...]
    count: int

    @property
    def times(self) -> str:
        """How often, as it stands behind the kind's name; empty for one."""
        return f" × {self.count}" if self.count > 1 else ""

    @property
    def pending(self) -> bool:
        """Whether silk may still correct all of them."""
        return all(finding.state is State.PENDING for finding in self.findings)

    @property
    def first_seen(self) -> float:
        """When the first of them was seen, in seconds since the epoch; 0 if no time is known."""
        return min(finding.first_seen for finding in self.findings)

    @property
    def remedies(self) -> tuple[str, ...]:
        """What to do, each way once."""
        return tuple(dict.fromkeys(finding.remedy for finding in self.findings if finding.remedy))


def causes(report: Report) -> Iterator[Cause]:
    """The causes of all findings of ``report``, the worst first."""
    findings = sorted(report.findings, key=lambda finding: (_ORDER[finding.effect], finding.kind.value))
    for (effect, kind), group in groupby(findings, key=lambda finding: (finding.effect, finding.kind)):
        members = tuple(group)
        yield Cause(kind=kind, effect=effect, findings=members, count=len(members) + omitted(report, effect, kind))
