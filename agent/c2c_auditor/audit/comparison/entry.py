"""A rule and where it stands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, overload

from attrs import frozen

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


@frozen
class Entries(Sequence[Entry]):
    """The rules of chains of the filter table that packets meet one after the other, where they stand.

    Each entry is made when it is asked for: a cell has 20,000 rules, and few are looked at. ``rules`` are all of them.
    """

    rules: tuple[r.Rule, ...]
    _names: tuple[str, ...]
    _starts: tuple[int, ...]

    @classmethod
    def of(cls, *chains: r.Chain) -> Entries:
        """Those of ``chains``."""
        return cls(
            chains[0].rules if len(chains) == 1 else tuple(rule for one in chains for rule in one.rules),
            tuple(one.name for one in chains),
            tuple(accumulate((len(one.rules) for one in chains[:-1]), initial=0)),
        )

    def __len__(self) -> int:
        return len(self.rules)

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Entry]: ...

    def __getitem__(self, at: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        rule = self.rules[at]
        at %= len(self)
        chain = bisect_right(self._starts, at) - 1
        return Entry(chain=self._names[chain], position=at - self._starts[chain] + 1, rule=rule)


@derived
def entries(chain: r.Chain) -> Entries:
    """A filter chain's rules where they stand."""
    return Entries.of(chain)


def first_places(rules: Sequence[r.Rule]) -> Mapping[r.Rule, int]:
    """Where each of ``rules`` stands, from 0; of equal ones the first."""
    return dict(zip(reversed(rules), range(len(rules) - 1, -1, -1), strict=True))
