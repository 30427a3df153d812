"""Kinds of findings: what each is about, what it does to traffic, and what must be known to judge it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from c2c_auditor.model.scope import Scope


class Effect(str, Enum):
    """What a finding does to traffic, worst first."""

    BREACH = "breach"
    OUTAGE = "outage"
    RESIDUE = "residue"
    ADVICE = "advice"

    @property
    def harms(self) -> bool:
        """Whether traffic that should pass does not, or the other way round."""
        return self in (Effect.BREACH, Effect.OUTAGE)


def worst(effects: Iterable[Effect]) -> Effect:
    """The worst of at least one."""
    given = frozenset(effects)
    return next(effect for effect in Effect if effect in given)


class Family(str, Enum):
    """What must be known before findings of a kind can be judged.

    A family whose source is blind is *unknown*, never clean.
    """

    POLICY = "policy"
    CHAIN = "chain"
    CONTAINER = "container"
    SECURITY_GROUP = "security_group"
    NAT = "nat"
    FACTS = "facts"


class Nature(NamedTuple):
    """What all findings of a kind have in common. ``effect`` is the one where nothing more is known."""

    family: Family
    scope: Scope
    effect: Effect


class Kind(str, Enum):
    """The stable name of a kind of finding: label of the metrics, anchor of its documentation."""

    family: Family
    scope: Scope
    effect: Effect
    meaning: str

    def __new__(cls, value: str, nature: Nature, meaning: str) -> Kind:
        """Bind a kind's name to its nature and to one sentence for people."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.family, kind.scope, kind.effect = nature
        kind.meaning = meaning
        return kind

    MARK_MISSING = (
        "mark_missing",
        Nature(Family.POLICY, Scope.SENDER, Effect.OUTAGE),
        "a source's packets are not marked, so no destination accepts them",
    )
    MARK_WRONG_TAG = (
        "mark_wrong_tag",
        Nature(Family.POLICY, Scope.IDENTITY, Effect.BREACH),
        "a source's packets carry another app's mark",
    )
    MARK_STALE = (
        "mark_stale",
        Nature(Family.POLICY, Scope.HYGIENE, Effect.ADVICE),
        "a live container is marked although no policy names its app as source",
    )
    ACCEPT_MISSING = (
        "accept_missing",
        Nature(Family.POLICY, Scope.POLICY_RULE, Effect.OUTAGE),
        "a policy's traffic is not accepted at its destination",
    )
    ACCEPT_STALE = (
        "accept_stale",
        Nature(Family.POLICY, Scope.POLICY_RULE, Effect.BREACH),
        "traffic is accepted that no policy allows",
    )
    ACCEPT_CHANGED = (
        "accept_changed",
        Nature(Family.POLICY, Scope.POLICY_RULE, Effect.BREACH),
        "an ACCEPT rule differs from its policy in one respect",
    )
    COMMENT_WRONG = (
        "comment_wrong",
        Nature(Family.POLICY, Scope.HYGIENE, Effect.ADVICE),
        "a rule works but its comment names other apps",
    )
    INGRESS_MISSING = (
        "ingress_missing",
        Nature(Family.POLICY, Scope.POLICY_RULE, Effect.OUTAGE),
        "the ingress router is not accepted on a container's port",
    )
    INGRESS_STALE = (
        "ingress_stale",
        Nature(Family.POLICY, Scope.POLICY_RULE, Effect.BREACH),
        "the ingress router's mark is accepted where it should not be",
    )
    LOG_RULE_MISSING = (
        "log_rule_missing",
        Nature(Family.POLICY, Scope.POLICY_RULE, Effect.ADVICE),
        "accepted traffic of a policy is not logged",
    )
    LOG_RULE_STALE = (
        "log_rule_stale",
        Nature(Family.POLICY, Scope.HYGIENE, Effect.ADVICE),
        "traffic is logged that should not be",
    )
    RULE_DUPLICATE = (
        "rule_duplicate",
        Nature(Family.POLICY, Scope.HYGIENE, Effect.RESIDUE),
        "the same rule stands more than once",
    )
    RULE_LEFTOVER = (
        "rule_leftover",
        Nature(Family.POLICY, Scope.HYGIENE, Effect.RESIDUE),
        "a rule for a container that is gone; silk removes it with its next plan",
    )
    RULE_MISPLACED = (
        "rule_misplaced",
        Nature(Family.POLICY, Scope.SENDER, Effect.OUTAGE),
        "a rule stands where it comes too late or too early to work",
    )
    RULE_UNKNOWN = (
        "rule_unknown",
        Nature(Family.POLICY, Scope.STRANGER, Effect.BREACH),
        "a rule in silk's policy chain that silk does not write",
    )
    FLOW_BLOCKED = (
        "flow_blocked",
        Nature(Family.POLICY, Scope.FLOWS, Effect.OUTAGE),
        "a policy's traffic does not pass although no single rule is to blame",
    )
    FLOW_OPEN = (
        "flow_open",
        Nature(Family.POLICY, Scope.FLOWS, Effect.BREACH),
        "traffic that no policy allows passes although no single rule is to blame",
    )
    POLICY_UNREADABLE = (
        "policy_unreadable",
        Nature(Family.POLICY, Scope.FACTS, Effect.ADVICE),
        "a policy that cannot be understood, so its rules are not judged",
    )
    POLICY_CHAIN_MISSING = (
        "policy_chain_missing",
        Nature(Family.POLICY, Scope.CELL, Effect.OUTAGE),
        "there is no policy chain, so no policy works on this cell",
    )
    POLICY_CHAIN_ORPHAN = (
        "policy_chain_orphan",
        Nature(Family.CHAIN, Scope.HYGIENE, Effect.RESIDUE),
        "a policy chain that nothing jumps to",
    )
    POLICY_CHAIN_REPEATED = (
        "policy_chain_repeated",
        Nature(Family.CHAIN, Scope.CELL, Effect.BREACH),
        "several policy chains are jumped to: old ACCEPTs still count",
    )
    POLICY_CHAIN_FROM_FUTURE = (
        "policy_chain_from_future",
        Nature(Family.CHAIN, Scope.HYGIENE, Effect.ADVICE),
        "a policy chain's time lies ahead: silk will never remove it",
    )
    JUMP_MISSING = (
        "jump_missing",
        Nature(Family.CHAIN, Scope.JUMP, Effect.OUTAGE),
        "a chain of silk's is there but traffic does not reach it",
    )
    JUMP_MISPLACED = (
        "jump_misplaced",
        Nature(Family.CHAIN, Scope.JUMP, Effect.OUTAGE),
        "a jump stands behind rules that decide before it",
    )
    JUMP_DUPLICATE = (
        "jump_duplicate",
        Nature(Family.CHAIN, Scope.HYGIENE, Effect.RESIDUE),
        "a chain is jumped to more than once",
    )
    DEFAULT_DENY_MISSING = (
        "default_deny_missing",
        Nature(Family.CONTAINER, Scope.CONTAINER, Effect.BREACH),
        "a container has lost its default deny: every sender on the overlay reaches it",
    )
    CONTAINER_CHAIN_MISSING = (
        "container_chain_missing",
        Nature(Family.CONTAINER, Scope.EGRESS, Effect.OUTAGE),
        "a container's chain is not there",
    )
    CONTAINER_CHAIN_ORPHAN = (
        "container_chain_orphan",
        Nature(Family.CONTAINER, Scope.HYGIENE, Effect.RESIDUE),
        "a chain of a container that is left over",
    )
    CONTAINER_RULE_MISSING = (
        "container_rule_missing",
        Nature(Family.CONTAINER, Scope.CONTAINER, Effect.OUTAGE),
        "a rule of a container's chain is not there",
    )
    CONTAINER_RULE_STALE = (
        "container_rule_stale",
        Nature(Family.CONTAINER, Scope.STRANGER, Effect.BREACH),
        "a rule in a container's chain that silk does not write",
    )
    ASG_MISSING = (
        "asg_missing",
        Nature(Family.SECURITY_GROUP, Scope.EGRESS, Effect.OUTAGE),
        "egress that a security group allows does not pass",
    )
    ASG_STALE = (
        "asg_stale",
        Nature(Family.SECURITY_GROUP, Scope.EGRESS, Effect.BREACH),
        "egress passes that no security group allows",
    )
    NAT_RULE_MISSING = (
        "nat_rule_missing",
        Nature(Family.NAT, Scope.MAPPED_PORTS, Effect.OUTAGE),
        "an address translation or ingress mark is not there",
    )
    NAT_RULE_STALE = (
        "nat_rule_stale",
        Nature(Family.NAT, Scope.MAPPED_PORTS, Effect.BREACH),
        "an address translation or ingress mark that silk does not write",
    )
    FOREIGN_ACCEPT = (
        "foreign_accept",
        Nature(Family.CHAIN, Scope.STRANGER, Effect.BREACH),
        "a rule that silk did not write lets overlay traffic pass",
    )
    FOREIGN_DROP = (
        "foreign_drop",
        Nature(Family.CHAIN, Scope.STRANGER, Effect.OUTAGE),
        "a rule that silk did not write stops overlay traffic",
    )
    FOREIGN_RULE = (
        "foreign_rule",
        Nature(Family.CHAIN, Scope.STRANGER, Effect.ADVICE),
        "a rule that silk did not write matches overlay traffic",
    )
    DECLARED_RULE_MISSING = (
        "declared_rule_missing",
        Nature(Family.CHAIN, Scope.HYGIENE, Effect.ADVICE),
        "a rule of others that the configuration declares does not stand",
    )
    ENFORCEMENT_DISABLED = (
        "enforcement_disabled",
        Nature(Family.CHAIN, Scope.SETTING, Effect.BREACH),
        "container network policy is switched off: everything on the overlay is open",
    )
    BACKEND_SPLIT = (
        "backend_split",
        Nature(Family.CHAIN, Scope.BACKENDS, Effect.BREACH),
        "rules stand in both backends of iptables, and the kernel applies both",
    )
    READER_DISAGREES = (
        "reader_disagrees",
        Nature(Family.CHAIN, Scope.BACKENDS, Effect.ADVICE),
        "this agent and iptables-nft read a chain differently",
    )
    STORE_SHRUNK = (
        "store_shrunk",
        Nature(Family.FACTS, Scope.FACTS, Effect.OUTAGE),
        "container metadata no longer lists containers that still have chains and an interface",
    )
    CONTAINER_CONFLICT = (
        "container_conflict",
        Nature(Family.FACTS, Scope.FACTS, Effect.BREACH),
        "two containers claim one address: one is marked as the other's app",
    )
    CONTAINER_UNREADABLE = (
        "container_unreadable",
        Nature(Family.FACTS, Scope.FACTS, Effect.ADVICE),
        "a container whose metadata cannot be planned",
    )
    TAG_CONFLICT = (
        "tag_conflict",
        Nature(Family.FACTS, Scope.FACTS, Effect.BREACH),
        "one tag stands for two apps, or one app for two tags",
    )
    PORT_NOT_EXPOSED = (
        "port_not_exposed",
        Nature(Family.FACTS, Scope.FACTS, Effect.ADVICE),
        "a policy opens a port that its destination does not have",
    )
