"""Who is told how often, with the shipped rules and routes in a real Prometheus and Alertmanager."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, frozen

from fleet.cells import Cells, State
from fleet.watching import ENDED, RECEIVERS, Clock, Pager, alertmanager, watching
from support.prometheus import Prometheus

_TICKET, _PAGE = RECEIVERS


@frozen(kw_only=True)
class Told:
    """What came of one case: notifications to the receiver of warnings, and to the one that wakes somebody.

    ``ended`` are those that an alert has ended, to either.
    """

    case: str
    tickets: int
    pages: int
    ended: int
    wanted: tuple[int, int]
    lasting: bool = False

    @property
    def right(self) -> bool:
        """Whether that is what it should be; where an alert is ``lasting``, its end is told to nobody."""
        return (self.tickets, self.pages) == self.wanted and not (self.lasting and self.ended)


@define
class _Stage:
    cells: Cells
    pager: Pager
    clock: Clock
    directory: Path

    def wait(self, duration: str) -> None:
        """Let ``duration`` of the fleet's time pass."""
        time.sleep(self.clock.seconds(duration))

    @contextmanager
    def watched(self) -> Iterator[Prometheus]:
        """Prometheus, with what it had before."""
        with watching(self.directory, len(self.cells.states), self.clock) as running:
            yield running

    def told(self, case: str, tickets: int, pages: int, *, lasting: bool = False) -> Told:
        """The notifications since the last case."""
        counted = self.pager.taken()
        found = {"tickets": counted[_TICKET], "pages": counted[_PAGE], "ended": counted[ENDED]}
        return Told(case=case, wanted=(tickets, pages), lasting=lasting, **found)


def run(directory: Path, count: int, *, blocked: int, faster: float) -> Iterator[Told]:
    """All cases on ``count`` cells, one after the other; ``blocked`` cells are blocked together.

    It needs the loopback addresses and ports of a network namespace of its own.
    """
    cells, pager, clock = Cells(count), Pager(), Clock(faster=faster)
    stage = _Stage(cells=cells, pager=pager, clock=clock, directory=directory)
    with ExitStack() as stack:
        for part in (cells.serving(), pager.serving(), alertmanager(directory, clock)):
            stack.enter_context(part)
        with stage.watched():
            stage.wait("4m")
            yield stage.told("nothing is the matter", 0, 0)
            yield from _server_down(stage)
            yield from _upgrade(stage)
            cells.put(State.BLOCKED, blocked)
            stage.wait("9m")
            yield stage.told(f"{blocked} cells are blocked", 0, 1)
        stage.wait("1m")
        with stage.watched():
            stage.wait("15m")
            yield stage.told("Prometheus is restarted while that alert fires", 0, 0, lasting=True)


def _server_down(stage: _Stage) -> Iterator[Told]:
    """For ten minutes the last answer is used, then policies cannot be judged."""
    stage.cells.put(State.SERVER_AWAY)
    stage.wait("10m")
    stage.cells.put(State.BLIND)
    stage.wait("5m")
    stage.cells.put(State.CLEAN)
    stage.wait("10m")
    yield stage.told("the policy server is down for 15 minutes", 1, 0)


def _upgrade(stage: _Stage) -> Iterator[Told]:
    """A tenth of the cells after the other, three times, each five minutes without its agent."""
    part = max(len(stage.cells.states) // 10, 1)
    for number in range(3):
        stage.cells.put(State.ABSENT, part, number * part)
        stage.wait("5m")
        stage.cells.put(State.CLEAN)
    stage.wait("3m")
    yield stage.told("agents are upgraded, each absent for five minutes", 0, 0)
