"""Looks at a cell, for whoever watches it: at what the running agent says, or at a report of one's own."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from c2c_auditor.decoding import DecodeError, decode, parse_json
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.export.bounded import bounded
from c2c_auditor.export.document import finding_document, identifier
from c2c_auditor.export.watching import Look, Seen
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect
from c2c_auditor.model.report import Report, Result
from c2c_auditor.sources.recordings.journal import Moment, WrittenChange, parse_changes
from c2c_auditor.sources.running_agent import ask


@frozen(kw_only=True)
class _Finding:
    id: str
    kind: str
    effect: Effect
    state: State
    summary: str = ""
    remedy: str = ""
    changed_by: WrittenChange | None = None


@frozen(kw_only=True)
class _Problem:
    where: str = ""
    problem: str = ""


@frozen(kw_only=True)
class _Source:
    name: str = ""
    up: bool = True
    problem: _Problem | None = None


@frozen(kw_only=True)
class _Report:
    result: Result
    time: Moment | None = None
    findings: tuple[_Finding, ...] = ()
    unknown_kinds: tuple[str, ...] = ()
    sources: tuple[_Source, ...] = ()


def look_of_agent(socket: Path) -> Look:
    """What the agent behind ``socket`` says. Raises SourceError."""
    text = ask(socket, "/api/v1/report")
    changes = parse_changes(ask(socket, "/api/v1/changes"), where=str(socket))
    try:
        report = decode(text, _Report)
        given = parse_json(text)
    except DecodeError as error:
        raise SourceError(
            source="agent",
            reason=Reason.MALFORMED,
            where=str(socket),
            problem=f"what answers there is no c2c-auditor: {error}",
            remedy="give the socket of an agent of this version (server.socket)",
        ) from error
    documents = given["findings"] if isinstance(given, dict) else []
    return Look(
        time=report.time.epoch if report.time is not None else 0.0,
        result=report.result,
        findings=tuple(
            Seen(
                id=one.id,
                kind=one.kind,
                effect=one.effect,
                state=one.state,
                summary=one.summary,
                remedy=one.remedy,
                changed_by=one.changed_by.change() if one.changed_by is not None else None,
                document=document,
            )
            for one, document in zip(report.findings, documents, strict=True)
        ),
        unknown=frozenset(report.unknown_kinds),
        problems=tuple(
            f"{source.name}: {source.problem.where}: {source.problem.problem}"
            for source in report.sources
            if not source.up and source.problem is not None
        ),
        changes=changes,
    )


def look_of_report(report: Report) -> Look:
    """What an audit of one's own says."""
    return Look(
        time=report.time,
        result=report.result,
        findings=tuple(
            Seen(
                id=identifier(finding),
                kind=finding.kind.value,
                effect=finding.effect,
                state=finding.state,
                summary=finding.summary,
                remedy=finding.remedy,
                changed_by=finding.changed_by,
                document=finding_document(finding),
            )
            for finding in bounded(report).findings
        ),
        unknown=frozenset(kind.value for kind in report.unknown),
        problems=tuple(
            f"{status.name}: {status.problem.where}: {status.problem.problem}"
            for status in report.sources
            if not status.up and status.problem is not None
        ),
        changes=report.journal,
    )
