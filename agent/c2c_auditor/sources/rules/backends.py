"""Which backend of iptables holds the cell's rules: asked, never assumed.

python-iptables shows an nft cell as empty and raises nothing; iptables-nft shows a legacy cell as empty and prints a
warning. So `auto` looks into both, without making a legacy table where none is: opening one creates it in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from c2c_auditor.errors import SourceError
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.silk.chain_names import is_container_chain, policy_chain_time


class Reader(Protocol):
    """One backend's reader."""

    def read(self) -> Ruleset:
        """The rules in force; raises SourceError."""


class Witness(Protocol):
    """A reader that is told of commits."""

    def changes(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""


class OneBackend:
    """A backend that the operator named."""

    def __init__(self, reader: Reader, witness: Witness | None = None) -> None:
        self._reader = reader
        self._witness = witness

    def read(self) -> tuple[Ruleset, ...]:
        """The one ruleset."""
        return (self._reader.read(),)

    def changes(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""
        return self._witness.changes() if self._witness is not None else {}


class AutoBackend:
    """Reads nf_tables, and legacy too where this namespace has legacy tables.

    Answers with those that hold silk's chains, the fuller one first.

    A cell on which neither holds any (nothing runs there yet) answers with nf_tables. ``legacy_in_use`` tells None when
    it cannot be told without creating tables: then legacy is read only if nf_tables holds none of silk's chains, for
    then silk's rules must be there if anywhere.
    """

    def __init__(
        self, *, nft: Reader, witness: Witness, legacy: Reader, legacy_in_use: Callable[[], bool | None]
    ) -> None:
        self._nft = nft
        self._witness = witness
        self._legacy = legacy
        self._legacy_in_use = legacy_in_use

    def read(self) -> tuple[Ruleset, ...]:
        """One ruleset, or both when silk's chains stand in both.

        Raises SourceError when a backend that is in use cannot be read.
        """
        in_use = self._legacy_in_use()
        try:
            nft = self._nft.read()
        except SourceError:
            # iptables-nft is not there or does not work; that is no loss where the rules are legacy's.
            legacy = self._legacy.read() if in_use else None
            if legacy is None or not silk_chains(legacy):
                raise
            return (legacy,)
        chains = silk_chains(nft)
        if in_use is False or (in_use is None and chains):
            return (nft,)
        legacy = self._legacy.read()
        in_legacy = silk_chains(legacy)
        if chains and in_legacy:
            return (nft, legacy) if chains >= in_legacy else (legacy, nft)
        return (legacy,) if in_legacy else (nft,)

    def changes(self) -> Mapping[str, int]:
        """Commits to nf_tables since the last call, by author; legacy tells of none."""
        return self._witness.changes()


def silk_chains(ruleset: Ruleset) -> int:
    """How many chains bear names that silk gives."""
    return sum(
        is_container_chain(name) or policy_chain_time(name) is not None
        for table in ruleset.tables.values()
        for name in table.chains
    )
