"""What commits announce, in order. Rules are decoded as they are heard: a swap of the policy chain announces 17 MB."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.datagrams import HEADER, KIND_AT, LEAST, Run
from c2c_auditor.netfilter.native.parts import Entry
from c2c_auditor.netfilter.native.rule_messages import names_in, rule_in
from c2c_auditor.netfilter.native.rules import NUMBERS, Decoded, RuleDecoder
from c2c_auditor.sources.rules.applied import ChainName
from c2c_auditor.sources.rules.held import DECODED
from c2c_auditor.sources.rules.netlink import DELRULE, NEWGEN, NEWRULE, Commit, Message, commit_in

_APPENDED = 0x800
_OF_RULES = (NEWRULE, DELRULE)


@define(eq=False)
class NewRules:
    """Rules of one chain that one commit announced one behind the other.

    ``decoded`` is what each of the decoders made of them. A rule whose position is 0 is the last of its chain then if
    they are ``appended``, and else the first.
    """

    chain: ChainName
    run: Run
    appended: bool
    decoders: Sequence[RuleDecoder]
    decoded: list[Decoded] = field(init=False)

    @decoded.default
    def _nothing(self) -> list[Decoded]:
        return [Decoded() for _ in self.decoders]

    @property
    def handles(self) -> array[int]:
        """Their handles."""
        return self.decoded[0].handles

    @property
    def positions(self) -> array[int]:
        """The handles of the rules in front of them, 0 where none was named."""
        return self.decoded[0].positions

    @property
    def entries(self) -> list[list[Entry]]:
        """Lists parallel to ``handles``, one for each family of the table's packets."""
        return [one.entries for one in self.decoded]

    def take(self, data: bytes, at: int) -> int:
        """Add those of ``data`` from ``at`` on; where the first message begins that is none of them."""
        end = at
        for decoder, decoded in zip(self.decoders, self.decoded, strict=True):
            end = decoder.decode(data, at, self.run, decoded)
        return end


@define(eq=False)
class DeletedRules:
    """The same of deleted ones, and of any in tables that are not read.

    ``told`` is what they did to packets of the first family, where a ``decoder`` asks for that and the kernel tells it.
    """

    chain: ChainName
    run: Run
    decoder: RuleDecoder | None
    handles: array[int] = field(factory=lambda: array(NUMBERS))
    told: list[Entry] = field(factory=list)

    def take(self, data: bytes, at: int) -> int:
        """Add those of ``data`` from ``at`` on; where the first message begins that is none of them."""
        length = int.from_bytes(data[at : at + KIND_AT], sys.byteorder)
        if self.decoder is None or not rule_in(data[at : at + length], self.run.start)[0]:
            return self.run.handles(data, at, self.handles)
        decoded = Decoded()
        end = self.decoder.decode(data, at, self.run, decoded)
        self.handles += decoded.handles
        self.told += decoded.entries
        return end


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

    def extend(self, announced: Iterable[bytes | None], *, whole: bool) -> None:
        """Add what was announced: messages, or None for a loss. ``whole``: what deleted rules did is wanted too.

        Raises NotUnderstood.
        """
        rules: NewRules | DeletedRules | None = None
        for data in announced:
            if data is None:
                self._items.append(None)
                rules = None
            else:
                rules = self._add(data, rules, whole=whole)

    def _add(
        self, data: bytes, rules: NewRules | DeletedRules | None, *, whole: bool
    ) -> NewRules | DeletedRules | None:
        """Add messages, of which the first may be more of ``rules``; those to which the next may add are returned."""
        at, end = 0, len(data)
        if rules is not None:
            at = self._more(rules, data, 0)
        while at + LEAST <= end:
            length, kind, flags, _, _ = HEADER.unpack_from(data, at)
            if length < LEAST:
                raise NotUnderstood(f"a message of {length} bytes")
            if kind in _OF_RULES:
                rules = self._begun(kind, flags, Run.at(data, at, length), whole=whole)
                at = self._more(rules, data, at)
                continue
            payload, rules = data[at + LEAST : at + length], None
            self._items.append(commit_in(payload) if kind == NEWGEN else (kind, flags, payload))
            self.messages += 1
            at += (length + 3) & ~3
        return rules

    def _more(self, rules: NewRules | DeletedRules, data: bytes, at: int) -> int:
        before = len(rules.handles)
        at = rules.take(data, at)
        self.messages += len(rules.handles) - before
        return at

    def _begun(self, kind: int, flags: int, run: Run, *, whole: bool) -> NewRules | DeletedRules:
        table, chain = names_in(run.beginning)
        name, decoders = ((run.beginning[0], table), chain), self._decoders.get(run.beginning[0], [])
        rules: NewRules | DeletedRules
        if kind == NEWRULE and decoders:
            rules = NewRules(name, run, bool(flags & _APPENDED), decoders)
        else:
            rules = DeletedRules(name, run, decoders[0] if whole and decoders else None)
        self._items.append(rules)
        return rules
