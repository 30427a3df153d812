"""L7: log lines in lager's shape, one JSON object each: timestamp, level, source, message, data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from datetime import datetime, timezone
from typing import Any, TextIO

import structlog

from c2c_auditor.export.events import events
from c2c_auditor.model.report import Report

_SOURCE = "c2c-auditor"


def configure(stream: TextIO | None = None) -> structlog.stdlib.BoundLogger:
    """A logger that writes to ``stream`` (standard output unless told otherwise); no global setting is touched."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream if stream is not None else sys.stdout),
        processors=[_lager, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    )
    return logger


def _lager(_: object, level: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    message = event.pop("event")
    now = datetime.now(timezone.utc)
    return {
        "timestamp": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level,
        "source": _SOURCE,
        "message": f"{_SOURCE}.{message}",
        "data": dict(event),
    }


class Events:
    """The daemon's log: its own life, and what changes from one report to the next."""

    def __init__(self, logger: structlog.stdlib.BoundLogger) -> None:
        self._logger = logger
        self._before: Report | None = None
        self._bug = ""

    def started(self, **data: object) -> None:
        """The agent runs."""
        self._logger.info("started", **data)

    def stopped(self, status: int) -> None:
        """The agent ends with ``status``."""
        self._logger.info("stopped", status=status)

    def reloaded(self, config: str) -> None:
        """Configuration and certificates were read again."""
        self._logger.info("reloaded", config=config)

    def refused(self, problem: str) -> None:
        """A new configuration was not taken; the old one stays in force."""
        self._logger.error("reload-refused", problem=problem)

    def bug(self, trace: str) -> None:
        """An audit met an error that no part of the agent expects; the same one again is not logged again."""
        if trace != self._bug:
            self._logger.error("audit-failed", traceback=trace)
        self._bug = trace

    def overdue(self, seconds: float) -> None:
        """An audit takes longer than it may."""
        self._logger.error("audit-overdue", seconds=seconds)

    def report(self, report: Report) -> None:
        """One line per finding confirmed or resolved, and per source that fails or comes back."""
        for event in events(report, self._before):
            getattr(self._logger, event.level)(event.message, **event.data)
        self._before = report
