"""Runs all checks on one reading and combines their findings with reachability.

A check is a function from `Inputs` to findings; a new one is a line in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from attrs import evolve

from c2c_auditor.audit.checks import (
    cell_facts,
    consistency,
    container_chains,
    declared_rules,
    flushed,
    foreign_rules,
    mapped_ports,
    orphan_chains,
    other_stages,
    policy_chain,
    policy_rules,
    reader_disagrees,
    source_nat,
)
from c2c_auditor.audit.dual_stack import of_ipv6
from c2c_auditor.audit.effects import Effects
from c2c_auditor.audit.judgement import MOST_STATEMENTS, Judgement
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.shown import is_part, proved
from c2c_auditor.audit.tally import count_tally
from c2c_auditor.audit.traffic.reachability import Reachability, reachability
from c2c_auditor.audit.traffic.statements import Places, sentences
from c2c_auditor.audit.unknown import unknown_kinds
from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Policy, PolicySet, Store
from c2c_auditor.model.finding import Finding, in_order
from c2c_auditor.model.rule import Loss
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.silk.chain_names import policy_chain_time

Check = Callable[[Inputs], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    policy_chain.policy_chain,
    policy_rules.policy_rules,
    consistency.consistency,
    container_chains.container_chains,
    mapped_ports.mapped_ports,
    source_nat.masquerade,
    orphan_chains.orphan_chains,
    foreign_rules.foreign_rules,
    other_stages.other_stages,
    declared_rules.declared_rules,
    flushed.flushed,
    reader_disagrees.reader_disagrees,
    cell_facts.enforcement_disabled,
    cell_facts.store_shrunk,
    cell_facts.container_conflict,
    cell_facts.unreadable,
    cell_facts.tag_conflict,
    cell_facts.port_not_exposed,
    cell_facts.unconvertible,
)

# Of IPv6 silk writes the containers' own chains only; what the facts say is judged once.
CHECKS_IPV6: tuple[Check, ...] = (
    container_chains.container_chains,
    orphan_chains.orphan_chains,
    foreign_rules.foreign_rules,
    other_stages.other_stages,
    declared_rules.declared_rules,
    flushed.flushed,
    reader_disagrees.reader_disagrees,
)


def judge(
    facts_: CellFacts,
    ruleset: r.Ruleset,
    now: float | None,
    others: tuple[r.Ruleset, ...] = (),
    *,
    previous: Judgement | None = None,
) -> Judgement:
    """`judge_inputs` for facts and a ruleset; ``others``: see `Inputs.of`."""
    compared = previous.comparison if previous is not None else None
    return judge_inputs(Inputs.of(facts_, ruleset, now, others, previous=compared), previous)


def judge_inputs(inputs: Inputs, previous: Judgement | None = None) -> Judgement:
    """Every difference in this reading, worst first. Pure: equal inputs give equal judgements.

    ``previous`` is the judgement before this one; of its reachability what did not change is taken over.
    """
    unknown = unknown_kinds(inputs)
    findings = [finding for check in (CHECKS_IPV6 if inputs.ipv6 else CHECKS) for finding in check(inputs)]
    if Loss.NATIVE_EXPRESSIONS in inputs.ruleset.lost:  # what the rules seem to lack stands in the kernel
        findings = [finding for finding in findings if finding.kind not in unknown]
    if is_part(inputs.ruleset):
        findings = list(proved(inputs, findings))
    reach, notes = _work_out_reachability(inputs, previous.reach if previous is not None else None)
    statements: tuple[str, ...] = ()
    if reach is not None:
        places = Places(inputs)
        findings = Effects(inputs, reach, places).decided(findings)
        every = (text for to, row in reach.differences() for text in sentences(to, row, inputs.people, places))
        statements = tuple(islice(every, MOST_STATEMENTS))
    notes = (*inputs.declared.notes(), *notes)
    if inputs.ipv6:
        judged = of_ipv6(inputs, findings)
        return evolve(judged, unknown=unknown, notes=(*judged.notes, *notes), statements=statements, reach=reach)
    outcome = inputs.comparison
    carried = _carried_policies(inputs.facts.store, inputs.facts.policies)
    tally = count_tally(inputs)
    holds_from, holds_until = policy_chain.time_bounds(inputs)
    return Judgement(
        findings=in_order(findings),
        unknown=unknown,
        carried=carried,
        unmet=policy_rules.unmet_policies(outcome) if outcome is not None else carried or frozenset(),
        tally=evolve(tally, flows=reach.flows) if reach is not None else tally,
        notes=(*inputs.facts.notes, *inputs.notes, *notes),
        statements=statements,
        policy_chain_time=policy_chain_time(inputs.chains.names[-1]) if inputs.chains.names else None,
        reach=reach,
        comparison=outcome,
        holds_from=holds_from,
        holds_until=holds_until,
    )


def _work_out_reachability(
    inputs: Inputs, previous: Reachability | None
) -> tuple[Reachability | None, tuple[str, ...]]:
    """The reachability, or a note that says why it could not be worked out."""
    facts = inputs.facts
    reason = ""
    if Loss.NATIVE_EXPRESSIONS in inputs.ruleset.lost:
        reason = "the rules were read without their ports and marks"
    elif is_part(inputs.ruleset):
        reason = "the text shows a part of the rules"
    elif Loss.INTERFACES in inputs.ruleset.lost or Loss.CHAIN_NAMES in inputs.ruleset.lost:
        reason = "the listing does not show all conditions of the rules"
    elif facts.policies is not None and facts.policies.unreadable:
        reason = "not all policies could be read"
    elif inputs.config.overlay_ingress and inputs.ingress_tag is None:
        reason = "the ingress router's tag is not known"
    else:
        try:
            return reachability(inputs, previous), ()
        except EvaluationError as error:
            reason = str(error)
    return None, (f"Reachability was not worked out: {reason}.",)


@derived
def _carried_policies(store: Store | None, policies: PolicySet | None) -> frozenset[Policy] | None:
    """The policies whose destination runs here: those that this cell's ACCEPT rules carry out."""
    if store is None or policies is None:
        return None
    here = {container.app for container in store.containers}
    return frozenset(policy for policy in policies.policies if policy.destination in here)
