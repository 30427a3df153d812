"""The log events of a report: findings confirmed and resolved, others' commits, sources that fail and come back.

An audit without any of these logs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from attrs import asdict, frozen

from c2c_auditor.export.document import finding_document
from c2c_auditor.model.change import Change
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
    for change in report.netlink.changes if report.netlink is not None else ():
        yield Event(level="info", message="rules-changed-by-others", data=_change(change))
    known = {status.name: status for status in before.sources} if before is not None else {}
    for status in report.sources:
        yield from _source(status, known.get(status.name))


def _change(change: Change) -> Mapping[str, Any]:
    """What somebody did, with what is not known left out."""
    seen = datetime.fromtimestamp(change.seen, timezone.utc).isoformat(timespec="milliseconds")
    data = asdict(change) | {"seen": seen}
    return {name: value for name, value in data.items() if value or name in ("added", "removed")}


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
