"""One chain of nf_tables as it is held: rules by handle, in order, and what they do to packets of each family."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from attrs import define, evolve, field

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.messages import INET, IPV4, IPV6, ChainMessage, TableMessage
from c2c_auditor.netfilter.native.rules import Rules

DECODED = {
    IPV4: (r.AddressFamily.IPV4,),
    IPV6: (r.AddressFamily.IPV6,),
    INET: (r.AddressFamily.IPV4, r.AddressFamily.IPV6),
}
"""The families of packets that the tables of a family meet; tables of others are known by name alone."""
# Up to so many rules are taken out one by one; of more, what stays is copied once.
_FEW = 8


Entry = r.Rule | Rules
"""What one rule of the kernel does: mostly one `Rule`, which is then not put in a tuple: that makes chains quickly."""


def entry(rules: Rules) -> Entry:
    """``rules`` as they are held."""
    return rules[0] if len(rules) == 1 else rules


@define(eq=False)
class HeldChain:
    """A chain. ``entries`` are lists parallel to ``handles``, one for each of its families.

    ``plain`` says that all entries are rules. ``made`` is what `frozen` made of the chain, as long as nothing changes.
    ``packets`` are those of a dump, in the same order; None once a commit changed the chain, for commits do not tell.
    """

    message: ChainMessage
    handles: list[int] = field(factory=list)
    packets: list[int] | None = None
    entries: tuple[list[Entry], ...] = ()
    plain: bool = True
    made: dict[r.AddressFamily, r.Chain] = field(factory=dict)
    _targets: frozenset[str] | None = None

    def clear(self) -> None:
        """Forget all rules."""
        self.handles, self.packets = [], None
        self.entries = tuple([] for _ in DECODED[self.message.family])
        self.plain = True
        self.changed()

    def changed(self) -> None:
        """What was made of the chain before does not hold any longer."""
        self.made.clear()
        self._targets = None

    def find(self, handle: int) -> int | None:
        """The place of a rule. The last is looked at first: rules are mostly appended."""
        if self.handles and self.handles[-1] == handle:
            return len(self.handles) - 1
        try:
            return self.handles.index(handle)
        except ValueError:
            return None

    def insert(self, at: int, handle: int, entries: Sequence[Entry]) -> None:
        """Put a rule in front of the one at place ``at``."""
        self.handles.insert(at, handle)
        self.packets = None
        for held, one in zip(self.entries, entries, strict=True):
            held.insert(at, one)
            self.plain = self.plain and isinstance(one, r.Rule)
        self.changed()

    def take(self, handle: int) -> tuple[int, Entry] | None:
        """Take a rule out: its place, and what it did to packets of the first family; None if it is not there."""
        at = self.find(handle)
        if at is None:
            return None
        taken = self.entries[0][at]
        del self.handles[at]
        for held in self.entries:
            del held[at]
        self.packets = None
        self.changed()
        return at, taken

    def remove(self, gone: AbstractSet[int]) -> list[Entry] | None:
        """Take out the rules with these handles, and return them; None if one is not there."""
        if len(gone) <= _FEW:
            taken = [found for handle in gone if (found := self.take(handle)) is not None]
            return [entry for _, entry in taken] if len(taken) == len(gone) else None
        removed = [one for handle, one in zip(self.handles, self.entries[0], strict=True) if handle in gone]
        kept = [at for at, handle in enumerate(self.handles) if handle not in gone]
        self.handles, self.packets = [self.handles[at] for at in kept], None
        self.entries = tuple([held[at] for at in kept] for held in self.entries)
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
                for rule in _flat(held)
                if isinstance(rule.target, r.Jump | r.Goto)
            )
        if old in self._targets:
            for held in self.entries:
                held[:] = [
                    _renamed(one, old, new) if isinstance(one, r.Rule) else tuple(_renamed(x, old, new) for x in one)
                    for one in held
                ]
            self.changed()

    def frozen(self, family: r.AddressFamily, *, own: bool) -> r.Chain:
        """The chain as a value; the identical one as long as nothing changes. ``own``: its hook is iptables' own."""
        found = self.made.get(family)
        if found is None:
            held = self.entries[DECODED[self.message.family].index(family)]
            rules: tuple[r.Rule, ...] = tuple(held) if self.plain else _flat(held)  # type: ignore[arg-type]  # plain
            found = self.made[family] = r.Chain(
                name=self.message.name,
                policy=self.message.policy,
                base=None if own else self.message.base,
                rules=rules,
                packets=tuple(self.packets) if self.packets and len(rules) == len(self.packets) else None,
            )
        return found


def _flat(entries: list[Entry]) -> tuple[r.Rule, ...]:
    return tuple(rule for one in entries for rule in ((one,) if isinstance(one, r.Rule) else one))


@define(eq=False)
class HeldTable:
    """A table: its chains by handle, and their handles by name."""

    message: TableMessage
    chains: dict[int, HeldChain] = field(factory=dict)
    names: dict[str, int] = field(factory=dict)


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
