"""A flow's first packet on its way, and the answer on its way back, through every cell that was asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from attrs import frozen

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.hops import Journey, Walk, answered, journey
from c2c_auditor.audit.questions.routes import Leg, Route
from c2c_auditor.netfilter.evaluate import Marks
from c2c_auditor.netfilter.packet import Certainty, every

MarkedRight = Callable[[Marks], bool]


@frozen(kw_only=True)
class Passed:
    """One leg and what became of its packet."""

    leg: Leg
    journey: Journey


@frozen(kw_only=True)
class Trip:
    """Both ways, each up to where its packet was refused; ``back`` is empty where the first packet was.

    ``unmarked``: the first packet leaves for a cell that is not asked, and not with the mark that it needs there.
    """

    there: tuple[Passed, ...]
    back: tuple[Passed, ...]
    unmarked: bool

    @property
    def passes(self) -> Certainty:
        """Whether a connection comes about: its packets pass, and so do the answers."""
        ways = (passed.journey.passes for passed in chain(self.there, self.back))
        return Certainty.NO if self.unmarked else every(ways)

    @property
    def walks(self) -> tuple[Walk, ...]:
        """All walks in order."""
        return tuple(walk for passed in chain(self.there, self.back) for walk in passed.journey.walks)

    @property
    def refused(self) -> Walk | None:
        """The walk that ended in a refusal."""
        last = self.back[-1] if self.back else self.there[-1]
        return last.journey.walks[-1] if last.journey.passes is Certainty.NO else None


def travel(route: Route, cells: Sequence[Cell], marked_right: MarkedRight) -> Trip:
    """The trip on ``route``. ``marked_right`` judges the marks that a packet may leave with for a cell not asked."""
    there = tuple(_until_refused(_there(route, cells)))
    last = there[-1]
    refused = last.journey.passes is Certainty.NO
    back = () if refused else tuple(_until_refused(_back(route, last)))
    unmarked = not refused and last.leg.marked and not marked_right(last.journey.marks)
    return Trip(there=there, back=back, unmarked=unmarked)


def _there(route: Route, cells: Sequence[Cell]) -> Iterator[Passed]:
    first = _passed(route.first(cells), "the first packet")
    yield first
    for leg in route.second(first.journey.marks):
        yield _passed(leg, "the first packet")


def _back(route: Route, last: Passed) -> Iterator[Passed]:
    first = _passed(route.back(last.leg, last.journey.packet), "the answer")
    yield first
    for leg in route.home(first.journey.packet, first.journey.marks):
        yield _passed(leg, "the answer")


def _passed(leg: Leg, title: str) -> Passed:
    if leg.local:
        return Passed(leg=leg, journey=answered(leg.cell, leg.packet, title=title, label=leg.label))
    way = journey(leg.cell, leg.packet, title=title, label=leg.label, led=leg.led)
    return Passed(leg=leg, journey=way)


def _until_refused(legs: Iterator[Passed]) -> Iterator[Passed]:
    for passed in legs:
        yield passed
        if passed.journey.passes is Certainty.NO:
            return
