"""Which kinds of findings a reading cannot judge: a kind whose source is missing is unknown, never clean."""

from __future__ import annotations

from c2c_auditor.audit.reading.declared import HIDES_DECLARED
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.shown import is_part, unproved_kinds
from c2c_auditor.model.kind import Family, Kind
from c2c_auditor.model.rule import Loss

# Families whose checks use ports and marks of rules; those for missing jumps and orphaned chains do not.
_RESTING_ON_CONDITIONS = frozenset({Family.POLICY, Family.CONTAINER, Family.SECURITY_GROUP, Family.NAT})
_OF_IPV6 = frozenset({Family.CONTAINER, Family.SECURITY_GROUP})
_OF_OTHERS = frozenset({Kind.FOREIGN_ACCEPT, Kind.FOREIGN_DROP, Kind.FOREIGN_RULE})
_OF_WHOLE_WAY = _OF_OTHERS | {Kind.FLOW_OPEN, Kind.FLOW_BLOCKED}
# What silk does for IPv4 only, and the facts, which are judged with it.
OF_IPV4 = frozenset(
    {kind for kind in Kind if kind.family in {Family.POLICY, Family.NAT, Family.FACTS}}
    - {Kind.FLOW_OPEN, Kind.FLOW_BLOCKED, Kind.RULE_DUPLICATE}
    | {Kind.POLICY_CHAIN_ORPHAN, Kind.POLICY_CHAIN_REPEATED, Kind.POLICY_CHAIN_FROM_FUTURE, Kind.ENFORCEMENT_DISABLED}
)
_OF_LOSS = {
    Loss.NATIVE_EXPRESSIONS: _OF_OTHERS,
    Loss.OTHER_BACKEND: _OF_WHOLE_WAY | {Kind.BACKEND_SPLIT},
    Loss.NATIVE_TABLES: _OF_WHOLE_WAY,
}


def unknown_kinds(inputs: Inputs) -> frozenset[Kind]:
    """Kinds that could not be judged: policy rules without a plan, facts without their source.

    Of IPv6 it is the containers' own chains that are judged, and others' rules.
    """
    unknown = _unknown(inputs) | (unproved_kinds(inputs) if is_part(inputs.ruleset) else frozenset())
    if inputs.ipv6:
        return frozenset(kind for kind in unknown if kind.family in _OF_IPV6 or kind in _OF_OTHERS)
    return unknown


def _unknown(inputs: Inputs) -> frozenset[Kind]:
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
    if Loss.NATIVE_EXPRESSIONS in inputs.ruleset.lost:
        families |= _RESTING_ON_CONDITIONS
    silent = {kind for kind in Kind if kind.family in families}
    if facts.store is None:
        silent |= {Kind.STORE_SHRUNK, Kind.CONTAINER_CONFLICT, Kind.CONTAINER_UNREADABLE, Kind.PORT_NOT_EXPOSED}
    if facts.policies is None:
        silent |= {Kind.TAG_CONFLICT, Kind.PORT_NOT_EXPOSED}
    if inputs.config.overlay_ingress and inputs.ingress_tag is None:
        silent |= {Kind.INGRESS_MISSING, Kind.INGRESS_STALE}
    if facts.declared_rules and inputs.ruleset.lost & HIDES_DECLARED:
        silent.add(Kind.DECLARED_RULE_MISSING)
    return frozenset(silent.union(*(kinds for loss, kinds in _OF_LOSS.items() if loss in inputs.ruleset.lost)))
