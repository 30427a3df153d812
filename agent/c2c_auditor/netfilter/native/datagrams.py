"""Netlink datagrams: messages one behind the other, each behind a header. Source: Linux include/uapi/linux/netlink.h.

Most messages about rules come in runs: of one kind, about one chain. Those are read where they stand in the datagram.
"""

from __future__ import annotations

import struct
from array import array

from attrs import field, frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.netfilter.native.rule_messages import beginning_of

HEADER = struct.Struct("=IHHII")
"""Length, kind, flags, sequence number and process."""
LEAST = HEADER.size
LENGTH = struct.Struct("=I")
KIND_AT = 4
"""Where kind and flags stand in a header."""
SEQUENCE_AT = 8
"""Where the sequence number does: what stands before it is the same in messages of one kind and length."""
_HANDLE = struct.Struct(">Q")


def messages_in(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, sequence number and what stands behind the header, of each message."""
    found = []
    at, end, unpack = 0, len(data), HEADER.unpack_from
    while at + LEAST <= end:
        length, kind, flags, sequence, _ = unpack(data, at)
        if length < LEAST:
            break
        found.append((kind, flags, sequence, data[at + LEAST : at + length]))
        at += (length + 3) & ~3
    return found


@frozen(eq=False)
class Run:
    """Messages about rules that begin alike.

    ``kind`` are the bytes of kind and flags, and ``beginning`` follows the header as `beginning_of` gives it.
    ``start`` is where a rule's handle stands.
    """

    kind: bytes
    beginning: bytes
    start: int = field(init=False)

    @start.default
    def _start(self) -> int:
        return LEAST + len(self.beginning)

    @classmethod
    def at(cls, data: bytes, at: int, length: int) -> Run:
        """The run of the message that begins there. Raises NotUnderstood if it is about no rule."""
        return cls(data[at + KIND_AT : at + KIND_AT + 4], beginning_of(data[at + LEAST : at + length]))

    def goes_on(self, data: bytes, at: int) -> bool:
        """Whether the message that begins there is of this run."""
        return data.startswith(self.beginning, at + LEAST) and data.startswith(self.kind, at + KIND_AT)

    def handles(self, data: bytes, at: int, found: array[int]) -> int:
        """Add the handles of its messages in ``data`` from ``at`` on; where the first begins that is none of it.

        Raises NotUnderstood for a message that ends before its handle.
        """
        beginning, start, last = self.beginning, self.start, len(data) - self.start - _HANDLE.size
        begins, handle_in, hold = data.startswith, _HANDLE.unpack_from, found.append
        while self.goes_on(data, at):
            (length,) = LENGTH.unpack_from(data, at)
            if length < start + _HANDLE.size or at > last:
                raise NotUnderstood(f"a message that ends before its rule's handle: {data[at:].hex()}")
            alike, size = data[at : at + SEQUENCE_AT], (length + 3) & ~3
            while at <= last and begins(alike, at) and begins(beginning, at + LEAST):
                hold(handle_in(data, at + start)[0])
                at += size
        return at
