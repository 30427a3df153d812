"""The log events of a report: findings confirmed and resolved, others' commits, sources that fail and come back.

An audit without any of these logs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from c2c_auditor.export.changes import change_document
from c2c_auditor.export.document import finding_document
from c2c_auditor.model.report import Report, SourceStatus


@frozen(kw_only=True)
class Event:
    """One log line: ``level`` is ``info`` or ``error``, ``message`` a stable name, ``data`` its facts."""

    level: str
    message: str
    data: Mapping[str, Any]


def events(report: Report, before: Report | None) -> Iterator[Event]:
    """The events between two reports; ``before`` is None at the first."""
    for finding in report.confirmed:
        yield Event(
            level="error" if finding.effect.harms else "info",
            message="finding-confirmed",
            data=finding_document(finding),
        )
    for finding in report.resolved:
        yield Event(level="info", message="finding-resolved", data=finding_document(finding))
    for change in report.changes:
        if not change.author.silks:
            yield Event(level="info", message="rules-changed-by-others", data=change_document(change))
    known = {status.name: status for status in before.sources} if before is not None else {}
    for status in report.sources:
        yield from _source(status, known.get(status.name))


def _source(status: SourceStatus, before: SourceStatus | None) -> Iterator[Event]:
    reason = status.problem.reason if status.problem is not None and not status.up else None
    was = before.problem.reason if before is not None and before.problem is not None and not before.up else None
    if reason is not None and status.problem is not None and reason != was:
        problem = status.problem
        data = {
            "source": status.name,
            "reason": reason,
            "where": problem.where,
            "problem": problem.problem,
            "remedy": problem.remedy,
        }
        yield Event(level="error", message="source-failed", data=data)
    elif reason is None and was is not None:
        yield Event(level="info", message="source-back", data={"source": status.name})
