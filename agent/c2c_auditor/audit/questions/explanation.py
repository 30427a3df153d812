"""Explains why a flow passes or not: its packets' walks, the deciding rule, the nearest miss, what allows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from c2c_auditor.audit.questions import remarks
from c2c_auditor.audit.questions.cells import Cell, people_of, policies_of
from c2c_auditor.audit.questions.hops import Walk
from c2c_auditor.audit.questions.intended import Basis, Intent, between_apps, from_outside, to_cell, to_outside
from c2c_auditor.audit.questions.lookup import End, Located, Where, find, of_its_family
from c2c_auditor.audit.questions.misses import Miss, misses
from c2c_auditor.audit.questions.quick import Quick
from c2c_auditor.audit.questions.routes import Pair, Route, mapped_port
from c2c_auditor.audit.questions.travel import Trip, travel
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic import intent
from c2c_auditor.audit.traffic.ends import LARGEST_TAG
from c2c_auditor.errors import UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Policy
from c2c_auditor.model.family import Address
from c2c_auditor.netfilter.evaluate import Marks
from c2c_auditor.netfilter.flows import FlowSet, Piece, both, pieces, union
from c2c_auditor.netfilter.packet import Certainty
from c2c_auditor.netfilter.render import render_ports

_PROTOCOLS = {"tcp": r.TCP, "udp": r.UDP}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_HTTP = 8080
_LAST_PORT = 65535
_PASSES = {
    Certainty.YES: "passes",
    Certainty.NO: "does not pass",
    Certainty.MAY: "may or may not pass",
}
_WORST_FIRST = (Certainty.NO, Certainty.MAY, Certainty.YES)


@frozen(kw_only=True)
class Explanation:
    """The answer to one question.

    ``passes``: whether the flow passes as far as the cells that were asked decide; ``intended`` by what ``basis``
    names, None where that is not known. ``half`` says which half of the path they decide, empty if all of it; ``notes``
    what else limits the answer. ``misses`` are rules that all but took a packet that was refused.

    ``policies`` are those between the two apps, as sentences; ``allow`` is the command that would allow the flow, empty
    if it is allowed or the names that the command takes are not known; ``others`` are the verdicts for the other
    containers of the two apps.
    """

    source: str
    destination: str
    flow: Piece
    passes: Certainty
    intended: bool | None
    basis: Basis
    half: str
    walks: tuple[Walk, ...]
    misses: tuple[Miss, ...]
    policies: tuple[str, ...]
    allow: str
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def parse_flow(text: str) -> Piece:
    """``8080/tcp`` or ``8080``. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,5})(?:/(tcp|udp))?", text)
    if found is None or not 0 < int(found[1]) <= _LAST_PORT:
        message = f"{text!r} is no port: write 8080/tcp, 53/udp or 8080"
        raise UsageError(message)
    return Piece(protocol=_PROTOCOLS[found[2] or "tcp"], first=int(found[1]), last=int(found[1]))


@frozen(kw_only=True)
class Elsewhere:
    """What another cell was found to say of the end that runs there: its address, and the mark of packets from there.

    Without it, an app's address is taken for one that no rule names, and its mark for that of its policies.
    """

    address: Address | None = None
    mark: int | None = None


_UNKNOWN = Elsewhere()


def explain(
    cells: Sequence[Inputs],
    source: str,
    destination: str,
    flow: Piece | None = None,
    *,
    elsewhere: Elsewhere = _UNKNOWN,
) -> Explanation:
    """Whether ``source`` reaches ``destination`` (as `lookup.find` takes them) on ``flow``, as ``cells`` decide it.

    Without ``flow``, on the first port that a policy allows or the container exposes.

    Raises UsageError for ends that are not known or that none of ``cells`` decides about, EvaluationError for rules
    that no kernel would hold.
    """
    known = tuple(map(Cell.of, cells))
    ends = tuple(_placed(find(text, known), elsewhere, known) for text in (source, destination))
    return _Question(known, (ends[0], ends[1]), flow, elsewhere.mark).answer()


def _placed(end: End, elsewhere: Elsewhere, cells: Iterable[Cell]) -> End:
    """``end`` with its address where it runs on another cell and that is known."""
    if end.containers or end.where is not Where.OVERLAY or end.address is not None or elsewhere.address is None:
        return end
    of_its_family(elsewhere.address, cells)
    return evolve(end, address=elsewhere.address)


class _Question:
    """Two ends and a flow between them."""

    def __init__(self, cells: tuple[Cell, ...], ends: tuple[End, End], flow: Piece | None, mark: int | None) -> None:
        source, destination = ends
        self._cells = cells
        self._mark = mark
        self._people = people_of(cells)
        self._source = source
        self._destination = destination
        self._between_apps = (source.where, destination.where) == (Where.OVERLAY, Where.OVERLAY)
        self._policies = tuple(
            policy
            for policy in policies_of(cells)
            if (policy.source, policy.destination) == (source.app, destination.app)
        )
        self._allowed: FlowSet = union(*map(intent.flows_of, self._policies))
        self._flow = flow if flow is not None else self._offered()

    def _offered(self) -> Piece:
        """The flow of a question that names none: the first port of a policy, else of the container, else 8080."""
        for piece in pieces(self._allowed):
            return evolve(piece, last=piece.first)
        port = next((port for one in self._destination.containers for port in one.container.ports), _HTTP)
        return Piece(protocol=r.TCP, first=port, last=port)

    def answer(self) -> Explanation:
        """The pair of containers with the worst verdict, with its walks; each other pair as a sentence."""
        pairs = [
            Pair(source=one, destination=other)
            for one in self._source.containers or (None,)
            for other in self._destination.containers or (None,)
            if one is None or one != other
        ]
        if not pairs:
            message = "source and destination are the same container: its packets to itself never leave it"
            raise UsageError(message)
        verdicts = self._verdicts(pairs) if len(pairs) > 1 else [Certainty.YES]
        worst = min(range(len(pairs)), key=lambda at: _WORST_FIRST.index(verdicts[at]))
        others = tuple(
            f"{self._name(self._source, pair.source)} → {self._name(self._destination, pair.destination)}: "
            f"{_PASSES[verdicts[at]]}"
            for at, pair in enumerate(pairs)
            if at != worst
        )
        return evolve(self._explained(pairs[worst]), others=others)

    def _verdicts(self, pairs: Sequence[Pair]) -> list[Certainty]:
        """The verdict for each pair: worked out with an index where that can be done, else with walks."""
        if not self._between_apps or any(cell.part for cell in self._cells):
            return [self._travel(pair).passes for pair in pairs]
        quick = Quick(self._cells, self._flow, self._marked_right)
        return [quick.verdict(self._route(pair)) for pair in pairs]

    def _travel(self, pair: Pair) -> Trip:
        return travel(self._route(pair), self._cells, self._marked_right)

    def _route(self, pair: Pair) -> Route:
        """The route, from outside by the port that is mapped to a container's."""
        ends, flow = (self._source, self._destination), self._flow
        if self._source.where is Where.OUTSIDE and pair.destination is not None:
            mapped = mapped_port(pair.destination, flow)
            if mapped is not None:
                address, flow = mapped
                pair, ends = evolve(pair, destination=None), (self._source, End(address=address, where=Where.CELL))
        return Route(ends, pair, flow, self._tag)

    def _explained(self, pair: Pair) -> Explanation:
        trip = self._travel(pair)
        intended = self._intent(pair, trip)
        refused = trip.refused
        apps = self._source.app, self._destination.app
        return Explanation(
            source=self._name(self._source, pair.source),
            destination=self._name(self._destination, pair.destination),
            flow=self._flow,
            passes=trip.passes,
            intended=intended.allowed,
            basis=intended.basis,
            half=remarks.half(self._source, self._destination, pair, trip.there[-1].leg.cell),
            walks=trip.walks,
            misses=misses(refused.outcome.trace, refused.packet, apps, from_outside=self._source.where is Where.OUTSIDE)
            if refused is not None
            else (),
            policies=tuple(map(self._sentence, self._policies)),
            allow=self._command() if self._between_apps and intended.allowed is False else "",
            notes=remarks.notes(trip, self._source),
        )

    def _intent(self, pair: Pair, trip: Trip) -> Intent:
        first = trip.there[0]
        if self._between_apps:
            return between_apps(self._cells, (self._source.app, self._destination.app), self._allowed, self._flow)
        if pair.source is None:
            return from_outside(first.leg.cell, first.journey.packet)
        judge = to_cell if self._destination.where is Where.CELL else to_outside
        return judge(pair.source.cell, pair.source.container, first.leg.packet)

    def _marked_right(self, marks: Marks) -> bool:
        """Whether packets that leave with ``marks`` carry the app's; 0 is nobody's where policies are enforced."""
        if self._policies:
            return marks == {self._policies[-1].source_tag}
        return marks != {0} or any(cell.inputs.ipv6 or cell.open for cell in self._cells)

    def _tag(self) -> int | None:
        """The mark that packets of a source elsewhere arrive with; None where nothing tells it."""
        if self._mark is not None:
            return self._mark & LARGEST_TAG
        if self._policies:
            return self._policies[-1].source_tag
        tags = self._people.app_tags.get(self._source.app)
        if tags is not None or not self._source.app:
            return min(tags or {0})
        return 0 if any(cell.inputs.facts.policies is not None for cell in self._cells) else None

    def _name(self, end: End, located: Located | None) -> str:
        people = self._people
        if located is not None:
            return f"{people.display_name(end.app)} at {located.container.address}"
        if end.app:
            return f"{people.display_name(end.app)} on other cells"
        if end.where is Where.CELL:
            return f"the cell itself at {end.address}" if end.address is not None else "the cell itself"
        if end.where is Where.OUTSIDE:
            return f"{end.address} outside" if end.address is not None else "anything outside"
        return f"{end.address} beyond this cell" if self._cells[0].inputs.ipv6 else f"{end.address} on another cell"

    def _sentence(self, policy: Policy) -> str:
        people = self._people
        ports = f"{policy.protocol} {render_ports(policy.ports.first, policy.ports.last, '-')}"
        hit = " ← this one" if both(intent.flows_of(policy), self._flow.flows) else ""
        return (
            f"{people.display_name(policy.source)} may reach {people.display_name(policy.destination)} on {ports} "
            f"(mark 0x{policy.source_tag:x}){hit}"
        )

    def _command(self) -> str:
        """The ``cf`` command that would allow the flow; names where people gave them."""
        names = self._people.names
        source, destination = names.get(self._source.app), names.get(self._destination.app)
        ipv6 = any(cell.inputs.ipv6 for cell in self._cells)
        if ipv6 or source is None or destination is None or not source.app or not destination.app:
            return ""
        there = (
            ""
            if (source.space, source.org) == (destination.space, destination.org)
            else f" -s {destination.space} -o {destination.org}"
        )
        return (
            f"cf add-network-policy {source.app} {destination.app}{there} --protocol "
            f"{_NAMES.get(self._flow.protocol, 'tcp')} --port {self._flow.first}"
        )
