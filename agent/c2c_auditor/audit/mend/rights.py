"""Whose a rule is: silk's own ones may go; what others wrote stays, unless it is asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from attrs import frozen

from c2c_auditor.audit.checks.asg_swap import asg_swap
from c2c_auditor.audit.checks.chain_plans import chain_plans
from c2c_auditor.audit.checks.mapped_ports import wrong_mapping
from c2c_auditor.audit.mend.ports import silks_port
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.errors import NotUnderstood, UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter.placed import parse_placed
from c2c_auditor.silk.chain_names import ChainFamily, family_of
from c2c_auditor.silk.netin import mapping_of

# Rules of the forms that silk writes, where silk would not write them now.
_SILKS = frozenset(
    {
        Kind.ACCEPT_STALE,
        Kind.INGRESS_STALE,
        Kind.LOG_RULE_STALE,
        Kind.MARK_STALE,
        Kind.MARK_WRONG_TAG,
        Kind.RULE_DUPLICATE,
        Kind.RULE_LEFTOVER,
        Kind.JUMP_DUPLICATE,
        Kind.JUMP_MISPLACED,
        Kind.ASG_STALE,
        Kind.NAT_RULE_STALE,
    }
)


@frozen(kw_only=True)
class Named:
    """A rule of others that may go, as a person named it in ``text``."""

    table: str
    chain: str
    rule: r.Rule
    text: str = ""

    def is_found_by(self, finding: Finding) -> bool:
        """Whether ``finding`` is about this rule."""
        place = finding.place
        return (
            place is not None and finding.found == self.rule and (place.table, place.chain) == (self.table, self.chain)
        )


def parse_named(given: str) -> tuple[Named, ...]:
    """``[-t TABLE] [-A] CHAIN RULE``, the rule as iptables-save prints it: as a rule of each family that it fits.

    Raises UsageError for anything else.
    """
    found = []
    for family in r.AddressFamily:
        with suppress(NotUnderstood):
            placed = parse_placed(given, family)
            found.append(Named(table=placed.table, chain=placed.chain, rule=placed.rule, text=given))
    if not found:
        message = f"--remove-foreign {given}: give chain and rule as c2c-auditor mend prints them, -A CHAIN RULE"
        raise UsageError(message)
    return tuple(found)


def stands(inputs: Inputs, finding: Finding) -> bool:
    """Whether the rule that ``finding`` found stands where it says, among the rules that silk writes to.

    A chain's policy does not, nor does a rule of the other backend.
    """
    place = finding.place
    if place is None or not place.position:
        return False
    chain = inputs.ruleset.chains(place.table).get(place.chain)
    rules = chain.rules if chain is not None else ()
    return place.position <= len(rules) and rules[place.position - 1] == finding.found


def is_foreign(inputs: Inputs, finding: Finding) -> bool:
    """Whether the rule that ``finding`` found is one that silk does not write, so that it goes only by its name."""
    rule = finding.found
    if rule is None or finding.expected is not None or not stands(inputs, finding):
        return False
    match finding.kind:
        case Kind.FOREIGN_ACCEPT | Kind.FOREIGN_DROP | Kind.FOREIGN_RULE | Kind.RULE_UNKNOWN:
            return True
        case Kind.CONTAINER_RULE_STALE:
            return not _is_planned(inputs, finding)
        case Kind.ASG_STALE:
            return not (_is_group_rule(rule) or _is_planned(inputs, finding))
        case Kind.NAT_RULE_STALE:
            return not _is_nat_rule(inputs, finding)
        case Kind.JUMP_DUPLICATE:
            return not jumped_chain(rule) and not _is_nat_rule(inputs, finding)
        case _:
            return False


def may_go(inputs: Inputs, finding: Finding, named: Sequence[Named]) -> bool:
    """Whether the rule that ``finding`` found may be taken out from where it stands."""
    if not stands(inputs, finding):
        return False
    if any(one.is_found_by(finding) for one in named):
        return True
    if finding.kind is Kind.ENFORCEMENT_DISABLED:
        return not inputs.config.policy_disabled
    if finding.kind is Kind.NAT_RULE_STALE and _is_right(inputs, finding):
        return False  # of two containers with one port, which of them lost it is not told
    # One that is expected otherwise is put right instead.
    return finding.kind in _SILKS and finding.expected is None and not is_foreign(inputs, finding)


def _is_planned(inputs: Inputs, finding: Finding) -> bool:
    """Whether silk writes such a rule to this chain, only elsewhere in it."""
    store, place = inputs.facts.store, finding.place
    if store is None or place is None:
        return False
    of = [one for one in store.containers if one.handle in finding.handles]
    plans = (plan for one in of for plan in chain_plans(inputs, one, asg_swap(inputs.ruleset.chains("filter"), one)))
    return any(plan.name == place.chain and finding.found in plan.head + plan.tail for plan in plans)


def _is_group_rule(rule: r.Rule) -> bool:
    """Whether a rule has the form of a security group's: a range of destinations, accepted or logged and accepted."""
    ranged = any(isinstance(match, r.IpRangeMatch) and match.source is None for match in rule.matches)
    logs = isinstance(rule.target, r.Goto) and family_of(rule.target.chain) is ChainFamily.NETOUT_LOG
    return ranged and rule.source is None and rule.destination is None and (rule.target == r.ACCEPT or logs)


def _is_nat_rule(inputs: Inputs, finding: Finding) -> bool:
    """Whether a rule has the form of a mapped port's, or of a container's MASQUERADE."""
    rule, store = finding.found, inputs.facts.store
    if rule is None or store is None:
        return False
    tag = inputs.wrapper.config.ingress_tag
    of = [container for container in store.containers if container.handle in finding.handles]
    if isinstance(rule.target, r.Masquerade):
        vtep = r.InterfaceMatch(name=inputs.wrapper.config.vtep_name, negated=True)
        return bool(of) and rule.out_interface == vtep
    return any(silks_port(container, rule, tag) for container in of)


def _is_right(inputs: Inputs, finding: Finding) -> bool:
    """Whether the rule is a translation in which nothing is wrong by itself."""
    store, rule = inputs.facts.store, finding.found
    of = [one for one in store.containers if one.handle in finding.handles] if store is not None else []
    mappings = [(one, mapping) for one in of if rule is not None and (mapping := mapping_of(one, rule)) is not None]
    return any(not wrong_mapping(inputs, container, mapping) for container, mapping in mappings)
