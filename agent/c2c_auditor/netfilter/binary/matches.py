"""Decodes the private data of matches that have a value class: one function per layout.

A table per family holds the functions by module and revision.

Each function is given the bytes after ``struct xt_entry_match`` and returns the value, or None for a match that matches
everything. It raises NotUnderstood for options that its value has no word for, and for bytes that are too few. Layouts:
Linux include/uapi/linux/netfilter/xt_NAME.h; what "not given" looks like: iptables extensions/libxt_NAME.c, the
``_init`` and ``_save`` functions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical

T = TypeVar("T")


def fields(layout: str, data: bytes, at: int = 0) -> tuple[Any, ...]:
    """The values of ``layout`` in ``data`` from ``at`` on."""
    if len(data) < at + struct.calcsize(layout):
        raise NotUnderstood(data.hex())
    return struct.unpack_from(layout, data, at)


def known(words: Mapping[int, T], number: int) -> T:
    """What ``number`` stands for."""
    found = words.get(number)
    if found is None:
        raise NotUnderstood(str(number))
    return found


def address(family: r.AddressFamily, data: bytes, at: int) -> int:
    """The address in ``union nf_inet_addr`` at ``at``, which is 16 bytes in both families."""
    return int.from_bytes(fields("16s", data, at)[0][: family.width // 8], "big")


def text(field: bytes) -> str:
    """A C string; bytes that are no UTF-8 are kept as the text readers keep them."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _ports(first: int, last: int, negated: int) -> r.PortRange | None:
    return canonical.ports(first, last, negated=bool(negated))


def _transport(
    protocol: int,
    source: r.PortRange | None,
    destination: r.PortRange | None,
    *,
    flags: tuple[int, int, bool] | None = None,
    option: tuple[int, bool] | None = None,
) -> r.TransportMatch | None:
    if source is None and destination is None and flags is None and option is None:
        return None
    return r.TransportMatch(
        protocol=protocol, source=source, destination=destination, tcp_flags=flags, tcp_option=option
    )


def _tcp(data: bytes) -> r.TransportMatch | None:
    s0, s1, d0, d1, option, mask, compare, inverted = fields("=HHHHBBBB", data)
    return _transport(
        r.TCP,
        _ports(s0, s1, inverted & 1),
        _ports(d0, d1, inverted & 2),
        flags=(mask, compare, bool(inverted & 4)) if mask or compare or inverted & 4 else None,
        option=(option, bool(inverted & 8)) if option or inverted & 8 else None,
    )


def _udp(data: bytes) -> r.TransportMatch | None:
    s0, s1, d0, d1, inverted = fields("=HHHHB", data)
    return _transport(r.UDP, _ports(s0, s1, inverted & 1), _ports(d0, d1, inverted & 2))


def _ports_by_flag(protocol: int, layout: str, data: bytes) -> r.TransportMatch | None:
    """For sctp and dccp: the destination stands first, and flags tell which of the two counts.

    4 and 8 are chunks, types and options.
    """
    d0, d1, s0, s1, flags, inverted = fields(layout, data)
    if flags & ~3:
        raise NotUnderstood(str(flags))
    source = _ports(s0, s1, inverted & 1) if flags & 1 else None
    return _transport(protocol, source, _ports(d0, d1, inverted & 2) if flags & 2 else None)


def _mark(data: bytes) -> r.MarkMatch:
    value, mask, negated = fields("=IIB", data)
    return canonical.mark(value, mask, negated=bool(negated))


def _comment(data: bytes) -> r.CommentMatch:
    return canonical.comment(text(data))


def _limit(data: bytes) -> r.LimitMatch:
    period, burst = fields("=II", data)  # what follows is the kernel's own bookkeeping
    if period == 0:  # a rate without end; iptables sets none
        raise NotUnderstood(data.hex())
    return r.LimitMatch(period=period, burst=burst)


def _iprange(family: r.AddressFamily, data: bytes) -> r.IpRangeMatch:
    s0, s1, d0, d1 = (address(family, data, at) for at in (0, 16, 32, 48))
    (flags,) = fields("=B", data, 64)
    return r.IpRangeMatch(
        family=family,
        source=(s0, s1, bool(flags & 16)) if flags & 1 else None,
        destination=(d0, d1, bool(flags & 32)) if flags & 2 else None,
    )


def _icmp(family: r.AddressFamily, data: bytes) -> r.IcmpMatch:
    type_, low, high, inverted = fields("=BBBB", data)
    return r.IcmpMatch(family=family, type=type_, code=(low, high), negated=bool(inverted))


_SIDES = {0: "sports", 1: "dports", 2: "ports"}


def _multiport(data: bytes) -> r.MultiportMatch:
    side, count, *rest = fields("=BB15H15BB", data)
    ports, joined, inverted = rest[:15], rest[15:30], rest[30]
    if count > len(ports):
        raise NotUnderstood(str(count))
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < count:
        last = at + bool(joined[at])
        if last >= count:
            raise NotUnderstood(data.hex())
        ranges.append((ports[at], ports[last]))
        at = last + 1
    return r.MultiportMatch(side=known(_SIDES, side), ranges=tuple(ranges), negated=bool(inverted))


_STATES = {1: "INVALID", 2: "ESTABLISHED", 4: "RELATED", 8: "NEW"}
_CONNTRACK_STATES = _STATES | {64: "SNAT", 128: "DNAT", 256: "UNTRACKED"}
_STATE_MATCH_STATES = _STATES | {64: "UNTRACKED"}


def _names(mask: int, known: dict[int, str]) -> list[str]:
    """The names of the bits in ``mask``; NotUnderstood for a bit without one."""
    if mask & ~sum(known):
        raise NotUnderstood(str(mask))
    return [name for bit, name in known.items() if mask & bit]


def _state(data: bytes) -> r.StateMatch:
    (states,) = fields("=I", data)
    return canonical.states(frozenset(_names(states, _STATE_MATCH_STATES)))


def _conntrack(mask: str, data: bytes) -> r.StateMatch:
    """States, at the place that all revisions share; ``mask`` is the width of their mask.

    Flag 0x2000 says that ``-m state`` was written.
    """
    given, inverted, states = fields(f"=HH{mask}", data, 146)
    if given & ~0x2000 != 1:
        raise NotUnderstood(str(given))
    return canonical.states(frozenset(_names(states, _CONNTRACK_STATES)), negated=bool(inverted & 1))


ADDRESS_TYPES = {
    1 << bit: name
    for bit, name in enumerate(
        (
            *("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST"),
            *("BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"),
        )
    )
}


_LIMITED_TO = {0: "", 4: "in", 8: "out"}


def _addrtype(data: bytes) -> r.AddressTypeMatch:
    source, destination, flags = fields("=HHI", data)
    return r.AddressTypeMatch(
        source=tuple(sorted(_names(source, ADDRESS_TYPES))),
        destination=tuple(sorted(_names(destination, ADDRESS_TYPES))),
        source_negated=bool(flags & 1),
        destination_negated=bool(flags & 2),
        limit=known(_LIMITED_TO, flags & 12),
    )


_HASHLIMIT_MODES = {1: "dstip", 2: "dstport", 4: "srcip", 8: "srcport"}
_ABOVE, _IN_BYTES, _RATE_MATCH = 16, 32, 64
_GC_INTERVAL = 1000


def _usual_expiry(period: int) -> int:
    """What libxt_hashlimit.c takes for "not given", in ms.

    The unit in which it prints ``period`` (its ``print_rate``, periods in 1/1,000,000 s).
    """
    unit = 86400
    for finer in (3600, 60, 1):
        if period > finer * 1_000_000 or finer * 1_000_000 // period < finer * 1_000_000 % period:
            break
        unit = finer
    return unit * 1000


def _hashlimit(family: r.AddressFamily, name: bytes, scale: int, numbers: tuple[int, ...]) -> r.HashLimitMatch:
    mode, period, burst, size, maximum, interval, expire, source_mask, destination_mask = numbers
    period *= 1_000_000 // scale
    if mode & (_IN_BYTES | _RATE_MATCH) or period == 0:
        raise NotUnderstood(str(mode))
    return r.HashLimitMatch(
        name=text(name),
        family=family,
        period=period,
        burst=burst,
        above=bool(mode & _ABOVE),
        mode=tuple(sorted(_names(mode & ~_ABOVE, _HASHLIMIT_MODES))),
        source_mask=source_mask,
        destination_mask=destination_mask,
        expire=0 if expire == _usual_expiry(period) else expire,
        size=size,
        maximum=maximum,
        interval=0 if interval == _GC_INTERVAL else interval,
    )


def _hashlimit_1(family: r.AddressFamily, data: bytes) -> r.HashLimitMatch:
    return _hashlimit(family, data[:16], 10_000, fields("=IIIIIIIBB", data, 16))


def _hashlimit_2(family: r.AddressFamily, data: bytes) -> r.HashLimitMatch:
    period, burst, mode, *rest = fields("=QQIIIIIBB", data, 256)
    return _hashlimit(family, data[:256], 1_000_000, (mode, period, burst, *rest))


def _hashlimit_3(family: r.AddressFamily, data: bytes) -> r.HashLimitMatch:
    period, burst, mode, *rest = fields("=QQIIIII4xBB", data, 256)
    return _hashlimit(family, data[:256], 1_000_000, (mode, period, burst, *rest))


Decoder = Callable[[bytes], "r.Match | None"]


def _matches(family: r.AddressFamily) -> dict[tuple[str, int], Decoder]:
    return {
        ("tcp", 0): _tcp,
        ("udp", 0): _udp,
        ("sctp", 0): partial(_ports_by_flag, r.SCTP, "=HHHH276xII"),
        ("dccp", 0): partial(_ports_by_flag, r.DCCP, "=HHHHHH"),
        ("multiport", 1): _multiport,
        ("mark", 1): _mark,
        ("comment", 0): _comment,
        ("state", 0): _state,
        ("conntrack", 1): partial(_conntrack, "B"),
        ("conntrack", 2): partial(_conntrack, "H"),
        ("conntrack", 3): partial(_conntrack, "H"),
        ("limit", 0): _limit,
        ("hashlimit", 1): partial(_hashlimit_1, family),
        ("hashlimit", 2): partial(_hashlimit_2, family),
        ("hashlimit", 3): partial(_hashlimit_3, family),
        ("iprange", 1): partial(_iprange, family),
        (family.icmp_match, 0): partial(_icmp, family),
        ("addrtype", 1): _addrtype,
    }


MATCHES = {family: _matches(family) for family in r.AddressFamily}
"""The decoders of each family, by module and revision."""
