"""What should stand in containers' own chains, and the jumps and the MASQUERADE rule that hang them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2c_auditor.audit.checks.asg_swap import asg_swap
from c2c_auditor.audit.checks.chain_plans import chain_plans
from c2c_auditor.audit.checks.container_chains import is_present
from c2c_auditor.audit.checks.container_jumps import BuiltinRules, fits
from c2c_auditor.audit.checks.source_nat import expected_rule, judged_rule
from c2c_auditor.audit.comparison.compare import compare
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.masquerading import Masquerading
from c2c_auditor.audit.comparison.sequence import longest_increasing, moved
from c2c_auditor.audit.mend.draft import Draft
from c2c_auditor.audit.mend.ports import mapped_ports
from c2c_auditor.audit.mend.slots import FRONT, Places
from c2c_auditor.audit.mend.wanted import Wanted, entries_of
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.silk.jumps import jump_plans
from c2c_auditor.silk.shapes import ChainPlan


def containers(draft: Draft, inputs: Inputs) -> None:
    """The chains, jumps and address translation of each container that is there."""
    builtin_rules = BuiltinRules(inputs.ruleset)
    for container in inputs.facts.store.containers if inputs.facts.store is not None else ():
        if is_present(inputs, container):
            swap = asg_swap(inputs.ruleset.chains("filter"), container)
            for plan in chain_plans(inputs, container, swap):
                _chain(draft, plan)
            if not inputs.ipv6:
                mapped_ports(draft, inputs, container)
                _masquerade(draft, inputs, container)
            _jumps(draft, inputs, container, builtin_rules)
    _displaced_jumps(draft, inputs)


def _chain(draft: Draft, plan: ChainPlan) -> None:
    chain = draft.ruleset.chains(plan.table).get(plan.name)
    wanted = tuple(dict.fromkeys(plan.head + plan.tail))
    if chain is None:
        if not plan.middle:  # what garden was given is told nowhere else
            draft.places(plan.table, plan.name).arrange(wanted, ())
        return
    entries = entries_of(chain, plan.name)
    if plan.middle:
        _around_middle(draft, plan, entries)
    elif chain.rules != plan.head + plan.tail:
        outcome = compare([Wanted(rule=rule) for rule in wanted], entries, lambda _, __: True)
        matched = [(one.rule, entry) for one, entry in outcome.matched]
        kept = [*matched, *((pair.planned.rule, pair.entry) for pair in outcome.changed)]
        draft.places(plan.table, plan.name).arrange(wanted, kept, _displaced(draft, matched))


def _displaced(draft: Draft, matched: Sequence[tuple[r.Rule, Entry]]) -> frozenset[int]:
    """Rules that were moved past one that decides otherwise; all that were moved, where silk's own order is wanted."""
    if draft.in_order:
        straight = longest_increasing([entry.position for _, entry in matched])
        return frozenset(entry.position for index, (_, entry) in enumerate(matched) if index not in straight)
    return frozenset(one.entry.position for one in moved(matched))


def _around_middle(draft: Draft, plan: ChainPlan, entries: Sequence[Entry]) -> None:
    """What stands before the rules that nothing on the cell tells, and behind them; those stay as they are."""
    places = draft.places(plan.table, plan.name)
    first = {entry.rule: entry for entry in reversed(entries)}
    last = {entry.rule: entry for entry in entries[len(entries) - len(plan.tail) :]}
    head = [(rule, first[rule]) for rule in plan.head if rule in first]
    tail = [(rule, last[rule]) for rule in plan.tail if rule in last]
    displaced = _displaced(draft, [*head, *tail])
    for position in displaced:
        places.put(position, None)
    missing = [Wanted(rule=rule) for rule in plan.head if rule not in first]
    strange = [entry for entry in entries[: len(plan.head)] if entry.rule not in plan.head]
    head += [(pair.planned.rule, pair.entry) for pair in compare(missing, strange, lambda _, __: True).changed]
    _fill(places, plan.head, {rule: entry.position for rule, entry in head if entry.position not in displaced}, FRONT)
    ending = {rule: entry.position for rule, entry in tail if entry.position not in displaced}
    _fill(places, plan.tail, ending, min(ending.values(), default=places.entries + 1) - 1)


def _fill(places: Places, rules: Sequence[r.Rule], standing: Mapping[r.Rule, int], behind: int) -> None:
    """Put ``rules`` in order: those that are ``standing`` where they stand, each other behind the one before it."""
    for rule in rules:
        if rule in standing:
            behind = standing[rule]
            places.put(behind, rule)
        else:
            places.insert(behind, rule)


def _jumps(draft: Draft, inputs: Inputs, container: Container, builtin_rules: BuiltinRules) -> None:
    for plan in jump_plans(container, inputs.wrapper.underlay_interfaces):
        if plan.table not in inputs.ruleset.tables or not draft.has(plan.table, jumped_chain(plan.rule)):
            continue
        found = builtin_rules.of(plan)
        places = draft.places(plan.table, plan.chain)
        if not any(fits(plan, entry.rule) for entry in found) and not plan.on_interface:
            if found:
                places.put(found[0].position, plan.rule)
            else:
                places.insert(draft.behind_jumps(plan.table, plan.chain), plan.rule)


def _displaced_jumps(draft: Draft, inputs: Inputs) -> None:
    """A jump that stands before the policy chain's comes behind the others."""
    for table, chain, position in sorted(draft.displaced):
        rule = inputs.ruleset.chains(table)[chain].rules[position - 1]
        draft.places(table, chain).insert(draft.behind_jumps(table, chain, frozenset({position})), rule)


def _masquerade(draft: Draft, inputs: Inputs, container: Container) -> None:
    """One rule that does what silk's does; a second one goes if it is of silk's form."""
    chain = inputs.ruleset.chains("nat").get("POSTROUTING")
    expected = expected_rule(inputs, container)
    if chain is None or expected is None:
        return
    places = draft.places("nat", "POSTROUTING")
    own = [entry for entry in entries_of(chain, "POSTROUTING") if _is_own(entry.rule, container)]
    does = {entry.position: judged_rule(inputs, container, entry, expected) for entry in own}
    if Masquerading.AS_WRITTEN not in does.values():
        # The one that comes nearest to it is the one that was changed.
        nearest = min(does, key=lambda position: list(Masquerading).index(does[position]), default=None)
        if nearest is None:
            places.insert(places.entries, expected)
        else:
            places.put(nearest, expected)


def _is_own(rule: r.Rule, container: Container) -> bool:
    host = r.AddressMatch(value=int(container.address))
    return rule.source == host and not jumped_chain(rule) and rule.target != r.NO_TARGET
