"""What a comparison asks, in the words of `model.rule`: one function for each field that has some.

What depends on the protocol (ports, flags, types of ICMP) is decided when the whole rule is known (`draft`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.matches import ADDRESS_TYPES
from c2c_auditor.netfilter.cached import cached
from c2c_auditor.netfilter.native import loads
from c2c_auditor.netfilter.native.loads import EQUAL, UNEQUAL, Ask

Part = tuple[str, Hashable]
"""The name of a rule's field, or ``match``, ``never``, ``transport`` or a range's name, and its value."""

NEVER: tuple[Part, ...] = (("never", None),)
_ALWAYS: tuple[Part, ...] = ()
_ADDRESSES_AT = {
    r.AddressFamily.IPV4: {12: "source", 16: "destination"},
    r.AddressFamily.IPV6: {8: "source", 24: "destination"},
}
_NETWORK_FIELDS = {
    r.AddressFamily.IPV4: ((6, 2), (9, 1), (12, 4), (16, 4)),
    r.AddressFamily.IPV6: ((8, 16), (24, 16)),
}
"""Offset and length of what is understood in a family's header."""
_TRANSPORT_FIELDS = ((0, 2), (2, 2), (13, 1))
_FRAGMENT_OFFSET, _PROTOCOL = 6, 9
_FRAGMENT_BITS = b"\x1f\xff"
_ETHERTYPES = {r.AddressFamily.IPV4: b"\x08\x00", r.AddressFamily.IPV6: b"\x86\xdd"}
_INTERFACES = {loads.META_IIFNAME: "in_interface", loads.META_OIFNAME: "out_interface"}
_LONGEST_NAME = 16
_NO_INTERFACE = b"INVAL/D\0"
_LOOPBACK = 1
"""The index of ``lo``, in each network namespace."""
_STATES = {1: "INVALID", 2: "ESTABLISHED", 4: "RELATED", 8: "NEW", 64: "UNTRACKED"}
_FIB_TYPE, _FIB_SOURCE, _FIB_DESTINATION, _FIB_IN, _FIB_OUT = 3, 1, 2, 8, 16


@cached
def parts_of(family: r.AddressFamily, ask: Ask) -> tuple[Part, ...]:
    """What ``ask`` contributes to a rule of ``family``: nothing if it always holds, `NEVER` if it never does.

    A comparison that has no word of its own is an opaque match.
    """
    try:
        reader = _READERS.get(ask.load.kind)
        if reader is not None:
            return reader(family, ask)
    except NotUnderstood:
        pass
    return (("match", ask.opaque),)


def _equality(ask: Ask) -> bool:
    """Whether ``ask`` is a negated equality; NotUnderstood for other comparisons."""
    if ask.how not in (EQUAL, UNEQUAL):
        raise NotUnderstood(ask.how)
    return ask.how == UNEQUAL


def _whole(ask: Ask) -> bytes:
    """The bytes that the unmasked value is compared with; names alone may be compared in part."""
    key = ask.load.key[0] if ask.load.kind == "meta" else -1
    if ask.load.mask is not None or (key not in _INTERFACES and len(ask.first) != ask.load.length):
        raise NotUnderstood(ask.load.words)
    return ask.first


def _answer(*, holds: bool) -> tuple[Part, ...]:
    return _ALWAYS if holds else NEVER


def _payload(family: r.AddressFamily, ask: Ask) -> tuple[Part, ...]:
    load = ask.load
    base, offset = load.key
    if load.mask is None and len(ask.first) < load.length:  # the kernel compares as much as it is given
        load = load.part(offset, len(ask.first))
        ask = Ask(load=load, how=ask.how, first=ask.first, last=ask.last)
    if len(ask.first) != load.length or base not in (loads.NETWORK, loads.TRANSPORT):
        raise NotUnderstood(load.words)
    known = _NETWORK_FIELDS[family] if base == loads.NETWORK else _TRANSPORT_FIELDS
    cuts = sorted({at for start, length in known for at in (start, start + length)})
    inner = [at for at in cuts if offset < at < offset + load.length]
    if inner and ask.how == EQUAL and load.mask is None:  # nft joins comparisons of neighbours in a header
        at = inner[0] - offset
        halves = (load.part(offset, at), ask.first[:at]), (load.part(inner[0], load.length - at), ask.first[at:])
        return tuple(
            part for half, value in halves for part in parts_of(family, Ask(load=half, how=EQUAL, first=value))
        )
    if base == loads.TRANSPORT:
        return (("transport", ask),)
    return _in_header(family, ask, offset)


def _in_header(family: r.AddressFamily, ask: Ask, offset: int) -> tuple[Part, ...]:
    side = _ADDRESSES_AT[family].get(offset)
    if side is not None and ask.load.length <= family.width // 8:
        return _address(family, ask, side)
    if family is r.AddressFamily.IPV4 and (offset, ask.load.length) == (_PROTOCOL, 1):
        return _protocol(ask)
    if (
        family is r.AddressFamily.IPV4
        and (offset, ask.load.length, ask.load.mask) == (_FRAGMENT_OFFSET, 2, _FRAGMENT_BITS)
        and ask.first == bytes(2)
    ):
        return (("fragment", _equality(ask)),)
    raise NotUnderstood(ask.load.words)


def _address(family: r.AddressFamily, ask: Ask, side: str) -> tuple[Part, ...]:
    """A host or a network, whose mask is given, or follows from how many bytes are compared; or a range."""
    size = family.width // 8
    length = ask.load.length
    if ask.how not in (EQUAL, UNEQUAL):
        if length != size or ask.load.mask is not None:
            raise NotUnderstood(ask.load.words)
        between = ask.interval()
        return NEVER if between is None else ((f"{side}_range", between),)
    negated = ask.how == UNEQUAL
    mask = int.from_bytes((ask.load.mask or b"\xff" * length).ljust(size, b"\0"), "big")
    value = int.from_bytes(ask.first.ljust(size, b"\0"), "big")
    if value & ~mask or mask == 0:
        return _answer(holds=negated == bool(value & ~mask))
    return ((side, canonical.shared(r.AddressMatch(value=value, family=family, mask=mask, negated=negated))),)


def _protocol(ask: Ask) -> tuple[Part, ...]:
    number = _whole(ask)[0]
    if number == 0:  # hop-by-hop options; `model.rule` means "all" by it
        raise NotUnderstood("protocol 0")
    return (("protocol", canonical.protocol(number, negated=_equality(ask))),)


def _meta(family: r.AddressFamily, ask: Ask) -> tuple[Part, ...]:
    key = ask.load.key[0]
    if key == loads.META_L4PROTO:
        return _protocol(ask)
    if key == loads.META_MARK:
        return (("match", _mark(ask)),)
    negated = _equality(ask)
    value = _whole(ask)
    if key == loads.META_NFPROTO:
        return _answer(holds=(value[0] == family.nfproto) != negated)
    if key == loads.META_PROTOCOL:
        return _answer(holds=(value == _ETHERTYPES[family]) != negated)
    if key in _INTERFACES:
        return ((_INTERFACES[key], _interface(value, negated=negated)),)
    if key in (loads.META_IIF, loads.META_OIF) and _native(value) == _LOOPBACK:
        name = "in_interface" if key == loads.META_IIF else "out_interface"
        return ((name, canonical.shared(r.InterfaceMatch(name="lo", negated=negated))),)
    raise NotUnderstood(ask.load.words)


def _native(value: bytes) -> int:
    """A number of 32 bits in the machine's own order."""
    if len(value) != 4:  # noqa: PLR2004 - bytes of 32 bits
        raise NotUnderstood(value.hex())
    return int.from_bytes(value, sys.byteorder)


def _mark(ask: Ask) -> r.MarkMatch:
    mask = r.ALL_BITS if ask.load.mask is None else _native(ask.load.mask)
    return canonical.mark(_native(ask.first), mask, negated=_equality(ask))


def _interface(value: bytes, *, negated: bool) -> r.InterfaceMatch:
    """A name with its end is compared whole; one without an end is the beginning of names.

    Where no interface may match, iptables asks for a name that none can have (iptables/nft-shared.c, ``add_iface``).
    """
    if value == _NO_INTERFACE and not negated:
        return canonical.shared(r.InterfaceMatch(name="+", negated=True))
    name = value.partition(b"\0")[0]
    if not name:
        raise NotUnderstood("no interface")
    wildcard = "+" if len(name) == len(value) < _LONGEST_NAME else ""
    return canonical.shared(r.InterfaceMatch(name=name.decode("utf-8", "surrogateescape") + wildcard, negated=negated))


def _ct(family: r.AddressFamily, ask: Ask) -> tuple[Part, ...]:
    """A state. A packet is in exactly one, so being in one of several is to have a bit of them."""
    del family
    if ask.load.key[0] != loads.CT_STATE:
        raise NotUnderstood(ask.load.words)
    negated, value = _equality(ask), _native(ask.first)
    if ask.load.mask is not None:
        if value:
            raise NotUnderstood(ask.load.words)
        value, negated = _native(ask.load.mask), not negated
    elif value.bit_count() != 1:
        raise NotUnderstood(ask.load.words)
    if not value or value & ~sum(_STATES):
        raise NotUnderstood(str(value))
    names = frozenset(name for bit, name in _STATES.items() if value & bit)
    return (("match", canonical.states(names, negated=negated)),)


def _fib(family: r.AddressFamily, ask: Ask) -> tuple[Part, ...]:
    """The routing type of an address, as ``-m addrtype`` asks for it."""
    del family
    result, flags = ask.load.key
    negated, number = _equality(ask), _native(_whole(ask))
    side = flags & (_FIB_SOURCE | _FIB_DESTINATION)
    limit = {0: "", _FIB_IN: "in", _FIB_OUT: "out"}.get(flags & ~side)
    names = tuple(ADDRESS_TYPES.values())
    if result != _FIB_TYPE or limit is None or number >= len(names) or side not in (_FIB_SOURCE, _FIB_DESTINATION):
        raise NotUnderstood(ask.load.words)
    types = (names[number],)
    if side == _FIB_SOURCE:
        match = r.AddressTypeMatch(source=types, source_negated=negated, limit=limit)
    else:
        match = r.AddressTypeMatch(destination=types, destination_negated=negated, limit=limit)
    return (("match", canonical.shared(match)),)


Reader = Callable[[r.AddressFamily, Ask], tuple[Part, ...]]

_READERS: dict[str, Reader] = {"payload": _payload, "meta": _meta, "ct": _ct, "fib": _fib}
