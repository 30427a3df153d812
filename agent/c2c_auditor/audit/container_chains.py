"""Findings about the chains of single containers: the default deny as such, what stands in each chain, and the jumps that lead there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict

from attrs import evolve, frozen

from c2c_auditor.audit import describe, fields
from c2c_auditor.audit.chains import Entry, jumped_chain
from c2c_auditor.audit.compare import compare
from c2c_auditor.audit.inputs import Inputs
from c2c_auditor.audit.sequence import Moved, moved
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import App, Effect, Finding, Kind
from c2c_auditor.model.rule import Loss
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk import asg, names
from c2c_auditor.silk.container import (
    ChainPlan,
    JumpPlan,
    default_deny,
    host_service,
    input_plan,
    jump_plans,
    netout_log_plan,
    netout_plan,
    netout_rate_limit_log_plan,
    overlay_plan,
)

RECREATE = "Recreate the container (cf restart-app-instance, or cf restart): its chains are written once, when it is created."
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
    for container in inputs.facts.store.containers:
        if not _present(inputs, container):
            yield from _absent(inputs, container)
            continue
        for plan in _plans(inputs, container, middle):
            yield from _chain(inputs, plan)
        yield from _jumps(inputs, container)


def _present(inputs: Inputs, container: Container) -> bool:
    of = names.ContainerChains.of(container.handle)
    chains = inputs.ruleset.chains("filter")
    return any(name in chains for name in (of.overlay, of.netout, of.input))


def _absent(inputs: Inputs, container: Container) -> Iterator[Finding]:
    """A container without any chain: not there any more, or not protected at all. Beside another at its address it is the stale entry."""
    if len(inputs.people.by_address.get(int(container.address), ())) > 1:
        return  # `facts.container_conflict` says so
    yield describe.finding(
        Kind.CONTAINER_CHAIN_MISSING,
        subject=(container.handle,),
        summary=f"{_who(inputs, container)} has none of its chains: if it runs, everybody on the overlay reaches it; if not, its entry in the store is stale.",
        remedy=RECREATE,
        effect=Effect.BREACH,
        chain=names.overlay(container.handle),
        **_evidence(inputs, container),
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
    """DNS servers and host services as the containers' ``input--`` chains show them: nobody on the cell knows them otherwise.

    A rule belongs to the usual middle when most containers have it; with two containers that disagree, a rule that has the shape belongs.
    """
    store = inputs.facts.store
    chains = inputs.ruleset.chains("filter")
    middles = []
    for container in store.containers if store is not None else ():
        found = chains.get(names.input_(container.handle))
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
    wanted = tuple(canonical.as_listed(rule, inputs.ruleset.lost) for rule in (*plan.head, *plan.tail))
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


class Evidence(TypedDict):
    """Whom a finding is about."""

    addresses: tuple[str, ...]
    handles: tuple[str, ...]
    destination: App


def _evidence(inputs: Inputs, container: Container) -> Evidence:
    return {"addresses": (str(container.address),), "handles": (container.handle,), "destination": inputs.people.app(container.app)}


def _who(inputs: Inputs, container: Container) -> str:
    return f"{inputs.people.called(container.app)} at {container.address}"


def _is_asg(plan: ChainPlan) -> bool:
    return plan.name.startswith("asg-")


def _missing_chain(inputs: Inputs, plan: ChainPlan) -> Finding:
    who = _who(inputs, plan.container)
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
        summary=f"{who} has lost its chain {plan.name}: {what}.",
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        chain=plan.name,
        **_evidence(inputs, plan.container),
    )


def _missing_rule(inputs: Inputs, plan: ChainPlan, rule: r.Rule, entry: Entry | None) -> Finding:
    """A rule that is not there, or stands there changed."""
    deny = rule == default_deny(plan.container)
    kind = Kind.DEFAULT_DENY_MISSING if deny else Kind.ASG_MISSING if _is_asg(plan) else Kind.CONTAINER_RULE_MISSING
    effect = _effect_of_loss(rule, entry)
    who = _who(inputs, plan.container)
    if deny and entry is None:
        summary = f"{who} has lost its default deny in {plan.name}: everybody on the overlay reaches it on all ports."
    elif entry is None:
        summary = f"{who} lacks a rule in {plan.name}: {_does(effect)}."
    else:
        names_ = ", ".join(fields.differing(rule, entry.rule))
        summary = f"A rule of {who} in {plan.name} was changed ({names_}): {_does(effect)}."
    return describe.finding(
        kind,
        subject=_subject(plan, rule),
        summary=summary,
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        entry=entry,
        expected=rule,
        chain=plan.name,
        **_evidence(inputs, plan.container),
    )


def _does(effect: Effect) -> str:
    return {
        Effect.BREACH: "what should be refused passes",
        Effect.OUTAGE: "what should pass is refused",
        Effect.RESIDUE: "this concerns no traffic",
        Effect.ADVICE: "nothing is decided otherwise, but something is not logged",
    }[effect]


def _effect_of_loss(rule: r.Rule, entry: Entry | None) -> Effect:
    """Without a rule that refuses, more passes; without one that allows, less. A changed rule does the worse of what is lost and what is gained."""
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
        summary=f"Rule {entry.position} in {plan.name} of {_who(inputs, plan.container)} is none that silk would write there: {_does(effect)}.",
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=effect,
        entry=entry,
        **_evidence(inputs, plan.container),
    )


def _repeated(inputs: Inputs, plan: ChainPlan, entry: Entry) -> Finding:
    return describe.finding(
        Kind.RULE_DUPLICATE,
        subject=_subject(plan, entry.rule),
        summary=f"The same rule stands more than once in {plan.name} of {_who(inputs, plan.container)}; only its first copy does anything.",
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        entry=entry,
        **_evidence(inputs, plan.container),
    )


def _moved(inputs: Inputs, plan: ChainPlan, one: Moved) -> Finding:
    missing, stale = (Kind.ASG_MISSING, Kind.ASG_STALE) if _is_asg(plan) else (Kind.CONTAINER_RULE_MISSING, Kind.CONTAINER_RULE_STALE)
    return describe.finding(
        stale if one.effect is Effect.BREACH else missing,
        subject=_subject(plan, one.entry.rule),
        summary=f"Rule {one.entry.position} in {plan.name} of {_who(inputs, plan.container)} was moved: {_does(one.effect)}.",
        remedy=_ASG_SYNC if _is_asg(plan) else RECREATE,
        effect=one.effect,
        entry=one.entry,
        **_evidence(inputs, plan.container),
    )


def _jumps(inputs: Inputs, container: Container) -> Iterator[Finding]:
    underlay = inputs.facts.underlay_interfaces if Loss.INTERFACES not in inputs.ruleset.lost else None
    for plan in jump_plans(container, inputs.config, underlay):
        chains = inputs.ruleset.chains(plan.table)
        target = jumped_chain(plan.rule)
        if target and target not in chains:
            continue  # the chain itself is missed already
        if plan.table not in inputs.ruleset.tables:
            continue  # a listing of one table says nothing of the others
        rules = chains.get(plan.chain, r.Chain(name=plan.chain)).rules
        found = [Entry(chain=plan.chain, position=at, rule=rule) for at, rule in _candidates(inputs, plan, rules)]
        right = [entry for entry in found if _fits(plan, entry.rule)]
        if not right:
            yield _missing_jump(inputs, plan, found[0] if found else None)
        for entry in right[1:] if not plan.on_interface else ():
            yield _twice(inputs, plan, entry)


def _candidates(inputs: Inputs, plan: JumpPlan, rules: Sequence[r.Rule]) -> Iterable[tuple[int, r.Rule]]:
    """Rules that are the jump, or were it before somebody changed it."""
    del inputs
    target = jumped_chain(plan.rule)
    for at, rule in enumerate(rules, 1):
        if (
            rule == plan.rule
            or (target and jumped_chain(rule) == target)
            or (not target and len(fields.differing(plan.rule, rule)) == 1 and rule.source == plan.rule.source)
        ):
            yield at, rule


def _fits(plan: JumpPlan, rule: r.Rule) -> bool:
    return (evolve(rule, out_interface=None) if plan.on_interface else rule) == plan.rule


def _missing_jump(inputs: Inputs, plan: JumpPlan, entry: Entry | None) -> Finding:
    who = _who(inputs, plan.container)
    target = jumped_chain(plan.rule)
    if target.startswith("overlay--"):
        kind, effect, what = (
            Kind.DEFAULT_DENY_MISSING,
            Effect.BREACH,
            "has lost its default deny: everybody on the overlay reaches it on all ports",
        )
    elif target.startswith("netout--"):
        kind, effect, what = Kind.JUMP_MISSING, Effect.BREACH, "sends to the outside without any security group being asked"
    elif target.startswith("input--"):
        kind, effect, what = Kind.JUMP_MISSING, Effect.BREACH, "reaches the cell's own services"
    elif target:
        kind, effect, what = Kind.JUMP_MISSING, Effect.OUTAGE, "is not reached on its mapped ports"
    else:
        kind, effect, what = Kind.NAT_RULE_MISSING, Effect.OUTAGE, "sends to the outside with its overlay address, and no answer comes back"
    how = f"the jump from {plan.chain} to {target}" if target else f"its MASQUERADE rule in {plan.chain}"
    return describe.finding(
        kind,
        subject=(plan.container.handle, plan.table, plan.chain, describe.text(plan.rule)),
        summary=f"{who} {what}: {how} is {'gone' if entry is None else 'changed'}.",
        remedy=RECREATE,
        effect=effect,
        entry=entry,
        expected=plan.rule,
        chain=plan.chain,
        table=plan.table,
        **_evidence(inputs, plan.container),
    )


def _twice(inputs: Inputs, plan: JumpPlan, entry: Entry) -> Finding:
    return describe.finding(
        Kind.JUMP_DUPLICATE,
        subject=(plan.container.handle, plan.table, plan.chain, describe.text(plan.rule)),
        summary=f"The same rule of {_who(inputs, plan.container)} stands more than once in {plan.chain}; only its first copy does anything.",
        remedy=RECREATE,
        entry=entry,
        table=plan.table,
        **_evidence(inputs, plan.container),
    )
