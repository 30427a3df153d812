"""A rule and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.derived import derived


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


@derived
def entries(chain: r.Chain) -> tuple[Entry, ...]:
    """A filter chain's rules where they stand."""
    return tuple(Entry(chain=chain.name, position=at, rule=rule) for at, rule in enumerate(chain.rules, 1))


@derived
def first_entries(chain: r.Chain) -> Mapping[r.Rule, Entry]:
    """A filter chain's rules by value; of equal ones the first."""
    return dict(zip(reversed(chain.rules), reversed(entries(chain)), strict=True))
