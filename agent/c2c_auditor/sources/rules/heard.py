"""What commits announce, in order. Rules are decoded as they are heard: a swap of the policy chain announces 17 MB."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.parts import Entry
from c2c_auditor.netfilter.native.rule_messages import beginning_of, handle_in, names_in, position_in, rule_in
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.sources.rules.applied import ChainName
from c2c_auditor.sources.rules.held import DECODED, HANDLES
from c2c_auditor.sources.rules.netlink import DELRULE, NEWRULE, Commit, Message

_APPENDED = 0x800


@define(eq=False)
class NewRules:
    """Rules of one chain that one commit announced one behind the other, in messages with the same ``beginning``.

    ``entries`` are lists parallel to ``handles``, one for each family of the table's packets. ``positions`` are the
    handles of the rules in front of them, 0 where none was named: such a rule is the last of its chain then if they are
    ``appended``, and else the first.
    """

    beginning: bytes
    chain: ChainName
    appended: bool
    entries: tuple[list[Entry], ...]
    handles: array[int] = field(factory=lambda: array(HANDLES))
    positions: array[int] = field(factory=lambda: array(HANDLES))

    def add(self, payload: bytes, decoders: Sequence[RuleDecoder]) -> None:
        """Add a rule with the same beginning."""
        handle, start = 0, len(self.beginning)
        for decoder, held in zip(decoders, self.entries, strict=True):
            handle, _, entry = decoder.message(payload, start)
            held.append(entry)
        self.handles.append(handle)
        self.positions.append(position_in(payload, start))


@define(eq=False)
class DeletedRules:
    """The same of deleted ones. ``told`` is what they did to packets of the first family, where it was asked for."""

    beginning: bytes
    chain: ChainName
    handles: array[int] = field(factory=lambda: array(HANDLES))
    told: list[Entry] = field(factory=list)

    def add(self, payload: bytes, decoders: Sequence[RuleDecoder]) -> None:
        """Add a rule with the same beginning; what it did if there is one of ``decoders``, and the kernel told it."""
        start = len(self.beginning)
        self.handles.append(handle_in(payload, start))
        if decoders and rule_in(payload, start)[0]:
            self.told.append(decoders[0].message(payload, start)[2])


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
        last: Announced = None
        for one in announced:
            self.messages += 1
            if isinstance(one, tuple) and one[0] in (NEWRULE, DELRULE):
                last = self._rule(last, *one, whole=whole)
            else:
                last = one
                self._items.append(one)

    def _rule(self, last: Announced, kind: int, flags: int, payload: bytes, *, whole: bool) -> Announced:
        """Add a rule to ``last``, or to what is then the last."""
        decoders = self._decoders.get(payload[0], [])
        if kind == NEWRULE:
            appended = bool(flags & _APPENDED)
            if not isinstance(last, NewRules) or last.appended != appended or not payload.startswith(last.beginning):
                beginning, chain = _names(payload)
                last = NewRules(beginning, chain, appended, tuple([] for _ in decoders))
                self._items.append(last)
            last.add(payload, decoders)
        else:
            if not isinstance(last, DeletedRules) or not payload.startswith(last.beginning):
                last = DeletedRules(*_names(payload))
                self._items.append(last)
            last.add(payload, decoders if whole else [])
        return last


def _names(payload: bytes) -> tuple[bytes, ChainName]:
    beginning = beginning_of(payload)
    table, chain = names_in(beginning)
    return beginning, ((payload[0], table), chain)
