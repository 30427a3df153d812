"""Decodes entries of a legacy table into rules.

The layouts are the kernel's uapi structures on a 64-bit machine: linux/netfilter_ipv4/ip_tables.h,
linux/netfilter_ipv6/ip6_tables.h, linux/netfilter/x_tables.h, xt_*.h, nf_nat.h. Numbers are in the machine's byte
order, except addresses and NAT's ports.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from attrs import field, frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.extensions import decode_match, decode_target
from c2c_auditor.netfilter.binary.matches import fields, known, text
from c2c_auditor.netfilter.cached import cached

_HEADER_SIZE = 32
_REVISION = 31
_HEADER = struct.Struct("=H29sB")
_VIA_IN, _VIA_OUT, _SOURCE, _DESTINATION, _FRAGMENT, _PROTOCOL = 1, 2, 8, 16, 32, 64


@frozen(kw_only=True)
class Layout:
    """Where the fields of a family's entry stand: ``struct ipt_entry`` or ``struct ip6t_entry``.

    ``size`` is that of an entry before its matches, ``numbers_at`` the place of the offset of its target, its size and,
    as ``numbers`` shows, its packets. What stands from ``counters_at`` up to the matches belongs to no rule.
    """

    family: r.AddressFamily
    size: int
    numbers_at: int
    counters_at: int
    numbers: str
    """Offset of the target, size of the entry, packets."""
    addresses: struct.Struct
    """Source and destination, their masks, the names of the interfaces and the masks of these."""
    conditions: struct.Struct
    """Protocol, flags and inverted flags, behind the addresses."""
    is_fragment: int
    """The flag for ``-f``; 0 in a family that has none."""
    is_goto: int
    sizes: slice = field(init=False)
    """The bytes that hold an entry's size and that of its matches."""

    @sizes.default
    def _sizes(self) -> slice:
        return slice(self.numbers_at, self.numbers_at + 4)


LAYOUTS = {
    r.AddressFamily.IPV4: Layout(
        family=r.AddressFamily.IPV4,
        size=112,
        numbers_at=88,
        counters_at=92,
        numbers="=HH4xQ",
        addresses=struct.Struct("4s4s4s4s16s16s16s16s"),
        conditions=struct.Struct("=HBB"),
        is_fragment=1,
        is_goto=2,
    ),
    r.AddressFamily.IPV6: Layout(
        family=r.AddressFamily.IPV6,
        size=168,
        numbers_at=140,
        counters_at=144,
        numbers="=HH8xQ",
        addresses=struct.Struct("16s16s16s16s16s16s16s16s"),
        conditions=struct.Struct("=HxBB"),
        is_fragment=0,
        is_goto=4,
    ),
}
"""Sources: linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h."""
_VERDICT = struct.Struct("=i")
_VERDICTS = {-1: r.DROP, -2: r.ACCEPT, -4: r.Verdict(name="QUEUE"), -5: r.RETURN}
_FINAL_VERDICTS = frozenset(_VERDICT.pack(number) for number in _VERDICTS)


def decode_entry(entry: bytes, chain: str | None = None, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Rule:
    """The rule of one entry with its matches and its target.

    ``chain`` is where a jump goes (see `is_jump`), for the bytes hold an offset instead; it is empty for a rule that
    only counts. Raises NotUnderstood for bytes that the kernel cannot have given.
    """
    of = LAYOUTS[family]
    *matches, (target, revision, data) = (_header(entry, at, end) for at, end in _extensions(entry, of))
    source, destination, source_mask, destination_mask, in_name, out_name, in_mask, out_mask = of.addresses.unpack_from(
        entry
    )
    protocol, flags, inverted = of.conditions.unpack_from(entry, of.addresses.size)
    decoded = [decode_match(family, *match) for match in matches]
    return r.Rule(
        source=_address(family, source, source_mask, negated=bool(inverted & _SOURCE)),
        destination=_address(family, destination, destination_mask, negated=bool(inverted & _DESTINATION)),
        in_interface=_interface(in_name, in_mask, negated=bool(inverted & _VIA_IN)),
        out_interface=_interface(out_name, out_mask, negated=bool(inverted & _VIA_OUT)),
        protocol=canonical.protocol(protocol, negated=bool(inverted & _PROTOCOL)),
        fragment=not inverted & _FRAGMENT if flags & of.is_fragment else None,
        matches=canonical.matches_in_order([match for match in decoded if match is not None]),
        target=decode_target(family, target, revision, data)
        if target
        else _verdict(data, chain, goto=bool(flags & of.is_goto)),
    )


def is_jump(entry: bytes, target_offset: int) -> bool:
    """Whether an entry goes to another chain, or on to the next rule.

    Its target has no name then, and its data, the last 8 bytes, are no verdict.
    """
    return entry[target_offset + 2] == 0 and entry[-8:-4] not in _FINAL_VERDICTS


def parts_of(entry: bytes, family: r.AddressFamily = r.AddressFamily.IPV4) -> struct.Struct:
    """The parts of an entry that make its rule.

    All but the counters before its matches and what follows the names in it. The kernel writes a name up to its end
    (x_tables.c, ``xt_obj_to_user``) into memory that libiptc does not clear, so anything may stand behind it. Entries
    with equal parts are laid out alike, for names and sizes are among the parts. Raises NotUnderstood as `decode_entry`
    does.
    """
    of = LAYOUTS[family]
    parts, parts_end = f"={of.counters_at}s{of.size - of.counters_at}x", 0
    for at, end in _extensions(entry, of):
        named = entry.find(0, at + 2, at + _REVISION) + 1 - at
        if named <= 0:
            raise NotUnderstood("a name without an end")
        parts += f"{parts_end + named}s{_REVISION - named}x"
        parts_end = end - at - _REVISION
    return struct.Struct(f"{parts}{parts_end}s")


def _extensions(entry: bytes, of: Layout) -> Iterator[tuple[int, int]]:
    """Beginning and end of each match and, last, of the target."""
    if len(entry) < of.size + _HEADER_SIZE:
        raise NotUnderstood(f"an entry of {len(entry)} bytes")
    target_offset, size = fields("=HH", entry, of.numbers_at)
    if size != len(entry) or not of.size <= target_offset <= size - _HEADER_SIZE:
        raise NotUnderstood(f"an entry of {len(entry)} bytes with a target at {target_offset} and an end at {size}")
    at = of.size
    while at < size:
        bound = target_offset if at < target_offset else size
        end = at + fields("=H", entry, at)[0]
        if end < at + _HEADER_SIZE or end > bound:
            raise NotUnderstood(f"a match or target from {at} to {end}")
        yield at, end
        at = end


def _header(entry: bytes, at: int, end: int) -> tuple[str, int, bytes]:
    """Name, revision and data of a match or target."""
    _, name, revision = _HEADER.unpack_from(entry, at)
    return text(name), revision, entry[at + _HEADER_SIZE : end]


@cached
def _address(family: r.AddressFamily, address: bytes, mask: bytes, *, negated: bool) -> r.AddressMatch | None:
    bits = int.from_bytes(mask, "big")
    if bits == 0 and not negated:
        return None
    value = int.from_bytes(address, "big") & bits
    return canonical.shared(r.AddressMatch(value=value, family=family, mask=bits, negated=negated))


@cached
def _interface(field: bytes, mask: bytes, *, negated: bool) -> r.InterfaceMatch | None:
    """The mask covers a whole name with the zero byte after it; one that covers less makes a wildcard."""
    covered = len(mask) - len(mask.lstrip(b"\xff"))
    name = text(field)
    if covered <= len(field.partition(b"\0")[0]):
        name = text(field[:covered]) + "+"
    if covered == 0 and not negated:
        return None
    return canonical.shared(r.InterfaceMatch(name=name, negated=negated))


def _verdict(data: bytes, chain: str | None, *, goto: bool) -> r.Target:
    if chain is None:
        return known(_VERDICTS, fields("=i", data)[0])
    if not chain:
        return r.NO_TARGET
    return canonical.shared(r.Goto(chain=chain) if goto else r.Jump(chain=chain))
