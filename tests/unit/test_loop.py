"""The loop: which descriptors wake it, what a rest is counted from, and that a burst is one audit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from attrs import define, field

from c2c_auditor.audit.overdue import overdue_problem, overdue_report
from c2c_auditor.daemon import Allowance, Hooks, Loop, WatchedAudits, processor_seconds
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import Report, Result
from support.reports import flushed_report

_NEVER = 3600.0


@define
class Scripted:
    """Audits that do what a test says, one step each; after the last one the loop is stopped."""

    steps: list[Callable[[], object]]
    published: list[Report] = field(factory=list)

    def run(self) -> Report:
        """The next step."""
        self.steps.pop(0)()
        if not self.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return Report(time=0.0, result=Result.CLEAN)


def _loop(audits: Scripted, *changes: int) -> Loop:
    hooks = Hooks(audit=audits.run, publish=audits.published.append, reload=lambda: None)
    return Loop(hooks=hooks, interval=_NEVER, changes=changes, alive=None)


def test_every_descriptor_wakes_the_loop() -> None:
    """Commits and news of policies alike; an audit reads them empty."""
    first, second = os.eventfd(0), os.eventfd(0)

    def passed_on() -> None:
        os.eventfd_read(first)
        os.eventfd_write(second, 1)

    audits = Scripted([lambda: os.eventfd_write(first, 1), passed_on, lambda: os.eventfd_read(second)])
    try:
        assert _loop(audits, first, second).run() == 0
    finally:
        os.close(first)
        os.close(second)
    assert audits.steps == []


def test_an_audit_that_waited_needs_no_rest() -> None:
    """Counted as work, this pause would put the next audit off by ten seconds: the alarm would end the test."""
    change = os.eventfd(1)
    audits = Scripted([lambda: time.sleep(0.5), lambda: os.eventfd_read(change)])
    before = signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(8)
    try:
        assert _loop(audits, change).run() == 0
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        os.close(change)


def test_an_audit_that_takes_too_long_is_reported_once_and_before_it_ends() -> None:
    """While it still runs; one in time is not."""
    overdue: list[float] = []
    called = threading.Event()

    def note(seconds: float) -> None:
        overdue.append(seconds)
        called.set()

    audits = Scripted([lambda: None, lambda: called.wait(20), *[lambda: None] * 3])
    watched = WatchedAudits(audits, 0.2, note)
    watched.start()
    for number in range(3):
        watched.audit()
        assert overdue == ([0.2] if number else [])


def test_an_audit_that_is_stuck_is_given_up_and_the_next_one_made() -> None:
    """Whatever it waits for, here a pipe that stays empty and then a lock; its own report never comes."""
    reading, writing = os.pipe()
    overdue: list[float] = []
    stuck = Scripted([lambda: os.read(reading, 1), lambda: threading.Event().wait(), lambda: None, _fail])
    watched = WatchedAudits(stuck, 0.2, overdue.append)
    watched.start()
    try:
        watched.audit()
    finally:
        os.close(reading)
        os.close(writing)
    assert (overdue, stuck.steps) == ([0.2, 0.2], [_fail])


def test_an_audit_that_raises_is_no_longer_watched() -> None:
    """The loop's stop is such an exception."""
    overdue = threading.Event()
    watched = WatchedAudits(Scripted([_fail, lambda: None, lambda: None]), 0.2, lambda _: overdue.set())
    watched.start()
    with pytest.raises(KeyError):
        watched.audit()
    assert not overdue.wait(0.5)


def test_an_overdue_report_says_nothing_of_the_cell() -> None:
    """Neither the findings nor the sources of the audit before; its time is that audit's, and it is no other report."""
    before = flushed_report()
    report = overdue_report(before, 120)
    assert (report.result, report.findings, report.unknown) == (Result.BLIND, (), frozenset(Kind))
    assert (report.time, report.last_conclusive, report.counters) == (
        before.time,
        before.last_conclusive,
        before.counters,
    )
    assert [(status.name, status.up) for status in report.sources] == [("audit", False)]
    assert overdue_problem(report) == report.sources[0].problem
    assert overdue_problem(before) is None
    assert overdue_report(None, 120).result is Result.BLIND


def _fail() -> None:
    raise KeyError("surprise")


def _too_late(*_: object) -> None:
    raise AssertionError("the loop rested after waiting")


def test_processor_time_is_that_of_this_thread_and_of_ended_children() -> None:
    """Waiting adds nothing worth counting; work does."""
    before = processor_seconds()
    sum(range(2_000_000))
    worked = processor_seconds() - before
    assert worked > 0
    before = processor_seconds()
    subprocess.run((sys.executable, "-c", "sum(range(2_000_000))"), check=True, timeout=60)
    assert processor_seconds() - before > 0.01  # what an interpreter needs to start; this thread only waited


def test_the_loop_says_that_it_lives() -> None:
    """After each audit, before it waits."""
    said: list[int] = []
    change = os.eventfd(1)
    audits = Scripted([lambda: None, lambda: os.eventfd_read(change)])
    hooks = Hooks(
        audit=audits.run,
        publish=audits.published.append,
        reload=lambda: None,
        alive=lambda: said.append(len(audits.steps)),
    )
    try:
        assert Loop(hooks=hooks, interval=_NEVER, changes=(change,), alive=None).run() == 0
    finally:
        os.close(change)
    assert said
    assert set(said) == {1}


def test_an_allowance_is_spent_at_once_and_saved_slowly() -> None:
    """Five seconds of processor time without more rest than work; then twenty times what is owed."""
    allowance = Allowance(0.0)
    assert [allowance.rest(1.0, 0.0) for _ in range(5)] == [1.0] * 5
    assert allowance.rest(1.0, 0.0) == pytest.approx(20.0)
    assert allowance.rest(0.5, 20.0) == pytest.approx(10.0)
    assert allowance.rest(0.25, 10_000.0) == 0.25
    assert [allowance.rest(1.0, 10_000.0) for _ in range(5)] == [1.0] * 4 + [pytest.approx(5.0)]


def test_what_began_to_change_is_waited_for_but_not_for_long() -> None:
    """One audit of a swap of silk's; where it never ends, an audit all the same."""
    change, asked = os.eventfd(1), 0

    def unfinished() -> bool:
        nonlocal asked
        asked += 1
        return len(audits.steps) == 1 or asked < 4

    audits = Scripted([lambda: None, lambda: None, lambda: os.eventfd_read(change)])
    hooks = Hooks(audit=audits.run, publish=audits.published.append, reload=lambda: None, unfinished=unfinished)
    try:
        assert Loop(hooks=hooks, interval=_NEVER, changes=(change,), alive=None).run() == 0
    finally:
        os.close(change)
    assert asked > 4
    assert audits.steps == []
