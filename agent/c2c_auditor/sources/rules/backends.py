"""Finds out which backend of iptables holds the cell's rules.

python-iptables shows an nft cell as empty and raises nothing; iptables-nft shows a legacy cell as empty and prints a
warning. So of several readers all whose backend is in use are read. Legacy tables that do not exist are not opened,
because that would create them in the kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from c2c_auditor.errors import SourceError
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.silk.chain_names import is_container_chain, policy_chain_time


class Reader(Protocol):
    """One backend's reader, for every address family."""

    def in_use(self, family: AddressFamily) -> bool | None:
        """Whether the backend holds tables of ``family``; None when only reading shows it."""

    def read(self, family: AddressFamily) -> Ruleset:
        """The rules of ``family`` in force; raises SourceError."""

    def changes(self) -> Mapping[str, int]:
        """Commits since the last call, by author; empty where the backend does not announce them."""


class Backends:
    """The rules of a cell, by one reader or by all of several that hold silk's chains."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        """``readers`` in the order in which they are tried."""
        self._readers = tuple(readers)

    def read(self, families: Sequence[AddressFamily] = (AddressFamily.IPV4,)) -> tuple[Ruleset, ...]:
        """The rulesets of ``families`` in that order.

        Of each family the fullest comes first if several backends hold silk's chains. Where none does (nothing runs
        there yet), the first reader's answer stands for the family. Raises SourceError when a backend that is in use
        cannot be read.
        """
        return tuple(ruleset for family in families for ruleset in self._read_family(family))

    def _read_family(self, family: AddressFamily) -> tuple[Ruleset, ...]:
        if len(self._readers) == 1:
            return (self._readers[0].read(family),)
        readings: list[tuple[int, Ruleset]] = []
        failure: SourceError | None = None
        for reader in self._readers:
            in_use = reader.in_use(family)
            # Where that cannot be seen, reading might create tables. So it is skipped if another reader found the rules
            # or failed.
            if in_use is False or (in_use is None and (failure or any(chains for chains, _ in readings))):
                continue
            try:
                ruleset = reader.read(family)
            except SourceError as error:
                if in_use:
                    raise
                failure = error  # no loss where another backend holds the rules
            else:
                readings.append((silk_chains(ruleset), ruleset))
        holding = sorted((reading for reading in readings if reading[0]), key=lambda reading: -reading[0])
        if failure is not None and not holding:
            raise failure
        return tuple(ruleset for _, ruleset in (holding or readings[:1]))

    def changes(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""
        total: Counter[str] = Counter()
        for reader in self._readers:
            total.update(reader.changes())
        return dict(total)


def silk_chains(ruleset: Ruleset) -> int:
    """How many chains bear names that silk gives."""
    return sum(
        is_container_chain(name) or policy_chain_time(name) is not None
        for table in ruleset.tables.values()
        for name in table.chains
    )
