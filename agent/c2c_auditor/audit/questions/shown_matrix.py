"""The matrix of rules alone: per pair of apps the ports that ACCEPT rules name, and those whose mark is the one set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from c2c_auditor.audit.questions.matrix import Line, Matrix
from c2c_auditor.audit.reading.people import People
from c2c_auditor.model.report import MarkPair

_RESTS_ON = (
    "Without the policies, what the rules' comments name was taken for intended, and only marks were compared: "
    "--store FILE and --policies FILE (store.json, the policy server's answer) show what should be there."
)


def matrix_of_marks(
    pairs: Iterable[MarkPair], people: People, wanted: Sequence[str | None], *, differences: bool = False
) -> Matrix:
    """One line for each source, destination and its address.

    ``wanted`` are source and destination, each by the beginning of a guid, a name or an address, None for any.
    """
    source, destination = wanted
    groups: dict[tuple[str, str, str], list[MarkPair]] = {}
    for pair in pairs:
        if _is(source, pair.source, pair.source_addresses, people) and _is(
            destination, pair.destination, (pair.destination_address,), people
        ):
            groups.setdefault((pair.source, pair.destination, pair.destination_address), []).append(pair)
    lines = tuple(_line(group, people) for group in groups.values())
    return Matrix(
        lines=tuple(line for line in lines if line.differs) if differences else lines,
        next=None,
        counts=(),
        notes=(_RESTS_ON,),
    )


def _is(wanted: str | None, guid: str, addresses: Iterable[str], people: People) -> bool:
    if wanted is None:
        return True
    names = people.names.get(guid)
    return bool(guid) and (
        guid.startswith(wanted) or wanted in addresses or (names is not None and names.app == wanted)
    )


def _line(pairs: Sequence[MarkPair], people: People) -> Line:
    first = pairs[0]
    return Line(
        source=_named(first.source, first.source_addresses, people),
        destination=_named(first.destination, (first.destination_address,), people) if first.destination else "nobody",
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
