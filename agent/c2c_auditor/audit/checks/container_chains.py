"""Findings about the chains of single containers: the default deny, the rules of each chain, the jumps."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.asg_swap import ASG_SYNC, asg_swap, unfinished
from c2c_auditor.audit.checks.chain_plans import chain_plans
from c2c_auditor.audit.checks.container_jumps import (
    RECREATE,
    BuiltinRules,
    container_jumps,
    container_name,
    everybody,
    evidence,
)
from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.compare import compare
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.sequence import Moved, moved
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.silk import chain_names
from c2c_auditor.silk.chain_names import ChainFamily
from c2c_auditor.silk.overlay import default_deny
from c2c_auditor.silk.policy import open_rules
from c2c_auditor.silk.shapes import ChainPlan

_LOGS_LOST = (Kind.CONTAINER_CHAIN_MISSING, Effect.OUTAGE, "rules that log go nowhere")
_LOST_CHAIN = {
    ChainFamily.OVERLAY: (
        Kind.DEFAULT_DENY_MISSING,
        Effect.BREACH,
        "its own packets pass unchecked, and {everybody} reaches it on all ports",
    ),
    ChainFamily.NETOUT: (
        Kind.CONTAINER_CHAIN_MISSING,
        Effect.BREACH,
        "its egress is not restricted by any security group",
    ),
    ChainFamily.NETOUT_LOG: _LOGS_LOST,
    ChainFamily.RATE_LIMIT_LOG: _LOGS_LOST,
    ChainFamily.INPUT: (Kind.CONTAINER_CHAIN_MISSING, Effect.BREACH, "it reaches the cell's own services"),
    ChainFamily.ASG: (Kind.ASG_MISSING, Effect.OUTAGE, "nothing that its security groups allow passes"),
}


@frozen(kw_only=True)
class Wanted:
    """One rule of a container's chain that should be there."""

    rule: r.Rule


def container_chains(inputs: Inputs) -> Iterator[Finding]:
    """Each container of the store, each of its chains, each jump."""
    if inputs.facts.store is None:
        return
    builtin_rules = BuiltinRules(inputs.ruleset)
    for container in inputs.facts.store.containers:
        if not is_present(inputs, container):
            yield from _absent(inputs, container)
            continue
        swap = asg_swap(inputs.ruleset.chains("filter"), container)
        yield from unfinished(inputs, container, swap)
        for plan in chain_plans(inputs, container, swap):
            yield from _chain(inputs, plan)
        yield from container_jumps(inputs, container, builtin_rules)


def is_present(inputs: Inputs, container: Container) -> bool:
    """Whether one of the chains stands that every container has."""
    of = chain_names.ContainerChains.of(container.handle)
    chains = inputs.ruleset.chains("filter")
    return any(name in chains for name in (of.overlay, of.netout, of.input))


def _absent(inputs: Inputs, container: Container) -> Iterator[Finding]:
    """A container without any chain: not there any more, or not protected at all.

    Beside another at its address it is the stale entry.
    """
    if len(inputs.people.by_address.get(int(container.address), ())) > 1:
        return  # `facts.container_conflict` says so
    yield describe.finding(
        Kind.CONTAINER_CHAIN_MISSING,
        subject=(container.handle,),
        summary=(
            f"{container_name(inputs, container)} has none of its chains: if it runs, {everybody(inputs)} reaches it; "
            "if not, its entry in the store is stale."
        ),
        remedy=RECREATE,
        effect=Effect.BREACH,
        chain=chain_names.overlay(container.handle),
        **evidence(inputs, container),
    )


def _chain(inputs: Inputs, plan: ChainPlan) -> Iterator[Finding]:
    chain = inputs.ruleset.chains(plan.table).get(plan.name)
    if chain is None:
        yield _missing_chain(inputs, plan)
        return
    wanted = _wanted(plan, inputs.ruleset.lost)
    if _as_planned(chain, plan) or chain.rules == wanted:
        return
    if plan.middle:
        yield from _structure(inputs, plan, chain)
        return
    entries = [Entry(chain=plan.name, position=at, rule=rule) for at, rule in enumerate(chain.rules, 1)]
    outcome = compare([Wanted(rule=rule) for rule in wanted], entries, lambda _, __: True)
    for missing in outcome.missing:
        yield _missing_rule(inputs, plan, missing.rule, None)
    for pair in outcome.changed:
        yield _missing_rule(inputs, plan, pair.planned.rule, pair.entry)
    for entry in outcome.extra:
        yield _extra_rule(inputs, plan, entry)
    for entry in outcome.repeated:
        yield _repeated(inputs, plan, entry)
    for one in moved([(want.rule, entry) for want, entry in outcome.matched]):
        yield _moved(inputs, plan, one)


def _wanted(plan: ChainPlan, lost: frozenset[r.Loss]) -> tuple[r.Rule, ...]:
    wanted = plan.head + plan.tail
    return tuple(canonical.as_listed(rule, lost) for rule in wanted) if lost else wanted


@derived
def _as_planned(chain: r.Chain, plan: ChainPlan) -> bool:
    return chain.rules == plan.head + plan.tail


def _structure(inputs: Inputs, plan: ChainPlan, chain: r.Chain) -> Iterator[Finding]:
    """A chain whose middle is not known: what stands before and behind it is judged.

    Silk inserts its own rules and those of the middle at the front, so nothing else belongs among the first ones.
    """
    entries = [Entry(chain=plan.name, position=at, rule=rule) for at, rule in enumerate(chain.rules, 1)]
    places = {entry.rule: entry for entry in reversed(entries)}
    present = [rule for rule in plan.head if rule in places]
    for rule in plan.head:
        if rule not in places:
            yield _missing_rule(inputs, plan, rule, None)
    for entry in entries[: len(present)]:
        if entry.rule not in plan.head:
            yield _extra_rule(inputs, plan, entry)
    last = {entry.rule: entry for entry in entries[-len(plan.tail) :]}
    for rule in plan.tail:
        if rule not in last:
            yield _missing_rule(inputs, plan, rule, None)
    order = [(rule, places[rule]) for rule in present] + [(rule, last[rule]) for rule in plan.tail if rule in last]
    for one in moved(order):
        yield _moved(inputs, plan, one)


def _subject(plan: ChainPlan, rule: r.Rule | None = None) -> tuple[str, ...]:
    return (plan.container.handle, plan.table, plan.name) + ((describe.text(rule),) if rule is not None else ())


def _is_asg(plan: ChainPlan) -> bool:
    return plan.family is ChainFamily.ASG


def _missing_chain(inputs: Inputs, plan: ChainPlan) -> Finding:
    container = container_name(inputs, plan.container)
    kind, effect, what = _LOST_CHAIN[plan.family]
    return describe.finding(
        kind,
        subject=_subject(plan),
        summary=f"{container} has lost its chain {plan.name}: {what.format(everybody=everybody(inputs))}.",
        remedy=ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        chain=plan.name,
        **evidence(inputs, plan.container),
    )


def _missing_rule(inputs: Inputs, plan: ChainPlan, rule: r.Rule, entry: Entry | None) -> Finding:
    """A rule that is not there, or stands there changed."""
    deny = rule == default_deny(plan.container)
    kind = Kind.DEFAULT_DENY_MISSING if deny else Kind.ASG_MISSING if _is_asg(plan) else Kind.CONTAINER_RULE_MISSING
    effect = _effect_of_loss(rule, entry)
    if entry is None and _is_asg(plan) and rule in open_rules(inputs.config.overlay_networks):
        effect = Effect.RESIDUE  # what goes to the overlay leaves by the vtep, and netout-- is for the underlay alone
    container = container_name(inputs, plan.container)
    if deny and entry is None:
        summary = f"{container} has lost its default deny in {plan.name}: {everybody(inputs)} reaches it on all ports."
    elif entry is None:
        summary = f"{container} lacks a rule in {plan.name}: {describe.does(effect, plan.family)}."
    else:
        names_ = ", ".join(fields.differing(rule, entry.rule))
        summary = f"{container} has a changed rule in {plan.name} ({names_}): {describe.does(effect, plan.family)}."
    return describe.finding(
        kind,
        subject=_subject(plan, rule),
        summary=summary,
        remedy=ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        entry=entry,
        expected=rule,
        chain=plan.name,
        **evidence(inputs, plan.container),
    )


def _effect_of_loss(rule: r.Rule, entry: Entry | None) -> Effect:
    """Without a rule that refuses, more passes; without one that allows, less.

    A changed rule does the worse of what is lost and what is gained.
    """
    lost = _effect_of(rule.target, lost=True)
    gained = _effect_of(entry.rule.target, lost=False) if entry is not None else lost
    order = (Effect.BREACH, Effect.OUTAGE, Effect.RESIDUE, Effect.ADVICE)
    return min(lost, gained, key=order.index)


def _effect_of(target: r.Target, *, lost: bool) -> Effect:
    if isinstance(target, r.Log | r.NoTarget):
        return Effect.ADVICE
    refuses = isinstance(target, r.Reject) or target == r.DROP
    return Effect.BREACH if refuses == lost else Effect.OUTAGE


def _extra_rule(inputs: Inputs, plan: ChainPlan, entry: Entry) -> Finding:
    effect = _effect_of(entry.rule.target, lost=False)
    return describe.finding(
        Kind.ASG_STALE if _is_asg(plan) else Kind.CONTAINER_RULE_STALE,
        subject=_subject(plan, entry.rule),
        summary=(
            f"{container_name(inputs, plan.container)} has a rule in {plan.name} that silk does not write (rule "
            f"{entry.position}): {describe.does(effect, plan.family)}."
        ),
        remedy=ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        entry=entry,
        **evidence(inputs, plan.container),
    )


def _repeated(inputs: Inputs, plan: ChainPlan, entry: Entry) -> Finding:
    return describe.finding(
        Kind.RULE_DUPLICATE,
        subject=_subject(plan, entry.rule),
        summary=(
            f"The same rule stands more than once in {plan.name} of {container_name(inputs, plan.container)}; only its "
            "first copy has an effect."
        ),
        remedy=ASG_SYNC if _is_asg(plan) else RECREATE,
        entry=entry,
        **evidence(inputs, plan.container),
    )


def _moved(inputs: Inputs, plan: ChainPlan, one: Moved) -> Finding:
    missing, stale = (
        (Kind.ASG_MISSING, Kind.ASG_STALE)
        if _is_asg(plan)
        else (Kind.CONTAINER_RULE_MISSING, Kind.CONTAINER_RULE_STALE)
    )
    return describe.finding(
        stale if one.effect is Effect.BREACH else missing,
        subject=_subject(plan, one.entry.rule),
        summary=(
            f"{container_name(inputs, plan.container)} has a rule at a wrong place in {plan.name} (rule "
            f"{one.entry.position}): {describe.does(one.effect, plan.family)}."
        ),
        remedy=ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=one.effect,
        entry=one.entry,
        **evidence(inputs, plan.container),
    )
