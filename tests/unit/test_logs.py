"""Log lines as lager writes them: one JSON object a line, and one line for what changed, not for each audit."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from typing import Any

from attrs import evolve

from c2c_auditor.logs import Events, configure
from support.reports import blind_report, clean_report, hostile_report


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_shape_of_lager() -> None:
    """Timestamp in RFC 3339 and UTC, level, source, message, data."""
    stream = io.StringIO()
    Events(configure(stream)).started(version="1.2.3", address="127.0.0.1:9763")
    (line,) = _lines(stream)
    time = datetime.fromisoformat(line.pop("timestamp").replace("Z", "+00:00"))
    assert time.tzinfo == timezone.utc
    assert line == {
        "level": "info",
        "source": "c2c-auditor",
        "message": "c2c-auditor.started",
        "data": {"version": "1.2.3", "address": "127.0.0.1:9763"},
    }


def test_a_source_that_stays_away_is_one_line() -> None:
    """One when it fails, one when the reason changes, one when it is back."""
    stream = io.StringIO()
    events = Events(configure(stream))
    blind = blind_report()
    (status,) = blind.sources
    assert status.problem is not None
    slow = evolve(blind, sources=(evolve(status, problem=evolve(status.problem, reason="timeout")),))
    for report in (clean_report(), blind, blind, blind, slow, slow, clean_report(), clean_report()):
        events.report(report)
    assert [(line["message"], line["data"].get("reason")) for line in _lines(stream)] == [
        ("c2c-auditor.source-failed", "permission"),
        ("c2c-auditor.source-failed", "timeout"),
        ("c2c-auditor.source-back", None),
    ]


def test_findings_that_stay_are_not_said_again() -> None:
    """Once when they are confirmed, once when they are resolved, both under one id."""
    stream = io.StringIO()
    events = Events(configure(stream))
    broken = hostile_report()
    for report in (
        evolve(broken, confirmed=broken.findings),
        broken,
        broken,
        evolve(clean_report(), resolved=broken.findings),
    ):
        events.report(report)
    lines = _lines(stream)
    assert [line["message"] for line in lines] == ["c2c-auditor.finding-confirmed", "c2c-auditor.finding-resolved"]
    assert [line["level"] for line in lines] == ["error", "info"]
    assert lines[0]["data"]["id"] == lines[1]["data"]["id"]


def test_foreign_text_stays_within_its_line() -> None:
    """Escape characters, line breaks and directions are escapes of JSON, so no terminal and no log collector takes them for anything else."""
    stream = io.StringIO()
    broken = hostile_report()
    Events(configure(stream)).report(evolve(broken, confirmed=broken.findings))
    text = stream.getvalue()
    assert text.isascii()
    assert text.removesuffix("\n").isprintable()
    assert "\x1b]0;owned" in _lines(stream)[0]["data"]["summary"]


def test_two_loggers_do_not_meet() -> None:
    """Nothing is configured for the whole process."""
    one, two = io.StringIO(), io.StringIO()
    Events(configure(one)).stopped(0)
    Events(configure(two)).refused("no such key")
    assert [line["message"] for line in _lines(one)] == ["c2c-auditor.stopped"]
    assert [(line["level"], line["message"]) for line in _lines(two)] == [("error", "c2c-auditor.reload-refused")]
