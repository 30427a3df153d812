"""Reads rules of the nf_tables backend with the cell's own iptables-nft, which has the version that wrote them.

Reading everything costs what ``iptables-nft-save`` costs; on a large cell that is seconds. So it happens once, and then
the generation says whether anything changed, notifications say which chains, and only those are read again with ``-S
CHAIN``. A reading counts only if the generation was the same before and after it. Notifications that were lost, or that
name too much, lead back to a whole reading. Each address family is read on demand, and a commit to one of them
does not lead to a reading of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import define, evolve, field

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.table import BUILT_IN_CHAINS, READ_TABLES, TableSpec
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk.chain_names import author
from c2c_auditor.sources.rules.command import Limits, Output, run
from c2c_auditor.sources.rules.netlink import Changes
from c2c_auditor.sources.rules.older_reader import marked_if_older
from c2c_auditor.sources.rules.tools import Tools

_ATTEMPTS = 4
# Reading single chains pays as long as they are few: each costs a process (3 ms) and its own rules.
_MOST_CHAINS = 24
_FORGET_BEYOND = 200_000
# The names of the processes that silk starts, cut at 15 bytes by the kernel.
_SILKS_TOOLS = frozenset({"iptables", "iptables-restor", "ip6tables", "ip6tables-resto"})


class Generations(Protocol):
    """Announces changes of the ruleset (`netlink.Nftables`)."""

    def generation(self) -> int:
        """The generation in force."""

    def changes(self) -> Changes:
        """What was announced since the last call."""


@define
class _Memory:
    """What is known of one family: the last reading that counts and its generation, and what was announced since.

    ``chains`` are (table, chain), None when notifications were lost.
    """

    parser: RuleParser
    last: r.Ruleset | None = None
    counted: int = -1
    chains: set[tuple[str, str]] | None = field(factory=set)
    generation: int | None = None

    def add(self, changes: Changes) -> None:
        """Add what was announced."""
        if changes.chains is None or self.chains is None:
            self.chains = None
        else:
            self.chains.update(
                (table, chain) for family, table, chain in changes.chains if family is self.parser.family
            )
        self.generation = changes.generation if changes.generation is not None else self.generation

    def keep(self, ruleset: r.Ruleset, generation: int) -> None:
        """A reading that counts: what was announced before it is part of it."""
        self.last, self.counted, self.chains, self.generation = ruleset, generation, set(), None


class NftReader:
    """Reads the tables and keeps them; `read` returns the identical Ruleset as long as nothing was committed.

    ``generations`` may be None where netlink is not to be had: then every reading is a whole one, and two of them in a
    row must agree.
    """

    def __init__(
        self,
        *,
        bin_dir: Path | None,
        generations: Generations | None,
        limits: Limits | None = None,
        tables: Sequence[TableSpec] = READ_TABLES,
    ) -> None:
        self._limits = limits if limits is not None else Limits()
        self._tools = Tools(bin_dir, self._limits.seconds)
        self._generations = generations
        self._names = tuple(table.name for table in tables)
        self._families: dict[r.AddressFamily, _Memory] = {}
        self._commits: Counter[str] = Counter()
        self.writers: frozenset[tuple[int, str]] = frozenset()

    def in_use(self, family: r.AddressFamily) -> bool | None:
        """None: only reading shows whether nf_tables holds rules of iptables."""
        del family
        return None

    def read(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when iptables fails, prints no table, or the rules keep changing.
        """
        memory = self._families.get(family)
        if memory is None:
            memory = self._families[family] = _Memory(parser=RuleParser(family))
        if self._generations is None:
            return self._twice(memory)
        for _ in range(_ATTEMPTS):
            before = self._generations.generation()
            self._record(self._generations.changes())
            if memory.last is not None and before == memory.counted:
                return memory.last
            ruleset = self._changed(memory, before)
            if self._generations.generation() == before:
                memory.keep(ruleset, before)
                return ruleset
            memory.last = None  # changes announced meanwhile belong to the discarded reading
        raise _failed(
            Reason.INCONSISTENT,
            f"{family.tool}-save",
            f"the rules changed during each of {_ATTEMPTS} readings",
            "somebody rewrites them all the time: see commits with `nft monitor`",
        )

    def changes(self) -> Mapping[str, int]:
        """Commits seen since the last call, by author."""
        counted, self._commits = dict(self._commits), Counter()
        return counted

    def _record(self, changes: Changes) -> None:
        """Add what was announced to each family's memory, and count who committed.

        A person's ``iptables`` looks like silk's own; only the chains that it changed distinguish them, and not always.
        """
        for memory in self._families.values():
            memory.add(changes)
        self.writers = changes.writers
        chains = [chain for _, _, chain in changes.chains or ()]
        for _, writer in changes.writers:
            self._commits[author(chains) if writer in _SILKS_TOOLS else "foreign"] += 1

    def _twice(self, memory: _Memory) -> r.Ruleset:
        last = self._whole(memory)
        for _ in range(_ATTEMPTS):
            again = self._whole(memory)
            if again == last:
                return again
            last = again
        raise _failed(
            Reason.INCONSISTENT,
            last.origin,
            f"no two of {_ATTEMPTS} readings in a row agree",
            "somebody rewrites the rules all the time",
        )

    def _changed(self, memory: _Memory, generation: int) -> r.Ruleset:
        """What changed, read again; everything, when it is not known for sure what changed up to ``generation``."""
        last = memory.last
        if last is None or memory.chains is None or memory.generation != generation:
            return self._whole(memory)
        changed = {(table, chain) for table, chain in memory.chains if table in self._names}
        if len(changed) > _MOST_CHAINS or any(table not in last.tables for table, _ in changed):
            return self._whole(memory)
        if not changed:
            return last  # another family's or another table's commit
        tables = {name: dict(table.chains) for name, table in last.tables.items()}
        for table, chain in sorted(changed):
            found = self._chain(memory, table, chain)
            tables[table].pop(chain, None)
            if found is not None:
                tables[table][chain] = found
        whole = {name: r.Table(name=name, chains=chains) for name, chains in tables.items()}
        return marked_if_older(evolve(last, tables=whole))

    def _whole(self, memory: _Memory) -> r.Ruleset:
        if len(memory.parser) > _FORGET_BEYOND:
            memory.parser.forget()
        family = memory.parser.family
        tool = self._tools.find_nft(f"{family.tool}-nft-save", f"{family.tool}-save")
        tables: dict[str, r.Table] = {}
        warnings: dict[str, None] = {}
        for name in self._names:
            output = self._run([tool.path, "-c", "-t", name])
            tables.update(_table(name, output, f"{tool.path} -t {name}", memory.parser))
            warnings.update(dict.fromkeys(line for line in output.errors.splitlines() if line.startswith("# Warning")))
        ruleset = r.Ruleset(
            tables=tables,
            family=family,
            backend=r.Backend.NFT,
            origin=tool.path,
            reader=tool.version,
            warnings=tuple(warnings),
        )
        return marked_if_older(ruleset)

    def _chain(self, memory: _Memory, table: str, chain: str) -> r.Chain | None:
        """One chain, None if it is gone."""
        family = memory.parser.family
        tool = self._tools.find_nft(f"{family.tool}-nft", family.tool)
        where = f"{tool.path} -t {table} -S {chain}"
        try:
            output = self._run([tool.path, "-t", table, "-S", chain])
        except SourceError as error:
            # A chain that is gone: 1.8.9 says "No chain/target/match by that name", or "incompatible" where there is no
            # table either.
            if (
                error.reason in (Reason.FAILED, Reason.INCOMPATIBLE)
                and chain not in BUILT_IN_CHAINS
                and chain not in self._declared(memory, table)
            ):
                return None
            raise
        found = parse_save(output.text, where=where, parser=memory.parser).chains("filter")
        if chain not in found:
            raise _failed(
                Reason.MALFORMED, where, "it ended without an error and without printing the chain", "run it by hand"
            )
        return found[chain]

    def _declared(self, memory: _Memory, table: str) -> frozenset[str]:
        """The chains that exist now, from a whole listing; for the case that one chain could not be read."""
        family = memory.parser.family
        tool = self._tools.find_nft(f"{family.tool}-nft-save", f"{family.tool}-save")
        output = self._run([tool.path, "-t", table])
        return frozenset(_table(table, output, f"{tool.path} -t {table}", memory.parser)[table].chains)

    def _run(self, argv: Sequence[str]) -> Output:
        output = run(argv, self._limits)
        where = " ".join(argv)
        if "incompatible" in output.errors or "is incompatible, use 'nft' tool" in output.text:
            raise _failed(
                Reason.INCOMPATIBLE,
                where,
                "iptables cannot show this table: it holds native nftables rules, or those of a newer iptables",
                "look at it with `nft list ruleset`; if silk's iptables is newer, set iptables_bin_dir to its "
                "directory",
            )
        if output.status != 0:
            denied = "ermission denied" in output.errors or "not permitted" in output.errors
            raise _failed(
                Reason.PERMISSION if denied else Reason.FAILED,
                where,
                f"exit status {output.status}: {output.errors.strip() or 'no message'}",
                "give the agent CAP_NET_ADMIN and CAP_NET_RAW" if denied else "run it by hand",
            )
        return output


def _table(name: str, output: Output, where: str, parser: RuleParser) -> Mapping[str, r.Table]:
    """Exit status 0 proves nothing: an empty answer, another table's, or one without COMMIT is a failed reading."""
    found = parse_save(output.text, where=where, parser=parser).tables
    if set(found) != {name}:
        raise _failed(
            Reason.MALFORMED,
            where,
            "it ended without an error and without printing the table",
            "run it by hand; is it the stemcell's own iptables?",
        )
    return found


def _failed(reason: Reason, where: str, problem: str, remedy: str) -> SourceError:
    return SourceError(source="rules", reason=reason, where=where, problem=problem, remedy=remedy)
