"""The conditions of one rule as they are collected, and the rule that they make with a target.

What is asked twice of one field is joined where a field of `model.rule` can say it, and opaque where none can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.native.conditions import Part, parts_of
from c2c_auditor.netfilter.native.loads import EQUAL, UNEQUAL, Ask

WITH_PORTS = (r.TCP, r.UDP, r.SCTP, r.DCCP, r.UDPLITE)
PORTS = {0: "source", 2: "destination"}
"""The side that a port stands for, by its offset in the header."""
_FLAGS_AT, _KNOWN_FLAGS, _ALL_FLAGS = 13, 0x3F, 0xFF
_ANY_TYPE = 255
"""Which stands for every type in IPv4."""
Interval = tuple[int, int, bool]


class Draft:
    """Conditions of a rule of ``family``. ``never`` is True when they cannot all hold."""

    def __init__(self, family: r.AddressFamily) -> None:
        self._family = family
        self._fields: dict[str, object] = {}
        self._matches: list[r.Match] = []
        self._transport: list[Ask] = []
        self._ranges: dict[str, list[Interval]] = {}
        self.never = False

    def add(self, condition: Ask | r.Match) -> None:
        """Add a comparison or a match."""
        if not isinstance(condition, Ask):
            self._matches.append(condition)
            return
        for part in parts_of(self._family, condition):
            self._add(part, condition)

    def forget_mark(self) -> None:
        """What was asked of the mark need not hold any longer: the packet got another one."""
        self._matches = [
            r.OpaqueMatch(module="nft", arguments=("mark before it was set",))
            if isinstance(match, r.MarkMatch)
            else match
            for match in self._matches
        ]

    def _add(self, part: Part, ask: Ask) -> None:
        name, value = part
        if name == "match":
            self._matches.append(value)  # type: ignore[arg-type]  # a "match" part is a Match
        elif name == "never":
            self.never = True
        elif name == "transport":
            self._transport.append(value)  # type: ignore[arg-type]  # a "transport" part is an Ask
        elif name.endswith("_range"):
            self._ranges.setdefault(name.removesuffix("_range"), []).append(value)  # type: ignore[arg-type]  # an Interval
        elif name not in self._fields:
            self._fields[name] = value
        elif self._fields[name] != value:
            self._again(name, value, ask)

    def _again(self, name: str, value: object, ask: Ask) -> None:
        """A second condition on a field that has one."""
        if isinstance(value, r.ProtocolMatch):
            known = self._fields[name]
            assert isinstance(known, r.ProtocolMatch)  # noqa: S101 - the field's own type
            if not (known.negated and value.negated):
                if known.number == value.number or not (known.negated or value.negated):
                    self.never = True
                elif known.negated:
                    self._fields[name] = value  # the one protocol says more than what it is not
                return
        between = _between(value) if isinstance(value, r.AddressMatch) else None
        if between is not None:
            self._ranges.setdefault(name, []).append(between)
        else:
            self._matches.append(ask.opaque)

    def rule(self, target: r.Target) -> r.Rule | None:
        """The rule with ``target``; None if no packet can meet its conditions."""
        matches = [*self._matches]
        possible = not self.never and self._add_transport(matches) and self._add_ranges(matches)
        if not possible:
            return None
        ordered = canonical.matches_in_order(matches)
        return r.Rule(matches=ordered, target=target, **self._fields)  # type: ignore[arg-type]  # named after Rule's fields

    def _add_ranges(self, matches: list[r.Match]) -> bool:
        """The ranges of addresses; False if one is empty."""
        for side, intervals in self._ranges.items():
            joined = _joined(intervals)
            if joined is None:
                return False
            for interval in joined:
                ends = {side: interval}
                matches.append(canonical.shared(r.IpRangeMatch(family=self._family, **ends)))
        return True

    def _add_transport(self, matches: list[r.Match]) -> bool:
        """What is asked of the header that the protocol has; False if no packet can have that."""
        protocol = self._fields.get("protocol")
        number = protocol.number if isinstance(protocol, r.ProtocolMatch) and not protocol.negated else 0
        if number in WITH_PORTS:
            return self._add_ports(number, matches)
        icmp: r.IcmpMatch | None = None
        for ask in self._transport:
            found = self._icmp(ask, icmp) if number == self._family.icmp else None
            if found is None:
                matches.append(ask.opaque)
            else:
                icmp = found
        if icmp is not None:
            matches.append(canonical.shared(icmp))
        return True

    def _icmp(self, ask: Ask, known: r.IcmpMatch | None) -> r.IcmpMatch | None:
        """A type, or a code behind a type; None for what is neither."""
        offset, length = ask.load.key[1], ask.load.length
        if ask.load.mask is not None or ask.how not in (EQUAL, UNEQUAL):
            return None
        negated, value = ask.how == UNEQUAL, ask.first
        if offset == 0 and known is None and value[0] != _ANY_TYPE and (length == 1 or not negated):
            code = (value[1], value[1]) if length == 2 else (0, 255)  # noqa: PLR2004 - type and code
            return r.IcmpMatch(family=self._family, type=value[0], code=code, negated=negated)
        if offset == 1 and length == 1 and known is not None and not (known.negated or negated):
            return evolve(known, code=(value[0], value[0])) if known.code == (0, 255) else None
        return None

    def _add_ports(self, protocol: int, matches: list[r.Match]) -> bool:
        ports: dict[str, list[Interval]] = {}
        flags: list[tuple[int, int, bool]] = []
        for ask in self._transport:
            side = PORTS.get(ask.load.key[1]) if ask.load.length == 2 and ask.load.mask is None else None  # noqa: PLR2004 - a port's bytes
            asked = _flags(ask) if protocol == r.TCP else None
            if side is not None:
                between = ask.interval()
                if between is None:
                    return False
                ports.setdefault(side, []).append(between)
            elif asked is not None:
                flags.append(asked)
            else:
                matches.append(ask.opaque)
        joined = {side: _joined(intervals) for side, intervals in ports.items()}
        if None in joined.values():
            return False
        ranges = {
            side: [
                found
                for low, high, negated in intervals or ()
                if (found := canonical.ports(low, high, negated=negated))
            ]
            for side, intervals in joined.items()
        }
        _add_matches(protocol, ranges, flags, matches)
        return True


def _add_matches(
    protocol: int,
    ranges: Mapping[str, Sequence[r.PortRange | None]],
    flags: list[tuple[int, int, bool]],
    matches: list[r.Match],
) -> None:
    """As few matches as hold all of these: one field of each kind fits in one."""
    source, destination = ([found for found in ranges.get(side, ()) if found] for side in ("source", "destination"))
    for at in range(max(len(source), len(destination), len(flags))):
        match = r.TransportMatch(
            protocol=protocol,
            source=source[at] if at < len(source) else None,
            destination=destination[at] if at < len(destination) else None,
            tcp_flags=flags[at] if at < len(flags) else None,
        )
        matches.append(canonical.shared(match))


def _flags(ask: Ask) -> tuple[int, int, bool] | None:
    """Mask, value and negation of a comparison of TCP's flags; None for another one, or bits that have no word."""
    if (ask.load.key[1], ask.load.length) != (_FLAGS_AT, 1) or ask.how not in (EQUAL, UNEQUAL):
        return None
    mask = _ALL_FLAGS if ask.load.mask is None else ask.load.mask[0]
    return None if mask & ~_KNOWN_FLAGS else (mask, ask.first[0], ask.how == UNEQUAL)


def _between(match: r.AddressMatch) -> Interval | None:
    """A host or network as a range; None for a mask that is no prefix."""
    width = ~match.mask & match.family.all_bits
    return None if width & (width + 1) else (match.value, match.value | width, match.negated)


def _joined(intervals: list[Interval]) -> list[Interval] | None:
    """The same conditions with those that are not negated in one; None if nothing meets them."""
    inside = [interval for interval in intervals if not interval[2]]
    outside = [interval for interval in intervals if interval[2]]
    if not inside:
        return outside
    low, high = max(first for first, _, _ in inside), min(last for _, last, _ in inside)
    return [(low, high, False), *outside] if low <= high else None
