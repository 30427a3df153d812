"""Who reaches whom on which ports, intended beside actual, as lines for people and programs."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from c2c_auditor.audit.inputs import Inputs
from c2c_auditor.audit.reachability import Reachability
from c2c_auditor.audit.statements import Places, aims, sentences
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.flows import shown

_MOST_SHOWN = 1000


@frozen(kw_only=True)
class Line:
    """One source's flows to one destination. ``intended``, ``actual`` and ``doubtful`` are ports as people write them; ``differs`` says what is wrong."""

    source: str
    destination: str
    intended: str
    actual: str
    doubtful: str
    differs: tuple[str, ...]


@frozen(kw_only=True)
class Matrix:
    """All lines of one reading; pairs of ends that nothing is allowed between and that do not reach each other have none, and are counted."""

    lines: tuple[Line, ...]
    counts: tuple[tuple[Passage, Passage, int], ...]


def matrix(inputs: Inputs, reach: Reachability) -> Matrix:
    """The lines, by destination."""
    counts = tuple((intended, actual, count) for (intended, actual), count in reach.flows.items())
    return Matrix(lines=tuple(_lines(inputs, reach)), counts=counts)


def _lines(inputs: Inputs, reach: Reachability) -> Iterator[Line]:
    places = Places(inputs.ruleset)
    people = inputs.people
    for to in reach.reached:
        for row in to.rows:
            yield Line(
                source=row.source.called(people),
                destination=aims(to, people),
                intended=shown(row.intended, _MOST_SHOWN) or "nothing",
                actual=shown(row.passes, _MOST_SHOWN) or "nothing",
                doubtful=shown(row.may_pass, _MOST_SHOWN),
                differs=tuple(sentences(to, row, people, places)),
            )
