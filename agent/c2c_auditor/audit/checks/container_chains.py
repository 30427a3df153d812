"""Findings about the chains of single containers: the default deny as such, what stands in each chain, and the jumps that lead there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import evolve, frozen

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.container_jumps import RECREATE, BuiltinRules, container_jumps, evidence, who
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
from c2c_auditor.silk import asg, chain_names
from c2c_auditor.silk.input import host_service, input_plan, service_rule
from c2c_auditor.silk.netout import netout_log_plan, netout_plan, netout_rate_limit_log_plan
from c2c_auditor.silk.overlay import default_deny, overlay_plan
from c2c_auditor.silk.shapes import ChainPlan

_ASG_SYNC = "Restart vxlan-policy-agent on this cell: at start it writes all security group chains afresh."


@frozen(kw_only=True)
class Wanted:
    """One rule of a container's chain that should be there."""

    rule: r.Rule


def container_chains(inputs: Inputs) -> Iterator[Finding]:
    """Each container of the store, each of its chains, each jump."""
    if inputs.facts.store is None:
        return
    middle = _usual_middle(inputs)
    builtin_rules = BuiltinRules(inputs.ruleset)
    for container in inputs.facts.store.containers:
        if not _present(inputs, container):
            yield from _absent(inputs, container)
            continue
        for plan in _plans(inputs, container, middle):
            yield from _chain(inputs, plan)
        yield from container_jumps(inputs, container, builtin_rules)


def _present(inputs: Inputs, container: Container) -> bool:
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
            f"{who(inputs, container)} has none of its chains: if it runs, everybody on the overlay reaches it; if "
            "not, its entry in the store is stale."
        ),
        remedy=RECREATE,
        effect=Effect.BREACH,
        chain=chain_names.overlay(container.handle),
        **evidence(inputs, container),
    )


def _plans(inputs: Inputs, container: Container, middle: tuple[r.Rule, ...]) -> Iterator[ChainPlan]:
    config = inputs.config
    yield overlay_plan(container, config)
    groups = inputs.facts.security_groups
    syncing = config.asg_syncing and asg.has_chain(container)
    yield netout_plan(container, config, has_asg=syncing)
    yield netout_log_plan(container, config)
    if config.connection_limit and config.connection_limit_logging:
        yield netout_rate_limit_log_plan(container, config)
    services = input_plan(container)
    yield evolve(services, head=(*services.head, *middle), middle=False)
    if syncing and groups is not None:
        try:
            yield asg.asg_plan(container, asg.groups_of(container, groups), config)
        except asg.Unconvertible:
            return  # silk leaves such a chain as it was; `facts.unconvertible` says so


def _usual_middle(inputs: Inputs) -> tuple[r.Rule, ...]:
    """DNS servers and host services: as the configuration says, else as the containers' ``input--`` chains show them.

    A rule belongs to the usual middle when most containers have it; with two containers that disagree, a rule that has
    the shape belongs.
    """
    if inputs.facts.host_services is not None:
        return tuple(map(service_rule, inputs.facts.host_services))
    store = inputs.facts.store
    chains = inputs.ruleset.chains("filter")
    middles = []
    for container in store.containers if store is not None else ():
        found = chains.get(chain_names.input_(container.handle))
        if found is not None:
            middles.append([rule for rule in found.rules if host_service(rule)])
    counts = Counter(rule for middle in middles for rule in dict.fromkeys(middle))
    ordered = dict.fromkeys(rule for middle in middles for rule in middle)
    return tuple(rule for rule in ordered if counts[rule] * 2 >= len(middles))


def _chain(inputs: Inputs, plan: ChainPlan) -> Iterator[Finding]:
    chain = inputs.ruleset.chains(plan.table).get(plan.name)
    if chain is None:
        yield _missing_chain(inputs, plan)
        return
    wanted = plan.head + plan.tail
    if inputs.ruleset.lost:
        wanted = tuple(canonical.as_listed(rule, inputs.ruleset.lost) for rule in wanted)
    if chain.rules == wanted:
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


def _structure(inputs: Inputs, plan: ChainPlan, chain: r.Chain) -> Iterator[Finding]:
    """A chain whose middle nobody can foretell: only its head and its end are judged."""
    for at, rule in enumerate(plan.head):
        if chain.rules[at : at + 1] != (rule,):
            yield _missing_rule(inputs, plan, rule, None)
    if plan.tail and chain.rules[-len(plan.tail) :] != plan.tail:
        yield _missing_rule(inputs, plan, plan.tail[-1], None)


def _subject(plan: ChainPlan, rule: r.Rule | None = None) -> tuple[str, ...]:
    return (plan.container.handle, plan.table, plan.name) + ((describe.text(rule),) if rule is not None else ())


def _is_asg(plan: ChainPlan) -> bool:
    return plan.name.startswith("asg-")


def _missing_chain(inputs: Inputs, plan: ChainPlan) -> Finding:
    container = who(inputs, plan.container)
    family = plan.name.split("-", 1)[0]
    kind, effect, what = {
        "overlay": (
            Kind.DEFAULT_DENY_MISSING,
            Effect.BREACH,
            "everybody on the overlay reaches it on all ports, and its own packets to other cells pass unchecked",
        ),
        "netout": (Kind.CONTAINER_CHAIN_MISSING, Effect.BREACH, "its egress is not restricted by any security group"),
        "input": (Kind.CONTAINER_CHAIN_MISSING, Effect.BREACH, "it reaches the cell's own services"),
        "asg": (Kind.ASG_MISSING, Effect.OUTAGE, "nothing that its security groups allow passes"),
    }[family]
    if plan.name.endswith(("--log", "--rl-log")):
        kind, effect, what = Kind.CONTAINER_CHAIN_MISSING, Effect.OUTAGE, "rules that log go nowhere"
    return describe.finding(
        kind,
        subject=_subject(plan),
        summary=f"{container} has lost its chain {plan.name}: {what}.",
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        chain=plan.name,
        **evidence(inputs, plan.container),
    )


def _missing_rule(inputs: Inputs, plan: ChainPlan, rule: r.Rule, entry: Entry | None) -> Finding:
    """A rule that is not there, or stands there changed."""
    deny = rule == default_deny(plan.container)
    kind = Kind.DEFAULT_DENY_MISSING if deny else Kind.ASG_MISSING if _is_asg(plan) else Kind.CONTAINER_RULE_MISSING
    effect = _effect_of_loss(rule, entry)
    container = who(inputs, plan.container)
    if deny and entry is None:
        summary = (
            f"{container} has lost its default deny in {plan.name}: everybody on the overlay reaches it on all ports."
        )
    elif entry is None:
        summary = f"{container} lacks a rule in {plan.name}: {describe.does(effect)}."
    else:
        names_ = ", ".join(fields.differing(rule, entry.rule))
        summary = f"A rule of {container} in {plan.name} was changed ({names_}): {describe.does(effect)}."
    return describe.finding(
        kind,
        subject=_subject(plan, rule),
        summary=summary,
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
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
            f"Rule {entry.position} in {plan.name} of {who(inputs, plan.container)} is none that silk would write "
            f"there: {describe.does(effect)}."
        ),
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        entry=entry,
        **evidence(inputs, plan.container),
    )


def _repeated(inputs: Inputs, plan: ChainPlan, entry: Entry) -> Finding:
    return describe.finding(
        Kind.RULE_DUPLICATE,
        subject=_subject(plan, entry.rule),
        summary=(
            f"The same rule stands more than once in {plan.name} of {who(inputs, plan.container)}; only its first "
            "copy does anything."
        ),
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
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
            f"Rule {one.entry.position} in {plan.name} of {who(inputs, plan.container)} was moved: "
            f"{describe.does(one.effect)}."
        ),
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=one.effect,
        entry=one.entry,
        **evidence(inputs, plan.container),
    )
