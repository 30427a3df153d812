"""One chain of nf_tables as it is held: rules by handle, in order, and what they do to packets of each family."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import compress

from attrs import define, evolve, field

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.messages import INET, IPV4, IPV6, ChainMessage, TableMessage
from c2c_auditor.netfilter.native.parts import Entry, flat
from c2c_auditor.netfilter.native.rules import NUMBERS

DECODED = {
    IPV4: (r.AddressFamily.IPV4,),
    IPV6: (r.AddressFamily.IPV6,),
    INET: (r.AddressFamily.IPV4, r.AddressFamily.IPV6),
}
"""The families of packets that the tables of a family meet; tables of others are known by name alone."""
# Up to so many rules are taken out one by one; of more, what stays is copied once.
_FEW = 8


@define(eq=False)
class HeldChain:
    """A chain. ``entries`` are sequences parallel to ``handles``, one for each of its families.

    ``plain`` says that all entries are rules. ``made`` is what `frozen` made of them, by family, as long as nothing
    changes; it holds the same tuple of rules, but for chains that change ``often``: those would be copied each time.
    ``packets`` are those of a dump, in the same order; None once a commit changed the chain, for commits do not tell.
    ``renewed`` are the handles of the chains of its table that changed, and get its own when it does.
    """

    message: ChainMessage
    renewed: set[int]
    handles: array[int] = field(factory=lambda: array(NUMBERS))
    packets: tuple[int, ...] | None = None
    entries: list[Sequence[Entry]] = field(factory=list)
    plain: bool = True
    often: bool = False
    made: list[r.Chain | None] = field(factory=list)
    _targets: frozenset[str] | None = None

    def fill(self, handles: array[int], packets: Sequence[int], entries: Iterable[Sequence[Entry]]) -> None:
        """Hold these rules, and no others."""
        self.handles, self.packets = handles, tuple(packets) if any(packets) else _zeros(len(packets))
        self.entries = [tuple(held) for held in entries]
        self.plain = all(set(map(type, held)) <= {r.Rule} for held in self.entries)
        self.changed()

    def clear(self) -> None:
        """Forget all rules."""
        self.fill(array(NUMBERS), (), [()] * len(DECODED[self.message.family]))
        self.packets = None

    def changed(self) -> None:
        """What was made of the chain before does not hold any longer."""
        self.made = [None] * len(self.entries)
        self._targets = None
        self.renewed.add(self.message.handle)

    def _lists(self) -> list[list[Entry]]:
        """The entries, to be changed."""
        self.often = self.often or any(isinstance(held, tuple) and held for held in self.entries)
        lists = [held if isinstance(held, list) else list(held) for held in self.entries]
        self.entries, self.packets = [*lists], None
        self.changed()
        return lists

    def find(self, handle: int) -> int | None:
        """The place of a rule. Rules are mostly appended, so their handles mostly go up."""
        at = bisect_left(self.handles, handle)
        if self.handles[at : at + 1] == array(NUMBERS, (handle,)):
            return at
        try:
            return self.handles.index(handle)
        except ValueError:
            return None

    def insert(self, at: int, handle: int, entries: Sequence[Entry]) -> None:
        """Put a rule in front of the one at place ``at``."""
        self.handles.insert(at, handle)
        for held, one in zip(self._lists(), entries, strict=True):
            held.insert(at, one)
            self.plain = self.plain and isinstance(one, r.Rule)

    def append(self, handles: array[int], entries: Sequence[Sequence[Entry]]) -> None:
        """Put rules behind all others."""
        self.handles += handles
        for held, added in zip(self._lists(), entries, strict=True):
            held.extend(added)
            self.plain = self.plain and set(map(type, added)) <= {r.Rule}

    def take(self, handle: int) -> tuple[int, Entry] | None:
        """Take a rule out: its place, and what it did to packets of the first family; None if it is not there."""
        at = self.find(handle)
        if at is None:
            return None
        taken = self.entries[0][at]
        del self.handles[at]
        for held in self._lists():
            del held[at]
        return at, taken

    def remove(self, gone: set[int]) -> list[Entry] | None:
        """Take out the rules with these handles, and return them; None if one is not there."""
        if len(gone) <= _FEW:
            taken = [found for handle in gone if (found := self.take(handle)) is not None]
            return [entry for _, entry in taken] if len(taken) == len(gone) else None
        if len(gone) == len(self.handles) and gone.issuperset(self.handles):  # flushed
            removed = list(self.entries[0])
            self.handles, self.entries = array(NUMBERS), [[] for _ in self.entries]
        else:
            removed = self.those(gone)
            kept = [handle not in gone for handle in self.handles]
            self.handles = array(NUMBERS, compress(self.handles, kept))
            self.entries = [list(compress(held, kept)) for held in self.entries]
        self.packets = None
        self.changed()
        return removed if len(removed) == len(gone) else None

    def those(self, handles: AbstractSet[int]) -> list[Entry]:
        """What the rules with these handles did to packets of the first family, as far as they are there."""
        return [one for handle, one in zip(self.handles, self.entries[0], strict=True) if handle in handles]

    def rename_target(self, old: str, new: str) -> None:
        """A chain that rules may jump to has another name; the kernel announces that of the chain alone."""
        if self._targets is None:
            self._targets = frozenset(
                rule.target.chain
                for held in self.entries
                for rule in flat(held)
                if isinstance(rule.target, r.Jump | r.Goto)
            )
        if old in self._targets:
            self.entries = [tuple(_renamed_in(one, old, new) for one in held) for held in self.entries]
            self.changed()

    def frozen(self, at: int, *, own: bool) -> r.Chain:
        """The chain as a value, for its family ``at``; the identical one as long as nothing changes.

        ``own``: its hook is iptables' own.
        """
        found = self.made[at]
        if found is None:
            held = tuple(self.entries[at])
            if not self.often:
                self.entries[at] = held
            rules: tuple[r.Rule, ...] = held if self.plain else flat(held)  # type: ignore[assignment]  # plain
            found = self.made[at] = r.Chain(
                name=self.message.name,
                policy=self.message.policy,
                base=None if own else self.message.base,
                rules=rules,
                packets=self.packets if self.packets and len(rules) == len(self.packets) else None,
            )
        return found


@lru_cache(maxsize=256)
def _zeros(count: int) -> tuple[int, ...]:
    """What rules that no packet met have counted: one object for all chains of a size."""
    return (0,) * count


@define(eq=False)
class HeldTable:
    """A table: its chains by handle, and their handles by name.

    ``made`` is what was made of it, if it is one of iptables' own, as long as it has the same chains; ``renewed`` are
    the handles of those whose rules are others since then.
    """

    message: TableMessage
    chains: dict[int, HeldChain] = field(factory=dict)
    names: dict[str, int] = field(factory=dict)
    renewed: set[int] = field(factory=set)
    made: r.Table | None = None
    _elsewhere: bool | None = None

    def changed(self) -> None:
        """It has other chains than before, or these are not what they were."""
        self.made = self._elsewhere = None

    @property
    def elsewhere(self) -> bool:
        """Whether a chain hangs on a hook that iptables has none of."""
        if self._elsewhere is None:
            self._elsewhere = any(chain.message.elsewhere for chain in self.chains.values())
        return self._elsewhere


def _renamed_in(one: Entry, old: str, new: str) -> Entry:
    return _renamed(one, old, new) if isinstance(one, r.Rule) else tuple(_renamed(rule, old, new) for rule in one)


def _renamed(rule: r.Rule, old: str, new: str) -> r.Rule:
    target = rule.target
    if not isinstance(target, r.Jump | r.Goto) or target.chain != old:
        return rule
    return r.Rule(
        source=rule.source,
        destination=rule.destination,
        in_interface=rule.in_interface,
        out_interface=rule.out_interface,
        protocol=rule.protocol,
        fragment=rule.fragment,
        matches=rule.matches,
        target=evolve(target, chain=new),
    )
