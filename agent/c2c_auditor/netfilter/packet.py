"""One packet, as far as it is known, and whether a rule's conditions hold for it: yes, no, or *may*.

The answer is *may* where a field of the packet is not known (None) or where a match depends on more than the packet (an
opaque match, a rate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeVar, cast

from attrs import frozen

from c2c_auditor.model import rule as r

SYN = 0x02
_ICMP_ANY = 0xFF
UNNAMED = -1
"""A mark that no rule compares as a whole. What it is in single bits is not known."""
_WITH_PORTS = frozenset({r.TCP, r.UDP, r.SCTP, r.DCCP, r.UDPLITE})
_TRANSLATED = frozenset({r.TCP, r.UDP})


class Certainty(Enum):
    """An answer of three values."""

    YES = "yes"
    NO = "no"
    MAY = "may"

    @classmethod
    def of(cls, holds: bool | None) -> Certainty:  # noqa: FBT001 - this is the bool's own other spelling
        """None is *may*."""
        return cls.MAY if holds is None else cls.YES if holds else cls.NO


@frozen(kw_only=True)
class Packet:
    """One packet on its way through one hook. Addresses are integers of ``family``.

    None is *not known*; for the fields that a protocol does not have it is *none*.

    Interfaces are empty where a hook has none; ``icmp`` is (type, code), ``state`` conntrack's word, ``types`` the
    routing types (``LOCAL``, ``UNICAST``, …) of source and destination, ``fragment`` whether it is a second or later
    one, ``connection_mark`` what its connection carries, where a rule asks for that.
    """

    source: int
    destination: int
    protocol: int
    in_interface: str | None = ""
    out_interface: str | None = ""
    source_port: int | None = None
    destination_port: int | None = None
    icmp: tuple[int, int] | None = None
    tcp_flags: int | None = SYN
    tcp_options: frozenset[int] | None = None
    mark: int | None = 0
    connection_mark: int | None = None
    state: str | None = "NEW"
    source_type: str | None = None
    destination_type: str | None = None
    fragment: bool = False
    family: r.AddressFamily = r.AddressFamily.IPV4


def every(answers: Iterable[Certainty]) -> Certainty:
    """Yes if all are, no if one is."""
    doubt = False
    for answer in answers:
        if answer is Certainty.NO:
            return answer
        doubt = doubt or answer is Certainty.MAY
    return Certainty.MAY if doubt else Certainty.YES


def negated(answer: Certainty, *, when: bool) -> Certainty:
    """The opposite of ``answer`` when ``when``; doubt stays."""
    if not when or answer is Certainty.MAY:
        return answer
    return Certainty.NO if answer is Certainty.YES else Certainty.YES


def conditions(rule: r.Rule, packet: Packet) -> Certainty:
    """Whether all of ``rule``'s conditions hold except those on the mark, which a walk changes (`marked`)."""
    rest = end_conditions(rule, packet)
    if rest is Certainty.NO:
        return rest
    answers = [_FLOW_MATCHES[type(match)](match, packet) for match in rule.matches if type(match) in _FLOW_MATCHES]
    if rule.protocol is not None:
        answers.append(Certainty.of((packet.protocol == rule.protocol.number) != rule.protocol.negated))
    return every((rest, *answers))


def end_conditions(rule: r.Rule, packet: Packet) -> Certainty:
    """Whether ``rule``'s conditions hold that are the same for all flows between two ends.

    Those on mark, protocol and ports are left out.
    """
    for match, address in ((rule.source, packet.source), (rule.destination, packet.destination)):
        if match is not None and (
            (address & match.mask == match.value) == match.negated or match.family is not packet.family
        ):
            return Certainty.NO
    return every(_common(rule, packet))


def end_part(rule: r.Rule) -> r.Rule:
    """A rule with only those conditions that tell ends apart: the ones of `end_conditions` but for those in doubt."""
    return r.Rule(
        source=rule.source,
        destination=rule.destination,
        in_interface=rule.in_interface,
        out_interface=rule.out_interface,
        fragment=rule.fragment,
        matches=tuple(match for match in rule.matches if _COMMON_MATCHES.get(type(match), _doubt) is not _doubt),
    )


def always_in_doubt(rule: r.Rule) -> bool:
    """Whether ``rule`` has a condition that no packet's ends and flows tell about."""
    return any(_COMMON_MATCHES.get(type(match)) is _doubt for match in rule.matches)


def _common(rule: r.Rule, packet: Packet) -> Iterable[Certainty]:
    if rule.in_interface is not None:
        yield _interface(rule.in_interface, packet.in_interface)
    if rule.out_interface is not None:
        yield _interface(rule.out_interface, packet.out_interface)
    if rule.fragment is not None:
        yield Certainty.of(packet.fragment == rule.fragment)
    for match in rule.matches:
        if type(match) in _COMMON_MATCHES:
            yield _COMMON_MATCHES[type(match)](match, packet)


def marked(rule: r.Rule, mark: int | None) -> Certainty:
    """Whether ``rule``'s conditions on the mark hold; None is any mark, `UNNAMED` any that no rule names."""
    answer = Certainty.YES
    for match in rule.matches:
        if isinstance(match, r.MarkMatch):
            if mark is None or (mark == UNNAMED and match.mask != r.ALL_BITS):
                answer = Certainty.MAY
            elif (mark & match.mask == match.value) == match.negated:
                return Certainty.NO
    return answer


def _interface(match: r.InterfaceMatch, name: str | None) -> Certainty:
    if match.name == "+":
        return Certainty.of(not match.negated)
    if name is None:
        return Certainty.MAY
    same = name.startswith(match.name[:-1]) if match.name.endswith("+") else name == match.name
    return Certainty.of(same != match.negated)


def _within(port: int | None, ranges: Iterable[tuple[int, int]]) -> Certainty:
    return Certainty.of(None if port is None else any(first <= port <= last for first, last in ranges))


def _port(match: r.PortRange | None, port: int | None) -> Certainty:
    if match is None:
        return Certainty.YES
    return negated(_within(port, ((match.first, match.last),)), when=match.negated)


def _transport(match: r.TransportMatch, packet: Packet) -> Certainty:
    if packet.protocol != match.protocol:
        return Certainty.NO
    if packet.fragment:
        # ip_tables has a fragment's bytes for no header. nf_tables' own expressions, into which iptables-nft translates
        # tcp and udp, take them for one (net/netfilter/nf_tables_core.c, nft_payload_fast_eval), whatever they are.
        return Certainty.MAY if match.protocol in _TRANSLATED else Certainty.NO
    return every(
        (
            _port(match.source, packet.source_port),
            _port(match.destination, packet.destination_port),
            Certainty.of(flags_hold(match, packet)),
        )
    )


def flags_hold(match: r.TransportMatch, packet: Packet) -> bool | None:
    """Whether conditions on TCP's flags and options hold; None where the packet does not tell."""
    answers = []
    if match.tcp_flags is not None:
        mask, wanted, inverse = match.tcp_flags
        answers.append(None if packet.tcp_flags is None else (packet.tcp_flags & mask == wanted) != inverse)
    if match.tcp_option is not None:
        option, inverse = match.tcp_option
        answers.append(None if packet.tcp_options is None else (option in packet.tcp_options) != inverse)
    return False if False in answers else None if None in answers else True


def _multiport(match: r.MultiportMatch, packet: Packet) -> Certainty:
    if packet.protocol not in _WITH_PORTS or packet.fragment:
        return Certainty.NO
    source, destination = _within(packet.source_port, match.ranges), _within(packet.destination_port, match.ranges)
    if match.side == "sports":
        answer = source
    elif match.side == "dports":
        answer = destination
    else:  # either: the opposite of both not
        answer = negated(every((negated(source, when=True), negated(destination, when=True))), when=True)
    return negated(answer, when=match.negated)


def _state(match: r.StateMatch, packet: Packet) -> Certainty:
    # SNAT and DNAT are properties beside the state, which a packet here does not tell.
    if packet.state is None or not _STATES.issuperset(match.states):
        return Certainty.MAY
    return Certainty.of((packet.state in match.states) != match.negated)


_STATES = frozenset({"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"})


def _iprange(match: r.IpRangeMatch, packet: Packet) -> Certainty:
    if match.family is not packet.family:
        return Certainty.NO
    for bounds, address in ((match.source, packet.source), (match.destination, packet.destination)):
        if bounds is not None and (bounds[0] <= address <= bounds[1]) == bounds[2]:
            return Certainty.NO
    return Certainty.YES


def _icmp(match: r.IcmpMatch, packet: Packet) -> Certainty:
    if packet.protocol != match.family.icmp or packet.fragment:
        return Certainty.NO
    # ip6_tables has no type for any (net/netfilter/xt_tcpudp.c, icmp6_type_code_match).
    any_type = match.type == _ICMP_ANY and match.family is r.AddressFamily.IPV4
    if packet.icmp is None:
        return Certainty.YES if any_type and not match.negated else Certainty.MAY
    kind, code = packet.icmp
    same = any_type or (kind == match.type and match.code[0] <= code <= match.code[1])
    return Certainty.of(same != match.negated)


def _address_type(match: r.AddressTypeMatch, packet: Packet) -> Certainty:
    if match.limit:
        return Certainty.MAY  # as seen from one interface, which a packet here does not tell
    return every(
        Certainty.of(None if kind is None else (kind in names) != inverse)
        for names, inverse, kind in (
            (match.source, match.source_negated, packet.source_type),
            (match.destination, match.destination_negated, packet.destination_type),
        )
        if names
    )


def _doubt(match: r.Match, packet: Packet) -> Certainty:
    """*May*: a rate depends on the packets before, and the condition of an opaque match is not known."""
    del match, packet
    return Certainty.MAY


M = TypeVar("M", bound=r.Match)
_Judge = Callable[[r.Match, Packet], Certainty]


def _judge(judge: Callable[[M, Packet], Certainty]) -> _Judge:
    """The judge of one class, for a table whose keys are the classes."""
    return cast("_Judge", judge)


_FLOW_MATCHES: dict[type[r.Match], _Judge] = {
    r.TransportMatch: _judge(_transport),
    r.MultiportMatch: _judge(_multiport),
    r.IcmpMatch: _judge(_icmp),
}
# Comments match everything; marks are `marked`'s.
_COMMON_MATCHES: dict[type[r.Match], _Judge] = {
    r.StateMatch: _judge(_state),
    r.LimitMatch: _doubt,
    r.HashLimitMatch: _doubt,
    r.IpRangeMatch: _judge(_iprange),
    r.AddressTypeMatch: _judge(_address_type),
    r.OpaqueMatch: _doubt,
}
