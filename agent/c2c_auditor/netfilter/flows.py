"""Sets of flows: all protocols and their ports on one axis, as intervals.

So what passes is known exactly, and not by samples.

A *flow* here is what a first packet asks for: a protocol and, as it has them, its destination port or its ICMP type and
code. On the axis, each protocol with ports has 65,536 points, ICMP of either family one for each type and code, any
other protocol one. The axis is the same for both address families.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.cached import cached
from c2c_auditor.netfilter.keywords import PROTOCOL_NAMES
from c2c_auditor.netfilter.packet import Packet, flags_hold

# Disjoint intervals (first, last), both included, ascending, never touching.
FlowSet = tuple[tuple[int, int], ...]
# Flows that are still on their way, by the mark that they carry; None is any mark.
FlowsByMark = dict[int | None, FlowSet]

_SPAN = 1 << 16
_WITH_PORTS = (r.TCP, r.UDP, r.SCTP, r.DCCP, r.UDPLITE)
_WITH_TYPES = (r.ICMP, r.ICMPV6)
_BASES = {number: index * _SPAN for index, number in enumerate((*_WITH_PORTS, *_WITH_TYPES))}
_OTHERS = len(_BASES) * _SPAN
_REST = tuple(number for number in range(256) if number not in _BASES)
_REST_AT = {number: _OTHERS + index for index, number in enumerate(_REST)}
_ANY_ICMP = 255

NOTHING: FlowSet = ()
# From this ratio on, looking the intervals of the shorter set up in the longer one is faster than going through both.
_MUCH_SHORTER = 8


def union(*sets: FlowSet) -> FlowSet:
    """Flows of any of ``sets``."""
    if len(sets) == 1:
        return sets[0]
    if len(sets) == 2 and not (sets[0] and sets[1]):  # noqa: PLR2004 - what a walk does most: one of the two is empty
        return sets[0] or sets[1]
    joined: list[tuple[int, int]] = []
    for interval in sorted(interval for flows in sets for interval in flows):
        if joined and interval[0] <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(interval[1], joined[-1][1])
        else:
            joined.append(interval)
    return tuple(joined)


def both(left: FlowSet, right: FlowSet) -> FlowSet:
    """Flows of ``left`` and of ``right``."""
    if left == ALL or not right:
        return right
    if right == ALL or not left:
        return left
    if len(left) > len(right):
        left, right = right, left
    if len(left) * _MUCH_SHORTER < len(right):
        return tuple(cut for interval in left for cut in _cuts(interval, right))
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            found.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    met = tuple(found)
    return left if met == left else met  # one object for what tens of thousands of rules and walks have in common


def without(left: FlowSet, right: FlowSet) -> FlowSet:
    """Flows of ``left`` that are not in ``right``."""
    if not left or not right:
        return left
    if len(right) * _MUCH_SHORTER < len(left):
        return _without_few(left, right)
    rest: list[tuple[int, int]] = []
    j = 0
    for first, last in left:
        j = bisect_left(right, (first,), lo=j)
        if j and right[j - 1][1] >= first:
            j -= 1
        at, k = first, j
        while k < len(right) and right[k][0] <= last:
            if right[k][0] > at:
                rest.append((at, right[k][0] - 1))
            at = right[k][1] + 1
            k += 1
        if at <= last:
            rest.append((at, last))
    return tuple(rest)


def _without_few(left: FlowSet, right: FlowSet) -> FlowSet:
    """`without` where ``right`` has few intervals: the rest of ``left`` is copied as it is."""
    rest = list(left)
    for first, last in reversed(right):
        start, end = _met(rest, first, last)
        if start < end:
            edges = (rest[start][0], first - 1), (last + 1, rest[end - 1][1])
            rest[start:end] = [edge for edge in edges if edge[0] <= edge[1]]
    return tuple(rest)


def _met(flows: Sequence[tuple[int, int]], first: int, last: int) -> tuple[int, int]:
    """The slice of ``flows`` whose intervals meet the one from ``first`` to ``last``."""
    start = bisect_left(flows, (first,))
    if start and flows[start - 1][1] >= first:
        start -= 1
    return start, bisect_left(flows, (last + 1,), lo=start)


def _cuts(interval: tuple[int, int], flows: FlowSet) -> Iterator[tuple[int, int]]:
    """What of ``interval`` is in ``flows``."""
    first, last = interval
    start, end = _met(flows, first, last)
    return ((max(first, low), min(last, high)) for low, high in flows[start:end])


def meet(left: FlowSet, right: FlowSet) -> bool:
    """Whether a flow is in both."""
    if len(left) > len(right):
        left, right = right, left
    return any(start < end for start, end in (_met(right, *interval) for interval in left))


def add(flows_by_mark: FlowsByMark, more: FlowsByMark) -> None:
    """Put ``more`` into ``flows_by_mark``."""
    for mark, flows in more.items():
        flows_by_mark[mark] = union(flows_by_mark.get(mark, NOTHING), flows)


def joined(*parts: FlowsByMark) -> FlowsByMark:
    """The flows of all ``parts``; where only one has any, that one itself."""
    filled = [part for part in parts if part]
    if len(filled) == 1:
        return filled[0]
    flows_by_mark: FlowsByMark = {}
    for part in filled:
        add(flows_by_mark, part)
    return flows_by_mark


@cached
def ports(protocol: int, first: int, last: int) -> FlowSet:
    """Destination ports ``first`` to ``last`` of a protocol that has ports: one object for all who ask."""
    base = _BASES[protocol]
    return ((base + first, base + last),)


def of_protocol(number: int) -> FlowSet:
    """Every flow of the protocol with this IANA number."""
    base = _BASES.get(number)
    return ((base, base + _SPAN - 1),) if base is not None else ((_REST_AT[number], _REST_AT[number]),)


ALL: FlowSet = ((0, _OTHERS + len(_REST) - 1),)
_PORTED = union(*map(of_protocol, _WITH_PORTS))
# The protocols with more than one flow, and all others.
_SPANS = tuple(map(of_protocol, _BASES))
_SINGLE: FlowSet = ((_OTHERS, ALL[0][1]),)


@frozen(kw_only=True)
class Piece:
    """One stretch of the axis within one protocol.

    ``first`` and ``last`` are ports, for ICMP 256 times type plus code, and 0 for protocols without either.
    """

    protocol: int
    first: int
    last: int

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, str(self.protocol))
        if self.last - self.first == _SPAN - 1 or self.protocol not in _BASES:
            return name
        if self.protocol not in _WITH_TYPES:
            return f"{name} {self.first}" + (f"-{self.last}" if self.last != self.first else "")
        (kind, low), (last_kind, high) = divmod(self.first, 256), divmod(self.last, 256)
        if kind == last_kind:
            return f"{name} type {kind}" + (
                "" if (low, high) == (0, 255) else f" code {low}" + (f"-{high}" if high != low else "")
            )
        return f"{name} type {kind} code {low} to type {last_kind} code {high}"

    @property
    def flows(self) -> FlowSet:
        """The piece as a set."""
        base = _BASES.get(self.protocol)
        return ((base + self.first, base + self.last),) if base is not None else of_protocol(self.protocol)

    def packet(self, template: Packet) -> Packet:
        """A packet of the piece's first flow; everything else as in ``template``."""
        if self.protocol in _WITH_TYPES:
            return evolve(template, protocol=self.protocol, icmp=(self.first >> 8, self.first & 0xFF))
        return evolve(
            template, protocol=self.protocol, destination_port=self.first if self.protocol in _BASES else None
        )


def pieces(flows: FlowSet) -> Iterator[Piece]:
    """``flows`` cut at the bounds between protocols."""
    for first, last in flows:
        at = first
        while at <= last:
            if at >= _OTHERS:
                yield Piece(protocol=_REST[at - _OTHERS], first=0, last=0)
                at += 1
                continue
            index = at // _SPAN
            end = min(last, (index + 1) * _SPAN - 1)
            yield Piece(protocol=tuple(_BASES)[index], first=at - index * _SPAN, last=end - index * _SPAN)
            at = end + 1


def whole(flows: FlowSet) -> FlowSet:
    """The protocols of which every flow is in ``flows``."""
    complete = [of for of in _SPANS if both(of, flows) == of]
    return union(*complete, both(flows, _SINGLE))


def touched(flows: FlowSet) -> FlowSet:
    """The protocols of which any flow is in ``flows``."""
    return union(*(of for of in _SPANS if meet(of, flows)), both(flows, _SINGLE))


def matching(rule: r.Rule, packet: Packet) -> tuple[FlowSet, FlowSet]:
    """The flows that meet ``rule``'s conditions on protocol and ports, and those that may.

    Of ``packet`` only what is no flow counts: TCP flags and options.
    """
    surely = possibly = ALL
    if rule.protocol is not None:
        of = of_protocol(rule.protocol.number)
        surely = possibly = without(ALL, of) if rule.protocol.negated else of
    for match in rule.matches:
        if isinstance(match, r.TransportMatch | r.MultiportMatch | r.IcmpMatch):
            yes, may = _flows(match, packet)
            possibly = both(possibly, union(yes, may))
            surely = both(surely, yes)
    return surely, without(possibly, surely)


def _flows(match: r.TransportMatch | r.MultiportMatch | r.IcmpMatch, packet: Packet) -> tuple[FlowSet, FlowSet]:
    if isinstance(match, r.TransportMatch):
        return _transport(match, packet)
    if isinstance(match, r.MultiportMatch):
        return _multiport(match)
    whole = of_protocol(match.family.icmp)
    base = _BASES[match.family.icmp]
    low, high = match.code
    any_type = match.type == _ANY_ICMP and match.family is r.AddressFamily.IPV4  # ip6_tables has no type for any
    same = whole if any_type else ((base + match.type * 256 + low, base + match.type * 256 + high),)
    return (without(whole, same) if match.negated else same), NOTHING


def _transport(match: r.TransportMatch, packet: Packet) -> tuple[FlowSet, FlowSet]:
    flows = of_protocol(match.protocol)
    if match.destination is not None:
        named = ports(match.protocol, match.destination.first, match.destination.last)
        flows = without(flows, named) if match.destination.negated else named
    rest = flags_hold(match, packet)
    if (
        match.source is not None
    ):  # a client chooses its port as it likes: some flows match, others do not; of none of all ports, none
        rest = False if (match.source.first, match.source.last) == (0, _SPAN - 1) else rest and None
    if rest is None:
        return NOTHING, flows
    return (flows if rest else NOTHING), NOTHING


def _multiport(match: r.MultiportMatch) -> tuple[FlowSet, FlowSet]:
    named = union(*(ports(number, first, last) for number in _WITH_PORTS for first, last in match.ranges))
    rest = without(_PORTED, named)
    if match.side == "dports":
        return (rest, NOTHING) if match.negated else (named, NOTHING)
    if match.side == "sports":
        return NOTHING, _PORTED
    return (NOTHING, rest) if match.negated else (named, rest)


def shown(flows: FlowSet, most: int = 4) -> str:
    """``tcp 8080-8090, udp 53``: at most ``most`` stretches, then how many more."""
    if flows == ALL:
        return "everything"
    parts = list(pieces(flows))
    text = ", ".join(map(str, parts[:most]))
    return f"{text} and {len(parts) - most} more" if len(parts) > most else text
