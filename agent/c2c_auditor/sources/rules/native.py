"""Reads rules from nf_tables itself, over netlink, and starts no program: the first choice of the nft backend.

A reading is the state at one generation (`follower`), of every family and every table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Done
from c2c_auditor.model.table import READ_TABLES, TableSpec
from c2c_auditor.netfilter.native.rules import RuleDecoder
from c2c_auditor.silk.chain_names import policy_chain_time
from c2c_auditor.sources.rules import rulesets
from c2c_auditor.sources.rules.committers import Committers
from c2c_auditor.sources.rules.counting import NativeCounting
from c2c_auditor.sources.rules.follower import Follower
from c2c_auditor.sources.rules.held import DECODED
from c2c_auditor.sources.rules.journal import Journal
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.replica import Replica

# So many rules, and a quarter of all that are known, may be gone before they are forgotten, which takes some 30 ms.
_SPARE = 1000
# Longer than silk needs to write a policy chain and to delete the one before. A swap that hangs is judged as it is.
_SWAP_SECONDS = 5.0


class NativeReader:
    """`read` returns the identical Ruleset as long as nothing was committed that concerns its family.

    ``committers`` knows who committed; ``counting`` reads counters, where they are wanted.
    """

    def __init__(
        self,
        netlink: Netlink,
        *,
        tables: Sequence[TableSpec] = READ_TABLES,
        committers: Committers | None = None,
        counting: NativeCounting | None = None,
    ) -> None:
        self._tables = tuple(tables)
        self._decoders = {family: RuleDecoder(family) for family in r.AddressFamily}
        self._replica = Replica(self._decoders)
        self._follower = Follower(netlink, self._replica)
        self._current: dict[r.AddressFamily, r.Ruleset] = {}
        self._noted = 0
        self._most = 0
        self._journal = Journal(committers)
        self._counting = counting

    @property
    def generation(self) -> int | None:
        """The generation of the last reading; None before the first."""
        return self._follower.generation

    @property
    def listings(self) -> int:
        """How often everything was listed: once at the start, and then after each loss of announcements."""
        return self._follower.listings

    def in_use(self, family: r.AddressFamily) -> bool | None:
        """None: only reading shows whether nf_tables holds rules of iptables."""
        del family
        return None

    def read(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when netlink fails, or when chains change faster than they can be read.
        """
        self._follower.catch_up()
        self._note()
        ruleset = self._current.get(family)
        if ruleset is None:
            ruleset = self._current[family] = rulesets.ruleset(self._replica.tables, family, self._tables)
        return ruleset

    def policy_chain(self, now: float) -> tuple[float, bool] | None:
        """When silk made its newest policy chain, and whether it is replacing another one with it; None without one.

        ``now`` and the result are seconds since the epoch. Silk has replaced a chain within seconds, so a longer state
        of two is none of its own. Raises SourceError as `read`.
        """
        self._follower.catch_up()
        filtering = self._replica.tables.get((r.AddressFamily.IPV4.nfproto, "filter"))
        made = [
            made for name in (filtering.names if filtering is not None else ()) if (made := policy_chain_time(name))
        ]
        return (max(made), len(made) > 1 and now - max(made) < _SWAP_SECONDS) if made else None

    def changes(self) -> Mapping[str, int]:
        """Commits seen since the last call, by author."""
        return self._journal.counts()

    def done(self) -> tuple[Done, ...]:
        """What was done since the last call."""
        return self._journal.take()

    def packets(self) -> Mapping[str, int] | None:
        """Packets by verdict since the start, as last read; None before that."""
        return self._counting.sums(self._replica.tables) if self._counting is not None else None

    def _note(self) -> None:
        """Forget the rulesets that commits concern, and note who committed."""
        first, lost = self._noted == 0, self._noted != self._follower.listings
        if lost:
            self._noted = self._follower.listings
            self._current.clear()
        turns = self._follower.turns
        while turns:  # an audit may be given up at any point: no ruleset outlives a commit, and none is noted twice
            for (family, _), _ in turns[0].applied.names:
                for concerned in DECODED.get(family, tuple(r.AddressFamily)):
                    self._current.pop(concerned, None)
            self._journal.note(turns.popleft())
        if lost:
            self._journal.forget_deeds()
        known = sum(map(len, self._decoders.values()))
        if known > self._most:
            self._most = (known if first else self._forget()) * 5 // 4 + _SPARE

    def _forget(self) -> int:
        """Forget what is known of rules that are gone; how many are known then."""
        used = self._replica.used()
        for decoder in self._decoders.values():
            decoder.keep(used)
        return sum(map(len, self._decoders.values()))
