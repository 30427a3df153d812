"""What a container's MASQUERADE rule does to its packets, by where they go: into the overlay, or out of it.

A container's packets to the outside must leave with the cell's address, or no answer comes back. Its packets to other
containers must keep its own address. Which part of the overlay the rule leaves out beyond this cell's lease decides
nothing: other cells' containers are behind the vtep, and the rule does not hold there.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from itertools import pairwise

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.family import Address
from c2c_auditor.silk.masquerade import Excluded

_LAST = 0xFFFFFFFF
# Sorted, apart from each other: (first, last) addresses as integers.
Intervals = tuple[tuple[int, int], ...]


class Masquerading(Enum):
    """What a rule does, the worst last."""

    AS_WRITTEN = "what silk writes"
    ALIKE = "another rule, to the same effect"
    OVERLAY = "it gives packets to other containers the cell's address"
    BARE = "it leaves packets to the outside with the container's address"


@frozen(kw_only=True)
class Addresses:
    """The addresses that decide for one container.

    ``custom`` is what the operator leaves out (``no_masquerade_cidr_range``), None for silk's own choice; ``lease`` is
    None where it is not known. ``underlay`` is None where the interfaces are not known.
    """

    container: Address
    overlay: Intervals
    custom: Intervals | None
    lease: IPv4Network | None
    vtep: str
    underlay: tuple[str, ...] | None


def intervals(excluded: Iterable[Excluded]) -> Intervals:
    """The addresses of networks and ranges."""
    return _merged(
        (int(one.network_address), int(one.broadcast_address))
        if isinstance(one, IPv4Network)
        else (int(one[0]), int(one[1]))
        for one in excluded
    )


def masquerading(rule: r.Rule, at: Addresses, lost: frozenset[r.Loss] = frozenset()) -> Masquerading:
    """What ``rule``, whose source is the container, does; ``lost`` is what its listing does not show."""
    out = rule.out_interface
    exact = out == r.InterfaceMatch(name=at.vtep, negated=True)
    if r.Loss.INTERFACES in lost:
        out, exact = r.InterfaceMatch(name=at.vtep, negated=True), True
    left_out = excluded(rule)
    if left_out is None or not _holds_on_underlay(out, at) or not _within(left_out, _kept(at)):
        return Masquerading.BARE
    if holds_on(out, at.vtep) and not _within(at.overlay, left_out):
        return Masquerading.OVERLAY
    if not _spares_neighbours(left_out, at):
        return Masquerading.OVERLAY
    return Masquerading.AS_WRITTEN if exact and at.custom in (None, left_out) else Masquerading.ALIKE


def excluded(rule: r.Rule) -> Intervals | None:
    """The destinations that a MASQUERADE rule leaves out; None where that depends on more than addresses."""
    if not isinstance(rule.target, r.Masquerade) or rule.protocol or rule.fragment or rule.in_interface:
        return None
    found: list[tuple[int, int]] = []
    if rule.destination is not None:
        inside = _addresses(rule.destination)
        if inside is None:
            return None
        found += inside if rule.destination.negated else _others(inside)
    for match in rule.matches:
        if isinstance(match, r.IpRangeMatch) and match.source is None and match.destination is not None:
            first, last, negated = match.destination
            found += ((first, last),) if negated else _others(((first, last),))
        elif not isinstance(match, r.CommentMatch):
            return None
    return _merged(found)


def network_of(left_out: Intervals | None) -> IPv4Network | None:
    """The one network that ``left_out`` is; None if it is anything else."""
    if left_out is None or len(left_out) != 1:
        return None
    networks = tuple(summarize_address_range(*map(IPv4Address, left_out[0])))
    return networks[0] if len(networks) == 1 else None


def holds_on(out: r.InterfaceMatch | None, name: str) -> bool:
    """Whether a condition on the outgoing interface holds for ``name``."""
    if out is None:
        return True
    same = name.startswith(out.name[:-1]) if out.name.endswith("+") else out.name == name
    return same != out.negated


def _holds_on_underlay(out: r.InterfaceMatch | None, at: Addresses) -> bool:
    """Whether it holds on every interface of the underlay.

    Where those are not known, only a rule for all interfaces but the vtep does.
    """
    if at.underlay is None:
        return out is None or (out.negated and not out.name.endswith("+") and out.name == at.vtep)
    return all(holds_on(out, name) for name in at.underlay)


def _kept(at: Addresses) -> Intervals:
    """What may keep the container's address."""
    return _merged((*at.overlay, *(at.custom or ())))


def _spares_neighbours(left_out: Intervals, at: Addresses) -> bool:
    """Whether packets to containers of this cell keep their address, as far as they should.

    A container that is older than the cell's lease has an address and a rule of the lease before it.
    """
    own = (int(at.container), int(at.container))
    if at.custom is not None and not _within((own,), at.custom):
        return True  # the operator wants it otherwise
    lease = intervals((at.lease,)) if at.lease is not None else ()
    if lease and _within(lease if at.custom is None else _common(lease, at.custom), left_out):
        return True
    if lease and _within((own,), lease):
        return False
    return any(first <= own[0] <= last and first < last for first, last in left_out)


def _addresses(match: r.AddressMatch) -> Intervals | None:
    """The addresses under a mask; None for a mask with holes, which is no interval."""
    free = match.mask ^ _LAST
    return ((match.value, match.value | free),) if free & (free + 1) == 0 else None


def _others(inside: Intervals) -> Intervals:
    """All addresses but ``inside``."""
    bounds = [-1, *(end for interval in inside for end in interval), _LAST + 1]
    pairs = list(pairwise(bounds))[::2]
    return tuple((first + 1, last - 1) for first, last in pairs if first + 1 <= last - 1)


def _merged(found: Iterable[tuple[int, int]]) -> Intervals:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)


def _within(inner: Intervals, outer: Intervals) -> bool:
    return all(any(first >= low and last <= high for low, high in outer) for first, last in inner)


def _common(one: Intervals, other: Intervals) -> Intervals:
    return tuple(
        (max(first, low), min(last, high))
        for first, last in one
        for low, high in other
        if max(first, low) <= min(last, high)
    )
