"""L7: the agent's loop: when to audit, and what ends it. It audits by the clock and when rules or policies change.

Two processes. The one that audits needs CAP_NET_ADMIN, and for libiptc CAP_NET_RAW; the one that listens on the network
has dropped every capability. Reports go from the first to the second over a pipe; what comes back are short questions,
answered by a thread without capabilities (`server.questions`). So an attacker who takes over the listener cannot change
rules.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from attrs import frozen

from c2c_auditor.audit.settle import Grace
from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report
from c2c_auditor.privileges import drop_in_thread, give_back_memory

# Audits take at most this part of a core in the long run, whatever happens on the cell, and half of one for a while:
# they may use so many seconds of processor time before they have been saved. So a change is seen at once also soon
# after another one, or after the start. Time spent waiting costs nothing and is not counted.
_SHARE = 0.05
_AT_ONCE_SECONDS = 5.0
# Changes come in bursts (a policy swap is six commits); a moment's wait makes one audit of each burst.
_GATHER_SECONDS = 0.05
# Silk replaces a policy chain of 20,000 rules in two seconds. In between an audit would see half of it.
_MOST_GATHER_SECONDS = 3.0
# After an audit of more processor time than this, what it left behind is worth looking for.
_LARGE_SECONDS = 0.2
_JITTER = 0.1
_ALIVE_SECONDS = 10.0


class _Stopped(BaseException):
    """Raised by the signal handler at any point of the loop: a reading that takes seconds must not delay the stop."""


class _Abandoned(BaseException):
    """Raised by the signal handler in an audit that has taken too long, wherever it is held up.

    No `Exception`, so that no net below takes it for a failure of its own.
    """


class Audits(Protocol):
    """What makes reports (`cycle.Cycle`)."""

    def run(self) -> Report:
        """One audit."""


class WatchedAudits(threading.Thread):
    """Audits, and a thread that gives up each that takes longer than ``bound`` seconds and starts the next one.

    It calls ``overdue`` first; the call ends before the audit can, so what it publishes is never followed by a report
    of the audit that was given up. A signal (SIGUSR1) then ends whatever the audit waits for. What the kernel does not
    let a signal end keeps the agent overdue. The thread holds no capability; make this object in the main thread.
    """

    def __init__(self, audits: Audits, bound: float, overdue: Callable[[float], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._audits = audits
        self._bound = bound
        self._overdue = overdue
        self._condition = threading.Condition()  # guards the attribute below
        self._running: object | None = None
        self._interruptible = False
        signal.signal(signal.SIGUSR1, self._interrupt)

    def audit(self) -> Report:
        """The report of the first audit that ends in time."""
        while True:
            with contextlib.suppress(_Abandoned):
                return self._watched()

    def _watched(self) -> Report:
        self._set(object())
        try:
            self._interruptible = True
            try:
                return self._audits.run()
            finally:
                self._interruptible = False
        finally:
            self._set(None)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._interruptible:
            raise _Abandoned

    def run(self) -> None:
        """Watch until the process ends."""
        drop_in_thread()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._running is not None)
                self._watch(self._running)

    def _watch(self, audit: object) -> None:
        def ended() -> bool:
            return self._running is not audit

        if not self._condition.wait_for(ended, self._bound):
            self._overdue(self._bound)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        self._condition.wait_for(ended)

    def _set(self, running: object | None) -> None:
        with self._condition:
            self._running = running
            self._condition.notify_all()


@frozen(kw_only=True)
class Hooks:
    """What the loop calls.

    ``audit`` makes a report, ``publish`` takes it, ``reload`` reads configuration and certificates again (SIGHUP),
    ``alive`` is called after each audit, and every ten seconds while nothing is to be done. ``unfinished`` says whether
    what began to change will soon have changed further, so that an audit now would be made again at once.
    """

    audit: Callable[[], Report]
    publish: Callable[[Report], None]
    reload: Callable[[], None]
    alive: Callable[[], None] = lambda: None
    unfinished: Callable[[], bool] = lambda: False


class Allowance:
    """The processor time that audits may take; ``now`` is seconds of a steady clock."""

    def __init__(self, now: float) -> None:
        self._left = _AT_ONCE_SECONDS
        self._then = now

    def rest(self, cost: float, now: float) -> float:
        """Seconds to rest after an audit that took ``cost`` seconds of processor time and ended ``now``."""
        self._left = min(_AT_ONCE_SECONDS, self._left + (now - self._then) * _SHARE) - cost
        self._then = now
        return max(cost, -self._left / _SHARE)


class Loop:
    """Runs audits until SIGTERM or SIGINT.

    ``interval`` (seconds) may be changed while it runs. ``changes`` are descriptors that are readable while there is
    something new to audit (a commit to nf_tables, other policies); an audit reads them empty. ``alive`` becomes
    readable when the server process has ended: the loop then ends too, with status 1, so that monit restarts both.
    """

    def __init__(self, *, hooks: Hooks, interval: float, changes: tuple[int, ...], alive: int | None) -> None:
        self._hooks = hooks
        self.interval = interval
        self._changes = changes
        self._alive = alive
        self._reloading = False

    def run(self) -> int:
        """Audit until a signal ends it; the exit status."""
        with (
            _signals(self._stop, self._reload) as wake,
            selectors.DefaultSelector() as selector,
            contextlib.suppress(_Stopped),
        ):
            selector.register(wake, selectors.EVENT_READ, "signal")
            if self._alive is not None:
                selector.register(self._alive, selectors.EVENT_READ, "server")
            allowance, spent = Allowance(time.monotonic()), processor_seconds()
            while True:
                if self._reloading:
                    self._reloading = False
                    self._hooks.reload()
                report = self._hooks.audit()
                self._hooks.publish(report)
                before, spent = spent, processor_seconds()
                if spent - before > _LARGE_SECONDS:
                    give_back_memory()
                rest = allowance.rest(spent - before, time.monotonic())
                if self._wait(selector, wake, rest=rest, until=self._pause(report)) == "server":
                    return 1
        return 0

    def _stop(self) -> None:
        raise _Stopped

    def _reload(self) -> None:
        self._reloading = True

    def _pause(self, report: Report) -> float:
        """Seconds to the next audit if nothing changes.

        Fewer while a finding is pending, and random, so that cells differ.
        """
        pending = any(finding.state is State.PENDING for finding in report.findings)
        interval = min(self.interval, Grace().policy / 3) if pending else self.interval
        return interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing

    def _wait(self, selector: selectors.BaseSelector, wake: int, *, rest: float, until: float) -> str:
        """Wait for the clock, a change, a signal or the server's end, and name what ended the wait.

        Changes end it only after ``rest`` seconds.
        """
        began = time.monotonic()
        deadline = began + max(until, rest)
        listening = False
        try:
            while True:
                self._hooks.alive()
                now = time.monotonic()
                if not listening and now >= began + rest:
                    for descriptor in self._changes:
                        selector.register(descriptor, selectors.EVENT_READ, "change")
                    listening = True
                bound = deadline if listening else min(deadline, began + rest)
                what = {key.data for key, _ in selector.select(min(max(0.0, bound - now), _ALIVE_SECONDS))}
                if "signal" in what:
                    os.read(wake, 64)
                    if self._reloading:
                        return "signal"
                if "server" in what:
                    return "server"
                if "change" in what:
                    self._gather()
                    return "change"
                if time.monotonic() >= deadline:
                    return "clock"
        finally:
            for descriptor in self._changes if listening else ():
                selector.unregister(descriptor)

    def _gather(self) -> None:
        """Wait for the rest of what has begun, for a person's change as little as a program's burst takes."""
        until = time.monotonic() + _MOST_GATHER_SECONDS
        time.sleep(_GATHER_SECONDS)
        while self._hooks.unfinished() and time.monotonic() < until:
            time.sleep(_GATHER_SECONDS)


def processor_seconds() -> float:
    """Processor time that this thread and the ended child processes (iptables) have used so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + children.ru_utime + children.ru_stime


@contextlib.contextmanager
def _signals(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[int]:
    """SIGTERM, SIGINT and SIGHUP as calls, and a descriptor that they make readable.

    The handlers before are put back.
    """
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def handle(number: int, _: FrameType | None) -> None:
        (reload if number == signal.SIGHUP else stop)()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
