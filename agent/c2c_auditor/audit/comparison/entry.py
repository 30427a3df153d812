"""A rule and where it stands."""

from __future__ import annotations

from typing import NamedTuple

from c2c_auditor.model import rule as r


class Entry(NamedTuple):
    """One rule where it stands; ``position`` counts from 1. A named tuple, because a reading makes one of each rule."""

    chain: str
    position: int
    rule: r.Rule
    table: str = "filter"

    @property
    def name(self) -> str:
        """The place as sentences name it: ``rule 3 of FORWARD``, ``rule 1 of PREROUTING in raw``."""
        where = "" if self.table == "filter" else f" in {self.table}"
        return f"rule {self.position} of {self.chain}{where}"
