"""What stands in a message about a rule: table, chain, handle, the rule in front of it, expressions and user data.

The functions read any message. A `Frame` reads the numbers of messages of one length at once, and cuts their rules
into parts, where everything else is as it was in another message. Sources: Linux
include/uapi/linux/netfilter/nf_tables.h (``enum nft_rule_attributes``); net/netfilter/nf_tables_api.c
(``nf_tables_fill_rule_info``), nft_counter.c.
"""

from __future__ import annotations

import struct
from sys import byteorder

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.netfilter.native.attributes import attributes, number, text
from c2c_auditor.netfilter.native.messages import HEADER

_TABLE, _CHAIN = struct.pack("=H", 1), struct.pack("=H", 2)
_HANDLE, _EXPRESSIONS, _POSITION, _USERDATA = 3, 4, 6, 7
_NAMES_END = 1024
"""Names have at most 255 bytes (NFT_NAME_MAXLEN)."""
_HEAD, _NUMBER = 4, 8
"""Bytes of an attribute's header, and of a handle."""
_HANDLE_HEAD = struct.pack("=HH", _HEAD + _NUMBER, _HANDLE)
_POSITION_HEAD = struct.pack("=HH", _HEAD + _NUMBER, _POSITION)
_MOST_BYTES = 0xFFFF - _HEAD

COUNTER_SIZE = 44
_COUNTER_NAME = b"counter\0"
_COUNTER_HEAD = struct.pack("=HHHH8sHHHH", COUNTER_SIZE, 1, 12, 1, _COUNTER_NAME, 28, 2, 12, 1)
"""A counter's element up to its bytes; its packets follow behind another header."""
_COUNTER_TAIL = struct.pack("=HH", 12, 2)
_TAIL_AT, _PACKETS_AT = 32, 36


def beginning_of(payload: bytes) -> bytes:
    """A rule's message up to the number of its handle: table and chain. Raises NotUnderstood if it begins otherwise."""
    at = HEADER
    for kind in (_TABLE, _CHAIN):
        length, found = int.from_bytes(payload[at : at + 2], byteorder), payload[at + 2 : at + 4]
        if found != kind or length < _HEAD:
            raise NotUnderstood(payload[:_NAMES_END].hex())
        at += (length + 3) & ~3
    if not payload.startswith(_HANDLE_HEAD, at):
        raise NotUnderstood(payload[:_NAMES_END].hex())
    return payload[: at + _HEAD]


def names_in(beginning: bytes) -> tuple[str, str]:
    """Table and chain."""
    found = attributes(beginning, HEADER)
    return text(found[1]), text(found[2])


def handle_in(payload: bytes, start: int) -> int:
    """The handle of a rule whose message begins with ``start`` bytes as `beginning_of` gives them; so below."""
    return int.from_bytes(payload[start : start + _NUMBER], "big")


def position_in(payload: bytes, start: int) -> int:
    """The handle of the rule in front of it, 0 where none is named."""
    at = start + _NUMBER
    if payload.startswith(_POSITION_HEAD, at):
        return int.from_bytes(payload[at + _HEAD : at + _HEAD + _NUMBER], "big")
    return number(attributes(payload, at).get(_POSITION, b"")[:_NUMBER])


def rule_in(payload: bytes, start: int) -> tuple[bytes, bytes]:
    """Its expressions and its user data; no bytes where it has none."""
    found = attributes(payload, start + _NUMBER)
    return found.get(_EXPRESSIONS, b""), found.get(_USERDATA, b"")


def as_message(expressions: bytes) -> bytes:
    """What stands behind the beginning of a message with nothing but ``expressions``.

    Raises NotUnderstood if these are more than a message can hold.
    """
    if len(expressions) > _MOST_BYTES:
        raise NotUnderstood(f"{len(expressions)} bytes of expressions")
    return bytes(_NUMBER) + struct.pack("=HH", _HEAD + len(expressions), _EXPRESSIONS) + expressions


class Frame:
    """Messages of one length without user data, whose rules are cut alike and count in one place, or do not count.

    ``size`` is that length behind the beginning. Of what stands there ``fixed_in`` unpacks what must be ``fixed``,
    ``numbers_in`` the handle, the handle of the rule in front and the packets (no bytes where there are none), and
    ``parts_in`` the parts.
    """

    def __init__(self, sizes: list[int], counter: int, *, positioned: bool) -> None:
        """``sizes`` are those of the parts. The counter stands in front of part ``counter``; -1 if there is none."""
        before, length = sum(sizes[:counter]), sum(sizes)
        parts = [f"{size}s" for size in sizes]
        fixed, numbers, values = f"={_NUMBER}x", ">Q", list[bytes]()
        start = _NUMBER + _HEAD
        if positioned:
            fixed, numbers, start = f"{fixed}{_HEAD}s{_NUMBER}x", f"{numbers}{_HEAD}xQ", start + _HEAD + _NUMBER
            values.append(_POSITION_HEAD)
        else:
            numbers += "0s"
        if counter >= 0:
            length += COUNTER_SIZE
            parts.insert(counter, f"{COUNTER_SIZE}x")
        values.append(struct.pack("=HH", _HEAD + length, _EXPRESSIONS))
        fixed += f"{_HEAD}s"
        if counter >= 0:
            fixed += f"{before}x{len(_COUNTER_HEAD)}s{_TAIL_AT - len(_COUNTER_HEAD)}x{len(_COUNTER_TAIL)}s"
            numbers += f"{_HEAD + before + _PACKETS_AT}xQ"
            values += [_COUNTER_HEAD, _COUNTER_TAIL]
        else:
            numbers += "0s"
        self.size, self.fixed = start + length, tuple(values)
        self.fixed_in = struct.Struct(fixed).unpack_from
        self.numbers_in = struct.Struct(numbers).unpack_from
        self.parts_in = struct.Struct(f"={start}x{''.join(parts)}").unpack_from


def packets_of(expressions: bytes) -> int:
    """How many packets met a rule; 0 for one that does not count."""
    at = expressions.rfind(_COUNTER_HEAD)
    if at < 0 or not expressions.startswith(_COUNTER_TAIL, at + _TAIL_AT):
        return 0
    return int.from_bytes(expressions[at + _PACKETS_AT : at + COUNTER_SIZE], "big")


def counters_in(expressions: bytes) -> int:
    """How many counters there are, or bytes that look like some."""
    return expressions.count(_COUNTER_HEAD)


def counts(expressions: bytes) -> bool:
    """Whether there is one."""
    return _COUNTER_NAME in expressions and _COUNTER_HEAD in expressions


def is_counter(element: bytes) -> bool:
    """Whether an expression is a counter, and nothing else."""
    return (
        len(element) == COUNTER_SIZE
        and element.startswith(_COUNTER_HEAD)
        and element.startswith(_COUNTER_TAIL, _TAIL_AT)
    )
