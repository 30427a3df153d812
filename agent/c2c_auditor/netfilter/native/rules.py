"""Decodes rules of nf_tables, and remembers their parts: equal bytes give the identical `Rule`.

Few of a cell's parts (`parts`) differ, so a rule is cut into parts, and each is looked up by its bytes. Where to cut is
known from a message of the same length (`rule_messages.Frame`). That is no guess: a part's own bytes say where it ends,
so parts that are understood one behind the other, up to the end, are the rule's. Counters belong to no rule.
"""

from __future__ import annotations

from array import array
from collections.abc import Set as AbstractSet
from itertools import accumulate, chain

from attrs import define, field

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import text
from c2c_auditor.netfilter.native.datagrams import LEAST, LENGTH, SEQUENCE_AT, Run
from c2c_auditor.netfilter.native.effects import elements, only_loads
from c2c_auditor.netfilter.native.parts import Entry, Part, entry_of, not_understood, part_of
from c2c_auditor.netfilter.native.rule_messages import (
    COUNTER_SIZE,
    Frame,
    as_message,
    counters_in,
    counts,
    handle_in,
    is_counter,
    packets_of,
    position_in,
    rule_in,
)

_COMMENT = 0
_MOST_FRAMES = 8
NUMBERS = "Q"
"""The type of arrays of handles and packets."""
Pieces = tuple[bytes, ...]
"""The bytes of a rule's parts."""


@define(eq=False)
class Decoded:
    """Rules of messages, one behind the other: parallel sequences.

    ``positions`` are the handles of the rules in front of them, 0 where none was named; ``packets`` is 0 for a rule
    that does not count.
    """

    handles: array[int] = field(factory=lambda: array(NUMBERS))
    positions: array[int] = field(factory=lambda: array(NUMBERS))
    packets: array[int] = field(factory=lambda: array(NUMBERS))
    entries: list[Entry] = field(factory=list)


class RuleDecoder:
    """Decodes rules for one family, and remembers them."""

    def __init__(self, family: r.AddressFamily) -> None:
        self.family = family
        self._parts: dict[bytes, Part] = {}
        self._counting: set[bytes] = set()
        self._entries: dict[Pieces, Entry] = {}
        self._others: dict[tuple[bytes, Pieces], Entry] = {}
        self._frames: dict[int, list[Frame]] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._others)

    def decode(self, data: bytes, at: int, run: Run, found: Decoded) -> int:
        """Add the rules of ``run`` in ``data`` from ``at`` on; where the first message begins that is none of it.

        Raises NotUnderstood for bytes that the kernel cannot have given.
        """
        while run.goes_on(data, at):
            (length,) = LENGTH.unpack_from(data, at)
            before = at
            for frame in self._frames.get(length - run.start, ()):
                at = self._framed(data, at, run, found, frame=frame)
                if at > before:
                    break
            else:
                handle, position, packets, entry = self._other(data[at + LEAST : at + length], len(run.beginning))
                found.handles.append(handle)
                found.positions.append(position)
                found.packets.append(packets)
                found.entries.append(entry)
                at += (length + 3) & ~3
        return at

    def _framed(self, data: bytes, at: int, run: Run, found: Decoded, *, frame: Frame) -> int:
        """Add the rules of messages like the one that begins there as long as ``frame`` fits them; where they end."""
        start, beginning = run.start, run.beginning
        length = start + frame.size
        size, last, alike = (length + 3) & ~3, len(data) - length, data[at : at + SEQUENCE_AT]
        fixed, fixed_in, numbers_in, parts_in = frame.fixed, frame.fixed_in, frame.numbers_in, frame.parts_in
        hold_handle, hold_position = found.handles.append, found.positions.append
        hold_packets, hold = found.packets.append, found.entries.append
        begins, known = data.startswith, self._entries.get
        while at <= last and fixed_in(data, at + start) == fixed:
            pieces = parts_in(data, at + start)
            entry = known(pieces)
            if entry is None:  # a rule that was never seen
                entry = self._made(pieces)
                if entry is None:
                    break
            handle, position, packets = numbers_in(data, at + start)
            hold_handle(handle)
            hold_position(position or 0)
            hold_packets(packets or 0)
            hold(entry)
            at += size
            if not (begins(alike, at) and begins(beginning, at + LEAST)):
                break
        return at

    def _other(self, payload: bytes, start: int) -> tuple[int, int, int, Entry]:
        """A message that no frame fits, or that a frame must not cut: what `Decoded` holds of it."""
        if len(payload) < start:
            raise NotUnderstood(f"a message that ends before its rule: {payload.hex()}")
        expressions, userdata = rule_in(payload, start)
        numbers = handle_in(payload, start), position_in(payload, start), packets_of(expressions)
        return *numbers, self.entry(expressions, userdata)

    def entry(self, expressions: bytes, userdata: bytes = b"") -> Entry:
        """What a rule does to packets of the family.

        ``expressions`` and ``userdata`` are the values of the attributes of these names. Raises NotUnderstood for bytes
        that the kernel cannot have given.
        """
        message = as_message(expressions)
        for frame in self._frames.get(len(message), ()):
            if frame.fixed_in(message) == frame.fixed:
                entry = self._found(frame.parts_in(message), userdata)
                if entry is not None:
                    return entry
        return self._learned(expressions, userdata)

    def keep(self, used: AbstractSet[int]) -> None:
        """Forget the rules that are not ``used`` (by ``id``), and the parts that only they have; frames come again."""
        self._entries = {key: entry for key, entry in self._entries.items() if id(entry) in used}
        self._others = {key: entry for key, entry in self._others.items() if id(entry) in used}
        pieces = set(chain.from_iterable(chain(self._entries, (key for _, key in self._others))))
        self._counting &= pieces
        self._parts = {piece: part for piece, part in self._parts.items() if piece in pieces}
        self._frames = {}

    def _found(self, pieces: Pieces, userdata: bytes) -> Entry | None:
        """The rule of ``pieces``; None if one of them is no part by itself."""
        if not userdata and self._counting.isdisjoint(pieces):
            entry = self._entries.get(pieces)
            return entry if entry is not None else self._made(pieces)
        entry = self._others.get((userdata, pieces))
        parts = self._parts_of(pieces) if entry is None else None
        if parts is not None:
            entry = entry_of(parts, self.family, _comment(userdata))
            self._others[userdata, tuple([part.data for part in parts])] = entry
        return entry

    def _made(self, pieces: Pieces) -> Entry | None:
        """The same, of a rule that was not seen before; None also if it counts within a part."""
        parts = self._parts_of(pieces)
        if parts is None or (self._counting and not self._counting.isdisjoint(pieces)):
            return None
        # Each piece is in the memory once, however many rules have it.
        entry = self._entries[tuple([part.data for part in parts])] = entry_of(parts, self.family)
        return entry

    def _parts_of(self, pieces: Pieces) -> list[Part] | None:
        known = self._parts.get
        parts = [part for piece in pieces if (part := known(piece) or self._part(piece)) is not None]
        return parts if len(parts) == len(pieces) else None

    def _part(self, piece: bytes) -> Part | None:
        """The part that ``piece`` is, None if it is none by itself."""
        if counts(piece):
            self._counting.add(piece)
        try:
            part = self._parts[piece] = part_of(piece, self.family)
        except NotUnderstood:
            return None
        return part

    def _learned(self, expressions: bytes, userdata: bytes) -> Entry:
        """A rule that no known frame fits."""
        pieces, counter = self._cut(expressions)
        sizes = [len(piece) for piece in pieces]
        # Which of several counters counts the rule's packets is not known from where one of them stands.
        for positioned in (False, True) if counters_in(expressions) <= 1 else ():
            frame = Frame(sizes, counter, positioned=positioned)
            frames = self._frames.setdefault(frame.size, [])
            frames[:] = [frame, *frames[: _MOST_FRAMES - 1]]
        for piece in pieces:
            if piece not in self._parts and self._part(piece) is None:
                self._parts[piece] = not_understood(piece)
        entry = self._found(tuple(pieces), userdata)
        assert entry is not None  # noqa: S101 - each of the pieces is a part now
        return entry

    def _cut(self, expressions: bytes) -> tuple[list[bytes], int]:
        """The parts of a rule, and in front of which of them stands its counter; -1 if it does not stand between two.

        A part ends with an expression that does more than load; one that uses what an earlier part loaded is one part
        with it, and with what stands between them. What is loaded last, for nothing, is a part too.
        """
        pieces: list[bytes] = []
        counter_at, at, pending = -1, 0, b""
        for element in elements(expressions):
            if not pending and counter_at < 0 and is_counter(element):
                counter_at = at
            else:
                pending += element
                if not only_loads(element) or at + len(element) == len(expressions):
                    while self._parts.get(pending) is None and self._part(pending) is None and pieces:
                        before = at + len(element) - len(pending)
                        if counter_at == before - COUNTER_SIZE:
                            pending, counter_at = expressions[counter_at : counter_at + COUNTER_SIZE] + pending, -1
                        else:
                            pending = pieces.pop() + pending
                    pieces.append(pending)
                    pending = b""
            at += len(element)
        return pieces, _before(pieces, counter_at)


def _before(pieces: list[bytes], place: int) -> int:
    """Which of ``pieces`` begins at ``place``, the number of them for their end; -1 for none."""
    ends = (0, *accumulate(map(len, pieces)))
    return ends.index(place) if place in ends else -1


def _comment(userdata: bytes) -> str:
    """The comment that nft(8), and iptables up to 1.8.2, keep beside a rule."""
    at = 0
    while at + 2 <= len(userdata):
        kind, length = userdata[at], userdata[at + 1]
        if kind == _COMMENT:
            return text(userdata[at + 2 : at + 2 + length])
        at += 2 + length
    return ""
