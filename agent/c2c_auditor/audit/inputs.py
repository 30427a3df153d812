"""Everything that the checks look at, worked out once per reading."""

from __future__ import annotations

from attrs import evolve, frozen

from c2c_auditor.audit.people import People
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, VpaConfig
from c2c_auditor.silk import names
from c2c_auditor.silk.policy import Planned, infer_ingress_tag, plan_policy_chain


@frozen(kw_only=True)
class Entry:
    """One rule where it stands; ``position`` counts from 1."""

    chain: str
    position: int
    rule: r.Rule


@frozen(kw_only=True)
class PolicyChains:
    """The ``vpa--`` chains of a filter table. ``active`` are those that FORWARD jumps to without condition, in its order, each once.

    While VPA swaps chains there are two of them; what a packet meets is the one after the other, so the rules in force are those of both.
    """

    names: tuple[str, ...]
    active: tuple[str, ...]
    jumps: tuple[Entry, ...]
    rules: tuple[Entry, ...]

    @classmethod
    def of(cls, ruleset: r.Ruleset) -> PolicyChains:
        """Read the policy chains of ``ruleset``; when none is active, the newest one's rules stand for what VPA last wrote."""
        chains = ruleset.chains("filter")
        found = sorted((name for name in chains if names.policy_chain_time(name) is not None), key=_time)
        forward = chains.get("FORWARD", r.Chain(name="FORWARD")).rules
        targets = frozenset(found)
        jumps = tuple(
            Entry(chain="FORWARD", position=at, rule=rule)
            for at, rule in enumerate(forward, 1)
            if isinstance(rule.target, r.Jump | r.Goto) and rule.target.chain in targets
        )
        active = tuple(dict.fromkeys(jumped_chain(jump.rule) for jump in jumps if jump.rule == r.Rule(target=jump.rule.target)))
        read = active or tuple(found[-1:])
        rules = tuple(Entry(chain=name, position=at, rule=rule) for name in read for at, rule in enumerate(chains[name].rules, 1))
        return cls(names=tuple(found), active=active, jumps=jumps, rules=rules)


def jumped_chain(rule: r.Rule) -> str:
    """The chain that a rule jumps or goes to; empty if it does neither."""
    return rule.target.chain if isinstance(rule.target, r.Jump | r.Goto) else ""


def _time(chain: str) -> float:
    return names.policy_chain_time(chain) or 0.0


@frozen(kw_only=True)
class Inputs:
    """One reading of rules beside the facts. ``planned`` is None when too little is known to say what should be there."""

    facts: CellFacts
    ruleset: r.Ruleset
    config: VpaConfig
    people: People
    chains: PolicyChains
    planned: tuple[Planned, ...] | None
    ingress_tag: int | None
    notes: tuple[str, ...] = ()
    now: float | None = None
    others: tuple[r.Ruleset, ...] = ()

    @classmethod
    def of(cls, facts: CellFacts, ruleset: r.Ruleset, now: float | None, others: tuple[r.Ruleset, ...] = ()) -> Inputs:
        """Work out plan and lookups; ``now`` in seconds since the epoch, None for a recording that does not tell its time.

        ``others`` are listings from elsewhere, such as the cell where a source runs: only what they say of marks is used.
        """
        chains = PolicyChains.of(ruleset)
        rules = [entry.rule for entry in chains.rules]
        notes: list[str] = list(ruleset.warnings)
        config = facts.config
        if config is None:
            config = _inferred(rules)
            notes.append("The vxlan-policy-agent's configuration is not known: its switches were inferred from the rules.")
        tag = facts.ingress_tag
        if config.overlay_ingress and tag is None:
            tag = infer_ingress_tag(rules)
            notes.append(
                f"The ingress router's tag was inferred from the rules: 0x{tag:x}."
                if tag is not None
                else "The ingress router's tag is not known and cannot be inferred: ingress rules were not judged.",
            )
        planned = None
        if facts.store is not None and facts.policies is not None:
            planned = plan_policy_chain(facts.store, facts.policies, config, tag)
        return cls(
            facts=facts,
            ruleset=ruleset,
            config=config,
            people=People.of(facts.store, facts.policies),
            chains=chains,
            planned=planned,
            ingress_tag=tag,
            notes=tuple(notes),
            now=now,
            others=others,
        )


def _inferred(rules: list[r.Rule]) -> VpaConfig:
    """VPA's switches as its own rules show them. An open rule is no proof of a switch: it is reported either way."""
    logging = any(isinstance(rule.target, r.Log) for rule in rules)
    return evolve(VpaConfig(), c2c_logging=logging, overlay_ingress=infer_ingress_tag(rules) is not None)
