"""Since when the findings of a single audit stand, as the agent that runs on the same cell knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.decoding import DecodeError, decode
from c2c_auditor.errors import SourceError
from c2c_auditor.export.document import identifier
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.report import Report
from c2c_auditor.sources.running_agent import ask


@frozen(kw_only=True)
class _Time:
    epoch: float = 0.0


@frozen(kw_only=True)
class _Finding:
    id: str = ""
    first_seen: _Time | None = None


@frozen(kw_only=True)
class _Report:
    findings: tuple[_Finding, ...] = ()


def with_history(report: Report, socket: Path) -> Report:
    """``report`` with the times at which the agent behind ``socket`` first saw what is still there.

    A note says so if the agent cannot be asked.
    """
    try:
        known = decode(ask(socket, "/api/v1/report"), _Report)
    except (SourceError, DecodeError) as error:
        return evolve(report, notes=(*report.notes, f"Since when is not known: the agent was asked at {error}."))
    times = {finding.id: finding.first_seen.epoch for finding in known.findings if finding.first_seen is not None}
    return evolve(report, findings=tuple(_dated(finding, times) for finding in report.findings))


def _dated(finding: Finding, times: Mapping[str, float]) -> Finding:
    seen = times.get(identifier(finding), 0.0)
    return finding.settled(finding.state, first_seen=seen, since=seen) if 0 < seen < finding.first_seen else finding
