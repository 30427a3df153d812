"""The input of all checks: one ruleset, the facts, and what is worked out of both once per reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network

from attrs import evolve, frozen

from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.compare import Comparison, compare
from c2c_auditor.audit.comparison.entry import Entries, Entry
from c2c_auditor.audit.reading.declared import Declared
from c2c_auditor.audit.reading.families import networks_of, of_family
from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.reading.policy_chains import PolicyChains
from c2c_auditor.audit.reading.wrapper import Wrapper, wrapper_of
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, VpaConfig
from c2c_auditor.model.table import READ_TABLES
from c2c_auditor.netfilter.stages import Stage, stages
from c2c_auditor.silk import asg
from c2c_auditor.silk.policy import Planned, infer_ingress_tag, plan_policy_chain

_LOST = {
    r.Loss.INTERFACES: (
        "The listing does not show interfaces (iptables -L without -v): conditions on them were not judged."
    ),
    r.Loss.NATIVE_TABLES: (
        "The cell had tables of nftables' own, which the recording leaves out: what they do to traffic is not known."
    ),
    r.Loss.OTHER_BACKEND: ("The rules of the other backend could not be read: what they do to traffic is not known."),
}
_MOST_NAMED = 6

_SWITCHES_UNKNOWN = VpaConfig(c2c_logging=None, overlay_ingress=None)


@frozen(kw_only=True)
class Inputs:
    """One reading of rules beside the facts, those that concern the rules' address family (`families`).

    ``networks`` are where the containers' addresses are. ``planned`` is None when too little is known to say what
    should be there; ``comparison`` too, and when there is no policy chain to hold against it. ``beside`` are the rules
    of the other backends in use, through which packets have to pass as well.
    """

    facts: CellFacts
    ruleset: r.Ruleset
    config: VpaConfig
    wrapper: Wrapper
    people: People
    chains: PolicyChains
    planned: tuple[Planned, ...] | None
    comparison: Comparison[Planned] | None
    ingress_tag: int | None
    networks: tuple[IPv4Network | IPv6Network, ...]
    notes: tuple[str, ...] = ()
    now: float | None = None
    others: tuple[r.Ruleset, ...] = ()
    beside: tuple[r.Ruleset, ...] = ()

    @classmethod
    def of(
        cls,
        facts: CellFacts,
        ruleset: r.Ruleset,
        now: float | None,
        others: tuple[r.Ruleset, ...] = (),
        *,
        previous: Comparison[Planned] | None = None,
    ) -> Inputs:
        """Work out plan and lookups; what ``previous``, the comparison before this one, still says is taken over.

        ``now`` in seconds since the epoch, None for a recording that does not tell its time.

        ``others`` are listings from elsewhere, such as the cell where a source runs: only what they say of marks is
        used.
        """
        facts = of_family(facts, ruleset.family)
        chains = PolicyChains.of(ruleset)
        rules = chains.entries.rules
        notes: list[str] = [*ruleset.warnings, *(_LOST[loss] for loss in sorted(ruleset.lost & _LOST.keys()))]
        notes += _of_other_tables(ruleset)
        notes += _part(ruleset)
        config = _inferred(facts.config if facts.config is not None else _SWITCHES_UNKNOWN, rules)
        if facts.config is None:
            notes.append(
                "The vxlan-policy-agent's configuration is not known: its switches were inferred from the rules."
            )
        elif config != facts.config:
            notes.append(
                "Not all of the vxlan-policy-agent's switches are known: c2c logging and overlay ingress, "
                "where not known, were inferred from the rules."
            )
        tag = facts.ingress_tag
        if config.overlay_ingress and tag is None:
            tag, said = _inferred_tag(rules)
            notes.append(said)
        wrapper = wrapper_of(facts, config, ruleset)
        notes += wrapper.notes
        notes += _unjudged(facts, config)
        planned = None
        if facts.store is not None and facts.policies is not None:
            planned = plan_policy_chain(facts.store, facts.policies, config, tag)
        people = People.of(facts.store, facts.policies)
        return cls(
            facts=facts,
            ruleset=ruleset,
            config=config,
            wrapper=wrapper,
            people=people,
            chains=chains,
            planned=planned,
            comparison=compare_planned(planned, chains.entries, people, previous=previous)
            if planned is not None and chains.names
            else None,
            ingress_tag=tag,
            networks=networks_of(facts, ruleset),
            notes=tuple(notes),
            now=now,
            others=others,
        )

    @property
    def ipv6(self) -> bool:
        """Whether these are the rules of IPv6."""
        return self.ruleset.family is r.AddressFamily.IPV6

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The chains that a packet meets which the cell passes on."""
        return stages((self.ruleset, *self.beside))

    @cached_property
    def declared(self) -> Declared:
        """The rules that the operator declared, beside those of this family that stand."""
        of_family = [one for one in self.facts.declared_rules if one.family is self.ruleset.family]
        return Declared.of(of_family, (self.ruleset, *self.beside))


def _of_other_tables(ruleset: r.Ruleset) -> Iterator[str]:
    """Which tables a listing does not show."""
    shown = [table.name for table in READ_TABLES if table.name in ruleset.tables]
    others = [table.name for table in READ_TABLES if table.name not in ruleset.tables]
    if r.Loss.OTHER_TABLES in ruleset.lost and others:
        tables = "table" if len(shown) == 1 else "tables"
        were = "was" if len(others) == 1 else "were"
        yield f"The listing shows the {_and(shown)} {tables} only: {_and(others)} {were} not judged."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _part(ruleset: r.Ruleset) -> Iterator[str]:
    """What of a part of the rules was judged, and how to get all of them."""
    whole = [chain.name for table in ruleset.tables.values() for chain in table.chains.values() if chain.whole]
    if r.Loss.CHAIN_NAMES in ruleset.lost:
        judged = "Some rules were given without their chain: only what they say about each other was judged."
    elif r.Loss.OTHER_CHAINS not in ruleset.lost:
        return
    elif whole:
        more = f" and {len(whole) - _MOST_NAMED} more" if len(whole) > _MOST_NAMED else ""
        judged = (
            "The text is a part of the cell's rules. These chains were judged as a whole: "
            f"{', '.join(whole[:_MOST_NAMED])}{more}; of others, only the rules shown."
        )
    else:
        judged = "The text is a part of the cell's rules: only the rules shown were judged, and counted as shown."
    yield f"{judged} {ruleset.family.tool}-save prints all rules."


def _unjudged(facts: CellFacts, config: VpaConfig) -> Iterator[str]:
    """What of the cell was judged by structure only, or for one address family."""
    if facts.store is None:
        return
    if not config.asg_syncing:
        yield (
            "Security groups are not synced here: of the netout chains, garden's rules were not judged."
            if facts.cni is not None
            else "Security groups are not synced here: of the netout chains, only the end was judged."
        )
        return
    mixed = [group.name for group in facts.security_groups or () if asg.mixes_families(group)]
    if mixed:
        yield (
            f"Security groups with IPv4 and IPv6 destinations in one rule ({', '.join(sorted(mixed))}): how silk "
            "writes such a rule is not certain; its destinations were expected in the container's chain of their "
            "family."
        )


def compare_planned(
    planned: Sequence[Planned],
    present: Sequence[Entry],
    people: People,
    *,
    previous: Comparison[Planned] | None = None,
) -> Comparison[Planned]:
    """The policy chain's plan beside rules that stand there; ``previous``: see `compare`."""

    def pairable(plan: Planned, entry: Entry) -> bool:
        """A rule at another live container's address is that container's matter.

        At an address that no container has, it is the planned rule with a wrong address.
        """
        if fields.differing(plan.rule, entry.rule) != (fields.ADDRESS,):
            return True
        address = entry.rule.source or entry.rule.destination
        return address is None or address.value not in people.by_address

    outcome = compare(planned, present, pairable, previous=previous)
    if outcome is not previous and isinstance(present, Entries):
        for plan, at in zip(outcome.matched.plans, outcome.matched.places, strict=True):
            if plan.rule is not present.rules[at]:
                plan.adopt(present.rules[at])
    return outcome


def _inferred_tag(rules: Sequence[r.Rule]) -> tuple[int | None, str]:
    """The ingress router's tag, None if no rule tells it, and a note."""
    tag = infer_ingress_tag(rules)
    if tag is None:
        return None, "The ingress router's tag is not known and cannot be inferred: ingress rules were not judged."
    return tag, f"The ingress router's tag was inferred from the rules: 0x{tag:x}."


def _inferred(config: VpaConfig, rules: Sequence[r.Rule]) -> VpaConfig:
    """VPA's configuration, with switches that are not known inferred from the rules.

    An open rule is no proof of a switch: it is reported either way.
    """
    logging, ingress = config.c2c_logging, config.overlay_ingress
    if logging is not None and ingress is not None:
        return config
    return evolve(
        config,
        c2c_logging=logging if logging is not None else any(isinstance(rule.target, r.Log) for rule in rules),
        overlay_ingress=ingress if ingress is not None else infer_ingress_tag(rules) is not None,
    )
