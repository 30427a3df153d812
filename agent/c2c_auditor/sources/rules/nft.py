"""Rules of the nf_tables backend, through the cell's own iptables-nft: the reader is the writer's version.

Reading everything costs what ``iptables-nft-save`` costs; on a large cell that is seconds. So it happens once, and then
the generation says whether anything changed, notifications say which chains, and only those are read again with ``-S
CHAIN``. A reading counts only if the generation was the same before and after it. Notifications that were lost, or that
name too much, lead back to a whole reading.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import evolve

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk.chain_names import author
from c2c_auditor.sources.rules.command import Limits, Output, run
from c2c_auditor.sources.rules.netlink import Changes

TABLES = ("filter", "nat", "mangle")
_ATTEMPTS = 4
# Reading single chains pays as long as they are few: each costs a process (3 ms) and its own rules.
_MOST_CHAINS = 24
_FORGET_BEYOND = 200_000
# What silk calls, cut at 15 bytes by the kernel.
_SILKS_TOOLS = frozenset({"iptables", "iptables-restor"})
_BUILT_IN = frozenset({"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"})


class Generations(Protocol):
    """What tells whether the ruleset changed (`netlink.Nftables`)."""

    def generation(self) -> int:
        """The generation in force."""

    def changes(self) -> Changes:
        """What was announced since the last call."""


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
        tables: Sequence[str] = TABLES,
    ) -> None:
        self._save = _program(bin_dir, "iptables-nft-save", "iptables-save")
        self._list = _program(bin_dir, "iptables-nft", "iptables")
        self._generations = generations
        self._limits = limits if limits is not None else Limits()
        self._names = tuple(tables)
        self._parser = RuleParser()
        self._last: r.Ruleset | None = None
        self._seen = -1
        self._commits: Counter[str] = Counter()
        self.writers: frozenset[tuple[int, str]] = frozenset()

    def read(self) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when iptables fails, prints what cannot be right, or the rules do not hold still.
        """
        if self._generations is None:
            return self._twice()
        for _ in range(_ATTEMPTS):
            before = self._generations.generation()
            changes = self._generations.changes()
            self._witness(changes)
            if self._last is not None and before == self._seen:
                return self._last
            ruleset = self._changed(changes, before)
            if self._generations.generation() == before:
                self._last, self._seen = ruleset, before
                return ruleset
            self._last = None  # what was announced meanwhile belongs to a reading that does not count
        raise _failed(
            Reason.INCONSISTENT,
            self._save,
            f"the rules changed during each of {_ATTEMPTS} readings",
            "somebody rewrites them all the time: see commits with `nft monitor`",
        )

    def changes(self) -> Mapping[str, int]:
        """Commits seen since the last call, by author."""
        seen, self._commits = dict(self._commits), Counter()
        return seen

    def _witness(self, changes: Changes) -> None:
        """SourceKind committed what.

        A person's ``iptables`` looks like silk's own; only what it touched tells them apart, and not always.
        """
        self.writers = changes.writers
        chains = [chain for _, chain in changes.chains or ()]
        for _, writer in changes.writers:
            self._commits[author(chains) if writer in _SILKS_TOOLS else "foreign"] += 1

    def _twice(self) -> r.Ruleset:
        last = self._whole()
        for _ in range(_ATTEMPTS):
            again = self._whole()
            if again == last:
                return again
            last = again
        raise _failed(
            Reason.INCONSISTENT,
            self._save,
            f"no two of {_ATTEMPTS} readings in a row agree",
            "somebody rewrites the rules all the time",
        )

    def _changed(self, changes: Changes, generation: int) -> r.Ruleset:
        """What changed, read again; everything, when it is not known for sure what changed up to ``generation``."""
        if (
            self._last is None
            or changes.chains is None
            or changes.generation != generation
            or len(changes.chains) > _MOST_CHAINS
        ):
            return self._whole()
        if any(table not in self._last.tables for table, _ in changes.chains if table in self._names):
            return self._whole()
        if not any(table in self._names for table, _ in changes.chains):
            return self._last  # another family's or another table's commit
        tables = {name: dict(table.chains) for name, table in self._last.tables.items()}
        for table, chain in sorted(changes.chains):
            if table in self._names:
                found = self._chain(table, chain)
                tables[table].pop(chain, None)
                if found is not None:
                    tables[table][chain] = found
        return evolve(self._last, tables={name: r.Table(name=name, chains=chains) for name, chains in tables.items()})

    def _whole(self) -> r.Ruleset:
        if len(self._parser) > _FORGET_BEYOND:
            self._parser.forget()
        tables: dict[str, r.Table] = {}
        warnings: dict[str, None] = {}
        for name in self._names:
            output = self._run([self._save, "-c", "-t", name])
            tables.update(self._table(name, output))
            warnings.update(dict.fromkeys(line for line in output.errors.splitlines() if line.startswith("# Warning")))
        return r.Ruleset(tables=tables, backend=r.Backend.NFT, origin=self._save, warnings=tuple(warnings))

    def _table(self, name: str, output: Output) -> Mapping[str, r.Table]:
        """Exit status 0 proves nothing: an empty answer, another table's, or one without COMMIT is a failed reading."""
        found = parse_save(output.text, where=f"{self._save} -t {name}", parser=self._parser).tables
        if set(found) != {name}:
            raise _failed(
                Reason.MALFORMED,
                f"{self._save} -t {name}",
                "it ended without an error and without printing the table",
                "run it by hand; is it the stemcell's own iptables?",
            )
        return found

    def _chain(self, table: str, chain: str) -> r.Chain | None:
        """One chain, None if it is gone."""
        try:
            output = self._run([self._list, "-t", table, "-S", chain])
        except SourceError as error:
            # A chain that is gone: 1.8.9 says "No chain/target/match by that name", or "incompatible" where there is no
            # table either.
            if (
                error.reason in (Reason.FAILED, Reason.INCOMPATIBLE)
                and chain not in _BUILT_IN
                and chain not in self._declared(table)
            ):
                return None
            raise
        found = parse_save(output.text, where=f"{self._list} -t {table} -S {chain}", parser=self._parser).chains(
            "filter"
        )
        if chain not in found:
            raise _failed(
                Reason.MALFORMED,
                f"{self._list} -t {table} -S {chain}",
                "it ended without an error and without printing the chain",
                "run it by hand",
            )
        return found[chain]

    def _declared(self, table: str) -> frozenset[str]:
        """The chains that exist now, from a whole listing: only asked when one chain could not be read."""
        output = self._run([self._save, "-t", table])
        return frozenset(self._table(table, output)[table].chains)

    def _run(self, argv: Sequence[str]) -> Output:
        output = run(argv, self._limits)
        where = " ".join(argv)
        if "incompatible" in output.errors or "is incompatible, use 'nft' tool" in output.text:
            raise _failed(
                Reason.INCOMPATIBLE,
                where,
                "iptables cannot show this table: it holds native nftables rules",
                "look at it with `nft list ruleset`",
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


def _program(bin_dir: Path | None, *candidates: str) -> str:
    """The first of ``candidates`` in ``bin_dir`` or on PATH.

    The first name itself where there is none, so that running it says what is missing.
    """
    for name in candidates:
        found = shutil.which(name, path=str(bin_dir) if bin_dir is not None else None)
        if found is not None:
            return found
    return str(bin_dir / candidates[0]) if bin_dir is not None else candidates[0]


def _failed(reason: Reason, where: str, problem: str, remedy: str) -> SourceError:
    return SourceError(source="rules", reason=reason, where=where, problem=problem, remedy=remedy)
