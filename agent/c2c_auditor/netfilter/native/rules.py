"""Decodes rules of nf_tables, and remembers their parts: equal bytes give the identical `Rule`.

Few of a cell's parts (`parts`) differ, so a rule is cut into parts, and each is looked up by its bytes. Where to cut is
known from a rule of the same length. That is no guess: a part's own bytes say where it ends, so parts that are
understood one behind the other, up to the end, are the rule's. Counters belong to no rule.
"""

from __future__ import annotations

import struct

from attrs import frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import text
from c2c_auditor.netfilter.native.effects import elements, only_loads
from c2c_auditor.netfilter.native.parts import Part, not_understood, part_of, rules_of

Rules = tuple[r.Rule, ...]

_COUNTER_HEAD = struct.pack("=HHHH8sHHHH", 44, 1, 12, 1, b"counter\0", 28, 2, 12, 1)
"""A counter's element up to its bytes; its packets follow behind another header."""
_COUNTER_TAIL = struct.pack("=HH", 12, 2)
_COUNTER_SIZE, _TAIL_AT, _PACKETS_AT = 44, 32, 36
_COMMENT = 0
_MOST_LAYOUTS = 8


@frozen(eq=False)
class _Layout:
    """Where the parts of a rule stand, and its counter; -1 if it has none."""

    cut: struct.Struct
    counter_at: int


class RuleDecoder:
    """Decodes rules for one family, and remembers them."""

    def __init__(self, family: r.AddressFamily) -> None:
        self.family = family
        self._parts: dict[bytes, Part] = {}
        self._rules: dict[tuple[Part, ...] | tuple[bytes, tuple[Part, ...]], Rules] = {}
        self._layouts: dict[int, list[_Layout]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def forget(self) -> None:
        """Drop everything remembered; rules in use stay valid."""
        self._parts, self._rules, self._layouts = {}, {}, {}

    def rules(self, expressions: bytes, userdata: bytes = b"") -> Rules:
        """What a rule does to packets of the family: one rule for each action, none if it never matches such packets.

        ``expressions`` and ``userdata`` are the values of the attributes of these names. Raises NotUnderstood for bytes
        that the kernel cannot have given.
        """
        for layout in self._layouts.get(len(expressions), ()):
            at = layout.counter_at
            if at < 0 or (
                expressions.startswith(_COUNTER_HEAD, at) and expressions.startswith(_COUNTER_TAIL, at + _TAIL_AT)
            ):
                pieces = layout.cut.unpack(expressions)
                parts = tuple(map(self._parts.get, pieces))
                if None in parts:
                    parts = tuple(part or self._part(piece) for part, piece in zip(parts, pieces, strict=True))
                if None not in parts:
                    return self._made(parts, userdata)  # type: ignore[arg-type]  # none of them is None
        return self._learned(expressions, userdata)

    def _made(self, parts: tuple[Part, ...], userdata: bytes) -> Rules:
        key = (userdata, parts) if userdata else parts
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = rules_of(parts, self.family, _comment(userdata) if userdata else "")
        return found

    def _part(self, piece: bytes) -> Part | None:
        """The part that ``piece`` is, None if it is none by itself."""
        try:
            part = self._parts[piece] = part_of(piece, self.family)
        except NotUnderstood:
            return None
        return part

    def _learned(self, expressions: bytes, userdata: bytes) -> Rules:
        """A rule that no known layout fits."""
        pieces, counter_at = self._cut(expressions)
        sizes = [f"{len(piece)}s" for piece in pieces]
        if counter_at >= 0:
            before, at = 0, 0
            while at < counter_at:
                at += len(pieces[before])
                before += 1
            sizes.insert(before, f"{_COUNTER_SIZE}x")
        layouts = self._layouts.setdefault(len(expressions), [])
        layouts[:] = [_Layout(struct.Struct("=" + "".join(sizes)), counter_at), *layouts[: _MOST_LAYOUTS - 1]]
        parts = tuple(self._parts.get(piece) or self._part(piece) or self._opaque(piece) for piece in pieces)
        return self._made(parts, userdata)

    def _opaque(self, piece: bytes) -> Part:
        part = self._parts[piece] = not_understood(piece)
        return part

    def _cut(self, expressions: bytes) -> tuple[list[bytes], int]:
        """The parts of a rule, and where its counter stands if that is between two of them.

        A part ends with an expression that does more than load; one that uses what an earlier part loaded is one part
        with it, and with what stands between them.
        """
        pieces: list[bytes] = []
        counter_at, at, pending = -1, 0, b""
        for element in elements(expressions):
            if not pending and counter_at < 0 and _is_counter(element):
                counter_at = at
            else:
                pending += element
                if not only_loads(element):
                    while self._parts.get(pending) is None and self._part(pending) is None and pieces:
                        before = at + len(element) - len(pending)
                        if counter_at == before - _COUNTER_SIZE:
                            pending, counter_at = expressions[counter_at : counter_at + _COUNTER_SIZE] + pending, -1
                        else:
                            pending = pieces.pop() + pending
                    pieces.append(pending)
                    pending = b""
            at += len(element)
        return ([*pieces, pending] if pending else pieces), counter_at


def packets_of(expressions: bytes) -> int:
    """How many packets met a rule; 0 for one that does not count."""
    at = expressions.rfind(_COUNTER_HEAD)
    if at < 0 or not expressions.startswith(_COUNTER_TAIL, at + _TAIL_AT):
        return 0
    return int.from_bytes(expressions[at + _PACKETS_AT : at + _COUNTER_SIZE], "big")


def _is_counter(element: bytes) -> bool:
    return (
        len(element) == _COUNTER_SIZE
        and element.startswith(_COUNTER_HEAD)
        and element.startswith(_COUNTER_TAIL, _TAIL_AT)
    )


def _comment(userdata: bytes) -> str:
    """The comment that nft(8), and iptables up to 1.8.2, keep beside a rule."""
    at = 0
    while at + 2 <= len(userdata):
        kind, length = userdata[at], userdata[at + 1]
        if kind == _COMMENT:
            return text(userdata[at + 2 : at + 2 + length])
        at += 2 + length
    return ""
