"""The last good value of a source, which is used while the source is away, up to an age."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Generic, TypeVar

from attrs import evolve, frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.report import Problem, SourceStatus
from c2c_auditor.sources.clocks import Clocks

T = TypeVar("T")
# While a finding is pending a fetch begins every 5 to 6 s (`policy_schedule.Pace`), and a finding is confirmed after
# 15 s at the earliest: a server that hangs counts as away before its last answer confirms anything.
_SILENCE_SECONDS = 8.0


@frozen(kw_only=True)
class Known(Generic[T]):
    """The last good value of one source, when it was good, and the problem of the last reading if that failed.

    A value, so that one thread can hand it to another. ``good_at`` is steady time: ages do not follow a wall clock
    that is set. ``last_success`` is the same moment in seconds since the epoch.
    """

    name: str
    value: T | None = None
    good_at: float | None = None
    last_success: float | None = None
    problem: Problem | None = None

    @property
    def tried(self) -> bool:
        """Whether there was a reading."""
        return self.good_at is not None or self.problem is not None

    def refreshed(self, clocks: Clocks, read: Callable[[], T]) -> Known[T]:
        """After one more reading. An equal value stays the identical object, so that comparing facts costs nothing."""
        try:
            value = read()
        except SourceError as error:
            return self.failed(error)
        return evolve(
            self,
            value=value if self.value is None or value != self.value else self.value,
            good_at=clocks.steady(),
            last_success=clocks.wall(),
            problem=None,
        )

    def failed(self, error: SourceError) -> Known[T]:
        """After a reading that failed."""
        return evolve(self, problem=problem_of(error, self.name))

    def age(self, clocks: Clocks) -> float | None:
        """Seconds since the value was good; None if there never was one."""
        return clocks.steady() - self.good_at if self.good_at is not None else None

    def usable(self, clocks: Clocks, max_age: float) -> T | None:
        """The value, or None if it is older than ``max_age`` seconds."""
        age = self.age(clocks)
        return self.value if age is not None and age <= max_age else None

    def status(self, clocks: Clocks, max_age: float, unanswered: float = 0.0) -> SourceStatus:
        """The source's status now.

        A source is down when its last reading failed, and when a reading has been under way for ``_SILENCE_SECONDS``:
        one that hangs has not failed yet. ``unanswered`` is for how many seconds it has been.
        """
        age = self.age(clocks)
        old = age is None or age > max_age
        silent = old or (unanswered > _SILENCE_SECONDS and age is not None and age > unanswered)
        problem = self.problem if self.problem is not None or not silent else _silent(self.name)
        return SourceStatus(
            name=self.name,
            up=problem is None,
            last_success=self.last_success,
            problem=problem,
            age_limit_passed=old,
        )


def problem_of(error: SourceError, name: str = "") -> Problem:
    """A source's failure as part of a report; ``name`` is the source's in the report if it is not the error's."""
    return Problem(
        source=name or error.source,
        reason=error.reason.value,
        where=error.where,
        problem=error.problem,
        remedy=error.remedy,
    )


@cache
def _silent(name: str) -> Problem:
    return Problem(
        source=name,
        reason=Reason.TIMEOUT.value,
        where=name,
        problem="neither an answer nor an error for longer than an answer should take",
        remedy="check whether the server answers other clients",
    )
