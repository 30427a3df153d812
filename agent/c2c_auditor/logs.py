"""L7: log lines in lager's shape, one JSON object each: timestamp, level, source, message, data.

When the log cannot be written, lines are dropped and counted; the audits go on. Which events make a line is decided
by `export.events`; this module only writes them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TextIO

from c2c_auditor.export.events import events
from c2c_auditor.model.report import Report

_SOURCE = "c2c-auditor"
# Bytes of lines that wait for a slow reader: more than the largest cell says at once.
_WAITING_BYTES = 32 << 20
_STOP_SECONDS = 0.3


class LineWriter:
    """Writes lines to a descriptor from a thread of its own, so that the caller never waits.

    O_NONBLOCK would do without a thread, but it belongs to the open file, which other processes share.
    """

    def __init__(self, descriptor: int) -> None:
        """Nothing is started before the first line: no thread may exist when the listening process is forked."""
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._waiting = 0
        self._refused = 0  # counted by the caller, the next by the thread
        self._failed = 0
        self._torn = False
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """How many lines were not written: the write failed, or too many lines were waiting."""
        return self._refused + self._failed

    def write(self, line: str) -> None:
        """Hand a line over, unless too many wait. For one calling thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
        with self._changed:
            if self._waiting + len(line) > _WAITING_BYTES:
                self._refused += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            self._changed.notify()

    def flush(self) -> None:
        """The thread keeps nothing back; `Events` calls this after each line."""

    def close(self) -> None:
        """Write what still waits, as far as that takes a moment only."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._ended)
                if not self._lines:
                    return
                line = self._lines.popleft()
            try:
                self._put(line.encode("utf-8", "replace"))
            except OSError:
                self._failed += 1
            with self._changed:
                self._waiting -= len(line)

    def _put(self, line: bytes) -> None:
        """Write a whole line, after a line break if the line before was written only in part."""
        left = b"\n" + line if self._torn else line
        while left:
            left = left[os.write(self._descriptor, left) :]
            self._torn = bool(left)


def standard_output() -> LineWriter:
    """A writer to standard output; it drops all lines if the process was started without a standard output."""
    return LineWriter(sys.stdout.fileno() if sys.stdout is not None else -1)


class Events:
    """The daemon's log: its own life, and what changes from one report to the next."""

    def __init__(self, stream: TextIO | LineWriter) -> None:
        self._stream = stream
        self._before: Report | None = None
        self._bug = ""

    def started(self, **data: object) -> None:
        """The agent runs."""
        self._line("info", "started", data)

    def stopped(self, status: int) -> None:
        """The agent ends with ``status``."""
        self._line("info", "stopped", {"status": status})

    def reloaded(self, config: str) -> None:
        """Configuration and certificates were read again."""
        self._line("info", "reloaded", {"config": config})

    def refused(self, problem: str) -> None:
        """A new configuration was not taken; the old one stays in force."""
        self._line("error", "reload-refused", {"problem": problem})

    def bug(self, trace: str) -> None:
        """An audit failed because of a bug in the agent; the same traceback is not logged twice in a row."""
        if trace != self._bug:
            self._line("error", "audit-failed", {"traceback": trace})
        self._bug = trace

    def overdue(self, seconds: float) -> None:
        """An audit takes longer than it may."""
        self._line("error", "audit-overdue", {"seconds": seconds})

    def report(self, report: Report) -> None:
        """One line per finding confirmed or resolved, and per source that fails or comes back."""
        for event in events(report, self._before):
            self._line(event.level, event.message, event.data)
        self._before = report

    def _line(self, level: str, message: str, data: Mapping[str, object]) -> None:
        now = datetime.now(timezone.utc)
        line = {
            "timestamp": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": level,
            "source": _SOURCE,
            "message": f"{_SOURCE}.{message}",
            "data": dict(data),
        }
        self._stream.write(f"{json.dumps(line)}\n")
        self._stream.flush()
