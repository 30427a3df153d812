"""Bytes of a legacy table's entries as rules: pure, bytes in, values out.

The layouts are the kernel's uapi structures on a 64-bit machine: linux/netfilter_ipv4/ip_tables.h, linux/netfilter/x_tables.h, xt_*.h, nf_nat.h.
Numbers are in the machine's byte order, except addresses and NAT's ports.

A match or target without a layout here, or with options that its value has no word for, is kept whole: its name, its revision, and its bytes in
hexadecimal. iptables-save would print its options in words of its own, which only its shared library knows, so such a value never equals the one that
a text gives. Since Linux 4.11 the kernel blanks whatever it keeps in these bytes for itself (x_tables.c, ``xt_data_to_user``), so they compare.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.sources.xtables_matches import MATCHES, text
from c2c_auditor.sources.xtables_targets import TARGETS

ENTRY_SIZE = 112
"""Bytes of ``struct ipt_entry`` before its matches."""
KEPT_SIZE = 92
"""How many of them belong to the rule; ``comefrom`` and the counters follow."""

_LEFT_OUT = ENTRY_SIZE - KEPT_SIZE
_EXTENSION_SIZE = 32
_ADDRESSES = struct.Struct("!IIII16s16s16s16s")
_AFTER_ADDRESSES = struct.Struct("=HBB4xHH")
_EXTENSION = struct.Struct("=H29sB")
_VIA_IN, _VIA_OUT, _SOURCE, _DESTINATION, _FRAGMENT, _PROTOCOL = 1, 2, 8, 16, 32, 64
_IS_FRAGMENT, _IS_GOTO = 1, 2
_ALL_PORTS = (0, 65535)

_VERDICT = struct.Struct("=i")
_VERDICTS = {-1: r.DROP, -2: r.ACCEPT, -4: r.Verdict(name="QUEUE"), -5: r.RETURN}
FINAL_VERDICTS = frozenset(_VERDICT.pack(number) for number in _VERDICTS)
"""First four bytes of a standard target's data that decides or returns; others are a jump."""


def decode_entry(entry: bytes, chain: str) -> r.Rule:
    """The rule of one entry: its first `KEPT_SIZE` bytes, its matches and its target.

    ``chain`` is where a jump goes, empty for a rule that only counts: the bytes hold an offset instead of it, or nothing at all.
    Raises ValueError for bytes that the kernel cannot have given.
    """
    try:
        source, destination, source_mask, destination_mask, in_name, out_name, in_mask, out_mask = _ADDRESSES.unpack_from(entry)
        protocol, flags, inverted, target_offset, size = _AFTER_ADDRESSES.unpack_from(entry, _ADDRESSES.size)
        target_offset -= _LEFT_OUT
        if size - _LEFT_OUT != len(entry) or not KEPT_SIZE <= target_offset < len(entry):
            raise ValueError(size)
        matches = [found for data in _extensions(entry, target_offset) if (found := _match(data)) is not None]
        return r.Rule(
            source=_address(source, source_mask, negated=bool(inverted & _SOURCE)),
            destination=_address(destination, destination_mask, negated=bool(inverted & _DESTINATION)),
            in_interface=_interface(in_name, in_mask, negated=bool(inverted & _VIA_IN)),
            out_interface=_interface(out_name, out_mask, negated=bool(inverted & _VIA_OUT)),
            protocol=canonical.protocol(protocol, negated=bool(inverted & _PROTOCOL)),
            fragment=not inverted & _FRAGMENT if flags & _IS_FRAGMENT else None,
            matches=canonical.matches_in_order(matches),
            target=_target(entry[target_offset:], chain, goto=bool(flags & _IS_GOTO)),
        )
    except struct.error as error:
        raise ValueError(len(entry)) from error


def _extensions(entry: bytes, end: int) -> Iterator[bytes]:
    at = KEPT_SIZE
    while at < end:
        size = _EXTENSION.unpack_from(entry, at)[0]
        if size < _EXTENSION_SIZE or at + size > end:
            raise ValueError(size)
        yield entry[at : at + size]
        at += size


@lru_cache(maxsize=65536)
def _address(value: int, mask: int, *, negated: bool) -> r.AddressMatch | None:
    if mask == 0 and not negated:
        return None
    return canonical.shared(r.AddressMatch(value=value & mask, mask=mask, negated=negated))


@lru_cache(maxsize=4096)
def _interface(field: bytes, mask: bytes, *, negated: bool) -> r.InterfaceMatch | None:
    """The mask covers a whole name with the zero byte after it; one that covers less makes a wildcard."""
    covered = len(mask) - len(mask.lstrip(b"\xff"))
    name = text(field)
    if covered <= len(field.partition(b"\0")[0]):
        name = text(field[:covered]) + "+"
    if covered == 0 and not negated:
        return None
    return canonical.shared(r.InterfaceMatch(name=name, negated=negated))


@lru_cache(maxsize=65536)
def _match(extension: bytes) -> r.Match | None:
    """One match; None for one that matches everything. Remembered by its bytes: most matches of a cell repeat."""
    _, name, revision = _EXTENSION.unpack_from(extension)
    data, module = extension[_EXTENSION_SIZE:], text(name)
    decoder = MATCHES.get((module, revision))
    if decoder is not None:
        try:
            found = decoder(data)
            return found if found is None else canonical.shared(found)
        except (KeyError, ValueError):
            pass  # an option without a word of its own
    return r.OpaqueMatch(module=module, arguments=_opaque(revision, data))


def _opaque(revision: int, data: bytes) -> tuple[str, ...]:
    return f"revision {revision}", data.hex()


def _target(extension: bytes, chain: str, *, goto: bool) -> r.Target:
    size, field, revision = _EXTENSION.unpack_from(extension)
    if size != len(extension):
        raise ValueError(size)
    name, data = text(field), extension[_EXTENSION_SIZE:]
    if not name:
        if data[:4] in FINAL_VERDICTS:
            return _VERDICTS[_VERDICT.unpack_from(data)[0]]
        if not chain:
            return r.NO_TARGET
        return canonical.shared(r.Goto(chain=chain) if goto else r.Jump(chain=chain))
    return _module_target(name, revision, data)


@lru_cache(maxsize=4096)
def _module_target(name: str, revision: int, data: bytes) -> r.Target:
    decoder = TARGETS.get((name, revision))
    if decoder is not None:
        try:
            return canonical.shared(decoder(data))
        except (KeyError, ValueError):
            pass  # an option without a word of its own
    return r.OpaqueTarget(name=name, arguments=_opaque(revision, data))
