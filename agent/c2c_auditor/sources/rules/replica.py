"""nf_tables' rules as they stand after each commit: filled from dumps, kept by what commits announce.

A commit's messages come in the order in which the kernel carries it out. It takes each deleted rule from its list just
before it announces that, but all of a commit's new rules stand in the list from the beginning: so a rule may be said to
stand behind one that is announced after it. Where a doubt about the order is left, the chain is `stale`, to be dumped
again alone. Sources: Linux net/netfilter/nf_tables_api.c (``nf_tables_newrule``, ``nf_tables_commit``,
``nf_tables_rule_notify``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.datagrams import HEADER, LEAST, Run
from c2c_auditor.netfilter.native.messages import chain_message, table_message
from c2c_auditor.netfilter.native.rules import Decoded, RuleDecoder
from c2c_auditor.sources.rules.applied import Applied, ChainKey, ChainName, NewRule, TableKey
from c2c_auditor.sources.rules.heard import Announced, DeletedRules, Heard, NewRules
from c2c_auditor.sources.rules.held import DECODED, HeldChain, HeldTable
from c2c_auditor.sources.rules.netlink import DELCHAIN, DELTABLE, NEWCHAIN, NEWRULE, NEWTABLE


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

    def fill_chain(self, key: ChainKey, datagrams: Iterable[bytes]) -> None:
        """Take the rules of a stale chain from its dump. Raises NotUnderstood for bytes that no kernel gives."""
        filled = [(self._decoders[family], Decoded()) for family in DECODED[key[0][0]]]
        for data in datagrams:
            at, end = 0, len(data)
            while at + LEAST <= end:
                length, kind, *_ = HEADER.unpack_from(data, at)
                if length < LEAST:
                    break
                if kind == NEWRULE:
                    run = Run.at(data, at, length)
                    ends = [decoder.decode(data, at, run, decoded) for decoder, decoded in filled]
                    at = ends[0]
                else:
                    at += (length + 3) & ~3
        first = filled[0][1]
        entries = [decoded.entries for _, decoded in filled]
        self.tables[key[0]].chains[key[1]].fill(first.handles, first.packets, entries)
        self.stale.discard(key)

    def hearing(self) -> Heard:
        """What takes announcements as `apply` wants them."""
        return Heard(self._decoders)

    def size(self) -> int:
        """How many rules there are."""
        return sum(len(chain.handles) for table in self.tables.values() for chain in table.chains.values())

    def used(self) -> set[int]:
        """The ``id`` of each entry that is held."""
        chains = (chain for table in self.tables.values() for chain in table.chains.values())
        return {id(one) for chain in chains for held in chain.entries for one in held}

    def apply(self, announced: Sequence[Announced]) -> Applied:
        """Apply one commit. Raises NotUnderstood."""
        turn = Applied()
        for one in announced:
            if isinstance(one, NewRules):
                self._new_rules(turn, one)
            elif isinstance(one, DeletedRules):
                self._deleted_rules(turn, one)
            elif isinstance(one, tuple):
                self._apply_other(turn, *one)
        self._finish(turn)
        return turn

    def _apply_other(self, turn: Applied, kind: int, _: int, payload: bytes) -> None:
        """A message about a table or a chain; others are of no account."""
        turn.before = None
        if kind == NEWCHAIN:
            renamed = self._new_chain(payload, turn)
            turn.touched |= {renamed} if renamed is not None else set()
        elif kind == DELCHAIN:
            self._del_chain(payload, turn)
        elif kind == NEWTABLE:
            turn.names.add((self._new_table(payload), ""))
        elif kind == DELTABLE:
            self._del_table(payload, turn)

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
            turn.took((key[0], chain.message.name), removed or ())
        self.stale |= {key for key, _ in turn.waiting if self._held(key) is not None}

    def _held(self, key: ChainKey) -> HeldChain | None:
        table = self.tables.get(key[0])
        return None if table is None else table.chains.get(key[1])

    def _named(self, turn: Applied, name: ChainName) -> ChainKey | None:
        """The chain that messages name; None for families that are not read, and for one that is gone by then."""
        table, chain = name
        turn.names.add(name)
        handle = self.tables[table].names.get(chain) if table in self.tables else None
        if handle is None or table[0] not in DECODED:
            return None
        turn.touched.add((table, handle))
        return table, handle

    def _new_rules(self, turn: Applied, new: NewRules) -> None:
        key = self._named(turn, new.chain)
        if key is not None:
            turn.gave(new.chain, new.entries[0])
            self._new_rule(turn, key, new, 0)
            if self._follow_the_first(turn, key, new):
                chain = self.tables[key[0]].chains[key[1]]
                chain.append(new.handles[1:], [held[1:] for held in new.entries])
            else:
                for at in range(1, len(new.handles)):
                    self._new_rule(turn, key, new, at)
        turn.before = None

    def _follow_the_first(self, turn: Applied, key: ChainKey, new: NewRules) -> bool:
        """Whether the first rule stands at the end of its chain now, and each of the others behind the one before."""
        if key in self.stale or turn.waiting or turn.gone.get(key):
            return False
        before, told = new.handles[:-1], new.positions[1:]
        if new.appended and told and not told[-1]:  # as of the last one of a chain
            told[-1] = before[-1]
        return told == before and self.tables[key[0]].chains[key[1]].handles[-1:] == new.handles[:1]

    def _new_rule(self, turn: Applied, key: ChainKey, new: NewRules, index: int) -> None:
        if key in self.stale:
            return
        rule = new.handles[index], [held[index] for held in new.entries]
        at = self._place(turn, key, new, index)
        if at is not None:
            self._insert(turn, key, at, rule)
        elif not new.positions[index] or (key, new.positions[index]) in turn.waiting:
            self.stale.add(key)
        else:
            turn.waiting[key, new.positions[index]] = rule
        turn.before = None

    def _place(self, turn: Applied, key: ChainKey, new: NewRules, index: int) -> int | None:
        """Where a new rule stands; None if that is not known, or not yet.

        Its message names the rule in front of it if it is neither the first nor the last. A replaced rule is deleted by
        the message before; the new one has its handle on newer kernels, and on others is said to be appended.
        """
        chain, gone = self.tables[key[0]].chains[key[1]], turn.gone.get(key, set())
        handle, position = new.handles[index], new.positions[index]
        if handle in gone:
            gone.remove(handle)
            taken = chain.take(handle)
            if taken is None:
                return None
            turn.took((key[0], chain.message.name), [taken[1]])
            return taken[0]
        if position:
            before = chain.find(position)
            return None if before is None else before + 1
        if not new.appended:
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

    def _deleted_rules(self, turn: Applied, deleted: DeletedRules) -> None:
        key = self._named(turn, deleted.chain)
        if key is None:
            return
        if key in self.stale:  # what it held is not known, but the messages may tell
            turn.took(deleted.chain, deleted.told)
            if len(deleted.told) < len(deleted.handles):
                turn.doubtful.add(deleted.chain)
            return
        turn.gone.setdefault(key, set()).update(deleted.handles)
        turn.before = key, deleted.handles[-1]

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
            held.changed()
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
            held = table.chains[message.handle] = HeldChain(message, table.renewed)
            held.clear()
            table.changed()
            turn.made.add(((message.family, message.table), message.name))
            return None
        old, policy, held.message = held.message.name, held.message.policy, message
        held.changed()
        table.changed()
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
            table.changed()
            self.stale.discard((key, message.handle))
            if table.names.get(held.message.name) == message.handle:
                del table.names[held.message.name]
