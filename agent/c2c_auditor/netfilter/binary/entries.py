"""Bytes of a legacy table's entries as rules: pure, bytes in, values out.

The layouts are the kernel's uapi structures on a 64-bit machine: linux/netfilter_ipv4/ip_tables.h,
linux/netfilter/x_tables.h, xt_*.h, nf_nat.h. Numbers are in the machine's byte order, except addresses and NAT's ports.

A match or target without a layout here, or with options that its value has no word for, is kept whole: its name, its
revision, and its bytes in hexadecimal. iptables-save would print its options in words of its own, which only its shared
library knows, so such a value never equals the one that a text gives. Since Linux 4.11 the kernel blanks whatever it
keeps in these bytes for itself (x_tables.c, ``xt_data_to_user``), so they compare.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.matches import MATCHES, text
from c2c_auditor.netfilter.binary.targets import TARGETS

ENTRY_SIZE = 112
"""Bytes of ``struct ipt_entry`` before its matches."""

_BEFORE_COUNTERS = 92
_HEADER_SIZE = 32
_REVISION = 31
_ADDRESSES = struct.Struct("!IIII16s16s16s16s")
_AFTER_ADDRESSES = struct.Struct("=HBB4xHH")
_HEADER = struct.Struct("=H29sB")
_VIA_IN, _VIA_OUT, _SOURCE, _DESTINATION, _FRAGMENT, _PROTOCOL = 1, 2, 8, 16, 32, 64
_IS_FRAGMENT, _IS_GOTO = 1, 2

_NO_WORD = (LookupError, ValueError, struct.error)
"""What a decoder raises for an option without a word of its own, or for a layout that is not the one it knows."""
_VERDICT = struct.Struct("=i")
_VERDICTS = {-1: r.DROP, -2: r.ACCEPT, -4: r.Verdict(name="QUEUE"), -5: r.RETURN}
_FINAL_VERDICTS = frozenset(_VERDICT.pack(number) for number in _VERDICTS)


def decode_entry(entry: bytes, chain: str | None = None) -> r.Rule:
    """The rule of one ``struct ipt_entry`` with its matches and its target.

    ``chain`` is where a jump goes (see `is_jump`), for the bytes hold an offset instead; it is empty for a rule that
    only counts. Raises ValueError for bytes that the kernel cannot have given.
    """
    try:
        source, destination, source_mask, destination_mask, in_name, out_name, in_mask, out_mask = (
            _ADDRESSES.unpack_from(entry)
        )
        protocol, flags, inverted, _, _ = _AFTER_ADDRESSES.unpack_from(entry, _ADDRESSES.size)
        *matches, (target, revision, data) = (_header(entry, at, end) for at, end in _extensions(entry))
        return r.Rule(
            source=_address(source, source_mask, negated=bool(inverted & _SOURCE)),
            destination=_address(destination, destination_mask, negated=bool(inverted & _DESTINATION)),
            in_interface=_interface(in_name, in_mask, negated=bool(inverted & _VIA_IN)),
            out_interface=_interface(out_name, out_mask, negated=bool(inverted & _VIA_OUT)),
            protocol=canonical.protocol(protocol, negated=bool(inverted & _PROTOCOL)),
            fragment=not inverted & _FRAGMENT if flags & _IS_FRAGMENT else None,
            matches=canonical.matches_in_order([found for match in matches if (found := _match(*match)) is not None]),
            target=_target(target, revision, data) if target else _verdict(data, chain, goto=bool(flags & _IS_GOTO)),
        )
    except (struct.error, KeyError) as error:
        raise ValueError(str(error)) from error


def is_jump(entry: bytes, target_offset: int) -> bool:
    """Whether an entry goes to another chain, or on to the next rule: its target has no name, and its data, the last 8 bytes, are no verdict."""
    return entry[target_offset + 2] == 0 and entry[-8:-4] not in _FINAL_VERDICTS


def layout(entry: bytes) -> struct.Struct:
    """The parts of an entry that make its rule: all but the counters before its matches and what follows the names in it.

    The kernel writes a name up to its end (x_tables.c, ``xt_obj_to_user``) into memory that libiptc does not clear, so
    anything may stand behind it. Entries with equal parts have the same layout, for names and sizes are among the
    parts. Raises ValueError as `decode_entry` does.
    """
    parts, kept = f"={_BEFORE_COUNTERS}s{ENTRY_SIZE - _BEFORE_COUNTERS}x", 0
    for at, end in _extensions(entry):
        named = entry.index(0, at + 2, at + _REVISION) + 1 - at
        parts += f"{kept + named}s{_REVISION - named}x"
        kept = end - at - _REVISION
    return struct.Struct(f"{parts}{kept}s")


def _extensions(entry: bytes) -> Iterator[tuple[int, int]]:
    """Beginning and end of each match and, last, of the target."""
    if len(entry) < ENTRY_SIZE + _HEADER_SIZE:
        raise ValueError(len(entry))
    *_, target_offset, size = _AFTER_ADDRESSES.unpack_from(entry, _ADDRESSES.size)
    if size != len(entry) or not ENTRY_SIZE <= target_offset <= size - _HEADER_SIZE:
        raise ValueError((target_offset, size, len(entry)))
    at = ENTRY_SIZE
    while at < size:
        end = at + _HEADER.unpack_from(entry, at)[0]
        if end < at + _HEADER_SIZE or end > (target_offset if at < target_offset else size):
            raise ValueError((at, end))
        yield at, end
        at = end


def _header(entry: bytes, at: int, end: int) -> tuple[str, int, bytes]:
    """Name, revision and data of a match or target."""
    _, name, revision = _HEADER.unpack_from(entry, at)
    return text(name), revision, entry[at + _HEADER_SIZE : end]


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
def _match(module: str, revision: int, data: bytes) -> r.Match | None:
    """One match; None for one that matches everything. Remembered by its bytes: most matches of a cell repeat."""
    decoder = MATCHES.get((module, revision))
    if decoder is not None:
        try:
            found = decoder(data)
            return found if found is None else canonical.shared(found)
        except _NO_WORD:
            pass
    return r.OpaqueMatch(module=module, arguments=_opaque(revision, data))


@lru_cache(maxsize=4096)
def _target(name: str, revision: int, data: bytes) -> r.Target:
    decoder = TARGETS.get((name, revision))
    if decoder is not None:
        try:
            return canonical.shared(decoder(data))
        except _NO_WORD:
            pass
    return r.OpaqueTarget(name=name, arguments=_opaque(revision, data))


def _opaque(revision: int, data: bytes) -> tuple[str, ...]:
    return f"revision {revision}", data.hex()


def _verdict(data: bytes, chain: str | None, *, goto: bool) -> r.Target:
    if chain is None:
        return _VERDICTS[_VERDICT.unpack_from(data)[0]]
    if not chain:
        return r.NO_TARGET
    return canonical.shared(r.Goto(chain=chain) if goto else r.Jump(chain=chain))
