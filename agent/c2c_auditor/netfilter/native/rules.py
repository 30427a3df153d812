"""Decodes rules of nf_tables, and remembers their parts: equal bytes give the identical `Rule`.

Few of a cell's parts (`parts`) differ, so a rule is cut into parts, and each is looked up by its bytes. Where to cut is
known from a message of the same length (`rule_messages.Frame`). That is no guess: a part's own bytes say where it ends,
so parts that are understood one behind the other, up to the end, are the rule's. Counters belong to no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import cast

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import text
from c2c_auditor.netfilter.native.effects import elements, only_loads
from c2c_auditor.netfilter.native.parts import Entry, Part, entry_of, not_understood, part_of
from c2c_auditor.netfilter.native.rule_messages import (
    COUNTER_SIZE,
    Frame,
    as_message,
    counters_in,
    handle_in,
    is_counter,
    packets_of,
    rule_in,
)

_COMMENT = 0
_MOST_FRAMES = 8


class RuleDecoder:
    """Decodes rules for one family, and remembers them."""

    def __init__(self, family: r.AddressFamily) -> None:
        self.family = family
        self._parts: dict[bytes, Part] = {}
        self._entries: dict[tuple[Part, ...] | tuple[bytes, tuple[Part, ...]], Entry] = {}
        self._frames: dict[int, list[Frame]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def message(self, payload: bytes, start: int) -> tuple[int, int, Entry]:
        """Handle, packets, and what the rule does; ``start`` is the length of the message's `beginning_of`.

        Raises NotUnderstood for bytes that the kernel cannot have given.
        """
        for frame in self._frames.get(len(payload) - start, ()):
            numbers = frame.numbers.unpack_from(payload, start)
            if numbers[1:-1] == frame.fixed:
                entry = self._found(frame.parts.unpack_from(payload, start))
                if entry is not None:
                    return numbers[0], numbers[-1] or 0, entry
        expressions, userdata = rule_in(payload, start)
        return handle_in(payload, start), packets_of(expressions), self.entry(expressions, userdata)

    def entry(self, expressions: bytes, userdata: bytes = b"") -> Entry:
        """What a rule does to packets of the family.

        ``expressions`` and ``userdata`` are the values of the attributes of these names. Raises NotUnderstood for bytes
        that the kernel cannot have given.
        """
        message = as_message(expressions)
        for frame in self._frames.get(len(message), ()):
            if frame.numbers.unpack_from(message)[1:-1] == frame.fixed:
                entry = self._found(frame.parts.unpack(message), userdata)
                if entry is not None:
                    return entry
        return self._learned(expressions, userdata)

    def keep(self, used: AbstractSet[int]) -> None:
        """Forget the rules that are not ``used`` (by ``id``), and the parts that only they have; frames come again."""
        self._entries = {key: entry for key, entry in self._entries.items() if id(entry) in used}
        parts = {part for key in self._entries for part in (key[1] if key and isinstance(key[0], bytes) else key)}
        self._parts = {piece: part for piece, part in self._parts.items() if part in parts}
        self._frames = {}

    def _found(self, pieces: Sequence[bytes], userdata: bytes = b"") -> Entry | None:
        """The rule of ``pieces``; None if one of them is no part by itself."""
        parts = cast("tuple[Part, ...]", tuple(map(self._parts.get, pieces)))  # None is in no key
        key = (userdata, parts) if userdata else parts
        found = self._entries.get(key)
        if found is not None:
            return found
        if not all(parts):
            known = [self._parts.get(piece) or self._part(piece) for piece in pieces]
            return self._found(pieces, userdata) if all(known) else None
        entry = self._entries[key] = entry_of(parts, self.family, _comment(userdata) if userdata else "")
        return entry

    def _part(self, piece: bytes) -> Part | None:
        """The part that ``piece`` is, None if it is none by itself."""
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
        entry = self._found(pieces, userdata)
        assert entry is not None  # noqa: S101 - each of the pieces is a part now
        return entry

    def _cut(self, expressions: bytes) -> tuple[list[bytes], int]:
        """The parts of a rule, and in front of which of them stands its counter; -1 if it does not stand between two.

        A part ends with an expression that does more than load; one that uses what an earlier part loaded is one part
        with it, and with what stands between them.
        """
        pieces: list[bytes] = []
        counter_at, at, pending = -1, 0, b""
        for element in elements(expressions):
            if not pending and counter_at < 0 and is_counter(element):
                counter_at = at
            else:
                pending += element
                if not only_loads(element):
                    while self._parts.get(pending) is None and self._part(pending) is None and pieces:
                        before = at + len(element) - len(pending)
                        if counter_at == before - COUNTER_SIZE:
                            pending, counter_at = expressions[counter_at : counter_at + COUNTER_SIZE] + pending, -1
                        else:
                            pending = pieces.pop() + pending
                    pieces.append(pending)
                    pending = b""
            at += len(element)
        pieces += [pending] if pending else []
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
