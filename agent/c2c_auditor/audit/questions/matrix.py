"""The matrix: for each pair of ends the intended and the actual ports, as lines for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from attrs import frozen

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.audit.traffic.statements import Places, destination_name, sentences
from c2c_auditor.audit.traffic.wording import flows_text
from c2c_auditor.model.report import Passage

_MOST_SHOWN = 1000


@frozen(kw_only=True)
class Named:
    """Which lines are wanted: those whose ends have these parts in their names, in any case of letters.

    Or whose apps' guids begin with them.
    """

    source: str = ""
    destination: str = ""

    def takes(self, people: People, to: DestinationFlows, row: Row) -> bool:
        """Whether the line of ``row`` is wanted."""
        return is_meant(self.source, row.source.name(people), row.source.app) and is_meant(
            self.destination, destination_name(to, people), to.app
        )


def is_meant(part: str, name: str, guid: str) -> bool:
    """Whether ``part`` is a part of an end's name, or the beginning of its app's guid; an empty one means any end."""
    return part.lower() in name.lower() or (bool(guid) and guid.startswith(part))


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
    named: Named | None = None,
    first: int = 0,
    most: int | None = None,
) -> Matrix:
    """The lines of all ``families`` by destination: ``most`` of them from number ``first`` on.

    With ``differences`` only those where intent and rules differ, with ``named`` those that it takes.
    """
    counts: Counter[tuple[Passage, Passage]] = Counter()
    rows: list[Iterator[tuple[Inputs, Places, DestinationFlows, Row]]] = []
    for inputs, reach in families:
        counts.update(reach.flows)
        rows.append(_rows(inputs, reach, named or Named(), differences=differences))
    wanted = islice(chain.from_iterable(rows), first, None if most is None else first + most + 1)
    lines = tuple(_line(*row) for row in wanted)
    left = most is not None and len(lines) > most
    return Matrix(
        lines=lines[:most],
        next=first + most if left and most is not None else None,
        counts=tuple((intended, actual, count) for (intended, actual), count in counts.items()),
    )


def _rows(
    inputs: Inputs, reach: Reachability, named: Named, *, differences: bool
) -> Iterator[tuple[Inputs, Places, DestinationFlows, Row]]:
    places = Places(inputs)
    for to in reach.reached:
        for row in to.different if differences else to.rows:
            if named.takes(inputs.people, to, row):
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
