"""Findings about the rules of the policy chain, when it is known which should be there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from c2c_auditor.audit.checks import describe, extra_rules
from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.compare import Changed, Comparison
from c2c_auditor.audit.comparison.order import misplaced
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Policy
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.policy import Planned, Purpose

_MISSING = {
    Purpose.OPEN: Kind.ACCEPT_MISSING,
    Purpose.MARK: Kind.MARK_MISSING,
    Purpose.LOG: Kind.LOG_RULE_MISSING,
    Purpose.ACCEPT: Kind.ACCEPT_MISSING,
    Purpose.INGRESS: Kind.INGRESS_MISSING,
}


def policy_rules(inputs: Inputs) -> Iterator[Finding]:
    """Every difference between plan and chain, each named once."""
    outcome = inputs.comparison
    if outcome is None:
        return
    for plan in outcome.missing:
        yield _missing(inputs, plan)
    for pair in outcome.changed:
        yield _changed(inputs, pair)
    yield from extra_rules.extra_rules(inputs, outcome.extra)
    for entry in outcome.repeated:
        yield describe.finding(
            Kind.RULE_DUPLICATE,
            subject=(describe.text(entry.rule),),
            summary=f"The same rule stands more than once in {entry.chain}; only the first copy has an effect.",
            remedy=describe.REPLAN,
            entry=entry,
        )
    yield from _order(inputs, outcome)


def _missing(inputs: Inputs, plan: Planned) -> Finding:
    return describe.planned(
        inputs, _MISSING[plan.purpose], plan, summary=describe.missing(inputs, plan), remedy=describe.REPLAN
    )


def _changed(inputs: Inputs, pair: Changed[Planned]) -> Finding:
    plan, entry = pair.planned, pair.entry
    (name,) = fields.differing(plan.rule, entry.rule)
    kind, effect = _kind_of_change(plan, entry.rule, name)
    return describe.planned(
        inputs,
        kind,
        plan,
        summary=describe.changed(inputs, plan, entry, name),
        remedy=describe.REPLAN,
        effect=effect,
        entry=entry,
    )


def _kind_of_change(plan: Planned, found: r.Rule, name: str) -> tuple[Kind, Effect]:
    """What one different field makes of a rule.

    Effects: what passes now and should not is a breach, else what should and does not is an outage.
    """
    if name == fields.COMMENT:
        return Kind.COMMENT_WRONG, Effect.ADVICE
    if plan.purpose is Purpose.LOG:
        stops = name == fields.TARGET and found.target != r.NO_TARGET
        return Kind.LOG_RULE_MISSING, _target_effect(found.target) if stops else Effect.ADVICE
    wider = _opens(plan.rule, found, name)
    effect = Effect.BREACH if wider else Effect.OUTAGE
    if plan.purpose is Purpose.MARK:
        if name == fields.MARK:
            return Kind.MARK_WRONG_TAG, Effect.BREACH
        return Kind.MARK_MISSING, effect
    if plan.purpose is Purpose.INGRESS:
        return (Kind.INGRESS_STALE if wider else Kind.INGRESS_MISSING), effect
    return Kind.ACCEPT_CHANGED, effect


def _opens(expected: r.Rule, found: r.Rule, name: str) -> bool:
    """Whether the found rule lets something pass that the expected one does not."""
    if name == fields.TARGET:
        return found.target == r.ACCEPT or isinstance(found.target, r.Jump | r.Goto | r.OpaqueTarget)
    if name == fields.PORTS:
        return not _within(fields.only(found, r.TransportMatch), fields.only(expected, r.TransportMatch))
    if name == fields.OTHER:
        return False  # a condition more than silk writes can only narrow the rule
    if name == fields.ADDRESS:
        match = found.source or found.destination
        return match is None or match.host is None  # a host here is an address without a container (see `inputs`)
    return True


def _within(found: r.TransportMatch | None, expected: r.TransportMatch | None) -> bool:
    if found is None or expected is None or found.destination is None or expected.destination is None:
        return False
    inner, outer = found.destination, expected.destination
    return not inner.negated and outer.first <= inner.first and inner.last <= outer.last


def _target_effect(target: r.Target) -> Effect:
    if target == r.ACCEPT or isinstance(target, r.Jump | r.Goto | r.SetMark | r.OpaqueTarget):
        return Effect.BREACH
    if isinstance(target, r.Log | r.NoTarget):
        return Effect.ADVICE
    return Effect.OUTAGE


def _order(inputs: Inputs, outcome: Comparison[Planned]) -> Iterable[Finding]:
    for found in misplaced(outcome.matched):
        log = found.late.planned.purpose is Purpose.LOG
        plan = found.moved.planned
        yield describe.planned(
            inputs,
            Kind.RULE_MISPLACED,
            plan,
            summary=describe.misplaced(inputs, found),
            remedy=describe.REPLAN,
            effect=Effect.ADVICE if log else Effect.OUTAGE,
            entry=found.moved.entry,
        )


def unmet_policies(outcome: Comparison[Planned]) -> frozenset[Policy]:
    """The policies that the kernel does not carry out yet, or not correctly."""
    unmet = {plan.policy for plan in outcome.missing if plan.policy is not None}
    unmet.update(pair.planned.policy for pair in outcome.changed if pair.planned.policy is not None)
    return frozenset(unmet)
