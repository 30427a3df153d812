"""The options of the matches and targets that have a value of their own: one function per module, collected in two tables.

Each function is given the module's options as ``(name, negated, values)`` and returns the value, or None for a match
that matches everything. It raises KeyError or ValueError for what it does not understand; the caller keeps such a
module as an opaque value, so nothing is lost and nothing is guessed. Sources: iptables extensions/libxt_NAME.c and
libipt_NAME.c, the ``_parse`` and ``_save`` functions of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, keywords

Option = tuple[str, bool, tuple[str, ...]]
Options = Sequence[Option]
MatchParser = Callable[[Options], "r.Match | None"]
TargetParser = Callable[[Options], r.Target]


def number(text: str, *, most: int = r.ALL_BITS) -> int:
    """Decimal, 0x hexadecimal or 0 octal, as strtoul reads it, at most ``most``."""
    octal = len(text) > 1 and text[0] == "0" and text.isdigit()
    value = int(text, 8) if octal else int(text, 0)
    if not 0 <= value <= most:
        raise ValueError(text)
    return value


def value_and_mask(text: str) -> tuple[int, int]:
    """``VALUE[/MASK]``."""
    value, slash, mask = text.partition("/")
    return number(value), number(mask) if slash else r.ALL_BITS


def port_pair(text: str, separator: str = ":") -> tuple[int, int]:
    """``PORT``, ``FIRST:LAST``, ``:LAST`` or ``FIRST:``."""
    first, colon, last = text.partition(separator)
    low = int(first) if first else 0
    high = (int(last) if last else 65535) if colon else low
    if not 0 <= low <= high <= 65535:  # noqa: PLR2004 - the last port
        raise ValueError(text)
    return low, high


def _ports(values: tuple[str, ...], *, negated: bool) -> r.PortRange | None:
    return canonical.ports(*port_pair(values[0]), negated=negated)


def _tcp_flags(values: tuple[str, ...]) -> tuple[int, int]:
    def bits(text: str) -> int:
        total = 0
        for name in text.split(","):
            total |= keywords.TCP_FLAGS[name]
        return total

    return bits(values[0]), bits(values[1])


def transport(protocol: int, options: Options) -> r.TransportMatch | None:
    """``-m tcp`` and its kin; None when it names neither ports nor flags."""
    source = destination = None
    flags: tuple[int, int, bool] | None = None
    option: tuple[int, bool] | None = None
    for name, negated, values in options:
        if name in ("--sport", "--source-port"):
            source = _ports(values, negated=negated)
        elif name in ("--dport", "--destination-port"):
            destination = _ports(values, negated=negated)
        elif protocol == r.TCP and name == "--tcp-flags":
            flags = (*_tcp_flags(values), negated)
        elif protocol == r.TCP and name == "--syn":
            flags = (0x17, 0x02, negated)
        elif protocol == r.TCP and name == "--tcp-option":
            option = (number(values[0], most=255), negated)
        else:
            raise KeyError(name)
    if source is None and destination is None and flags is None and option is None:
        return None
    return r.TransportMatch(
        protocol=protocol, source=source, destination=destination, tcp_flags=flags, tcp_option=option
    )


def _multiport(options: Options) -> r.MultiportMatch:
    ((name, negated, values),) = options
    side = {
        "--dports": "dports",
        "--destination-ports": "dports",
        "--sports": "sports",
        "--source-ports": "sports",
        "--ports": "ports",
    }[name]
    return r.MultiportMatch(side=side, ranges=tuple(port_pair(part) for part in values[0].split(",")), negated=negated)


def _mark(options: Options) -> r.MarkMatch:
    ((name, negated, values),) = options
    if name != "--mark":
        raise KeyError(name)
    value, mask = value_and_mask(values[0])
    return canonical.mark(value, mask, negated=negated)


def _comment(options: Options) -> r.CommentMatch:
    ((name, _, values),) = options
    if name != "--comment":
        raise KeyError(name)
    return canonical.comment(values[0])


def _state(option: str, options: Options) -> r.StateMatch:
    ((name, negated, values),) = options
    if name != option:
        raise KeyError(name)
    return canonical.states(frozenset(values[0].split(",")), negated=negated)


def rate(text: str, scale: int) -> int:
    """``COUNT[/UNIT]`` as the kernel's period in 1/``scale`` s."""
    count, _, unit = text.partition("/")
    return canonical.limit_period(int(count), keywords.TIME_UNITS[unit or "s"], scale)


def _limit(options: Options) -> r.LimitMatch:
    given = {name: values[0] for name, _, values in options}
    burst = number(given.pop("--limit-burst", "5"))
    period = rate(given.pop("--limit", "3/hour"), 10_000)
    if given:
        raise KeyError(*given)
    return r.LimitMatch(period=period, burst=burst)


def _hashlimit(options: Options) -> r.HashLimitMatch:
    given = {name.removeprefix("--hashlimit-"): values for name, _, values in options}
    above = "above" in given
    text = given.pop("above", None) or given.pop("upto")
    match = r.HashLimitMatch(
        name=given.pop("name")[0],
        period=rate(text[0], 1_000_000),
        burst=number(given.pop("burst", ("5",))[0]),
        above=above,
        mode=tuple(sorted(filter(None, given.pop("mode", ("",))[0].split(",")))),
        source_mask=number(given.pop("srcmask", ("32",))[0]),
        destination_mask=number(given.pop("dstmask", ("32",))[0]),
        expire=number(given.pop("htable-expire", ("0",))[0]),
        size=number(given.pop("htable-size", ("0",))[0]),
        maximum=number(given.pop("htable-max", ("0",))[0]),
        interval=number(given.pop("htable-gcinterval", ("0",))[0]),
    )
    if given:
        raise KeyError(*given)
    return match


def _iprange(options: Options) -> r.IpRangeMatch:
    source = destination = None
    for name, negated, values in options:
        low, dash, high = values[0].partition("-")
        pair = (int(IPv4Address(low)), int(IPv4Address(high if dash else low)), negated)
        if name == "--src-range":
            source = pair
        elif name == "--dst-range":
            destination = pair
        else:
            raise KeyError(name)
    return r.IpRangeMatch(source=source, destination=destination)


def _icmp(options: Options) -> r.IcmpMatch | None:
    if not options:
        return None
    ((name, negated, values),) = options
    if name != "--icmp-type":
        raise KeyError(name)
    known = keywords.ICMP_TYPES.get(values[0])
    if known is not None:
        return r.IcmpMatch(type=known[0], code=known[1], negated=negated)
    type_, slash, code = values[0].partition("/")
    codes = (number(code, most=255),) * 2 if slash else (0, 255)
    return r.IcmpMatch(type=number(type_, most=255), code=(codes[0], codes[1]), negated=negated)


def _addrtype(options: Options) -> r.AddressTypeMatch:
    source: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()
    inverted = {"--src-type": False, "--dst-type": False}
    limit = ""
    for name, negated, values in options:
        if name == "--src-type":
            source, inverted[name] = tuple(sorted(values[0].split(","))), negated
        elif name == "--dst-type":
            destination, inverted[name] = tuple(sorted(values[0].split(","))), negated
        else:
            limit = {"--limit-iface-in": "in", "--limit-iface-out": "out"}[name]
    return r.AddressTypeMatch(
        source=source,
        destination=destination,
        source_negated=inverted["--src-type"],
        destination_negated=inverted["--dst-type"],
        limit=limit,
    )


MATCHES: dict[str, MatchParser] = {
    "tcp": partial(transport, r.TCP),
    "udp": partial(transport, r.UDP),
    "sctp": partial(transport, r.SCTP),
    "dccp": partial(transport, r.DCCP),
    "udplite": partial(transport, r.UDPLITE),
    "multiport": _multiport,
    "mark": _mark,
    "comment": _comment,
    "state": partial(_state, "--state"),
    "conntrack": partial(_state, "--ctstate"),
    "limit": _limit,
    "hashlimit": _hashlimit,
    "iprange": _iprange,
    "icmp": _icmp,
    "addrtype": _addrtype,
}
