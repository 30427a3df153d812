"""nf_tables' rules as they stand after each commit: filled from dumps, kept by what commits announce.

A commit's messages come in the order in which the kernel carries it out. It takes each deleted rule from its list just
before it announces that, but all of a commit's new rules stand in the list from the beginning: so a rule may be said to
stand behind one that is announced after it. Where a doubt about the order is left, the chain is `stale`, to be dumped
again alone. Sources: Linux net/netfilter/nf_tables_api.c (``nf_tables_newrule``, ``nf_tables_commit``,
``nf_tables_rule_notify``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import attributes, number, text
from c2c_auditor.netfilter.native.messages import HEADER, chain_message, table_message
from c2c_auditor.netfilter.native.rules import RuleDecoder, packets_of
from c2c_auditor.sources.rules.applied import NO_CHAIN, Applied, ChainKey, NewRule, TableKey, Values
from c2c_auditor.sources.rules.held import DECODED, Entry, HeldChain, HeldTable, entry
from c2c_auditor.sources.rules.netlink import DELCHAIN, DELRULE, DELTABLE, NEWCHAIN, NEWRULE, NEWTABLE, Message

_TABLE, _CHAIN, _HANDLE, _EXPRESSIONS, _POSITION, _USERDATA = 1, 2, 3, 4, 6, 7
_APPENDED = 0x800
_NAMES_END = 1024
"""Names have at most 255 bytes (NFT_NAME_MAXLEN)."""
_HANDLE_SIZE = 12
_HANDLE_HEAD = struct.pack("=HH", _HANDLE_SIZE, _HANDLE)
_ATTRIBUTE, _TYPE = struct.Struct("=HH"), 0x3FFF


class Replica:
    """Tables, chains and rules; ``stale`` are the chains whose rules must be dumped."""

    def __init__(self, decoders: Mapping[r.AddressFamily, RuleDecoder]) -> None:
        self._decoders = decoders
        self.tables: dict[TableKey, HeldTable] = {}
        self.stale: set[ChainKey] = set()

    def fill(self, tables: Iterable[bytes], chains: Iterable[bytes]) -> None:
        """Begin anew with these messages. All chains are stale then."""
        self.tables, self.stale = {}, set()
        for payload in tables:
            self._new_table(payload)
        for payload in chains:
            self._new_chain(payload, Applied())
        for key, table in self.tables.items():
            self.stale |= {(key, handle) for handle in table.chains}

    def fill_chain(self, key: ChainKey, payloads: Iterable[bytes]) -> None:
        """Take the rules of a stale chain from its dump. Raises NotUnderstood for bytes that no kernel gives."""
        chain = self.tables[key[0]].chains[key[1]]
        chain.clear()
        packets: list[int] = []
        families = DECODED[key[0][0]]
        decoders = [(held, self._decoders[family].rules) for held, family in zip(chain.entries, families, strict=True)]
        start = 0
        for payload in payloads:
            start = start or len(_beginning(payload))  # all messages of a dump begin with the same names
            handle, expressions, userdata = _rule(payload, start)
            chain.handles.append(handle)
            packets.append(packets_of(expressions))
            for held, decoded in decoders:
                held.append(entry(decoded(expressions, userdata)))
        chain.packets = packets
        chain.plain = all(set(map(type, held)) <= {r.Rule} for held in chain.entries)
        self.stale.discard(key)

    def size(self) -> int:
        """How many rules there are."""
        return sum(len(chain.handles) for table in self.tables.values() for chain in table.chains.values())

    def apply(self, messages: Sequence[Message]) -> Applied:
        """Apply one commit. Raises NotUnderstood."""
        turn = Applied()
        for kind, flags, payload in messages:
            if kind == NEWRULE:
                self._new_rule(turn, flags, payload)
                turn.before = None
                continue
            if kind == DELRULE:
                self._del_rule(turn, payload)
                continue
            turn.before, turn.named = None, NO_CHAIN
            if kind == NEWCHAIN:
                renamed = self._new_chain(payload, turn)
                turn.touched |= {renamed} if renamed is not None else set()
            elif kind == DELCHAIN:
                self._del_chain(payload, turn)
            elif kind == NEWTABLE:
                turn.names.add((self._new_table(payload), ""))
            elif kind == DELTABLE:
                self._del_table(payload, turn)
        self._finish(turn)
        return turn

    def _finish(self, turn: Applied) -> None:
        """Take out what a commit deleted."""
        for key, gone in turn.gone.items():
            chain = self._held(key)
            if chain is None:
                continue
            # A chain that is to be dumped again still holds what it did before.
            removed = chain.those(gone) if key in self.stale else chain.remove(gone)
            if removed is None or len(removed) < len(gone):
                self.stale.add(key)
                turn.doubtful.add((key[0], chain.message.name))
            turn.removed += [(key[0], chain.message.name, one) for one in removed or ()]
        self.stale |= {key for key, _ in turn.waiting if self._held(key) is not None}

    def _held(self, key: ChainKey) -> HeldChain | None:
        table = self.tables.get(key[0])
        return None if table is None else table.chains.get(key[1])

    def _named(self, turn: Applied, payload: bytes) -> tuple[ChainKey | None, int]:
        """The chain that a rule's message names, and where the attributes behind its name begin.

        None for families that are not read, and for a chain that is gone by then.
        """
        beginning, key = turn.named
        if not payload.startswith(beginning):
            beginning = _beginning(payload)
            found = attributes(beginning, HEADER)
            table_key, name = (payload[0], text(found[_TABLE])), text(found[_CHAIN])
            table = self.tables.get(table_key)
            handle = None if table is None else table.names.get(name)
            key = None if handle is None or payload[0] not in DECODED else (table_key, handle)
            turn.named = beginning, key
            turn.names.add((table_key, name))
            if key is not None:
                turn.touched.add(key)
        return key, len(beginning)

    def _new_rule(self, turn: Applied, flags: int, payload: bytes) -> None:
        key, start = self._named(turn, payload)
        if key is None:
            return
        found = attributes(payload, start)
        rule = number(found.get(_HANDLE, b"")), self._decoded(key, found)
        turn.added.append((key[0], self.tables[key[0]].chains[key[1]].message.name, rule[1][0]))
        if key in self.stale:
            return
        at = self._place(turn, key, flags, found)
        if at is not None:
            self._insert(turn, key, at, rule)
            return
        behind = number(found.get(_POSITION, b""))
        if _POSITION not in found or (key, behind) in turn.waiting:
            self.stale.add(key)
        else:
            turn.waiting[key, behind] = rule

    def _decoded(self, key: ChainKey, found: Values) -> list[Entry]:
        """What a rule does to packets of each of its families."""
        given = found.get(_EXPRESSIONS, b""), found.get(_USERDATA, b"")
        return [entry(self._decoders[family].rules(*given)) for family in DECODED[key[0][0]]]

    def _place(self, turn: Applied, key: ChainKey, flags: int, found: Values) -> int | None:
        """Where a new rule stands; None if that is not known, or not yet.

        Its message names the rule in front of it if it is neither the first nor the last. A replaced rule is deleted by
        the message before; the new one has its handle on newer kernels, and on others is said to be appended.
        """
        chain, gone = self.tables[key[0]].chains[key[1]], turn.gone.get(key, set())
        handle = number(found.get(_HANDLE, b""))
        if handle in gone:
            gone.remove(handle)
            taken = chain.take(handle)
            if taken is None:
                return None
            turn.removed.append((key[0], chain.message.name, taken[1]))
            return taken[0]
        if _POSITION in found:
            before = chain.find(number(found[_POSITION]))
            return None if before is None else before + 1
        if not flags & _APPENDED:
            return 0
        if turn.before is not None and turn.before[0] == key and len(chain.handles) > len(gone):
            at = chain.find(turn.before[1])
            if at is None or all(one in gone for one in chain.handles[:at]):
                return None
        return len(chain.handles)

    def _insert(self, turn: Applied, key: ChainKey, at: int, rule: NewRule) -> None:
        """Put a rule in its place, and behind it those that waited for it."""
        chain = self.tables[key[0]].chains[key[1]]
        while True:
            handle, entries = rule
            chain.insert(at, handle, entries)
            behind = turn.waiting.pop((key, handle), None)
            if behind is None:
                return
            at, rule = at + 1, behind

    def _del_rule(self, turn: Applied, payload: bytes) -> None:
        key, start = self._named(turn, payload)
        if key is None:
            return
        if key in self.stale:  # what it held is not known, but the message tells
            name, found = self.tables[key[0]].chains[key[1]].message.name, attributes(payload, start)
            if _EXPRESSIONS in found:
                turn.removed.append((key[0], name, self._decoded(key, found)[0]))
            else:
                turn.doubtful.add((key[0], name))
            return
        handle = number(attributes(payload[: start + _HANDLE_SIZE], start).get(_HANDLE, b""))
        turn.gone.setdefault(key, set()).add(handle)
        turn.before = key, handle

    def _new_table(self, payload: bytes) -> TableKey:
        message = table_message(payload)
        key = message.family, message.name
        held = self.tables.get(key)
        if held is None:
            self.tables[key] = HeldTable(message)
        else:
            held.message = message
            for chain in held.chains.values():
                chain.changed()
        return key

    def _del_table(self, payload: bytes, turn: Applied) -> None:
        """A table is gone; the handles of its chains are used again when the same commit makes it anew."""
        message = table_message(payload)
        key = message.family, message.name
        held = self.tables.pop(key, None)
        for chain in held.chains.values() if held is not None else ():
            turn.lose(key, chain)
        turn.names.add((key, ""))
        self.stale = {chain for chain in self.stale if chain[0] != key}
        turn.gone = {chain: gone for chain, gone in turn.gone.items() if chain[0] != key}
        turn.waiting = {place: rule for place, rule in turn.waiting.items() if place[0][0] != key}

    def _new_chain(self, payload: bytes, turn: Applied) -> ChainKey | None:
        """A chain that is new, or has another policy or name now; returned if it has another name."""
        message = chain_message(payload)
        turn.names.add(((message.family, message.table), message.name))
        table = self.tables.get((message.family, message.table))
        if table is None or message.family not in DECODED:
            return None
        held = table.chains.get(message.handle)
        table.names[message.name] = message.handle
        if held is None:
            held = table.chains[message.handle] = HeldChain(message)
            held.clear()
            turn.made.add(((message.family, message.table), message.name))
            return None
        old, policy, held.message = held.message.name, held.message.policy, message
        held.changed()
        if policy != message.policy:
            turn.policies.add(((message.family, message.table), message.name))
        if old == message.name:
            return None
        turn.renamed[(message.family, message.table), message.name] = old
        if table.names.get(old) == message.handle:
            del table.names[old]
        for chain in table.chains.values():
            chain.rename_target(old, message.name)
        return (message.family, message.table), message.handle

    def _del_chain(self, payload: bytes, turn: Applied) -> None:
        message = chain_message(payload)
        turn.names.add(((message.family, message.table), message.name))
        key = message.family, message.table
        table = self.tables.get(key)
        held = None if table is None else table.chains.pop(message.handle, None)
        if table is not None and held is not None:
            turn.lose(key, held)
            self.stale.discard((key, message.handle))
            if table.names.get(held.message.name) == message.handle:
                del table.names[held.message.name]


def _beginning(payload: bytes) -> bytes:
    """A rule's message up to its handle: table and chain. Raises NotUnderstood if it begins otherwise."""
    found = attributes(payload[:_NAMES_END], HEADER)
    if list(found)[:2] != [_TABLE, _CHAIN]:
        raise NotUnderstood(payload[:_NAMES_END].hex())
    return payload[: HEADER + sum((len(found[kind]) + 7) & ~3 for kind in (_TABLE, _CHAIN))]


def _rule(payload: bytes, start: int) -> tuple[int, bytes, bytes]:
    """Handle, expressions and user data of a rule whose names end at ``start``."""
    at = start + _HANDLE_SIZE
    if payload.startswith(_HANDLE_HEAD, start) and at + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if kind & _TYPE == _EXPRESSIONS and at + length == len(payload):  # as of all rules without user data
            return int.from_bytes(payload[start + 4 : at], "big"), payload[at + 4 :], b""
    found = attributes(payload, start)
    return number(found.get(_HANDLE, b"")), found.get(_EXPRESSIONS, b""), found.get(_USERDATA, b"")
