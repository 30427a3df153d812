"""What conntrack makes of a packet: the states that it can be in, and what must pass before it for it to be in one."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.packet import Packet
from support.hosts import TYPES
from support.rulesets import PORTS

_SYN, _ACK, _SYN_ACK = 0x02, 0x10, 0x12
_ACKNOWLEDGING = (0x11, 0x18)
# What makes a flow's first packet what it is: FIN, SYN, RST and ACK. PSH and URG do not (nf_conntrack_proto_tcp.c, with
# tcp_loose as it is by itself).
_DECIDING = 0x17
_UNREACHABLE = (3, 1)
_ECHO, _ECHO_REPLY = (8, 0), (0, 0)
# ICMP types that ask: the others answer, or tell of something, and begin nothing (nf_conntrack_proto_icmp.c).
_ASKING = frozenset({8, 13, 15, 17})

Flow = tuple[int, frozenset[tuple[int, int | None]]]


def possible_states(packet: Packet) -> tuple[str, ...]:
    """The states in which conntrack can see such a packet.

    It may be its flow's first, or part of a conversation that `before` makes.
    """
    talks = bool(packet.out_interface) and packet.source not in TYPES
    flags, icmp = packet.tcp_flags, packet.icmp
    if packet.protocol == r.UDP:
        return ("NEW", "ESTABLISHED") if talks else ("NEW",)
    if packet.protocol == r.TCP and flags is not None:
        first = "NEW" if flags & _DECIDING in (_SYN, _ACK) else "INVALID"
        return (first, "ESTABLISHED") if talks and flags in (_SYN_ACK, _ACK, *_ACKNOWLEDGING) else (first,)
    if packet.protocol == r.ICMP and icmp is not None:
        first = "NEW" if icmp[0] in _ASKING else "INVALID"
        if talks and icmp in (_ECHO, _ECHO_REPLY):
            return first, "ESTABLISHED"
        return (first, "RELATED") if talks and icmp == _UNREACHABLE else (first,)
    return ()


def before(packet: Packet) -> tuple[Packet, ...]:
    """What passes, in this order, before ``packet`` for it to be in its state."""
    mirrored = mirror(packet)
    if packet.state == "RELATED":
        return (related_to(packet),)
    if packet.state != "ESTABLISHED":
        return ()
    if packet.protocol == r.UDP:
        return (mirrored,)
    if packet.protocol == r.ICMP:
        return (
            (evolve(mirrored, icmp=_ECHO),)
            if packet.icmp == _ECHO_REPLY
            else (packet, evolve(mirrored, icmp=_ECHO_REPLY))
        )
    if packet.tcp_flags == _SYN_ACK:
        return (evolve(mirrored, tcp_flags=_SYN),)
    return evolve(packet, tcp_flags=_SYN), evolve(mirrored, tcp_flags=_SYN_ACK)


def mirror(packet: Packet) -> Packet:
    """A packet of the same flow, the other way."""
    return evolve(
        packet,
        source=packet.destination,
        destination=packet.source,
        source_port=packet.destination_port,
        destination_port=packet.source_port,
        in_interface=packet.out_interface,
        out_interface=packet.in_interface,
    )


def related_to(packet: Packet) -> Packet:
    """The UDP packet that the ICMP error ``packet`` is about."""
    return evolve(mirror(packet), protocol=r.UDP, icmp=None, source_port=PORTS[1], destination_port=PORTS[2])


def apart(packets: Iterable[Packet]) -> list[Packet]:
    """``packets``, those untracked that would belong to the flow of one before them: its state would be theirs."""
    known: set[Flow] = set()
    found = []
    for packet in packets:
        flows = {
            _flow(part) for part in (packet, *before(packet)) if part.protocol != r.ICMP and part.state != "UNTRACKED"
        }
        found.append(evolve(packet, state="UNTRACKED") if flows & known else packet)
        known |= flows
    return found


def _flow(packet: Packet) -> Flow:
    """What conntrack knows a flow by, whichever way a packet of it goes.

    ICMP's flows are kept apart by the numbers that `datagram` is given.
    """
    ends = ((packet.source, packet.source_port), (packet.destination, packet.destination_port))
    return packet.protocol, frozenset(ends)
