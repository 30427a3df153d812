"""What one commit to nf_tables did, while it is applied to the replica and afterwards."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from c2c_auditor.sources.rules.held import Entry, HeldChain

TableKey = tuple[int, str]
"""Family (`messages.INET`, …) and name."""
ChainKey = tuple[TableKey, int]
"""Table and the chain's handle."""
ChainName = tuple[TableKey, str]
ChangedRule = tuple[TableKey, str, Entry]
Values = Mapping[int, bytes]
NewRule = tuple[int, list[Entry]]
"""Its handle, and what it does to packets of each of its families."""
NO_CHAIN: tuple[bytes, ChainKey | None] = (b"?", None)
"""What no message begins with: that is its family's number."""


@define(eq=False)
class Applied:
    """One commit while it is applied, and when it has been.

    ``touched`` are the chains whose rules it changed, or may have; ``names`` all chains that it named, with their
    tables (an empty name for a table itself); ``added`` and ``removed`` its rules, as far as they are known, each with
    table and chain; of the ``doubtful`` chains not all are. ``made`` and ``lost`` are chains that are new or gone,
    ``policies`` those whose policy is another, ``renamed`` the old names of chains by their new ones.

    The rest serves to apply it. ``gone`` are the handles of deleted rules by chain, which stay in their lists until its
    end; ``waiting`` new rules by the rule that they stand behind and that was not announced yet; ``before`` the chain
    and the handle of the rule that the message before deleted; ``named`` how the message before about a rule began, up
    to its handle, and the chain that this named.
    """

    gone: dict[ChainKey, set[int]] = field(factory=dict)
    waiting: dict[tuple[ChainKey, int], NewRule] = field(factory=dict)
    before: tuple[ChainKey, int] | None = None
    named: tuple[bytes, ChainKey | None] = NO_CHAIN
    touched: set[ChainKey] = field(factory=set)
    names: set[ChainName] = field(factory=set)
    added: list[ChangedRule] = field(factory=list)
    removed: list[ChangedRule] = field(factory=list)
    doubtful: set[ChainName] = field(factory=set)
    made: set[ChainName] = field(factory=set)
    lost: set[ChainName] = field(factory=set)
    policies: set[ChainName] = field(factory=set)
    renamed: dict[ChainName, str] = field(factory=dict)

    def lose(self, table: TableKey, chain: HeldChain) -> None:
        """``chain`` is gone, with the rules that it still holds."""
        name = chain.message.name
        self.lost.add((table, name))
        if chain.entries:
            self.removed += [(table, name, one) for one in chain.entries[0]]
