"""The canonical form of a rule: which values are left out because they match everything, and the order of matches.

A rule's matches are tried one after the other and all must hold, so their order does not matter (a `limit` that
stands before a cheaper match only counts more packets). Tools print them in the order in which they were given, and
silk and iptables versions differ in that. Here they are sorted.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from sys import getrefcount
from typing import TypeVar, cast

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.cached import cached

T = TypeVar("T")

_RANK: dict[type, int] = {
    r.TransportMatch: 0,
    r.IcmpMatch: 1,
    r.MultiportMatch: 2,
    r.IpRangeMatch: 3,
    r.AddressTypeMatch: 4,
    r.StateMatch: 5,
    r.MarkMatch: 6,
    r.OpaqueMatch: 7,
    r.HashLimitMatch: 8,
    r.LimitMatch: 9,
    r.CommentMatch: 10,
}


FIRST_RANK = _RANK[r.TransportMatch]


def rank(match: r.Match) -> int:
    """The place of a match of this class among others."""
    return _RANK[type(match)]


def _order(match: r.Match) -> tuple[int, str]:
    return _RANK[type(match)], repr(match)


def matches_in_order(matches: list[r.Match]) -> tuple[r.Match, ...]:
    """Canonical order of ``matches``, each kept as often as it was given."""
    last = -1
    for match in matches:
        rank = _RANK[type(match)]
        if rank <= last:
            return tuple(sorted(matches, key=_order))
        last = rank
    return tuple(matches)  # as iptables prints silk's rules


_first: dict[object, object] = {}
_left = [0]  # how many of them the last look left
_FEW = 64
_PLAIN = (str, int, type(None))
"""What need not be shared."""


def shared(value: T) -> T:
    """The first value equal to ``value``, so that values of readers and plan are the same object and compare fast."""
    if isinstance(value, _PLAIN):
        return value
    return cast("T", _first.setdefault(value, value))


def forget_unheld() -> None:
    """Forget the values that nobody holds any longer: on a cell whose containers come and go they would be ever more.

    A weak reference for each of 20,000 values takes 3 MiB. A value that another thread asks for meanwhile is forgotten
    at worst, and the next equal one is the first then. A look at all takes 0.6 ms, so a few more are not worth it.
    """
    if len(_first) < _left[0] + _left[0] // 16 + _FEW:
        return
    values, counts = _counted(_first)
    for value, count in zip(values, counts, strict=True):
        if count <= _OWN:
            _first.pop(value, None)
    _left[0] = len(_first)


def _counted(table: dict[object, object]) -> tuple[list[object], list[int]]:
    """The values of ``table``, and how many references there are to each."""
    values = list(table)
    return values, list(map(getrefcount, values))


_OWN = _counted({value: value for value in (object(),)})[1][0]
"""How many references `_counted` finds to a value that only its table holds."""


@cached
def host(address: IPv4Address | IPv6Address) -> r.AddressMatch:
    """The match for exactly ``address``."""
    return shared(r.AddressMatch(value=int(address), family=r.AddressFamily.of(address.version)))


@cached
def network(net: IPv4Network | IPv6Network) -> r.AddressMatch | None:
    """The match for ``net``; None for 0.0.0.0/0 and ::/0, which match everything."""
    if net.prefixlen == 0:
        return None
    family = r.AddressFamily.of(net.version)
    return shared(r.AddressMatch(value=int(net.network_address), family=family, mask=int(net.netmask)))


_LAST_PORT = 65535


def ports(first: int, last: int, *, negated: bool) -> r.PortRange | None:
    """A range of ports; None for all of them, which is no condition.

    All but a range at either end is the rest, as nf_tables keeps it.
    """
    if (first, last) == (0, _LAST_PORT):
        return r.PortRange(first=first, last=last, negated=True) if negated else None
    if negated and first == 0:
        return r.PortRange(first=last + 1, last=_LAST_PORT)
    if negated and last == _LAST_PORT:
        return r.PortRange(first=0, last=first - 1)
    return r.PortRange(first=first, last=last, negated=negated)


@cached
def transport(protocol: int, first: int, last: int) -> r.TransportMatch:
    """Destination ports ``first`` to ``last`` of ``protocol``."""
    return shared(r.TransportMatch(protocol=protocol, destination=r.PortRange(first=first, last=last)))


@cached
def mark(value: int, mask: int = r.ALL_BITS, *, negated: bool = False) -> r.MarkMatch:
    """The packet's mark under ``mask`` is ``value``."""
    return shared(r.MarkMatch(value=value, mask=mask, negated=negated))


def comment(text: str) -> r.CommentMatch:
    """A comment match."""
    return shared(r.CommentMatch(text=text))


@cached
def set_mark(value: int, mask: int = r.ALL_BITS) -> r.SetMark:
    """The target that sets a mark."""
    return shared(r.SetMark(value=value, mask=mask))


@cached
def protocol(number: int, *, negated: bool = False) -> r.ProtocolMatch | None:
    """The match for an IP protocol; None for 0, which means all and therefore nothing."""
    if number == 0 and not negated:
        return None
    return shared(r.ProtocolMatch(number=number, negated=negated))


@cached
def states(names: frozenset[str], *, negated: bool = False) -> r.StateMatch:
    """A conntrack state match; the names sorted."""
    return shared(r.StateMatch(states=tuple(sorted(names)), negated=negated))


def limit_period(count: int, unit_seconds: int, scale: int) -> int:
    """The kernel's average for ``count`` packets per unit, in 1/``scale`` s.

    An integer division, as in extensions/libxt_limit.c and libxt_hashlimit.c.
    """
    return scale * unit_seconds // count


def as_listed(rule: r.Rule, lost: frozenset[r.Loss]) -> r.Rule:
    """``rule`` as a listing that lost ``lost`` would show it, to be compared with what was shown."""
    if r.Loss.INTERFACES in lost and (rule.in_interface is not None or rule.out_interface is not None):
        rule = evolve(rule, in_interface=None, out_interface=None)
    if r.Loss.HASHLIMIT_NAMES in lost and any(isinstance(match, r.HashLimitMatch) for match in rule.matches):
        reduced = tuple(
            evolve(match, name="") if isinstance(match, r.HashLimitMatch) else match for match in rule.matches
        )
        rule = evolve(rule, matches=reduced)
    return rule
