"""Parses the options of the matches that have a value class: one function per module, one table per family.

Each function is given the module's options as ``(name, negated, values)`` and returns the value, or None for a match
that matches everything. It raises NotUnderstood for an option that the value has no field for; the caller keeps such a
module as an opaque value, so nothing is lost and nothing is guessed. Sources: iptables extensions/libxt_NAME.c,
libipt_NAME.c and libip6t_NAME.c, the ``_parse`` and ``_save`` functions of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, keywords

T = TypeVar("T")
Option = tuple[str, bool, tuple[str, ...]]
Options = Sequence[Option]
MatchParser = Callable[[Options], "r.Match | None"]
TargetParser = Callable[[Options], r.Target]

# The longest number that any option takes is one of 64 bits; int() refuses texts of thousands of digits.
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")
_MOST_64_BITS = (1 << 64) - 1
_LAST_PORT = 65535


def number(text: str, *, most: int = r.ALL_BITS) -> int:
    """Decimal, 0x hexadecimal or 0 octal, as strtoul reads it, at most ``most``."""
    if not _NUMBER.fullmatch(text):
        raise NotUnderstood(text)
    octal = len(text) > 1 and text[0] == "0" and text[1] not in "xX"
    if octal and text.strip("01234567"):
        raise NotUnderstood(text)
    value = int(text, 8) if octal else int(text, 0)
    if value > most:
        raise NotUnderstood(text)
    return value


def decimal(text: str, *, most: int = _MOST_64_BITS) -> int:
    """A decimal number, which may begin with zeros, at most ``most``."""
    if not _NUMBER.fullmatch(text) or text[1:2] in ("x", "X"):
        raise NotUnderstood(text)
    value = int(text)
    if value > most:
        raise NotUnderstood(text)
    return value


def known(words: Mapping[str, T], word: str) -> T:
    """The value of ``word`` in the table ``words``."""
    found = words.get(word)
    if found is None:
        raise NotUnderstood(word)
    return found


def only(options: Options) -> Option:
    """The one option of a module that takes one."""
    if len(options) != 1:
        raise NotUnderstood(str(options))
    return options[0]


def host(family: r.AddressFamily, text: str) -> int:
    """The number of one address."""
    try:
        return family.number(text)
    except ValueError as error:
        raise NotUnderstood(text) from error


def value_and_mask(text: str) -> tuple[int, int]:
    """``VALUE[/MASK]``."""
    value, slash, mask = text.partition("/")
    return number(value), number(mask) if slash else r.ALL_BITS


def port_pair(text: str, separator: str = ":") -> tuple[int, int]:
    """``PORT``, ``FIRST:LAST``, ``:LAST`` or ``FIRST:``."""
    first, colon, last = text.partition(separator)
    low = decimal(first, most=_LAST_PORT) if first else 0
    high = (decimal(last, most=_LAST_PORT) if last else _LAST_PORT) if colon else low
    if low > high:
        raise NotUnderstood(text)
    return low, high


def address_pair(family: r.AddressFamily, text: str) -> tuple[int, int]:
    """``ADDRESS`` or ``FIRST-LAST``."""
    low, dash, high = text.partition("-")
    first = host(family, low)
    return first, host(family, high) if dash else first


def _ports(values: tuple[str, ...], *, negated: bool) -> r.PortRange | None:
    return canonical.ports(*port_pair(values[0]), negated=negated)


def _tcp_flags(values: tuple[str, ...]) -> tuple[int, int]:
    def bits(text: str) -> int:
        total = 0
        for name in text.split(","):
            total |= known(keywords.TCP_FLAGS, name)
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
            raise NotUnderstood(name)
    if source is None and destination is None and flags is None and option is None:
        return None
    return r.TransportMatch(
        protocol=protocol, source=source, destination=destination, tcp_flags=flags, tcp_option=option
    )


_MULTIPORT_SIDES = {
    "--dports": "dports",
    "--destination-ports": "dports",
    "--sports": "sports",
    "--source-ports": "sports",
    "--ports": "ports",
}


def _multiport(options: Options) -> r.MultiportMatch:
    name, negated, values = only(options)
    return r.MultiportMatch(
        side=known(_MULTIPORT_SIDES, name),
        ranges=tuple(port_pair(part) for part in values[0].split(",")),
        negated=negated,
    )


def _mark(options: Options) -> r.MarkMatch:
    name, negated, values = only(options)
    if name != "--mark":
        raise NotUnderstood(name)
    value, mask = value_and_mask(values[0])
    return canonical.mark(value, mask, negated=negated)


def _comment(options: Options) -> r.CommentMatch:
    name, _, values = only(options)
    if name != "--comment":
        raise NotUnderstood(name)
    return canonical.comment(values[0])


def _state(option: str, options: Options) -> r.StateMatch:
    name, negated, values = only(options)
    if name != option:
        raise NotUnderstood(name)
    return canonical.states(frozenset(values[0].split(",")), negated=negated)


def rate(text: str, scale: int) -> int:
    """``COUNT[/UNIT]`` as the kernel's period in 1/``scale`` s.

    iptables refuses a rate of none and one that is too fast.
    """
    count, _, unit = text.partition("/")
    per_unit = decimal(count)
    period = canonical.limit_period(per_unit, known(keywords.TIME_UNITS, unit or "s"), scale) if per_unit else 0
    if period == 0:
        raise NotUnderstood(text)
    return period


def _limit(options: Options) -> r.LimitMatch:
    given = {name: values[0] if values else "" for name, _, values in options}
    burst = number(given.pop("--limit-burst", "5"))
    period = rate(given.pop("--limit", "3/hour"), 10_000)
    if given:
        raise NotUnderstood(" ".join(given))
    return r.LimitMatch(period=period, burst=burst)


def _hashlimit(family: r.AddressFamily, options: Options) -> r.HashLimitMatch:
    given = {name.removeprefix("--hashlimit-"): values[0] if values else "" for name, _, values in options}
    above = "above" in given
    per_period = given.pop("above", None) or given.pop("upto", "")
    whole = str(family.width)
    if "name" not in given:
        raise NotUnderstood("hashlimit without --hashlimit-name")
    match = r.HashLimitMatch(
        name=given.pop("name"),
        family=family,
        period=rate(per_period, 1_000_000),
        burst=number(given.pop("burst", "5")),
        above=above,
        mode=tuple(sorted(filter(None, given.pop("mode", "").split(",")))),
        source_mask=number(given.pop("srcmask", whole), most=family.width),
        destination_mask=number(given.pop("dstmask", whole), most=family.width),
        expire=number(given.pop("htable-expire", "0")),
        size=number(given.pop("htable-size", "0")),
        maximum=number(given.pop("htable-max", "0")),
        interval=number(given.pop("htable-gcinterval", "0")),
    )
    if given:
        raise NotUnderstood(" ".join(given))
    return match


def _iprange(family: r.AddressFamily, options: Options) -> r.IpRangeMatch:
    ranges: dict[str, tuple[int, int, bool]] = {}
    for name, negated, values in options:
        if name not in ("--src-range", "--dst-range"):
            raise NotUnderstood(name)
        ranges[name] = (*address_pair(family, values[0]), negated)
    return r.IpRangeMatch(family=family, source=ranges.get("--src-range"), destination=ranges.get("--dst-range"))


def _icmp(family: r.AddressFamily, options: Options) -> r.IcmpMatch | None:
    if not options:
        return None
    name, negated, values = only(options)
    if name != family.icmp_option:
        raise NotUnderstood(name)
    named = keywords.ICMP_TYPES[family].get(values[0])
    if named is not None:
        return r.IcmpMatch(family=family, type=named[0], code=named[1], negated=negated)
    type_, slash, code = values[0].partition("/")
    codes = (number(code, most=255),) * 2 if slash else (0, 255)
    return r.IcmpMatch(family=family, type=number(type_, most=255), code=(codes[0], codes[1]), negated=negated)


_LIMITED_TO = {"--limit-iface-in": "in", "--limit-iface-out": "out"}


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
            limit = known(_LIMITED_TO, name)
    return r.AddressTypeMatch(
        source=source,
        destination=destination,
        source_negated=inverted["--src-type"],
        destination_negated=inverted["--dst-type"],
        limit=limit,
    )


def _matches(family: r.AddressFamily) -> dict[str, MatchParser]:
    return {
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
        "hashlimit": partial(_hashlimit, family),
        "iprange": partial(_iprange, family),
        family.icmp_match: partial(_icmp, family),
        "addrtype": _addrtype,
    }


MATCHES = {family: _matches(family) for family in r.AddressFamily}
"""The parsers of each family, by the name that ``-m`` takes."""
