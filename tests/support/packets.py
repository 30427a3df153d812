"""Packets of a few values: a strategy, and a way to make a packet meet a rule's conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from attrs import evolve
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.packet import Certainty, Packet, conditions, every, marked
from support.conversations import possible_states
from support.hosts import BROADCAST, CLIENT_SIDE, CLIENTS, MARKS, OWN, SERVER_SIDE, SERVERS, TYPES
from support.rulesets import ICMP_CODES, ICMP_TYPES, PORTS, PROTOCOLS, TCP_FLAGS, TCP_OPTIONS, WITH_PORTS, Chains, World

# What a packet is made of: one of each, by its index. Into and out of the router: to the router itself where there is
# no way out.
Choices = Mapping[str, int]
# One condition as a rule of its own, with the names of the choices that it depends on.
Part = tuple[tuple[str, ...], r.Rule]
Aim = tuple[Part, ...]
_WAYS = ((CLIENT_SIDE, SERVER_SIDE), (SERVER_SIDE, CLIENT_SIDE), (CLIENT_SIDE, ""), (SERVER_SIDE, ""))
_SOURCES = {CLIENT_SIDE: (*CLIENTS[:-1], BROADCAST), SERVER_SIDE: SERVERS}
_DESTINATIONS = {CLIENT_SIDE: CLIENTS, SERVER_SIDE: SERVERS, "": (*OWN, BROADCAST) * 2 + OWN}
# Conversations that conntrack has states of its own for (`conversations`) stand more than once.
_ICMP = (*((kind, code) for kind in ICMP_TYPES for code in ICMP_CODES), *((8, 0), (0, 0), (3, 1)) * 4)
_OPTIONS = tuple(frozenset(drawn) for count in range(4) for drawn in combinations(TCP_OPTIONS, count))
_STATES = 6
_POOLS = {
    "way": len(_WAYS),
    "source": len(CLIENTS),
    "destination": len(CLIENTS),
    "protocol": len(PROTOCOLS),
    "source_port": len(PORTS),
    "destination_port": len(PORTS),
    "tcp_flags": len(TCP_FLAGS),
    "tcp_options": len(_OPTIONS),
    "icmp": len(_ICMP),
    "mark": len(MARKS),
    "fragment": 2,
    "state": _STATES,
}
_CHOICES = st.fixed_dictionaries({name: st.integers(0, count - 1) for name, count in _POOLS.items()})
_NUMBERS = st.integers(0, 255)


@st.composite
def packets(draw: st.DrawFn, world: World, aims: Sequence[Aim] = ()) -> Packet:
    """A packet from one end to another, or to the router itself.

    All of its fields are known, and its state is one that it can be in.

    Most meet one of ``aims``, as far as that can be.
    """
    choices: Choices = draw(_CHOICES)
    number = draw(_NUMBERS)
    if not aims or number % 4 == 0:  # what is drawn meets no rule but a wide one
        return _made(choices, world)
    return _made(_aimed(choices, aims[number % len(aims)], world), world)


def aims(chains: Chains) -> tuple[Aim, ...]:
    """For each rule that a packet can come to: its conditions, and those of the calls that lead to it."""
    ways: dict[str, Aim] = {"FORWARD": (_hook("UNICAST"),), "INPUT": (_hook("LOCAL", "BROADCAST"),)}
    found = []
    for name, chain in chains.items():  # callers stand before whom they call
        for rule in chain.rules if name in ways else ():
            aim = (*ways[name], *_parts(rule))
            found.append(aim)
            if isinstance(rule.target, r.Jump | r.Goto):
                ways.setdefault(rule.target.chain, aim)
    return tuple(found)


def _hook(*types: str) -> Part:
    return ("way", "destination"), r.Rule(matches=(r.AddressTypeMatch(destination=types),))


def _made(choices: Choices, world: World) -> Packet:
    into, out = _WAYS[choices["way"]]
    protocol = PROTOCOLS[choices["protocol"]]
    source, destination = _SOURCES[into][choices["source"]], _DESTINATIONS[out][choices["destination"]]
    ported, tcp = protocol in WITH_PORTS, protocol == r.TCP
    packet = Packet(
        source=source,
        destination=destination,
        protocol=protocol,
        in_interface=into,
        out_interface=out,
        source_port=PORTS[choices["source_port"]] if ported else None,
        destination_port=PORTS[choices["destination_port"]] if ported else None,
        icmp=_ICMP[choices["icmp"]] if protocol == r.ICMP else None,
        tcp_flags=TCP_FLAGS[choices["tcp_flags"]] if tcp else None,
        tcp_options=_OPTIONS[choices["tcp_options"]] if tcp else None,
        mark=MARKS[choices["mark"]],
        state="UNTRACKED",
        source_type=TYPES.get(source, "UNICAST"),
        destination_type=TYPES.get(destination, "UNICAST"),
        # Fragments to the router itself are put together before any rule sees them, with conntrack all are.
        fragment=bool(choices["fragment"] and out and not world.tracking),
    )
    if not world.tracking:
        return packet
    states = (*possible_states(packet), "UNTRACKED")
    return evolve(packet, state=states[choices["state"] % len(states)])


_ENDS = {"source": ("way", "source"), "destination": ("way", "destination")}
_FIELDS = {
    **_ENDS,
    "in_interface": ("way",),
    "out_interface": ("way",),
    "protocol": ("protocol",),
    "fragment": ("fragment",),
}
_TRANSPORT = {
    "source": "source_port",
    "destination": "destination_port",
    "tcp_flags": "tcp_flags",
    "tcp_option": "tcp_options",
}
_MATCHES: dict[type[r.Match], tuple[str, ...]] = {
    r.MultiportMatch: ("source_port", "destination_port"),
    r.IcmpMatch: ("icmp",),
    r.MarkMatch: ("mark",),
    r.StateMatch: ("state", "tcp_flags", "icmp", "protocol"),
}


def _parts(rule: r.Rule) -> Iterator[Part]:
    """Each condition of ``rule``."""
    for name, names in _FIELDS.items():
        if (value := getattr(rule, name)) is not None:
            yield names, r.Rule(**{name: value})
    for match in rule.matches:
        if isinstance(match, r.TransportMatch):
            for name, choice in _TRANSPORT.items():
                if (value := getattr(match, name)) is not None:
                    yield (choice,), r.Rule(matches=(r.TransportMatch(protocol=match.protocol, **{name: value}),))
        elif isinstance(match, r.IpRangeMatch | r.AddressTypeMatch):
            for name, other in (("source", "destination"), ("destination", "source")):
                yield _ENDS[name], r.Rule(matches=(evolve(match, **{other: type(match)().__getattribute__(other)}),))
        elif type(match) in _MATCHES:
            yield _MATCHES[type(match)], r.Rule(matches=(match,))


def _aimed(choices: Choices, parts: Aim, world: World) -> Choices:
    """``choices`` changed until the packet meets as many of ``parts`` as it can, each to the next value that does."""

    def met(candidate: Choices) -> int:
        packet = _made(candidate, world)
        return sum(
            every((conditions(part, packet), marked(part, packet.mark))) is not Certainty.NO for _, part in parts
        )

    best = met(choices)
    for names, _ in parts:
        for name in names:
            if best == len(parts):
                return choices
            for step in range(1, _POOLS[name]):
                candidate = {**choices, name: (choices[name] + step) % _POOLS[name]}
                if (now := met(candidate)) > best:
                    choices, best = candidate, now
                    break
    return choices
