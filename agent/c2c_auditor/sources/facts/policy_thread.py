"""A thread that fetches policies at its own pace, so that a slow policy server delays no audit.

An audit uses what the thread knows by then, with its age. The thread holds no capability, because it parses what a
server on the network sends.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.privileges import drop_in_thread
from c2c_auditor.sources.facts.policy_fetcher import PolicyKnowledge, PolicyQuery

# After a fetch the next one waits this many times its processor time: at most 5 % of a core, as with audits.
_REST = 20
_SLICE_SECONDS = 0.1


class Fetcher(Protocol):
    """What the thread runs (`policy_fetcher.PolicyFetcher`)."""

    @property
    def latest(self) -> PolicyKnowledge:
        """What is known now."""

    def fetch(self, query: PolicyQuery) -> Iterator[PolicyKnowledge]:
        """One gathering, in steps."""


@frozen(kw_only=True)
class Pace:
    """When to fetch, in seconds.

    ``pause`` is the time between two fetches of one query, ``least_pause`` the least time between two fetches of
    different ones, for containers that are created and deleted in quick succession. ``first_wait`` is how long the very
    first read waits for the first fetch.

    A thousand cells share the same two instances: ``jitter`` (0 to 1) lengthens each pause by up to a fifth, so that
    cells that were started together do not stay in step.
    """

    pause: float = 5.0
    least_pause: float = 1.0
    first_wait: float = 5.0
    jitter: Callable[[], float] = random.random

    def next_pause(self) -> float:
        """The pause before the next fetch."""
        return self.pause * (1 + self.jitter() / 5)


class PolicyThread(threading.Thread):
    """Fetches at its own pace, and at once when the query changes. `read` waits only for the very first fetch.

    `fileno` is a descriptor that becomes readable when something new is known; `read` and `latest` empty it. Use it as
    a context manager: it fetches from entry to exit.
    """

    def __init__(self, fetcher: Fetcher, pace: Pace) -> None:
        super().__init__(name="policies", daemon=True)
        self._fetcher = fetcher
        self._pace = pace
        self._condition = threading.Condition()  # guards the attributes below
        self._query: PolicyQuery | None = None
        self._latest = fetcher.latest
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
            return self._latest

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
            return self._latest

    def _wait_for_first_fetch(self) -> None:
        """Wait in slices: Python handles a signal that arrives just before a wait only after that wait."""
        end = time.monotonic() + self._pace.first_wait
        while not self._fetched and (left := end - time.monotonic()) > 0:
            self._condition.wait(min(_SLICE_SECONDS, left))

    def _clear_changed(self) -> None:
        """Reset the descriptor. Done before the value is read, so that a later value is announced again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._changed)

    def run(self) -> None:
        """Fetch until the end."""
        drop_in_thread()
        query: PolicyQuery | None = None
        while (query := self._next(query)) is not None:
            started = time.thread_time()
            self._fetch(query)
            time.sleep(max(self._pace.least_pause, _REST * (time.thread_time() - started)))

    def _next(self, done: PolicyQuery | None) -> PolicyQuery | None:
        """Wait for another query than ``done``, or to fetch that again; None is the end."""
        with self._condition:
            pause = self._pace.next_pause() if done is not None else None
            self._condition.wait_for(lambda: self._ended or self._query != done, pause)
            return None if self._ended else self._query

    def _fetch(self, query: PolicyQuery) -> None:
        """One gathering. An unexpected error is a bug, and is reported like a source that failed."""
        try:
            for known in self._fetcher.fetch(query):
                self._publish(known)
        except Exception as error:  # noqa: BLE001 - the thread must outlive a bug, or policies would age unnoticed
            self._publish(self._fetcher.latest.failed(_bug_report(error)))
        with self._condition:
            self._fetched = True
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
