"""Reads rules from nf_tables itself, over netlink, and starts no program: the first choice of the nft backend.

A reading is the state at one generation (`follower`), of every family and every table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from c2c_auditor.model import rule as r
from c2c_auditor.model.table import READ_TABLES, TableSpec
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.silk.chain_names import author
from c2c_auditor.sources.rules import rulesets
from c2c_auditor.sources.rules.follower import Follower
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.replica import Replica

# The names of the processes that silk starts, cut at 15 bytes by the kernel.
_SILKS_TOOLS = frozenset({"iptables", "iptables-restor", "ip6tables", "ip6tables-resto"})


class NativeReader:
    """`read` returns the identical Ruleset as long as nothing was committed that concerns its family."""

    def __init__(self, netlink: Netlink, *, tables: Sequence[TableSpec] = READ_TABLES) -> None:
        self._tables = tuple(tables)
        self._replica = Replica({family: RuleDecoder(family) for family in r.AddressFamily})
        self._follower = Follower(netlink, self._replica)
        self._last: dict[r.AddressFamily, tuple[int | None, r.Ruleset]] = {}
        self._commits: Counter[str] = Counter()

    def in_use(self, family: r.AddressFamily) -> bool | None:
        """None: only reading shows whether nf_tables holds rules of iptables."""
        del family
        return None

    def read(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when netlink fails, or when chains change faster than they can be read.
        """
        self._follower.catch_up()
        self._count()
        generation, last = self._last.get(family, (None, None))
        if last is None or generation != self._follower.generation:
            made = rulesets.ruleset(self._replica.tables, family, self._tables)
            # Unchanged chains are the identical objects, so that comparing costs little.
            last = last if last is not None and (made, made.warnings) == (last, last.warnings) else made
            self._last[family] = self._follower.generation, last
        return last

    def changes(self) -> Mapping[str, int]:
        """Commits seen since the last call, by author."""
        counted, self._commits = dict(self._commits), Counter()
        return counted

    def _count(self) -> None:
        """Count who committed.

        A person's ``iptables`` looks like silk's own; only the chains that it changed distinguish them, and not always.
        """
        for turn in self._follower.turns:
            chains = [chain for _, chain in turn.chains]
            self._commits[author(chains) if turn.commit.name in _SILKS_TOOLS else "foreign"] += 1
        self._follower.turns.clear()
