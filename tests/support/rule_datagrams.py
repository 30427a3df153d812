"""Messages of nf_tables about rules, packed by hand, and what a decoder makes of them."""

from __future__ import annotations

import struct

from c2c_auditor.netfilter.native.datagrams import HEADER, LEAST, Run
from c2c_auditor.netfilter.native.parts import Entry
from c2c_auditor.netfilter.native.rules import Decoded, RuleDecoder
from c2c_auditor.sources.rules.netlink import NEWRULE


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def rule_message(
    expressions: bytes, handle: int, *, position: int = 0, userdata: bytes = b"", chain: str = "vpa--1", family: int = 2
) -> bytes:
    """What stands behind the header of a message about a rule."""
    names = bytes((family, 0, 0, 0)) + attribute(1, b"filter\0") + attribute(2, chain.encode() + b"\0")
    place = attribute(6, struct.pack("!Q", position)) if position else b""
    beside = attribute(7, userdata) if userdata else b""
    return names + attribute(3, struct.pack("!Q", handle)) + place + attribute(4, expressions) + beside


def datagram(*payloads: bytes, kind: int = NEWRULE, flags: int = 0x800) -> bytes:
    """Messages one behind the other; the sequence numbers differ, as in what a restore announces."""
    return b"".join(
        HEADER.pack(LEAST + len(payload), kind, flags, sequence, 7) + payload + bytes(-len(payload) % 4)
        for sequence, payload in enumerate(payloads, 1)
    )


def decoded(decoder: RuleDecoder, data: bytes) -> list[tuple[int, int, int, Entry]]:
    """Handle, position, packets and rule of each message. Raises NotUnderstood."""
    at, found = 0, Decoded()
    while at + LEAST <= len(data):
        length = HEADER.unpack_from(data, at)[0]
        at = decoder.decode(data, at, Run.at(data, at, length), found)
    return list(zip(found.handles, found.positions, found.packets, found.entries, strict=True))
