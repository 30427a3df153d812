"""A thread that fetches policies at its own pace, so that a slow policy server delays no audit.

An audit uses what the thread knows by then, with its age. The thread holds no capability, because it parses what a
server on the network sends.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from attrs import evolve

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.report import Report
from c2c_auditor.privileges import drop_in_thread
from c2c_auditor.sources.facts.policy_fetcher import PolicyKnowledge, PolicyQuery
from c2c_auditor.sources.facts.policy_schedule import Pace, Schedule

# After a fetch the next one waits this many times its processor time: at most 5 % of a core, as with audits.
_REST = 20
_SLICE_SECONDS = 0.1
_SOON_SECONDS = 1.0


class Fetcher(Protocol):
    """What the thread runs (`policy_fetcher.PolicyFetcher`)."""

    @property
    def latest(self) -> PolicyKnowledge:
        """What is known now."""

    def fetch(self, query: PolicyQuery) -> Iterator[PolicyKnowledge]:
        """One gathering, in steps."""


class PolicyThread(threading.Thread):
    """Fetches when its `Schedule` says so. `read` waits only for the very first fetch.

    `fileno` is a descriptor that becomes readable when something new is known; `read` and `latest` empty it. Use it as
    a context manager: it fetches from entry to exit.
    """

    def __init__(self, fetcher: Fetcher, pace: Pace) -> None:
        super().__init__(name="policies", daemon=True)
        self._fetcher = fetcher
        self._condition = threading.Condition()  # guards the attributes below
        self._schedule = Schedule(pace, time.monotonic())
        self._query: PolicyQuery | None = None
        self._done: PolicyQuery | None = None
        self._latest = fetcher.latest
        self._asked_at: float | None = None
        self._expecting = False
        self._fetched = False
        self._waited = False
        self._ended = False
        self._changed = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __enter__(self) -> PolicyThread:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Fetch no more. A fetch that hangs is not waited for: it ends with the process."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def fileno(self) -> int:
        """The descriptor."""
        return self._changed

    @property
    def latest(self) -> PolicyKnowledge:
        """What is known now."""
        self._clear_changed()
        with self._condition:
            return self._known()

    def heed(self, report: Report) -> None:
        """Take note of an audit's report: what it saw may make other policies likely (`Schedule.heed`)."""
        with self._condition:
            self._schedule.heed(report)
            self._condition.notify_all()

    def expect(self, chain_time: float) -> None:
        """Silk writes a policy chain, made at ``chain_time`` (`Schedule.replaced`), so policies may be others."""
        with self._condition:
            self._expecting = self._schedule.replaced(chain_time) or self._expecting
            self._condition.notify_all()

    @property
    def expecting(self) -> bool:
        """Whether those policies are likely to be known in a moment: a server that is slow is not waited for."""
        with self._condition:
            now = time.monotonic()
            if self._asked_at is not None:
                return self._expecting and now - self._asked_at <= _SOON_SECONDS
            return self._expecting and self._schedule.due(changed=True) <= now + _SOON_SECONDS

    def read(self, query: PolicyQuery) -> PolicyKnowledge:
        """What is known now; from now on the thread fetches ``query``."""
        self._clear_changed()
        with self._condition:
            if query != self._query:
                self._query = query
                self._condition.notify_all()
            if not self._waited:
                self._waited = True
                self._wait_for_first_fetch()
            return self._known()

    def _known(self) -> PolicyKnowledge:
        return evolve(self._latest, asked_at=self._asked_at)

    def _wait_for_first_fetch(self) -> None:
        """Wait in slices: Python handles a signal that arrives just before a wait only after that wait."""
        end = self._schedule.first_answer_by
        while not self._fetched and (left := end - time.monotonic()) > 0:
            self._condition.wait(min(_SLICE_SECONDS, left))

    def _clear_changed(self) -> None:
        """Reset the descriptor. Done before the value is read, so that a later value is announced again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._changed)

    def run(self) -> None:
        """Fetch until the end."""
        drop_in_thread()
        while (query := self._next()) is not None:
            started = time.thread_time()
            self._fetch(query)
            time.sleep(_REST * (time.thread_time() - started))

    def _next(self) -> PolicyQuery | None:
        """Wait until a fetch is due; None is the end."""
        with self._condition:
            while not self._ended:
                now, query = time.monotonic(), self._query
                due = self._schedule.due(changed=query != self._done) if query is not None else math.inf
                if query is not None and due <= now:
                    self._schedule.began(now)
                    self._asked_at, self._done = now, query
                    return query
                self._condition.wait(due - now if query is not None else None)
            return None

    def _fetch(self, query: PolicyQuery) -> None:
        """One gathering. An unexpected error is a bug, and is reported like a source that failed."""
        try:
            for known in self._fetcher.fetch(query):
                self._publish(known)
        except Exception as error:  # noqa: BLE001 - the thread must outlive a bug, or policies would age unnoticed
            self._publish(self._fetcher.latest.failed(_bug_report(error)))
        with self._condition:
            self._fetched, self._asked_at, self._expecting = True, None, False
            self._schedule.ended(failed=self._latest.policies.problem is not None)
            self._condition.notify_all()

    def _publish(self, known: PolicyKnowledge) -> None:
        with self._condition:
            before, self._latest = self._latest, known
        if _without_times(before) != _without_times(known):
            os.eventfd_write(self._changed, 1)


def _without_times(known: PolicyKnowledge) -> tuple[object, ...]:
    """The parts that change a judgement or a report; the times of fetches do not."""
    return known.policies.value, known.policies.problem, known.groups.value, known.groups.problem


def _bug_report(error: Exception) -> SourceError:
    return SourceError(
        source="policy_server",
        reason=Reason.FAILED,
        where="c2c-auditor",
        problem=f"a bug in this agent: {type(error).__name__}: {error}",
        remedy="report it with the output of `c2c-auditor capture --redact`",
    )
