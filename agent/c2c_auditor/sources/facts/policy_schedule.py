"""When a cell asks the policy server: half as often as VPA at rest, never more often than VPA in the long run.

A thousand cells share two instances of the policy server. At rest a cell asks every ten to twelve seconds. While a
finding waits for silk, or the cell's containers have changed, it asks as often as VPA polls. When silk has just swapped
the policy chain it asks at once, because silk may have learnt something new; what it asks early it does not ask later.
A server that fails is asked at the pace of rest, whatever happens on the cell.

No threads and no clock here: times are given, in seconds of any steady clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import frozen

from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report


@frozen(kw_only=True)
class Pace:
    """How often to fetch, in seconds from the beginning of one fetch to that of the next.

    ``rest`` while nothing happens; ``least`` while something does, and the least mean time at any load: VPA's own poll.
    ``start`` is the time over which cells that start together spread their first fetches; ``first_wait`` is how long
    the very first read waits for an answer after that. ``jitter`` (0 to 1) lengthens each pause by up to a fifth, so
    that cells do not get into step.
    """

    rest: float = 10.0
    least: float = 5.0
    start: float = 15.0
    first_wait: float = 5.0
    jitter: Callable[[], float] = random.random


_POLL = 1.01


class Schedule:
    """The next fetch of one cell, whose agent started at ``now``."""

    def __init__(self, pace: Pace, now: float) -> None:
        self._pace = pace
        self._due = now + pace.start * pace.jitter()
        self._soon = self._early = self._due
        self._owed = now  # when what was asked so far is used up, at one fetch every `least` seconds
        self._failed = self._pending = self._swapped = False
        self._chain_time: float | None = None

    @property
    def first_answer_by(self) -> float:
        """Until when the first read waits."""
        return self._due + self._pace.first_wait

    def heed(self, report: Report) -> None:
        """Take note of what an audit saw: whether a finding waits for silk, and whether the policy chain is another."""
        self._pending = any(finding.state is State.PENDING and finding.effect.harms for finding in report.findings)
        if report.tally.policy_chain_time is not None:
            self.replaced(report.tally.policy_chain_time)

    def replaced(self, chain_time: float) -> bool:
        """The policy chain was made at ``chain_time`` (seconds); whether it is another one than before."""
        other = self._chain_time not in (None, chain_time)
        self._swapped = self._swapped or other
        self._chain_time = chain_time
        return other

    def due(self, *, changed: bool) -> float:
        """When to fetch next; ``changed``: what is wanted is not what the last fetch asked for."""
        if self._failed:
            return self._due
        if self._swapped:
            return self._early
        return self._soon if changed or self._pending else self._due

    def began(self, now: float) -> None:
        """A fetch begins."""
        stretch = 1 + self._pace.jitter() / 5
        # Silk swaps once in a poll of VPA's at most, which takes a little longer than its pause: what is asked then
        # must not come to be asked later and later.
        least = self._pace.least * (_POLL if self._swapped else stretch)
        self._owed = max(now, self._owed) + least
        self._early = max(now, self._owed - least)
        self._soon = self._owed
        self._due = max(self._owed, now + self._pace.rest * stretch)
        self._swapped = False

    def ended(self, *, failed: bool) -> None:
        """The fetch that began last is over."""
        self._failed = failed
