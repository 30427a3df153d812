"""Rules that silk did not write and that the operator declared: they are meant to be there.

They are accepted with what they decide about traffic. A declaration holds for one rule at one place: a jump is covered
where each rule behind it is declared as well, and never is anything in silk's own chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import DeclaredRule
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk.chain_names import family_of

_DEEPEST = 64
Place = tuple[str, str]
"""Table and chain."""

HIDES_DECLARED = frozenset(
    {
        r.Loss.INTERFACES,
        r.Loss.CHAIN_NAMES,
        r.Loss.HASHLIMIT_NAMES,
        r.Loss.NATIVE_EXPRESSIONS,
        r.Loss.OTHER_CHAINS,
        r.Loss.OTHER_BACKEND,
    }
)
"""What a reading may lack so that it does not tell whether a declared rule stands."""


@frozen(kw_only=True)
class Declared:
    """The declared rules of one family beside those that stand.

    ``deciding`` are those that may decide about traffic as they do. A rule that stands at another place as well is none
    of them: what a rule decides is known by its value.
    """

    present: tuple[DeclaredRule, ...] = ()
    absent: tuple[DeclaredRule, ...] = ()
    deciding: frozenset[r.Rule] = frozenset()
    _places: frozenset[tuple[Place, r.Rule]] = frozenset()

    @classmethod
    def of(cls, declared: Sequence[DeclaredRule], rulesets: Sequence[r.Ruleset]) -> Declared:
        """``declared`` beside ``rulesets``, which are all of the same family."""
        if not declared:
            return _NOTHING
        places = frozenset(((one.table, one.chain), one.rule) for one in declared)
        values = frozenset(one.rule for one in declared)
        standing: set[tuple[Place, r.Rule]] = set()
        elsewhere: set[r.Rule] = set()
        for ruleset in rulesets:
            for table in ruleset.tables.values():
                for chain in table.chains.values():
                    place = table.name, chain.name
                    for rule in values.intersection(chain.rules):
                        if (place, rule) in places and family_of(chain.name) is None:
                            standing.add((place, rule))
                        else:
                            elsewhere.add(rule)
        present = tuple(one for one in declared if ((one.table, one.chain), one.rule) in standing)
        return cls(
            present=present,
            absent=tuple(one for one in declared if one not in present),
            deciding=frozenset(one.rule for one in present) - elsewhere,
            places=places,
        )

    def covers(self, table: str, chain: str, rule: r.Rule, chains: Mapping[str, r.Chain]) -> bool:
        """Whether ``rule``, which stands in ``chain`` of ``table``, is declared with all that it leads to.

        ``table`` may have its backend behind its name; ``chains`` are those of the table.
        """
        return bool(self._places) and self._covers((table.partition(" ")[0], chain), rule, chains, _DEEPEST)

    def notes(self) -> Iterator[str]:
        """What was accepted, one sentence for each rule that stands."""
        for one in self.present:
            family = "ip6tables: " if one.family is r.AddressFamily.IPV6 else ""
            text = f"{family}-t {one.table} {render_rule(one.rule, one.chain)}"
            yield f"Accepted as the configuration declares ({one.reason}): {text}"

    def _covers(self, place: Place, rule: r.Rule, chains: Mapping[str, r.Chain], depth: int) -> bool:
        table, chain = place
        if not depth or family_of(chain) is not None or (place, rule) not in self._places:
            return False
        inner = jumped_chain(rule)
        behind = chains[inner].rules if inner in chains else ()
        return all(self._covers((table, inner), one, chains, depth - 1) for one in behind)


_NOTHING = Declared()
