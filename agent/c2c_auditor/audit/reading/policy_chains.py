"""The policy chains of a filter table, as a packet meets them."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.audit.comparison.entry import Entries, Entry, entries
from c2c_auditor.model import rule as r
from c2c_auditor.silk import chain_names


@frozen(kw_only=True)
class PolicyChains:
    """The ``vpa--`` chains of a filter table.

    ``active`` are those that FORWARD jumps to without condition, in its order, each once.

    While VPA swaps chains there are two of them; what a packet meets is the one after the other, so the rules in force
    are those of both.
    """

    names: tuple[str, ...]
    active: tuple[str, ...]
    jumps: tuple[Entry, ...]
    entries: Entries

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
        )


def jumped_chain(rule: r.Rule) -> str:
    """The chain that a rule jumps or goes to; empty if it does neither."""
    return rule.target.chain if isinstance(rule.target, r.Jump | r.Goto) else ""


def _time(chain: str) -> float:
    return chain_names.policy_chain_time(chain) or 0.0
