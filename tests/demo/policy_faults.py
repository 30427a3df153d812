"""Faults of the policy chain: its marks, its accepts, its jump, and the chain as such."""

from __future__ import annotations

import time

from c2c_auditor.model.kind import Kind
from demo import rules
from demo.cell import Cell
from demo.fault import Fault, first
from demo.world import BACKEND, FRONTEND, OVERLAY, PAYMENTS, REDIS, NetworkPolicy


def _mark(cell: Cell) -> tuple[int, str]:
    """The MARK of frontend's first instance."""
    return cell.position(cell.policy_chain, f"-s {first(cell, FRONTEND).address}/32", "-j MARK")


def _accept(cell: Cell) -> tuple[int, str]:
    """The ACCEPT for frontend at backend's first instance, port 8080."""
    words = f"-d {first(cell, BACKEND).address}/32", "--dport 8080", f"src:{FRONTEND.guid}"
    return cell.position(cell.policy_chain, *words)


def _delete_mark(cell: Cell) -> None:
    cell.edit(f"-D {cell.policy_chain} {_mark(cell)[0]}")


def _delete_accept(cell: Cell) -> None:
    cell.edit(f"-D {cell.policy_chain} {_accept(cell)[0]}")


def _accept_other_mark(cell: Cell) -> None:
    number, rule = _accept(cell)
    tags = cell.server.truth.tags
    other = rule.replace(f"--mark 0x{tags[FRONTEND.guid]:x} ", f"--mark 0x{tags[REDIS.guid]:x} ")
    cell.edit(f"-R {cell.policy_chain} {number} {other}")


def _mark_other_tag(cell: Cell) -> None:
    number, rule = _mark(cell)
    tags = cell.server.truth.tags
    other = rule.replace(f"0x{tags[FRONTEND.guid]:x}/", f"0x{tags[PAYMENTS.guid]:x}/")
    cell.edit(f"-R {cell.policy_chain} {number} {other}")


def _accept_nobody_ordered(cell: Cell) -> None:
    policy = NetworkPolicy(source=FRONTEND.guid, destination=REDIS.guid, first=6379, last=6379)
    stale = rules.accept(first(cell, REDIS).address, policy, cell.server.truth.tags[FRONTEND.guid])
    cell.edit(f"-A {cell.policy_chain} {stale}")


def _comment(cell: Cell) -> None:
    number, rule = _accept(cell)
    cell.edit(f"-R {cell.policy_chain} {number} {rule.replace(FRONTEND.guid, PAYMENTS.guid)}")


def _duplicate(cell: Cell) -> None:
    cell.edit(f"-A {cell.policy_chain} {_accept(cell)[1]}")


def _mark_behind_accept(cell: Cell) -> None:
    number, rule = _mark(cell)
    cell.edit(f"-D {cell.policy_chain} {number}", f"-A {cell.policy_chain} {rule}")


def _unknown_rule(cell: Cell) -> None:
    cell.edit(f"-A {cell.policy_chain} -s 10.255.77.0/24 -d {first(cell, REDIS).address} -p tcp --dport 9999 -j ACCEPT")


def _open(cell: Cell) -> None:
    cell.edit(f"-I {cell.policy_chain} 1 -s {OVERLAY} -d {OVERLAY} -j ACCEPT")


def _delete_jump(cell: Cell) -> None:
    cell.edit(f"-D FORWARD -j {cell.policy_chain}")


def _jump_last(cell: Cell) -> None:
    cell.edit(f"-D FORWARD -j {cell.policy_chain}", f"-A FORWARD -j {cell.policy_chain}")


def _no_policy_chain(cell: Cell) -> None:
    name = cell.policy_chain
    cell.edit(f"-D FORWARD -j {name}", f"-F {name}", f"-X {name}")


def _old_chain() -> str:
    return f"vpa--{(time.time_ns() // 1000) - 3_600_000_000}"


def _orphan_chain(cell: Cell) -> None:
    name = _old_chain()
    cell.edit(f":{name} - [0:0]", f"-A {name} {_accept(cell)[1]}")


def _second_chain(cell: Cell) -> None:
    name, redis = _old_chain(), first(cell, REDIS).address
    old = NetworkPolicy(source=FRONTEND.guid, destination=REDIS.guid, first=6379, last=6379)
    stale = rules.accept(redis, old, cell.server.truth.tags[FRONTEND.guid])
    cell.edit(f":{name} - [0:0]", f"-A {name} {stale}", f"-I FORWARD 2 -j {name}")


def _chain_from_future(cell: Cell) -> None:
    ahead = f"vpa--{(time.time_ns() // 1000) + 86_400_000_000}"
    cell.iptables.command("filter", "-E", cell.policy_chain, ahead)


def _flush_forward(cell: Cell) -> None:
    cell.edit("-F FORWARD")


MARK_DELETED = Fault(
    name="mark-deleted",
    story="somebody deletes a MARK rule: one frontend reaches no app any more",
    kinds=frozenset({Kind.MARK_MISSING}),
    inject=_delete_mark,
    app=FRONTEND,
)
MARK_OTHER_TAG = Fault(
    name="mark-other-tag",
    story="a frontend is marked as payments and has its rights",
    kinds=frozenset({Kind.MARK_WRONG_TAG}),
    inject=_mark_other_tag,
    app=FRONTEND,
)
MARK_MISPLACED = Fault(
    name="mark-misplaced",
    story="a MARK stands behind the ACCEPT that needs it",
    kinds=frozenset({Kind.RULE_MISPLACED}),
    inject=_mark_behind_accept,
    app=FRONTEND,
)
ACCEPT_DELETED = Fault(
    name="accept-deleted",
    story="an ACCEPT rule for backend is gone",
    kinds=frozenset({Kind.ACCEPT_MISSING}),
    inject=_delete_accept,
    app=BACKEND,
)
ACCEPT_OTHER_MARK = Fault(
    name="accept-other-mark",
    story="an ACCEPT rule for backend asks for redis' mark instead of frontend's",
    kinds=frozenset({Kind.ACCEPT_CHANGED}),
    inject=_accept_other_mark,
    app=BACKEND,
)
ACCEPT_STALE = Fault(
    name="accept-stale",
    story="an ACCEPT rule lets frontend reach redis, which no policy allows",
    kinds=frozenset({Kind.ACCEPT_STALE}),
    inject=_accept_nobody_ordered,
    app=REDIS,
)
COMMENT_WRONG = Fault(
    name="comment-wrong",
    story="an ACCEPT rule's comment names another source",
    kinds=frozenset({Kind.COMMENT_WRONG}),
    inject=_comment,
    app=BACKEND,
)
RULE_DUPLICATED = Fault(
    name="rule-duplicated",
    story="an ACCEPT rule stands twice",
    kinds=frozenset({Kind.RULE_DUPLICATE}),
    inject=_duplicate,
)
RULE_UNKNOWN = Fault(
    name="rule-unknown",
    story="a rule of somebody's own stands in the policy chain",
    kinds=frozenset({Kind.RULE_UNKNOWN}),
    inject=_unknown_rule,
)
ENFORCEMENT_DISABLED = Fault(
    name="enforcement-disabled",
    story="one rule in front of the policy chain opens the whole overlay",
    kinds=frozenset({Kind.ENFORCEMENT_DISABLED}),
    inject=_open,
)
FORWARD_FLUSHED = Fault(
    name="forward-flushed",
    story="somebody flushes FORWARD: no policy works, and every container has lost its default deny",
    kinds=frozenset({Kind.JUMP_MISSING, Kind.DEFAULT_DENY_MISSING}),
    inject=_flush_forward,
)
JUMP_DELETED = Fault(
    name="jump-deleted",
    story="FORWARD no longer jumps to the policy chain",
    kinds=frozenset({Kind.JUMP_MISSING}),
    inject=_delete_jump,
)
JUMP_MISPLACED = Fault(
    name="jump-misplaced",
    story="the jump to the policy chain stands behind the default denies",
    kinds=frozenset({Kind.JUMP_MISPLACED}),
    inject=_jump_last,
)
CHAIN_GONE = Fault(
    name="policy-chain-gone",
    story="the policy chain is gone",
    kinds=frozenset({Kind.POLICY_CHAIN_MISSING}),
    inject=_no_policy_chain,
)
CHAIN_ORPHAN = Fault(
    name="policy-chain-orphan",
    story="an old policy chain is left behind",
    kinds=frozenset({Kind.POLICY_CHAIN_ORPHAN}),
    inject=_orphan_chain,
)
CHAIN_REPEATED = Fault(
    name="policy-chain-repeated",
    story="an old policy chain is still jumped to, and its ACCEPT for frontend at redis counts",
    kinds=frozenset({Kind.POLICY_CHAIN_REPEATED}),
    inject=_second_chain,
    also=frozenset({Kind.ACCEPT_STALE}),
)
CHAIN_FROM_FUTURE = Fault(
    name="policy-chain-from-future",
    story="a clock has stepped back: the policy chain's time lies ahead",
    kinds=frozenset({Kind.POLICY_CHAIN_FROM_FUTURE}),
    inject=_chain_from_future,
)
