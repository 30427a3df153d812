"""The matrix of rules alone: per pair of apps the ports that ACCEPT rules name, and those whose mark is the one set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from c2c_auditor.audit.questions.matrix import Line, Matrix, Named, is_meant
from c2c_auditor.audit.reading.people import People
from c2c_auditor.model.report import MarkPair

_RESTS_ON = (
    "Without the policies, what the rules' comments name was taken for intended, and only marks were compared: "
    "--store FILE and --policies FILE (store.json, the policy server's answer) show what should be there."
)


def matrix_of_marks(pairs: Iterable[MarkPair], people: People, named: Named, *, differences: bool) -> Matrix:
    """One line for each source, destination and its address; those of ``named``."""
    groups: dict[tuple[str, str, str], list[MarkPair]] = {}
    for pair in pairs:
        if is_meant(named.source, _source(pair, people), pair.source) and is_meant(
            named.destination, _destination(pair, people), pair.destination
        ):
            groups.setdefault((pair.source, pair.destination, pair.destination_address), []).append(pair)
    lines = tuple(_line(group, people) for group in groups.values())
    return Matrix(
        lines=tuple(line for line in lines if line.differs) if differences else lines,
        next=None,
        counts=(),
        notes=(_RESTS_ON,),
    )


def _source(pair: MarkPair, people: People) -> str:
    return _named(pair.source, pair.source_addresses, people)


def _destination(pair: MarkPair, people: People) -> str:
    return _named(pair.destination, (pair.destination_address,), people) if pair.destination else "nobody"


def _line(pairs: Sequence[MarkPair], people: People) -> Line:
    first = pairs[0]
    return Line(
        source=_source(first, people),
        destination=_destination(first, people),
        intended=_ports(pairs),
        actual=_ports(pair for pair in pairs if pair.agrees),
        doubtful=_ports((pair for pair in pairs if pair.destination and pair.agrees is None), nothing=""),
        differs=tuple(_differs(pair, people) for pair in pairs if pair.agrees is False),
    )


def _named(guid: str, addresses: Iterable[str], people: People) -> str:
    where = ", ".join(filter(None, addresses))
    return people.display_name(guid) + (f" at {where}" if where else "")


def _ports(pairs: Iterable[MarkPair], nothing: str = "nothing") -> str:
    return ", ".join(_port(pair) for pair in pairs if pair.destination) or nothing


def _port(pair: MarkPair) -> str:
    ports = f" {pair.first}" + (f"-{pair.last}" if pair.last != pair.first else "") if pair.last else ""
    return f"{pair.protocol or 'all'}{ports}"


def _differs(pair: MarkPair, people: People) -> str:
    source, destination = people.display_name(pair.source), people.display_name(pair.destination)
    marks = " or ".join(f"0x{mark:x}" for mark in pair.marks_set)
    asked = "none" if pair.mark_asked is None else f"0x{pair.mark_asked:x}"
    return (
        f"{source} cannot reach {destination} at {pair.destination_address} on {_port(pair)}: its packets carry mark "
        f"{marks}, and the ACCEPT asks for {asked}."
    )
