"""Finds out which backend of iptables holds the cell's rules.

python-iptables shows an nft cell as empty and raises nothing; iptables-nft shows a legacy cell as empty and prints a
warning. So of several readers all whose backend is in use are read: packets meet the rules of both. Legacy tables that
do not exist are not opened, because that would create them in the kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import evolve

from c2c_auditor.errors import SourceError
from c2c_auditor.model.change import Done
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import Loss, Ruleset
from c2c_auditor.netfilter.stages import does_anything
from c2c_auditor.silk.chain_names import silks


class Reader(Protocol):
    """One backend's reader, for every address family."""

    def in_use(self, family: AddressFamily) -> bool | None:
        """Whether the backend holds tables of ``family``; None when only reading shows it."""

    def read(self, family: AddressFamily) -> Ruleset:
        """The rules of ``family`` in force; raises SourceError."""

    def changes(self) -> Mapping[str, int]:
        """Commits since the last call, by author; empty where the backend does not announce them."""

    def done(self) -> tuple[Done, ...]:
        """What was done since the last call, the oldest first."""

    def packets(self) -> Mapping[str, int] | None:
        """Packets by verdict (``accepted``, ``refused``) since the start; None as long as nobody counted."""


class Backends:
    """The rules of a cell, by one reader or by all of several that hold silk's chains."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        """``readers`` in the order in which they are tried."""
        self._readers = tuple(readers)

    def read(self, families: Sequence[AddressFamily] = (AddressFamily.IPV4,)) -> tuple[Ruleset, ...]:
        """The rulesets of ``families`` in that order.

        Of each family the one with most of silk's chains comes first; where none has any (nothing runs there yet), the
        first reader's. Then come the others that hold chains of silk's or that packets meet. Where
        another backend could not be read, the first one says so (`Loss.OTHER_BACKEND`).

        Raises SourceError when a backend that is in use cannot be read, or none could.
        """
        return tuple(ruleset for family in families for ruleset in self._read_family(family))

    def _read_family(self, family: AddressFamily) -> tuple[Ruleset, ...]:
        if len(self._readers) == 1:
            return (self._readers[0].read(family),)
        readings: list[Ruleset] = []
        failure: SourceError | None = None
        for reader in self._readers:
            in_use = reader.in_use(family)
            # Where that cannot be seen, reading might create tables. So it is skipped if another reader found the rules
            # or failed.
            if in_use is False or (in_use is None and (failure or any(map(silks, readings)))):
                continue
            try:
                readings.append(reader.read(family))
            except SourceError as error:
                if in_use:
                    raise
                failure = error
        readings.sort(key=lambda ruleset: -len(silks(ruleset)))
        if failure is not None:
            if not any(map(silks, readings)):
                raise failure
            readings[0] = evolve(readings[0], lost=readings[0].lost | {Loss.OTHER_BACKEND})
        return (*readings[:1], *(other for other in readings[1:] if silks(other) or does_anything(other)))

    def changes(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""
        total: Counter[str] = Counter()
        for reader in self._readers:
            total.update(reader.changes())
        return dict(total)

    def done(self) -> tuple[Done, ...]:
        """What was done since the last call, of each backend the oldest first."""
        return tuple(done for reader in self._readers for done in reader.done())

    def packets(self) -> Mapping[str, int] | None:
        """Packets by verdict since the start, of all backends; None as long as none has counted."""
        counted = [packets for packets in (reader.packets() for reader in self._readers) if packets is not None]
        total: Counter[str] = Counter()
        for packets in counted:
            total.update(packets)
        return dict(total) if counted else None
