"""Log lines as lager writes them: one JSON object a line, and one line for what changed, not for each audit."""

from __future__ import annotations

import fcntl
import io
import json
import os
import socket
import threading
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import evolve

from c2c_auditor import logs
from c2c_auditor.logs import Events, LineWriter
from support.reports import blind_report, clean_report, hostile_report


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_shape_of_lager() -> None:
    """Timestamp in RFC 3339 and UTC, level, source, message, data."""
    stream = io.StringIO()
    Events(stream).started(version="1.2.3", address="127.0.0.1:9763")
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
    events = Events(stream)
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
    events = Events(stream)
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
    """Escape characters, line breaks and directions are escapes of JSON.

    So no terminal and no log collector acts on them.
    """
    stream = io.StringIO()
    broken = hostile_report()
    Events(stream).report(evolve(broken, confirmed=broken.findings))
    text = stream.getvalue()
    assert text.isascii()
    assert text.removesuffix("\n").isprintable()
    data = _lines(stream)[0]["data"]
    assert "\x1b]0;owned" in data["source"]["app"]
    assert r"\x1b]0;owned" in data["summary"]
    assert data["summary"].isprintable()


def test_two_loggers_do_not_meet() -> None:
    """Nothing is configured for the whole process."""
    one, two = io.StringIO(), io.StringIO()
    Events(one).stopped(0)
    Events(two).refused("no such key")
    assert [line["message"] for line in _lines(one)] == ["c2c-auditor.stopped"]
    assert [(line["level"], line["message"]) for line in _lines(two)] == [("error", "c2c-auditor.reload-refused")]


def _read(descriptor: int) -> str:
    """All that comes until the other end is closed."""
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read()


def test_lines_reach_a_descriptor_whole_and_in_order() -> None:
    """Those that still wait at the end, too."""
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    events = Events(writer)
    for number in range(50):
        events.stopped(number)
    writer.close()
    os.close(writing)
    assert [json.loads(line)["data"]["status"] for line in _read(reading).splitlines()] == list(range(50))
    assert writer.dropped == 0


@pytest.mark.parametrize("kind", ["full", "closed", "absent"])
def test_a_log_that_cannot_be_written_costs_its_lines_only(kind: str) -> None:
    """A full disk, a reader that left, no standard output at all: each line is counted, and nothing is raised."""
    descriptor = -1
    if kind == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    elif kind == "closed":
        reading, descriptor = os.pipe()
        os.close(reading)
    writer = LineWriter(descriptor)
    events = Events(writer)
    for number in range(3):
        events.stopped(number)
    writer.close()
    assert writer.dropped == 3
    if descriptor >= 0:
        os.close(descriptor)


def test_a_pipe_that_is_not_read_holds_up_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines wait up to a bound and are dropped beyond it; what was taken arrives when the reader is back.

    The pipe stays as it is for the others that write into it.
    """
    monkeypatch.setattr(logs, "_WAITING_BYTES", 100_000)
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    lines = [f"{number:09d}\n" for number in range(30_000)]
    for line in lines:
        writer.write(line)
    assert writer.dropped > 0
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK

    def end() -> None:
        writer.close()
        os.close(writing)

    ending = threading.Thread(target=end)
    ending.start()
    arrived = _read(reading).splitlines(keepends=True)
    ending.join()
    assert len(arrived) + writer.dropped == len(lines)
    whole_and_in_order = set(arrived) <= set(lines) and arrived == sorted(arrived)
    assert whole_and_in_order


def test_a_line_that_was_cut_short_does_not_spoil_the_next() -> None:
    """The next one starts on a line of its own."""
    reading, writing = socket.socketpair()
    writing.settimeout(0)
    writer = LineWriter(writing.fileno())
    writer.write("x" * (8 << 20) + "\n")
    writer.close()
    assert writer.dropped == 1
    again, size = LineWriter(writing.fileno()), 0
    again._torn = writer._torn  # noqa: SLF001 - the same log, whose thread has ended
    reading.settimeout(0.2)
    try:
        while part := reading.recv(1 << 20):
            size += len(part)
    except TimeoutError:
        pass
    again.write("whole\n")
    again.close()
    assert 0 < size < 8 << 20
    assert reading.recv(100) == b"\nwhole\n"
    reading.close()
    writing.close()
