"""Explains why a flow passes or not: its packets' walks, the deciding rule, the policies between the ends."""

from __future__ import annotations

import re

from attrs import evolve, frozen

from c2c_auditor.audit.questions.lookup import End, find
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic import intent
from c2c_auditor.audit.traffic.ends import Overlay
from c2c_auditor.errors import UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy
from c2c_auditor.netfilter.evaluate import Marks, Outcome, Step, evaluate_stages
from c2c_auditor.netfilter.flows import FlowSet, Piece, both, pieces, union
from c2c_auditor.netfilter.packet import Certainty, Packet, every
from c2c_auditor.netfilter.render import render_ports
from c2c_auditor.netfilter.way import Way

_PROTOCOLS = {"tcp": r.TCP, "udp": r.UDP}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_HTTP = 8080
_LAST_PORT = 65535
_PASSES = {
    Certainty.YES: "passes",
    Certainty.NO: "does not pass",
    Certainty.MAY: "may or may not pass",
}
_FILTER = "filter"
_WORST_FIRST = (Certainty.NO, Certainty.MAY, Certainty.YES)


@frozen(kw_only=True)
class Walk:
    """One packet's walk through this cell's rules. ``title`` says which packet."""

    title: str
    packet: Packet
    outcome: Outcome


def _passes_on(step: Step) -> bool:
    """Whether a step says no more than where a packet came along."""
    return isinstance(step.rule.target, r.Jump | r.Goto) if step.rule is not None else True


@frozen(kw_only=True)
class Explanation:
    """The answer to one question.

    ``passes``: whether the flow passes as far as this cell decides; ``intended`` by policy, None where policies are not
    known.

    ``half`` says which half of the path this cell decides, empty if all of it. ``policies`` are those between the two
    apps, as sentences; ``allow`` is the command that would allow the flow, empty if it is allowed or the names that the
    command takes are not known; ``others`` are the verdicts for the other containers of the two apps.
    """

    source: str
    destination: str
    flow: Piece
    passes: Certainty
    intended: bool | None
    half: str
    walks: tuple[Walk, ...]
    policies: tuple[str, ...]
    allow: str
    others: tuple[str, ...] = ()


def parse_flow(text: str) -> Piece:
    """``8080/tcp`` or ``8080``. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,5})(?:/(tcp|udp))?", text)
    if found is None or not 0 < int(found[1]) <= _LAST_PORT:
        message = f"{text!r} is no port: write 8080/tcp, 53/udp or 8080"
        raise UsageError(message)
    return Piece(protocol=_PROTOCOLS[found[2] or "tcp"], first=int(found[1]), last=int(found[1]))


def explain(inputs: Inputs, source: str, destination: str, flow: Piece | None = None) -> Explanation:
    """Whether ``source`` reaches ``destination`` (as `lookup.find` takes them) on ``flow``.

    Without ``flow``, on the first port that a policy allows or the container exposes.

    Raises UsageError for ends that are not known or not of this cell, EvaluationError for rules that no kernel would
    hold.
    """
    question = _Question(inputs, find(source, inputs), find(destination, inputs), flow)
    return question.answer()


class _Question:
    """Two ends and a flow between them."""

    def __init__(self, inputs: Inputs, source: End, destination: End, flow: Piece | None) -> None:
        self._inputs = inputs
        self._source = source
        self._destination = destination
        known = inputs.facts.policies
        self._policies = tuple(
            policy
            for policy in (known.policies if known is not None else ())
            if (policy.source, policy.destination) == (source.app, destination.app)
        )
        self._allowed: FlowSet = union(*map(intent.flows_of, self._policies))
        self._flow = flow if flow is not None else self._offered()
        named = frozenset(int(container.address) for end in (source, destination) for container in end.containers)
        self._overlay = Overlay.of(inputs, named)
        self._way = Way(inputs.stages)

    def _offered(self) -> Piece:
        """The flow of a question that names none: the first port of a policy, else of the container, else 8080."""
        for piece in pieces(self._allowed):
            return evolve(piece, last=piece.first)
        port = next((port for container in self._destination.containers for port in container.ports), _HTTP)
        return Piece(protocol=r.TCP, first=port, last=port)

    def answer(self) -> Explanation:
        """The pair of containers with the worst verdict, with its walks; each other pair as a sentence."""
        pairs = [
            (one, other)
            for one in self._source.containers or (None,)
            for other in self._destination.containers or (None,)
            if one is None or other is None or one.handle != other.handle
        ]
        if not pairs:
            message = "source and destination are the same container: its packets to itself never leave it"
            raise UsageError(message)
        verdicts = [self._verdict(*pair) for pair in pairs] if len(pairs) > 1 else [Certainty.YES]
        worst = min(range(len(pairs)), key=lambda at: _WORST_FIRST.index(verdicts[at]))
        others = tuple(
            f"{self._name(self._source, one)} → {self._name(self._destination, other)}: {_PASSES[verdicts[at]]}"
            for at, (one, other) in enumerate(pairs)
            if at != worst
        )
        return evolve(self._pair(*pairs[worst]), others=others)

    def _verdict(self, source: Container | None, destination: Container | None) -> Certainty:
        """The verdict of `_pair`, worked out with the index instead of a walk.

        Two apps with many containers make many pairs, and a walk tries every rule of a large chain.
        """
        request, answer = self._packets(source, destination)
        there, back = self._way.disposition(request), self._way.disposition(answer)
        wanted = self._flow.flows
        passes = (
            Certainty.YES
            if both(there.passes, wanted)
            else Certainty.MAY
            if both(there.may_pass, wanted)
            else Certainty.NO
        )
        if destination is None and not self._marked_right(
            frozenset(mark for mark, flows in there.marks.items() if both(flows, wanted))
        ):
            passes = Certainty.NO
        sure, perhaps = back.answered
        return every(
            (passes, Certainty.YES if both(sure, wanted) else Certainty.MAY if both(perhaps, wanted) else Certainty.NO)
        )

    def _pair(self, source: Container | None, destination: Container | None) -> Explanation:
        walks = tuple(self._walks(source, destination))
        passes = every(
            self._certain(walk, leaves=index == 0 and destination is None) for index, walk in enumerate(walks)
        )
        intended = None if self._inputs.facts.policies is None else bool(both(self._flow.flows, self._allowed))
        return Explanation(
            source=self._name(self._source, source),
            destination=self._name(self._destination, destination),
            flow=self._flow,
            passes=passes,
            intended=intended,
            half=self._half(source, destination),
            walks=walks,
            policies=tuple(map(self._sentence, self._policies)),
            allow=self._command() if intended is False and self._source.app and self._destination.app else "",
        )

    def _half(self, source: Container | None, destination: Container | None) -> str:
        """Which half of the path this cell decides; over IPv6, that policies have no part in it."""
        if self._inputs.ipv6:
            return "Policies are IPv4's: over IPv6 nothing that begins a connection may reach a container."
        if source is None:
            what = "with its mark" if self._source.app else "without a mark, because an address does not tell the app"
            return (
                "The source runs on other cells: this is the destination's half of the path, for packets that arrive "
                f"{what}."
            )
        if destination is None:
            return (
                "The destination runs on other cells: this is the source's half of the path; the destination's cell "
                "decides the rest."
            )
        return ""

    def _walks(self, source: Container | None, destination: Container | None) -> list[Walk]:
        request, answer = self._packets(source, destination)
        there = self._walk("the first packet", request)
        if there.outcome.passes is Certainty.NO:
            return [there]
        return [there, self._walk("the answer", answer)]

    def _walk(self, title: str, packet: Packet) -> Walk:
        """One packet's; of the chains beside FORWARD's filter, those that have to do with it."""
        outcome = evaluate_stages(self._inputs.stages, packet)
        takes = (step for step in outcome.trace if step.matched is not Certainty.NO and not _passes_on(step))
        shown = {_FILTER, *(step.table for step in (*takes, *outcome.refused))}
        trace = tuple(step for step in outcome.trace if step.table in shown)
        return Walk(title=title, packet=packet, outcome=evolve(outcome, trace=trace))

    def _packets(self, source: Container | None, destination: Container | None) -> tuple[Packet, Packet]:
        """The flow's first packet, and an answer to it."""
        first, back = self._ends(source, destination)
        request = self._flow.packet(self._with_addresses(first))
        return request, evolve(
            request,
            source=request.destination,
            destination=request.source,
            in_interface=back.in_interface,
            out_interface=back.out_interface,
            mark=back.mark,
            source_port=request.destination_port,
            destination_port=None,
            state="ESTABLISHED",
            tcp_flags=None,
        )

    def _ends(self, source: Container | None, destination: Container | None) -> tuple[Packet, Packet]:
        """A packet there, and one back."""
        overlay = self._overlay
        if source is not None and destination is not None:
            return overlay.local(source, destination, 0), overlay.local(destination, source, 0)
        if self._inputs.ipv6 and destination is None:
            message = "over IPv6 it can be explained what reaches a container of this cell: give one as the destination"
            raise UsageError(message)
        if destination is not None:
            return overlay.arriving(destination, self._tag()), overlay.leaving(destination)
        if source is not None:
            return overlay.leaving(source), overlay.arriving(source, 0)
        message = "neither end runs on this cell: ask on the cell of the source, and on the cell of the destination"
        raise UsageError(message)

    def _with_addresses(self, packet: Packet) -> Packet:
        """``packet`` with the addresses of ends on other cells, where they are known."""
        if self._source.address is not None:
            packet = evolve(packet, source=int(self._source.address))
        if self._destination.address is not None:
            packet = evolve(packet, destination=int(self._destination.address))
        return packet

    def _certain(self, walk: Walk, *, leaves: bool) -> Certainty:
        """Whether a walk's packet passes; one that leaves for another cell must carry its app's mark as well."""
        return walk.outcome.passes if not leaves or self._marked_right(walk.outcome.marks) else Certainty.NO

    def _marked_right(self, marks: Marks) -> bool:
        return not self._policies or marks == {self._policies[-1].source_tag}

    def _tag(self) -> int:
        """The mark that packets of the source arrive with."""
        if self._policies:
            return self._policies[-1].source_tag
        return min(self._inputs.people.app_tags.get(self._source.app, {0}))

    def _name(self, end: End, container: Container | None) -> str:
        people = self._inputs.people
        if container is not None:
            return f"{people.display_name(end.app)} at {container.address}"
        if end.app:
            return f"{people.display_name(end.app)} on other cells"
        return f"{end.address} beyond this cell" if self._inputs.ipv6 else f"{end.address} on another cell"

    def _sentence(self, policy: Policy) -> str:
        people = self._inputs.people
        ports = f"{policy.protocol} {render_ports(policy.ports.first, policy.ports.last, '-')}"
        hit = " ← this one" if both(intent.flows_of(policy), self._flow.flows) else ""
        return (
            f"{people.display_name(policy.source)} may reach {people.display_name(policy.destination)} on {ports} "
            f"(mark 0x{policy.source_tag:x}){hit}"
        )

    def _command(self) -> str:
        """The ``cf`` command that would allow the flow; names where people gave them."""
        names = self._inputs.people.names
        source, destination = names.get(self._source.app), names.get(self._destination.app)
        if self._inputs.ipv6 or source is None or destination is None or not source.app or not destination.app:
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
