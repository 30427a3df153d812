"""All chains of one ruleset while it is worked out what should stand in them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from c2c_auditor.audit.mend.slots import FRONT, ChainMend, Places
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.silk.chain_names import family_of

Key = tuple[str, str]
"""Table and chain."""


@define
class Draft:
    """What should stand in ``ruleset``'s chains. At first it is what stands there.

    ``going`` are the places (table, chain, position) of rules that go, ``displaced`` those of containers' jumps that
    come elsewhere, ``foreign`` those of rules that silk did not write and that stay. ``in_order``: what is put back
    comes to the place that silk's own order gives it, even if silk's other rules must move for that.
    """

    ruleset: r.Ruleset
    going: frozenset[tuple[str, str, int]]
    displaced: frozenset[tuple[str, str, int]] = frozenset()
    foreign: frozenset[tuple[str, str, int]] = frozenset()
    in_order: bool = False
    _places: dict[Key, Places] = field(factory=dict, init=False)
    _removed: dict[Key, None] = field(factory=dict, init=False)

    def places(self, table: str, chain: str) -> Places:
        """What should stand in a chain, which is made if there is none."""
        key = table, chain
        if key not in self._places:
            self._places[key] = Places(self.ruleset.chains(table).get(chain))
        return self._places[key]

    def has(self, table: str, chain: str) -> bool:
        """Whether there is such a chain, or will be."""
        return chain in self.ruleset.chains(table) or (table, chain) in self._places

    def goes(self, table: str, chain: str, position: int) -> bool:
        """Whether the rule there is one that goes."""
        return (table, chain, position) in self.going

    def remove(self, table: str, chain: str) -> None:
        """Take a chain away, with the jumps to it; one that holds a rule of others stays."""
        if any((of_table, of_chain) == (table, chain) for of_table, of_chain, _ in self.foreign):
            return
        self._removed[table, chain] = None
        for name, other in self.ruleset.chains(table).items():
            for at, rule in enumerate(other.rules, 1):
                if jumped_chain(rule) == chain:
                    self.places(table, name).put(at, None)

    def behind_jumps(self, table: str, chain: str, besides: frozenset[int] = frozenset()) -> int:
        """Behind which rule of a built-in chain silk's next jump comes: the last of its jumps, but for ``besides``.

        Without any, silk appends; a rule of others that decides before it is met by coming first (``in_order``).
        """
        found = self.ruleset.chains(table).get(chain, r.Chain(name=chain)).rules
        jumps = (
            at for at, rule in enumerate(found, 1) if at not in besides and family_of(jumped_chain(rule)) is not None
        )
        return max(jumps, default=FRONT if self.in_order else len(found))

    def mends(self) -> tuple[ChainMend, ...]:
        """The chains of which something changes, in the order in which they were thought of."""
        keys: Mapping[Key, None] = {**dict.fromkeys(self._places), **self._removed}
        return tuple(mend for mend in map(self._mend, keys) if mend.changes or any(one.changes for one in mend.slots))

    def _mend(self, key: Key) -> ChainMend:
        table, chain = key
        present = self.ruleset.chains(table).get(chain)
        places = self._places.get(key)
        return ChainMend(
            table=table,
            chain=chain,
            slots=(places if places is not None else Places(present)).slots(),
            exists=present is not None,
            stays=key not in self._removed,
        )
