"""The demo's faults. Adding one is a row in `policy_faults` or `cell_faults` and its name here."""

from __future__ import annotations

from demo import cell_faults, policy_faults

TOUR = (
    policy_faults.MARK_DELETED,
    policy_faults.ACCEPT_OTHER_MARK,
    policy_faults.ACCEPT_STALE,
    policy_faults.FORWARD_FLUSHED,
    cell_faults.FOREIGN_DROP,
    cell_faults.DROP_IN_RAW,
    policy_faults.CHAIN_REPEATED,
    cell_faults.STORE_EMPTY,
    cell_faults.SAME_ADDRESS,
)
"""The most telling ones, for people who watch."""

ALL = (
    *TOUR,
    policy_faults.MARK_OTHER_TAG,
    policy_faults.MARK_MISPLACED,
    policy_faults.ACCEPT_DELETED,
    policy_faults.COMMENT_WRONG,
    policy_faults.RULE_DUPLICATED,
    policy_faults.RULE_UNKNOWN,
    policy_faults.ENFORCEMENT_DISABLED,
    policy_faults.JUMP_DELETED,
    policy_faults.JUMP_MISPLACED,
    policy_faults.CHAIN_GONE,
    policy_faults.CHAIN_ORPHAN,
    policy_faults.CHAIN_FROM_FUTURE,
    cell_faults.NO_ADDRESS,
    cell_faults.TAG_CONFLICT,
    cell_faults.CONTAINER_DELETED,
    cell_faults.BACKEND_SPLIT,
    cell_faults.DEFAULT_DENY_DELETED,
    cell_faults.CONTAINER_CHAIN_GONE,
    cell_faults.CONTAINER_RULE_ADDED,
    cell_faults.GROUP_RULE_DELETED,
    cell_faults.GROUP_RULE_ADDED,
    cell_faults.MASQUERADE_DELETED,
    cell_faults.MASQUERADE_WRONG_RANGE,
    cell_faults.PORT_FORWARDED,
    cell_faults.FOREIGN_ACCEPT,
)
"""Every fault, each to be found by itself."""
