"""The policy chains of a filter table, as a packet meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from c2c_auditor.audit.comparison.entry import Entries, Entry, entries, first_places
from c2c_auditor.model import rule as r
from c2c_auditor.silk import chain_names


@frozen(kw_only=True)
class PolicyChains:
    """The ``vpa--`` chains of a filter table.

    ``active`` are those that FORWARD jumps to without condition, in its order, each once.

    While VPA swaps chains there are two of them; what a packet meets is the one after the other, so the rules in force
    are those of both. ``first`` are they by value, of equal ones the one that a packet meets first.
    """

    names: tuple[str, ...]
    active: tuple[str, ...]
    jumps: tuple[Entry, ...]
    entries: Entries
    first: Mapping[r.Rule, int]

    @classmethod
    def of(cls, ruleset: r.Ruleset) -> PolicyChains:
        """Read the policy chains of ``ruleset``.

        When none is active, the newest one's rules stand for what VPA last wrote.
        """
        chains = ruleset.chains("filter")
        found = sorted((name for name in chains if chain_names.policy_chain_time(name) is not None), key=_time)
        forward = chains.get("FORWARD", r.Chain(name="FORWARD")).rules
        targets = frozenset(found)
        jumps = tuple(
            Entry(chain="FORWARD", position=at, rule=rule)
            for at, rule in enumerate(forward, 1)
            if isinstance(rule.target, r.Jump | r.Goto) and rule.target.chain in targets
        )
        active = tuple(
            dict.fromkeys(
                jumped_chain(jump.rule)
                for jump in jumps
                if jump.rule == r.Rule(target=r.Jump(chain=jumped_chain(jump.rule)))
            )
        )
        read = active or tuple(found[-1:])
        return cls(
            names=tuple(found),
            active=active,
            jumps=jumps,
            entries=entries(chains[read[0]]) if len(read) == 1 else Entries.of(*(chains[name] for name in read)),
            first=_first([chains[name] for name in read]),
        )


def _first(chains: Sequence[r.Chain]) -> Mapping[r.Rule, int]:
    """Where each rule stands in the entries of all chains; of equal ones the first."""
    if len(chains) == 1:
        return first_places(chains[0])
    found: dict[r.Rule, int] = {}
    behind = sum(len(chain.rules) for chain in chains)
    for chain in reversed(chains):
        behind -= len(chain.rules)
        found.update((rule, behind + at) for rule, at in first_places(chain).items())
    return found


def jumped_chain(rule: r.Rule) -> str:
    """The chain that a rule jumps or goes to; empty if it does neither."""
    return rule.target.chain if isinstance(rule.target, r.Jump | r.Goto) else ""


def _time(chain: str) -> float:
    return chain_names.policy_chain_time(chain) or 0.0
