"""A report as JSON: the answer of ``/api/v1/report`` and of ``audit -o json``.

The schema is docs/report-schema.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from c2c_auditor.audit.reading.people import shortened
from c2c_auditor.export.changes import change_document
from c2c_auditor.export.details import finding_details
from c2c_auditor.model.cause import Cause
from c2c_auditor.model.finding import App, Finding
from c2c_auditor.model.kind import Effect
from c2c_auditor.model.report import MarkPair, ProcessStatus, Report, SourceStatus
from c2c_auditor.model.rule import Rule
from c2c_auditor.netfilter.render import render_rule


def to_json(report: Report) -> str:
    """The report as JSON text; characters beyond ASCII are escaped, so that none can steer a terminal."""
    return json.dumps(report_document(report), indent=1)


def report_document(report: Report) -> dict[str, Any]:
    """The report as JSON values.

    Times are objects of RFC 3339 and seconds since the epoch, null where there is none.
    """
    return {
        "version": report.version,
        "time": _time(report.time),
        "result": report.result.value,
        "backend": report.backend.value if report.backend is not None else None,
        "findings": [finding_document(finding) for finding in report.findings],
        "causes": list(map(_cause, report.causes)),
        "resolved": [finding_document(finding) for finding in report.resolved],
        "omitted": [
            {"kind": kind.value, "effect": effect.value, "state": state.value, "count": count}
            for (kind, effect, state), count in report.omitted.items()
        ],
        "unknown_kinds": sorted(kind.value for kind in report.unknown),
        "sources": [_source(status) for status in report.sources],
        "processes": [_process(status) for status in report.processes],
        "counts": {
            "containers": report.tally.containers,
            "policies": report.tally.policies,
            "rules": {f"{name.value}_{type_.value}": count for (name, type_), count in report.tally.rules.items()},
            "flows": {
                f"{intended.value}_{actual.value}": count
                for (intended, actual), count in (report.tally.flows or {}).items()
            },
        },
        "statements": list(report.statements),
        "pairs": list(map(_pair, report.pairs)),
        "notes": list(report.notes),
        "last_conclusive": _time(report.last_conclusive),
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """One finding with all of its evidence. ``id`` is the same for the same finding in every report."""
    place = finding.place
    chain = place.chain if place is not None else ""
    return {
        "id": identifier(finding),
        "kind": finding.kind.value,
        "family": finding.kind.family.value,
        "effect": finding.effect.value,
        "effects": [effect.value for effect in Effect if effect in finding.effects],
        "state": finding.state.value,
        "summary": finding.summary,
        "remedy": finding.remedy,
        "place": {
            "ip": place.family.value,
            "table": place.table,
            "chain": chain,
            "position": place.position,
        }
        if place is not None
        else None,
        "found": _rule(finding.found, chain),
        "expected": _rule(finding.expected, chain),
        "differences": [
            {"field": one.field, "expected": one.expected, "found": one.found} for one in finding.differences
        ],
        "source": _app(finding.source),
        "destination": _app(finding.destination),
        "addresses": list(finding.addresses),
        "handles": list(finding.handles),
        "policy": finding.policy,
        "details": list(finding_details(finding)),
        "cause": finding.cause or None,
        "changed_by": change_document(finding.changed_by) if finding.changed_by is not None else None,
        "first_seen": _time(finding.first_seen),
        "since": _time(finding.since),
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "name": cause.name,
        "summary": cause.summary,
        "remedy": cause.remedy,
        "counts": [
            {"kind": kind.value, "effect": effect.value, "count": count}
            for (kind, effect), count in cause.counts.items()
        ],
    }


def identifier(finding: Finding) -> str:
    """Twelve hexadecimal digits that stand for a finding's key."""
    return hashlib.sha256("\0".join(finding.key).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _rule(rule: Rule | None, chain: str) -> str | None:
    return render_rule(rule, chain) if rule is not None else None


def _app(app: App | None) -> Mapping[str, str] | None:
    if app is None:
        return None
    names = {"app": app.names.app, "space": app.names.space, "org": app.names.org}
    return {"guid": app.guid, **{key: shortened(name) for key, name in names.items()}}


def _time(seconds: float | None) -> Mapping[str, Any] | None:
    if not seconds:
        return None  # a recording without its time
    return {
        "rfc3339": datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds"),
        "epoch": round(seconds, 3),
    }


def _source(status: SourceStatus) -> Mapping[str, Any]:
    problem = status.problem
    return {
        "name": status.name,
        "up": status.up,
        "last_success": _time(status.last_success),
        "too_old": status.age_limit_passed,
        "problem": {
            "reason": problem.reason,
            "where": problem.where,
            "problem": problem.problem,
            "remedy": problem.remedy,
        }
        if problem
        else None,
    }


def _process(status: ProcessStatus) -> Mapping[str, Any]:
    return {"name": status.name, "up": status.up, "start_time": _time(status.start_time)}


def _pair(pair: MarkPair) -> dict[str, Any]:
    """One pair as JSON values; marks as numbers."""
    return {
        "source": pair.source,
        "source_addresses": list(pair.source_addresses),
        "destination": pair.destination,
        "destination_address": pair.destination_address,
        "protocol": pair.protocol,
        "ports": [pair.first, pair.last] if pair.last else None,
        "own_port": pair.own_port,
        "marks_set": list(pair.marks_set),
        "mark_asked": pair.mark_asked,
        "agrees": pair.agrees,
    }
