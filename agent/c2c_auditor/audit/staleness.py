"""Which findings a change would explain that the agent cannot know of, because a source is away, and since when.

While the agent cannot read a source, it judges by what that source said last. By then silk may know more: a policy that
somebody added meanwhile looks like an ACCEPT that no policy allows, and one that was removed like an outage. Such
differences confirm nothing until the source is back. Damage can be recognised all the same, by what silk does when it
carries out a change: it makes a new policy chain, creates or deletes all chains of a container, or writes a security
group chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import frozen

from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import SourceStatus


class Change(Enum):
    """What silk does on the cell when what it knows has changed."""

    PLAN = "a new policy chain"
    CONTAINER = "a container created or deleted"
    SECURITY_GROUPS = "a security group chain written afresh"
    FACTS = "none: the finding is about what the sources say"


# The sources, as the report names them, that silk carries out by each change.
_SOURCES: Mapping[Change, tuple[str, ...]] = {
    Change.PLAN: ("policy_server", "store", "vpa_config"),
    Change.CONTAINER: ("store",),
    Change.SECURITY_GROUPS: ("security_groups", "store", "vpa_config"),
    Change.FACTS: ("policy_server", "store"),
}


@frozen(kw_only=True)
class Staleness:
    """``last_success``, in seconds since the epoch, of each source that is away and whose last answer is still used."""

    last_success: Mapping[str, float]

    @classmethod
    def of(cls, sources: Iterable[SourceStatus]) -> Staleness:
        """The staleness of ``sources``."""
        return cls(
            last_success={
                status.name: status.last_success
                for status in sources
                if not status.up and status.last_success is not None and not status.age_limit_passed
            }
        )

    def unknown_since(self, finding: Finding, judgement: Judgement) -> float | None:
        """Since when it is not known whether ``finding`` of ``judgement`` is more than a change that silk carried out.

        None where what should be is known, and where no change of silk's looks like this finding.
        """
        if not self.last_success:
            return None
        change = _explaining_change(finding)
        if change is None:
            return None
        times = [self.last_success[name] for name in _SOURCES[change] if name in self.last_success]
        if change is Change.PLAN:
            # A chain that is older than the last answer was planned from what that answer says.
            made = judgement.policy_chain_time
            times = [time for time in times if made is not None and made > time]
        return min(times, default=None)


FRESH = Staleness(last_success={})


def _explaining_change(finding: Finding) -> Change | None:
    """The change by which silk itself would cause such a finding; None if it never does."""
    match finding.kind:
        case (
            Kind.MARK_MISSING
            | Kind.MARK_WRONG_TAG
            | Kind.MARK_STALE
            | Kind.ACCEPT_MISSING
            | Kind.ACCEPT_STALE
            | Kind.ACCEPT_CHANGED
            | Kind.COMMENT_WRONG
            | Kind.INGRESS_MISSING
            | Kind.INGRESS_STALE
            | Kind.LOG_RULE_MISSING
            | Kind.LOG_RULE_STALE
            | Kind.RULE_LEFTOVER
            | Kind.FLOW_BLOCKED
            | Kind.FLOW_OPEN
        ):
            return Change.PLAN
        case Kind.CONTAINER_CHAIN_MISSING:
            # Deleting a container takes all its chains; then the finding is about the container as such.
            subject = finding.subject[:-1] if finding.ipv6 else finding.subject  # the last part of it says IPv6
            return Change.CONTAINER if subject == finding.handles else None
        case Kind.CONTAINER_CHAIN_ORPHAN | Kind.STORE_SHRUNK:
            return Change.CONTAINER
        case Kind.ASG_MISSING | Kind.ASG_STALE:
            return Change.SECURITY_GROUPS
        case Kind.CONTAINER_CONFLICT | Kind.CONTAINER_UNREADABLE | Kind.TAG_CONFLICT:
            return Change.FACTS
        case Kind.POLICY_UNREADABLE | Kind.PORT_NOT_EXPOSED:
            return Change.FACTS
        case (
            Kind.RULE_DUPLICATE
            | Kind.RULE_MISPLACED
            | Kind.DECLARED_RULE_MISSING
            | Kind.RULE_UNKNOWN
            | Kind.POLICY_CHAIN_MISSING
            | Kind.POLICY_CHAIN_ORPHAN
            | Kind.POLICY_CHAIN_REPEATED
            | Kind.POLICY_CHAIN_FROM_FUTURE
            | Kind.JUMP_MISSING
            | Kind.JUMP_MISPLACED
            | Kind.JUMP_DUPLICATE
            | Kind.DEFAULT_DENY_MISSING
            | Kind.CONTAINER_RULE_MISSING
            | Kind.CONTAINER_RULE_STALE
            | Kind.NAT_RULE_MISSING
            | Kind.NAT_RULE_STALE
            | Kind.FOREIGN_ACCEPT
            | Kind.FOREIGN_DROP
            | Kind.FOREIGN_RULE
            | Kind.ENFORCEMENT_DISABLED
            | Kind.BACKEND_SPLIT
            | Kind.READER_DISAGREES
        ):
            return None
