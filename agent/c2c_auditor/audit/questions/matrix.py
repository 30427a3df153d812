"""The matrix: for each pair of ends the intended and the actual ports, as lines for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Protocol

from attrs import frozen

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.lookup import End, find
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.audit.traffic.statements import Places, destination_name, sentences
from c2c_auditor.audit.traffic.wording import flows_text
from c2c_auditor.model.cell import Container
from c2c_auditor.model.report import Passage

_MOST_SHOWN = 1000


class Wanted(Protocol):
    """Which lines are wanted."""

    def takes(self, people: People, to: DestinationFlows, row: Row) -> bool:
        """Whether the line of ``row`` is wanted."""


@frozen(kw_only=True)
class Named:
    """Those lines whose ends have these parts in their names, in any case of letters."""

    source: str = ""
    destination: str = ""

    def takes(self, people: People, to: DestinationFlows, row: Row) -> bool:
        """Whether the line of ``row`` is wanted."""
        return (not self.source or self.source.lower() in row.source.name(people).lower()) and (
            not self.destination or self.destination.lower() in destination_name(to, people).lower()
        )


@frozen(kw_only=True)
class Only:
    """Those lines from ``source`` to ``destination``, None for any."""

    source: End | None = None
    destination: End | None = None

    @classmethod
    def of(cls, inputs: Iterable[Inputs], source: str | None, destination: str | None) -> Only:
        """The ends that the texts mean, as `lookup.find` takes them. Raises UsageError."""
        cells = tuple(map(Cell.of, inputs)) if source or destination else ()
        return cls(
            source=find(source, cells) if source else None,
            destination=find(destination, cells) if destination else None,
        )

    def takes(self, people: People, to: DestinationFlows, row: Row) -> bool:
        """Whether the line of ``row`` is wanted."""
        del people
        return _meant(self.source, row.source.app, row.source.container) and _meant(
            self.destination, to.app, to.container
        )


def _meant(end: End | None, app: str, container: Container | None) -> bool:
    if end is None:
        return True
    if container is not None:
        return any(one.container == container for one in end.containers)
    return bool(app) and app == end.app and end.whole_app


@frozen(kw_only=True)
class Line:
    """One source's flows to one destination.

    ``intended``, ``actual`` and ``doubtful`` are ports as people write them; ``differs`` says what is wrong.
    """

    source: str
    destination: str
    intended: str
    actual: str
    doubtful: str
    differs: tuple[str, ...]


@frozen(kw_only=True)
class Matrix:
    """The lines of one reading, or some of them: ``next`` is the number of the first one left out, None if none was.

    ``notes`` say what the lines rest on, where that is not the rules and policies of a cell.

    A pair of ends has no line if no policy allows a flow between them and none passes; ``counts`` includes it.
    """

    lines: tuple[Line, ...]
    next: int | None
    counts: tuple[tuple[Passage, Passage, int], ...]
    notes: tuple[str, ...] = ()


def matrix(
    families: Iterable[tuple[Inputs, Reachability]],
    *,
    differences: bool = False,
    only: Wanted | None = None,
    first: int = 0,
    most: int | None = None,
) -> Matrix:
    """The lines of all ``families`` by destination: ``most`` of them from number ``first`` on.

    With ``differences`` only those where intent and rules differ, with ``only`` those that it takes.
    """
    counts: Counter[tuple[Passage, Passage]] = Counter()
    rows: list[Iterator[tuple[Inputs, Places, DestinationFlows, Row]]] = []
    for inputs, reach in families:
        counts.update(reach.flows)
        rows.append(_rows(inputs, reach, only or Only(), differences=differences))
    wanted = islice(chain.from_iterable(rows), first, None if most is None else first + most + 1)
    lines = tuple(_line(*row) for row in wanted)
    left = most is not None and len(lines) > most
    return Matrix(
        lines=lines[:most],
        next=first + most if left and most is not None else None,
        counts=tuple((intended, actual, count) for (intended, actual), count in counts.items()),
    )


def _rows(
    inputs: Inputs, reach: Reachability, only: Wanted, *, differences: bool
) -> Iterator[tuple[Inputs, Places, DestinationFlows, Row]]:
    places = Places(inputs)
    found = ((to, to.different) for to in reach.reached) if differences else reach.rows()
    for to, rows in found:
        for row in rows:
            if only.takes(inputs.people, to, row):
                yield inputs, places, to, row


def _line(inputs: Inputs, places: Places, to: DestinationFlows, row: Row) -> Line:
    people = inputs.people
    return Line(
        source=row.source.name(people),
        destination=destination_name(to, people),
        intended=flows_text(row.intended, _MOST_SHOWN) or "nothing",
        actual=flows_text(row.passes, _MOST_SHOWN) or "nothing",
        doubtful=flows_text(row.may_pass, _MOST_SHOWN),
        differs=tuple(sentences(to, row, people, places)),
    )
