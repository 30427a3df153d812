"""Since when the findings of a single audit stand, as the agent that runs on the same cell knows it."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.decoding import DecodeError, decode
from c2c_auditor.errors import SourceError
from c2c_auditor.export.document import identifier
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.report import Report
from c2c_auditor.sources.recordings.journal import Moment, WrittenChange
from c2c_auditor.sources.running_agent import ask


@frozen(kw_only=True)
class _Finding:
    id: str = ""
    first_seen: Moment | None = None
    changed_by: WrittenChange | None = None


@frozen(kw_only=True)
class _Report:
    findings: tuple[_Finding, ...] = ()


def with_history(report: Report, socket: Path) -> Report:
    """``report`` with the times at which the agent behind ``socket`` first saw what is still there, and what caused it.

    A note says so if the agent cannot be asked.
    """
    try:
        known = decode(ask(socket, "/api/v1/report"), _Report)
    except (SourceError, DecodeError) as error:
        return evolve(report, notes=(*report.notes, f"Since when is not known: the agent was asked at {error}."))
    by_id = {finding.id: finding for finding in known.findings}
    return evolve(
        report, findings=tuple(_dated(finding, by_id.get(identifier(finding))) for finding in report.findings)
    )


def _dated(finding: Finding, known: _Finding | None) -> Finding:
    if known is None:
        return finding
    change = known.changed_by
    told = finding if change is None else evolve(finding, changed_by=change.change())
    seen = known.first_seen.epoch if known.first_seen is not None else 0.0
    return told.settled(finding.state, first_seen=seen, since=seen) if 0 < seen < finding.first_seen else told
