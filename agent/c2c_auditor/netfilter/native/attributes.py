"""Netlink attributes: a length, a type, and bytes that are again attributes or a value.

Numbers in nf_tables' own attributes are in network order. Source: Linux include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import struct

_ATTRIBUTE = struct.Struct("=HH")
_TYPE = 0x3FFF


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The values of the attributes in ``data`` from ``start`` on; what is cut off at the end is left out."""
    found = {}
    at, end, unpack = start, len(data), _ATTRIBUTE.unpack_from
    while at + 4 <= end:
        length, kind = unpack(data, at)
        if length < 4 or at + length > end:  # noqa: PLR2004 - an attribute's header; less is none
            break
        found[kind & _TYPE] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def number(value: bytes) -> int:
    """A number in network order; 0 for no bytes."""
    return int.from_bytes(value, "big")


def text(value: bytes) -> str:
    """A C string; bytes that are no UTF-8 are kept as the text readers keep them."""
    return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")
