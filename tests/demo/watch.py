"""One fault at a time: injected, seen pending, seen confirmed, mended, seen resolved.

And nothing else raised meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from attrs import evolve, frozen

from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Kind
from demo.agent import Answer
from demo.cell import Cell
from demo.fault import Fault
from demo.screen import Screen

_GLANCE = 0.1


@frozen(kw_only=True)
class Outcome:
    """How it went with one fault.

    Times in seconds since it was injected (``resolved``: mended), None where it never came to that.

    ``false`` are findings that nobody caused.
    """

    name: str
    pending: float | None = None
    confirmed: float | None = None
    resolved: float | None = None
    false: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the fault was found and resolved, and nothing false was said."""
        return None not in (self.pending, self.confirmed, self.resolved) and not self.false


class Answers(Protocol):
    """Whoever is watched (`agent.Agent`)."""

    def answer(self) -> Answer | None:
        """The current report, None if there is none yet."""


class Watch:
    """Watches ``agent`` and tells the ``screen`` what it says.

    ``patience`` is how many seconds it waits for any one thing.
    """

    def __init__(self, agent: Answers, screen: Screen, *, patience: float = 30.0) -> None:
        self._agent = agent
        self._screen = screen
        self._patience = patience
        self._false: dict[str, None] = {}

    def start(self) -> bool:
        """Wait for the first report that finds nothing; whether it came."""
        return self._until(lambda answer: answer.clean, frozenset()) is not None

    def quiet(self, seconds: float) -> None:
        """Look on for ``seconds`` in which nothing should be found."""
        self._until(lambda _: False, frozenset(), patience=seconds)

    def follow(self, fault: Fault, cell: Cell, mend: Callable[[], None] | None = None) -> Outcome:
        """One fault from its beginning to its end; ``mend`` ends it in another way than the fault's own."""
        outcome = Outcome(name=fault.name)
        expected = fault.kinds | fault.also
        names = (
            {fault.app.guid, *(one.handle for one in cell.instances if one.app == fault.app)}
            if fault.app is not None
            else None
        )
        self._screen.story(fault.story)
        fault.inject(cell)
        pending = self._until(lambda answer: fault.kinds <= answer.kinds(State.PENDING, State.CONFIRMED), expected)
        if pending is not None:
            self._screen.said(f"pending after {pending:.1f} s")
            further = self._until(lambda answer: _confirmed(answer, fault, names), expected, told=True)
            confirmed = pending + further if further is not None else None
            outcome = evolve(outcome, pending=pending, confirmed=confirmed)
        if mend is None:
            fault.mend(cell)
        else:
            mend()
        resolved = self._until(lambda answer: answer.clean, expected)
        if resolved is not None:
            self._screen.said(f"mended, and resolved after {resolved:.1f} s")
        outcome = evolve(outcome, resolved=resolved, false=self.false())
        if not outcome.passed:
            self._screen.failed("; ".join(outcome.false) or "it was not found, or not resolved, in time")
        return outcome

    def false(self) -> tuple[str, ...]:
        """Findings that nobody caused, since last asked."""
        false = tuple(self._false)
        self._false.clear()
        return false

    def _until(
        self,
        holds: Callable[[Answer], bool],
        expected: frozenset[Kind],
        *,
        patience: float | None = None,
        told: bool = False,
    ) -> float | None:
        """Seconds until a report ``holds``, None if none does in time.

        Confirmed outages and breaches not ``expected`` are noted.
        """
        started = time.monotonic()
        bound = self._patience if patience is None else patience
        while (passed := time.monotonic() - started) < bound:
            answer = self._agent.answer()
            if answer is not None:
                self._note(answer, expected)
                if holds(answer):
                    if told:
                        self._tell(answer, expected)
                    return passed
            time.sleep(_GLANCE)
        return None

    def _note(self, answer: Answer, expected: frozenset[Kind]) -> None:
        for seen in answer.findings:
            if seen.state is State.CONFIRMED and seen.effect.harms and seen.kind not in expected:
                self._false.setdefault(f"{seen.kind.value}: {seen.summary}")

    def _tell(self, answer: Answer, expected: frozenset[Kind]) -> None:
        """One finding of each kind, the first of it; a flushed chain alone raises a dozen."""
        found = [seen for seen in answer.findings if seen.state is State.CONFIRMED and seen.kind in expected]
        for kind, seen in {seen.kind: seen for seen in reversed(found)}.items():
            more = sum(other.kind is kind for other in found) - 1
            self._screen.finding(
                seen.effect, kind.value, seen.summary + (f" ({more} more of this kind)" if more else "")
            )


def _confirmed(answer: Answer, fault: Fault, names: Collection[str] | None) -> bool:
    """Whether all of the fault's kinds are confirmed, at one or other of ``names`` (guid or handles of one app.

    None: whoever's).
    """
    found = [seen for seen in answer.findings if seen.state is State.CONFIRMED and seen.kind in fault.kinds]
    named = names is None or any(not seen.about.isdisjoint(names) for seen in found)
    return named and {seen.kind for seen in found} == fault.kinds
