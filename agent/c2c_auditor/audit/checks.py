"""All checks, and one reading judged by them. A check is a function from `Inputs` to findings; adding one is a line in `CHECKS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter

from attrs import evolve, field, frozen

from c2c_auditor.audit import backends, consistency, container_chains, facts, foreign, leftovers, mapped_ports, policy_chain, policy_rules
from c2c_auditor.audit.effects import Effects
from c2c_auditor.audit.inputs import Inputs
from c2c_auditor.audit.reachability import Reachability, reachability
from c2c_auditor.audit.statements import Places, sentences
from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Policy
from c2c_auditor.model.finding import Family, Finding, Kind
from c2c_auditor.model.report import RuleSetName, RuleType, Tally
from c2c_auditor.model.rule import Loss
from c2c_auditor.silk.names import policy_chain_time
from c2c_auditor.silk.policy import Planned, Purpose, ingress_tag_of

Check = Callable[[Inputs], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    policy_chain.policy_chain,
    policy_rules.policy_rules,
    consistency.consistency,
    container_chains.container_chains,
    mapped_ports.mapped_ports,
    leftovers.orphan_chains,
    foreign.foreign_rules,
    facts.enforcement_disabled,
    facts.store_shrunk,
    facts.container_conflict,
    facts.unreadable,
    facts.tag_conflict,
    facts.port_not_exposed,
    facts.unconvertible,
)

# What a report tells in words; the matrix tells all.
_MOST_STATEMENTS = 100

_TYPES = {
    Purpose.OPEN: RuleType.OTHER,
    Purpose.MARK: RuleType.MARK,
    Purpose.LOG: RuleType.LOG,
    Purpose.ACCEPT: RuleType.ACCEPT,
    Purpose.INGRESS: RuleType.INGRESS,
}


@frozen(kw_only=True)
class Judgement:
    """What one reading of one backend comes to.

    ``unknown`` kinds could not be judged; ``carried`` are the policies that this cell has to carry out (None: not known), ``unmet`` those of them
    that the kernel does not. ``reach`` is who reaches whom, None where that is not known; ``statements`` are its differences in words, the first of them.
    """

    findings: tuple[Finding, ...] = ()
    unknown: frozenset[Kind] = frozenset()
    carried: frozenset[Policy] | None = None
    unmet: frozenset[Policy] = frozenset()
    tally: Tally = field(factory=Tally)
    notes: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    reach: Reachability | None = field(default=None, eq=False, repr=False)


def judge(
    facts_: CellFacts, ruleset: r.Ruleset, now: float | None, others: tuple[r.Ruleset, ...] = (), *, previous: Judgement | None = None
) -> Judgement:
    """Every difference in this reading, worst first. Pure: equal inputs give equal judgements. ``others``: see `Inputs.of`.

    ``previous`` is the judgement before this one, of which what did not change is taken over.
    """
    inputs = Inputs.of(facts_, ruleset, now, others)
    findings = [finding for check in CHECKS for finding in check(inputs)]
    reach, notes = _reached(inputs, previous.reach if previous is not None else None)
    statements: tuple[str, ...] = ()
    if reach is not None:
        places = Places(ruleset)
        findings = Effects(inputs, reach, places).decided(findings)
        every = (text for to, row in reach.differences() for text in sentences(to, row, inputs.people, places))
        statements = tuple(islice(every, _MOST_STATEMENTS))
    outcome = inputs.comparison
    carried = _carried(inputs)
    tally = _tally(inputs)
    return Judgement(
        findings=tuple(sorted(findings, key=_worst_first)),
        unknown=_unknown(inputs),
        carried=carried,
        unmet=policy_rules.unmet_policies(outcome) if outcome is not None else carried or frozenset(),
        tally=evolve(tally, flows=reach.flows) if reach is not None else tally,
        notes=(*facts_.notes, *inputs.notes, *notes),
        statements=statements,
        reach=reach,
    )


def _reached(inputs: Inputs, previous: Reachability | None) -> tuple[Reachability | None, tuple[str, ...]]:
    """Who reaches whom, or why that is not said."""
    facts = inputs.facts
    reason = ""
    if Loss.INTERFACES in inputs.ruleset.lost or Loss.CHAIN_NAMES in inputs.ruleset.lost:
        reason = "the listing does not show all that rules ask for"
    elif facts.policies is not None and facts.policies.unreadable:
        reason = "not all policies could be read"
    elif inputs.config.overlay_ingress and inputs.ingress_tag is None:
        reason = "the ingress router's tag is not known"
    else:
        try:
            return reachability(inputs, previous), ()
        except EvaluationError as error:
            reason = str(error)
    return None, (f"Who reaches whom was not worked out: {reason}.",)


def _carried(inputs: Inputs) -> frozenset[Policy] | None:
    """The policies whose destination runs here: those that this cell's ACCEPT rules carry out."""
    store, policies = inputs.facts.store, inputs.facts.policies
    if store is None or policies is None:
        return None
    here = {container.app for container in store.containers}
    return frozenset(policy for policy in policies.policies if policy.destination in here)


def judge_cell(facts_: CellFacts, rulesets: Sequence[r.Ruleset], now: float | None, previous: Judgement | None = None) -> Judgement:
    """One cell: the backend that holds silk's rules, or both, the fuller one first. The kernel applies both, so both are judged.

    ``previous`` is the judgement before this one, of which what did not change is taken over.
    """
    first = judge(facts_, rulesets[0], now, previous=previous)
    if len(rulesets) == 1:
        return first
    findings = list(backends.split(rulesets))
    findings += first.findings
    for ruleset in rulesets[1:]:
        findings += backends.elsewhere(judge(facts_, ruleset, now).findings, ruleset)
    return evolve(first, findings=tuple(sorted(findings, key=_worst_first)))


def _worst_first(finding: Finding) -> tuple[int, str, tuple[str, ...]]:
    order = ("breach", "outage", "residue", "advice")
    return order.index(finding.effect.value), finding.kind.value, finding.subject


def _unknown(inputs: Inputs) -> frozenset[Kind]:
    """Kinds that nothing could be said about: policy rules without a plan, facts without their source."""
    facts = inputs.facts
    families: set[Family] = set()
    if inputs.planned is None:
        families.add(Family.POLICY)
    if facts.store is None:
        families |= {Family.CONTAINER, Family.SECURITY_GROUP, Family.NAT}
    if inputs.config.asg_syncing and facts.security_groups is None:
        families.add(Family.SECURITY_GROUP)
    if not {"nat", "mangle"} <= set(inputs.ruleset.tables) and Loss.OTHER_TABLES not in inputs.ruleset.lost:
        families.add(Family.NAT)
    silent = {kind for kind in Kind if kind.family in families}
    if facts.store is None:
        silent |= {Kind.STORE_SHRUNK, Kind.CONTAINER_CONFLICT, Kind.CONTAINER_UNREADABLE, Kind.PORT_NOT_EXPOSED}
    if facts.policies is None:
        silent |= {Kind.TAG_CONFLICT, Kind.PORT_NOT_EXPOSED}
    if inputs.config.overlay_ingress and inputs.ingress_tag is None:
        silent |= {Kind.INGRESS_MISSING, Kind.INGRESS_STALE}
    return frozenset(silent)


def _tally(inputs: Inputs) -> Tally:
    outcome = inputs.comparison
    matched = _typed(plan for plan, _ in outcome.matched) if outcome is not None else Counter[RuleType]()
    others: Iterable[r.Rule] = (entry.rule for entry in inputs.chains.rules)
    if outcome is not None:
        others = [entry.rule for entry in (*outcome.extra, *outcome.repeated, *(pair.entry for pair in outcome.changed))]
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
