"""What `explain` says of egress, of the cell itself, of mapped ports and of two cells, against the kernel.

Recorded cells, sound and damaged at random, with real packets and the answers to them.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from ipaddress import IPv4Address

import pytest
from attrs import frozen

from c2c_auditor.audit.questions.explanation import Explanation, explain, parse_flow
from c2c_auditor.audit.questions.hops import Walk
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.netfilter.packet import SYN, Certainty, Packet, every
from c2c_auditor.silk.chain_names import container_interface
from support.damages import damaged
from support.namespaces import in_namespace
from support.recordings import Recording, recording
from support.wired_cell import OUTSIDE, Arrival, Wired, answer_to, one_cpu

pytestmark = pytest.mark.kernel
BACKENDS = ("nft", "legacy")
ADDRESS = "10.0.0.101"
CELLS = ("pair-lease-nft", "pair-source-cell", "pair", "limits-and-denies", "pair-asg-logging")
_SEED = 20261126
_RULESETS = 100
_FIRST_PORT = 20000
_SECONDS = 240  # some fifteen times what one takes on two idle cores
_OUTWARDS = ("198.51.100.7", "11.1.1.1", "10.1.1.1")
YES, NO = Certainty.YES, Certainty.NO


@frozen(kw_only=True)
class Asked:
    """A question, the packet that is sent for it, and the answer."""

    kind: str
    packet: Packet
    answer: Explanation

    @property
    def there(self) -> list[Walk]:
        """The walks of the first packet."""
        return [walk for walk in self.answer.walks if walk.title == "the first packet"]


def _questions(inputs: Inputs, containers: Sequence[Container], chance: random.Random) -> Iterator[Asked]:
    number = _FIRST_PORT
    for container in containers:
        name = str(container.address)
        outwards = [
            (address, port) for address in ("198.51.100.7", "11.1.1.1", "10.1.1.1") for port in ("443/tcp", "53/udp")
        ]
        cell = [("169.254.0.2", "53/udp"), ("169.254.0.2", "9001/tcp"), ("169.254.0.2", "80/tcp"), (ADDRESS, "22/tcp")]
        others = [(str(other.address), port) for other in containers for port in ("8080/tcp", "61001/tcp", "99/udp")]
        for kind, ends in (("outside", outwards), ("cell", cell), ("container", others)):
            for destination, port in ends:
                if destination != name:
                    yield _asked(inputs, (kind, name, destination), port, number)
                    number += 1
    for at, host_port in enumerate((*chance.sample(_mapped(inputs), k=4), 22, 9999)):
        yield _asked(inputs, ("mapped", str(IPv4Address(OUTSIDE)), ADDRESS), f"{host_port}/tcp", number + at)


def _mapped(inputs: Inputs) -> list[int]:
    """The ports of the cell that the recording maps to containers."""
    rules = (rule for chain in inputs.ruleset.chains("nat").values() for rule in chain.rules)
    matches = (match for rule in rules for match in rule.matches if isinstance(match, r.TransportMatch))
    ports = {match.destination.first for match in matches if match.destination is not None}
    return sorted({*ports, 61016, 61017, 61018, 61019})


def _asked(inputs: Inputs, ends: tuple[str, str, str], flow: str, number: int) -> Asked:
    kind, source, destination = ends
    piece = parse_flow(flow)
    inside = next((one for one in _containers(inputs) if str(one.address) == source), None)
    packet = Packet(
        source=int(IPv4Address(source)),
        destination=int(IPv4Address(destination)),
        protocol=piece.protocol,
        in_interface=container_interface(inside) if inside is not None else "eth0",
        out_interface="?",
        source_port=number,
        destination_port=piece.first,
        tcp_flags=SYN if piece.protocol == r.TCP else None,
    )
    return Asked(kind=kind, packet=packet, answer=explain((inputs,), source, destination, piece))


def _containers(inputs: Inputs) -> Sequence[Container]:
    assert inputs.facts.store is not None
    return inputs.facts.store.containers


@pytest.mark.parametrize("backend", BACKENDS)
def test_egress_the_cell_and_mapped_ports_are_as_explained(backend: str) -> None:
    """Yes arrives, where and with which addresses it says, and the answer comes back; no does not."""
    _compare_one_cell(backend)


@in_namespace
def _compare_one_cell(backend: str) -> None:
    signal.alarm(_SECONDS)
    one_cpu()
    chance = random.Random(_SEED)
    tally: Counter[tuple[str, Certainty]] = Counter()
    for name in CELLS:
        cell = recording(name)
        assert cell.facts.store is not None
        containers = cell.facts.store.containers
        with closing(Wired(backend, containers, ADDRESS)) as wired:
            wired.outside()
            for round_ in range(_RULESETS // len(CELLS)):
                ruleset = cell.ruleset if round_ == 0 else damaged(cell.ruleset, chance)
                wired.load(ruleset)
                inputs = Inputs.of(cell.facts, ruleset, None)
                asked = list(_questions(inputs, containers[:2], chance))
                for problem in _compare(wired, containers, asked):
                    raise AssertionError(f"{name}, round {round_}: {problem}")
                tally.update((one.kind, one.answer.passes) for one in asked)
    for kind in ("outside", "cell", "container", "mapped"):
        assert min(tally[kind, YES], tally[kind, NO]) > 20, tally


def _compare(wired: Wired, containers: Sequence[Container], asked: Sequence[Asked]) -> Iterator[str]:
    """What the kernel did otherwise than explained."""
    for number, one in enumerate(asked, 1):
        wired.send(one.packet, number)
    came = _collected(wired, containers)
    arrivals = {one.packet.source_port: [(end, got) for end, got in came if _is(got, one)] for one in asked}
    for one in asked:
        found = arrivals[one.packet.source_port]
        problem = _wrong(one, found)
        if problem:
            yield f"{problem}: {_shown(one)}; came: {found}"
    for number, one in enumerate(asked, 1):
        for end, got in arrivals[one.packet.source_port]:
            if end:
                wired.send(answer_to(got, end), number)
    back = _collected(wired, containers)
    back += [(end, got) for end, got in came if end]  # what the cell itself answered, it answered at once
    for one in asked:
        found = arrivals[one.packet.source_port]
        if found and found[0][0] == "" and one.packet.protocol != r.TCP:
            continue  # nobody answers there
        home = any(end == one.packet.in_interface and _answers(got, one) for end, got in back)
        if (
            one.answer.passes is not (Certainty.YES if home else Certainty.NO)
            and one.answer.passes is not Certainty.MAY
        ):
            yield f"explained as {one.answer.passes.value}, and the answer came: {home}: {_shown(one)}; came: {found}"


def _collected(wired: Wired, containers: Sequence[Container]) -> list[tuple[str, Arrival]]:
    """What came to each end."""
    first = containers[0]
    address, interface = int(first.address), container_interface(first)
    wired.pass_through(interface, "eth0", (address, OUTSIDE))
    wired.pass_through(interface, "silk-vtep", (address, int(IPv4Address("10.255.99.99"))))
    for container in containers:
        wired.pass_through("eth0", container_interface(container), (OUTSIDE, int(container.address)))
    wired.pass_through("eth0", "", (OUTSIDE, int(IPv4Address(ADDRESS))))
    ends = ("eth0", "silk-vtep", *map(container_interface, containers), "")
    return [(end, got) for end in ends for got in wired.received(end)]


def _is(got: Arrival, one: Asked) -> bool:
    return (got.protocol, got.source_port) == (one.packet.protocol, one.packet.source_port)


def _answers(got: Arrival, one: Asked) -> bool:
    packet = one.packet
    return (got.protocol, got.source, got.source_port, got.destination_port) == (
        packet.protocol,
        packet.destination,
        packet.destination_port,
        packet.source_port,
    )


def _wrong(one: Asked, found: Sequence[tuple[str, Arrival]]) -> str:
    """What is wrong with where a packet came; empty if nothing."""
    passes = every(walk.outcome.passes for walk in one.there)
    if len(found) > 1:
        return "came more than once"
    if passes is NO:
        return "came, and should not" if found else ""
    if not found:
        return "did not come, and should" if passes is YES else ""
    (end, got), last = found[0], [walk for walk in one.there if walk.chain in ("FORWARD", "INPUT")][-1].packet
    if (end, got.destination, got.destination_port) != (last.out_interface, last.destination, last.destination_port):
        return "came to another end"
    translated = any("the source becomes" in walk.does for walk in one.there)
    if passes is YES and got.source != (int(IPv4Address(ADDRESS)) if translated else one.packet.source):
        return "came with another source"
    return ""


def _shown(one: Asked) -> str:
    answer = one.answer
    return f"{one.kind}: {answer.source} → {answer.destination} {answer.flow}, {answer.passes.value}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_cells_are_one_path_as_explained(backend: str) -> None:
    """The mark goes from the source's cell to the destination's with VXLAN's group policy id."""
    _compare_two_cells(backend)


@in_namespace
def _compare_two_cells(backend: str) -> None:
    signal.alarm(_SECONDS)
    one_cpu()
    chance = random.Random(_SEED)
    cells = recording("pair-source-cell"), recording("pair-destination-cell")
    containers = [_only(cell) for cell in cells]
    tally: Counter[Certainty] = Counter()
    with (
        closing(Wired(backend, containers[:1], "10.0.0.101")) as source,
        closing(Wired(backend, containers[1:], "10.0.0.102")) as destination,
    ):
        source.connect(destination, ("10.255.1.0/24", "10.255.2.0/24"))
        for round_ in range(_RULESETS):
            rulesets = [cell.ruleset if round_ == 0 else damaged(cell.ruleset, chance) for cell in cells]
            for wired, ruleset in zip((source, destination), rulesets, strict=True):
                wired.load(ruleset)
            inputs = [Inputs.of(cell.facts, rules, None) for cell, rules in zip(cells, rulesets, strict=True)]
            for at, way in enumerate(((source, destination), (destination, source))):
                ends = (containers[at], containers[1 - at])
                for flow, verdict, arrived in _across(inputs, way, ends, _FIRST_PORT + 10 * round_ + 5 * at):
                    tally[verdict] += 1
                    right = verdict is Certainty.MAY or arrived is (verdict is YES)
                    assert right, f"round {round_}, {at}, {flow}: explained as {verdict.value}, came through: {arrived}"
    assert min(tally[YES], tally[NO]) > 20, tally


def _only(cell: Recording) -> Container:
    assert cell.facts.store is not None
    (container,) = cell.facts.store.containers
    return container


def _across(
    inputs: Sequence[Inputs], way: tuple[Wired, Wired], ends: tuple[Container, Container], port: int
) -> Iterator[tuple[str, Certainty, bool]]:
    """Flows between two containers, what was explained, and whether packet and answer came through."""
    (near, far), (one, other) = way, ends
    into, out = container_interface(one), container_interface(other)
    for number, flow in enumerate(("8080/tcp", "61001/tcp", "2222/tcp", "53/udp"), 1):
        piece = parse_flow(flow)
        packet = Packet(
            source=int(one.address),
            destination=int(other.address),
            protocol=piece.protocol,
            in_interface=into,
            out_interface="?",
            source_port=port + number,
            destination_port=piece.first,
            tcp_flags=SYN if piece.protocol == r.TCP else None,
        )
        near.send(packet, number)
        near.pass_through(into, "?", (packet.source, packet.destination))
        came = [got for got in far.received(out) if got.source_port == packet.source_port]
        for got in came:
            far.send(answer_to(got, out), number)
        far.pass_through(out, "?", (packet.destination, packet.source))
        home = any(got.destination_port == packet.source_port for got in near.received(into))
        yield flow, explain(inputs, str(one.address), str(other.address), piece).passes, home
