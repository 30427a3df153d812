"""What one commit to nf_tables did, while it is applied to the replica and afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from c2c_auditor.netfilter.native.parts import Entry
from c2c_auditor.sources.rules.held import HeldChain

TableKey = tuple[int, str]
"""Family (`messages.INET`, …) and name."""
ChainKey = tuple[TableKey, int]
"""Table and the chain's handle."""
ChainName = tuple[TableKey, str]
NewRule = tuple[int, Sequence[Entry]]
"""Its handle, and what it does to packets of each of its families."""


@define(eq=False)
class Applied:
    """One commit while it is applied, and when it has been.

    ``touched`` are the chains whose rules it changed, or may have; ``names`` all chains that it named, with their
    tables (an empty name for a table itself); ``added`` and ``removed`` its rules by chain, as far as they are known;
    of the ``doubtful`` chains not all are. ``made`` and ``lost`` are chains that are new or gone,
    ``policies`` those whose policy is another, ``renamed`` the old names of chains by their new ones.

    The rest serves to apply it. ``gone`` are the handles of deleted rules by chain, which stay in their lists until its
    end; ``waiting`` new rules by the rule that they stand behind and that was not announced yet; ``before`` the chain
    and the handle of the rule that the message before deleted.
    """

    gone: dict[ChainKey, set[int]] = field(factory=dict)
    waiting: dict[tuple[ChainKey, int], NewRule] = field(factory=dict)
    before: tuple[ChainKey, int] | None = None
    touched: set[ChainKey] = field(factory=set)
    names: set[ChainName] = field(factory=set)
    added: dict[ChainName, list[Entry]] = field(factory=dict)
    removed: dict[ChainName, list[Entry]] = field(factory=dict)
    doubtful: set[ChainName] = field(factory=set)
    made: set[ChainName] = field(factory=set)
    lost: set[ChainName] = field(factory=set)
    policies: set[ChainName] = field(factory=set)
    renamed: dict[ChainName, str] = field(factory=dict)

    def lose(self, table: TableKey, chain: HeldChain) -> None:
        """``chain`` is gone, with the rules that it still holds."""
        name = chain.message.name
        self.lost.add((table, name))
        self.took((table, name), chain.entries[0])

    def gave(self, chain: ChainName, entries: Iterable[Entry]) -> None:
        """``chain`` got these rules."""
        self.added.setdefault(chain, []).extend(entries)

    def took(self, chain: ChainName, entries: Iterable[Entry]) -> None:
        """``chain`` lost these rules."""
        self.removed.setdefault(chain, []).extend(entries)
