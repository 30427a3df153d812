"""What commits announce, in order. Rules are decoded as they are heard: a swap of the policy chain announces 17 MB."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.parts import Entry
from c2c_auditor.netfilter.native.rule_messages import beginning_of, handle_in, names_in, position_in, rule_in
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.sources.rules.applied import ChainName
from c2c_auditor.sources.rules.held import DECODED, HANDLES
from c2c_auditor.sources.rules.netlink import DELRULE, NEWRULE, Commit, Message

_APPENDED = 0x800
_OF_RULES = (NEWRULE, DELRULE)


@define(eq=False)
class NewRules:
    """Rules of one chain that one commit announced one behind the other.

    ``entries`` are lists parallel to ``handles``, one for each family of the table's packets. ``positions`` are the
    handles of the rules in front of them, 0 where none was named: such a rule is the last of its chain then if they are
    ``appended``, and else the first.
    """

    chain: ChainName
    appended: bool
    entries: list[list[Entry]] = field(factory=list)
    handles: array[int] = field(factory=lambda: array(HANDLES))
    positions: array[int] = field(factory=lambda: array(HANDLES))

    def adding(self, decoders: Sequence[RuleDecoder], start: int) -> Callable[[bytes], None]:
        """What adds a message that begins with ``start`` bytes of `beginning_of`."""
        self.entries = [[] for _ in decoders]
        decoding = [(decoder.message, held.append) for decoder, held in zip(decoders, self.entries, strict=True)]

        def add(payload: bytes) -> None:
            handle = 0
            for message, hold in decoding:
                handle, _, entry = message(payload, start)
                hold(entry)
            self.handles.append(handle)
            self.positions.append(position_in(payload, start))

        return add


@define(eq=False)
class DeletedRules:
    """The same of deleted ones. ``told`` is what they did to packets of the first family, where it was asked for."""

    chain: ChainName
    handles: array[int] = field(factory=lambda: array(HANDLES))
    told: list[Entry] = field(factory=list)

    def adding(self, decoders: Sequence[RuleDecoder], start: int) -> Callable[[bytes], None]:
        """The same; what the rule did is added if there is a decoder, and if the kernel told it."""

        def add(payload: bytes) -> None:
            self.handles.append(handle_in(payload, start))
            if decoders and rule_in(payload, start)[0]:
                self.told.append(decoders[0].message(payload, start)[2])

        return add


Announced = NewRules | DeletedRules | Message | Commit | None
"""None where announcements were lost."""


class Heard:
    """What was heard and not yet taken. ``messages`` counts them."""

    def __init__(self, decoders: Mapping[r.AddressFamily, RuleDecoder]) -> None:
        self._decoders = {proto: [decoders[family] for family in families] for proto, families in DECODED.items()}
        self._items: list[Announced] = []
        self.messages = 0

    def take(self) -> list[Announced]:
        """All of it, which is then forgotten."""
        taken, self._items, self.messages = self._items, [], 0
        return taken

    def extend(self, announced: Iterable[Message | Commit | None], *, whole: bool) -> None:
        """Add what was announced. ``whole``: what deleted rules did is wanted too. Raises NotUnderstood."""
        add: Callable[[bytes], None] | None = None
        before, beginning = (0, 0), b""
        for one in announced:
            self.messages += 1
            if not isinstance(one, tuple) or one[0] not in _OF_RULES:
                add = None
                self._items.append(one)
                continue
            kind, flags, payload = one
            if add is None or (kind, flags) != before or not payload.startswith(beginning):
                before, beginning = (kind, flags), beginning_of(payload)
                add = self._begun(kind, flags, beginning, whole=whole)
            add(payload)

    def _begun(self, kind: int, flags: int, beginning: bytes, *, whole: bool) -> Callable[[bytes], None]:
        table, chain = names_in(beginning)
        name, decoders = ((beginning[0], table), chain), self._decoders.get(beginning[0], [])
        if kind == NEWRULE:
            new = NewRules(name, bool(flags & _APPENDED))
            self._items.append(new)
            return new.adding(decoders, len(beginning))
        deleted = DeletedRules(name)
        self._items.append(deleted)
        return deleted.adding(decoders if whole else [], len(beginning))
