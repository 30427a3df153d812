"""Counts the rules of each type: expected, present, and both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.report import RuleSetName, RuleType, Tally
from c2c_auditor.silk.chain_names import policy_chain_time
from c2c_auditor.silk.policy import Planned, Purpose, ingress_tag_of

_TYPES = {
    Purpose.OPEN: RuleType.OTHER,
    Purpose.MARK: RuleType.MARK,
    Purpose.LOG: RuleType.LOG,
    Purpose.ACCEPT: RuleType.ACCEPT,
    Purpose.INGRESS: RuleType.INGRESS,
}


def count_tally(inputs: Inputs) -> Tally:
    """The counts of one reading."""
    outcome = inputs.comparison
    matched = _typed(outcome.matched.plans) if outcome is not None else Counter[RuleType]()
    others: Iterable[r.Rule] = inputs.chains.entries.rules
    if outcome is not None:
        others = [
            entry.rule for entry in (*outcome.extra, *outcome.repeated, *(pair.entry for pair in outcome.changed))
        ]
    rules: dict[tuple[RuleSetName, RuleType], int] = {}
    for name, counts in (
        (RuleSetName.EXPECTED, _typed(inputs.planned or ())),
        (RuleSetName.PRESENT, matched + Counter(map(_type, others))),
        (RuleSetName.MATCHED, matched),
    ):
        for type_ in _TYPES.values():
            rules[name, type_] = counts.get(type_, 0)
    store, policies = inputs.facts.store, inputs.facts.policies
    times = [time for chain in inputs.chains.active if (time := policy_chain_time(chain)) is not None]
    return Tally(
        containers=len(store.containers) if store is not None else None,
        policies=len(policies.policies) if policies is not None else None,
        rules=rules,
        policy_chain_time=max(times, default=None),
    )


def _typed(planned: Iterable[Planned]) -> Counter[RuleType]:
    """How many rules there are of each type."""
    return Counter({_TYPES[purpose]: count for purpose, count in Counter(map(attrgetter("purpose"), planned)).items()})


def _type(rule: r.Rule) -> RuleType:
    if isinstance(rule.target, r.SetMark):
        return RuleType.MARK
    if isinstance(rule.target, r.Log):
        return RuleType.LOG
    if rule.target != r.ACCEPT:
        return RuleType.OTHER
    return RuleType.INGRESS if ingress_tag_of(rule) is not None else RuleType.ACCEPT
