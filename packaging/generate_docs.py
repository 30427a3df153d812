"""Writes the pages that are generated from code: docs/metrics.md, and the enumerations of docs/report-schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2c_auditor.export import catalogue
from c2c_auditor.model.finding import Effect, Family, Kind, State
from c2c_auditor.model.report import Result

DOCS = Path(__file__).parent.parent / "docs"
_TEXT = {"type": "string"}
_TIME = {"$ref": "#/$defs/time"}


def _listed(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _texts() -> dict[str, Any]:
    return {"type": "array", "items": _TEXT}


def _finding() -> dict[str, Any]:
    app = _or_null(_object({"guid": _TEXT, "app": _TEXT, "space": _TEXT, "org": _TEXT}))
    place = _object({"table": _TEXT, "chain": _TEXT, "position": {"type": ["integer", "null"], "minimum": 1}})
    return _object(
        {
            "id": {"type": "string", "description": "the same for the same finding in every report"},
            "kind": _listed(*(kind.value for kind in Kind)),
            "family": _listed(*(family.value for family in Family)),
            "effect": _listed(*(effect.value for effect in Effect)),
            "state": _listed(*(state.value for state in State)),
            "summary": {"type": "string", "description": "one sentence for people; may hold foreign text"},
            "remedy": _TEXT,
            "place": _or_null(place),
            "found": {"type": ["string", "null"], "description": "the rule in question as iptables-save writes it"},
            "expected": {"type": ["string", "null"]},
            "differences": {"type": "array", "items": _object({"field": _TEXT, "expected": _TEXT, "found": _TEXT})},
            "source": app,
            "destination": app,
            "addresses": _texts(),
            "handles": _texts(),
            "policy": _TEXT,
            "details": _texts(),
            "first_seen": _TIME,
            "since": _TIME,
        }
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of a report."""
    count = {"type": ["integer", "null"]}
    problem = _object({"reason": _TEXT, "where": _TEXT, "problem": _TEXT, "remedy": _TEXT})
    source = _object({"name": _TEXT, "up": {"type": "boolean"}, "last_success": _TIME, "too_old": {"type": "boolean"}, "problem": _or_null(problem)})
    finding = {"$ref": "#/$defs/finding"}
    report = _object(
        {
            "version": _TEXT,
            "time": _TIME,
            "result": _listed(*(result.value for result in Result)),
            "backend": {"enum": ["nft", "legacy", "text", None]},
            "findings": {"type": "array", "items": finding},
            "resolved": {"type": "array", "items": finding},
            "unknown_kinds": _texts(),
            "sources": {"type": "array", "items": source},
            "processes": {"type": "array", "items": _object({"name": _TEXT, "up": {"type": "boolean"}, "start_time": _TIME})},
            "counts": _object({"containers": count, "policies": count, "rules": {"type": "object", "additionalProperties": {"type": "integer"}}}),
            "notes": _texts(),
            "last_conclusive": _TIME,
        }
    )
    time = _or_null(_object({"rfc3339": {"type": "string", "format": "date-time"}, "epoch": {"type": "number"}}))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "c2c-auditor report"}
    return {**head, **report, "$defs": {"finding": _finding(), "time": time}}


if __name__ == "__main__":
    (DOCS / "metrics.md").write_text(catalogue.markdown())
    (DOCS / "report-schema.json").write_text(json.dumps(schema(), indent=1) + "\n")
