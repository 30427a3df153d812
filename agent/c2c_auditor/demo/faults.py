"""Faults that happen to cells, each a value: how to bring it about, how it is mended, and what an auditor must say about it.

Adding one is adding a row here; the tour and the end-to-end tests take them from `TOUR` and `ALL`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import frozen

from c2c_auditor.demo import rules
from c2c_auditor.demo.cell import Cell
from c2c_auditor.demo.world import BACKEND, FRONTEND, OVERLAY, PAYMENTS, REDIS, SHOP, UNDERLAY_INTERFACE, App, Instance, NetworkPolicy
from c2c_auditor.model.finding import Kind


@frozen(kw_only=True)
class Fault:
    """One fault. Of the findings it must raise at least one of each of ``kinds``, one of which names ``app``; kinds of ``also`` may come with it."""

    name: str
    story: str
    kinds: frozenset[Kind]
    inject: Callable[[Cell], None]
    mend: Callable[[Cell], None] = Cell.put_back
    app: App | None = None
    also: frozenset[Kind] = frozenset()


def _first(cell: Cell, app: App) -> Instance:
    return next(one for one in cell.instances if one.app == app)


def _mark(cell: Cell) -> tuple[int, str]:
    """The MARK of frontend's first instance."""
    return cell.position(cell.policy_chain, f"-s {_first(cell, FRONTEND).address}/32", "-j MARK")


def _accept(cell: Cell) -> tuple[int, str]:
    """The ACCEPT for frontend at backend's first instance, port 8080."""
    words = f"-d {_first(cell, BACKEND).address}/32", "--dport 8080", f"src:{FRONTEND.guid}"
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
    stale = rules.accept(_first(cell, REDIS).address, policy, cell.server.truth.tags[FRONTEND.guid])
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
    cell.edit(f"-A {cell.policy_chain} -s 10.255.77.0/24 -d {_first(cell, REDIS).address} -p tcp --dport 9999 -j ACCEPT")


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
    name, redis = _old_chain(), _first(cell, REDIS).address
    old = NetworkPolicy(source=FRONTEND.guid, destination=REDIS.guid, first=6379, last=6379)
    stale = rules.accept(redis, old, cell.server.truth.tags[FRONTEND.guid])
    cell.edit(f":{name} - [0:0]", f"-A {name} {stale}", f"-I FORWARD 2 -j {name}")


def _chain_from_future(cell: Cell) -> None:
    ahead = f"vpa--{(time.time_ns() // 1000) + 86_400_000_000}"
    cell.iptables.command("filter", "-E", cell.policy_chain, ahead)


def _flush_forward(cell: Cell) -> None:
    cell.edit("-F FORWARD")


def _no_default_deny(cell: Cell) -> None:
    chain = rules.chain("overlay", _first(cell, REDIS).handle)
    cell.edit(f"-D {chain} {cell.position(chain, '-j REJECT')[0]}")


def _foreign_drop(cell: Cell) -> None:
    cell.edit(f"-I FORWARD 1 -d {_first(cell, REDIS).address} -p tcp -j DROP")


def _foreign_accept(cell: Cell) -> None:
    cell.edit(f"-I FORWARD 1 -d {_first(cell, REDIS).address} -p tcp -j ACCEPT")


def _no_container_chain(cell: Cell) -> None:
    chain = rules.chain("overlay", _first(cell, REDIS).handle)
    cell.edit(f"-D FORWARD -j {chain}", f"-F {chain}", f"-X {chain}")


def _rule_in_container_chain(cell: Cell) -> None:
    redis = _first(cell, REDIS)
    cell.edit(f"-I {rules.chain('overlay', redis.handle)} 1 -s 10.255.77.0/24 -d {redis.address} -j ACCEPT")


def _group_rule_deleted(cell: Cell) -> None:
    chain = rules.asg_chain(_first(cell, FRONTEND).handle)
    cell.edit(f"-D {chain} {cell.position(chain, '--dport 443')[0]}")


def _group_rule_added(cell: Cell) -> None:
    cell.edit(f"-I {rules.asg_chain(_first(cell, REDIS).handle)} 1 -d 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT")


def _no_masquerade(cell: Cell) -> None:
    cell.edit(f"-D POSTROUTING {rules.masquerade(_first(cell, REDIS).address)}", table="nat")


def _other_port_forwarded(cell: Cell) -> None:
    redis = _first(cell, REDIS)
    cell.edit(f"-A {rules.chain('netin', redis.handle)} -i {UNDERLAY_INTERFACE} -p tcp --dport 6379 -j DNAT --to-destination {redis.address}:6379", table="nat")


def _other_backend(cell: Cell) -> None:
    cell.other.restore("filter", f"-A FORWARD -s {OVERLAY} -d {_first(cell, REDIS).address} -j DROP")


def _other_backend_emptied(cell: Cell) -> None:
    cell.other.command("filter", "-F")


def _empty_store(cell: Cell) -> None:
    cell.write_store([])


def _store_told_again(cell: Cell) -> None:
    cell.write_store()


def _ghost(cell: Cell) -> Instance:
    """A container that died without being taken down: a frontend in the books under redis' address. silk prefers the higher handle."""
    return Instance(handle="ffffffff-0000-4000-8000-66aa", address=_first(cell, REDIS).address, app=FRONTEND, host_port=61020)


def _same_address(cell: Cell) -> None:
    cell.instances.append(_ghost(cell))
    cell.write_store()
    cell.replan()


def _ghost_gone(cell: Cell) -> None:
    cell.instances.remove(_ghost(cell))
    cell.write_store()
    cell.replan()


def _no_address(cell: Cell) -> None:
    record = _ghost(cell).record()
    del record["ip"]
    cell.write_store([*(one.record() for one in cell.instances), record])


def _shared_tag(cell: Cell) -> None:
    tags = cell.server.truth.tags
    cell.server.truth = cell.server.truth.retagging(PAYMENTS.guid, tags[FRONTEND.guid])
    cell.replan()


def _own_tag(cell: Cell) -> None:
    tags = cell.server.truth.tags
    free = next(tag for tag in range(1, len(tags) + 1) if tag not in tags.values())
    cell.server.truth = cell.server.truth.retagging(PAYMENTS.guid, free)
    cell.replan()


def _container_gone(cell: Cell) -> None:
    cell.delete(cell.instances[1])


def _container_back(cell: Cell) -> None:
    cell.create(SHOP.instances[1])


def _fault(name: str, story: str, *kinds: Kind, inject: Callable[[Cell], None], **more: Any) -> Fault:  # noqa: ANN401 - Fault's own fields
    return Fault(name=name, story=story, kinds=frozenset(kinds), inject=inject, **more)


def _kinds(*kinds: Kind) -> frozenset[Kind]:
    return frozenset(kinds)


_MARK_DELETED = _fault(
    "mark-deleted", "somebody deletes a MARK rule: one frontend reaches nobody any more", Kind.MARK_MISSING, inject=_delete_mark, app=FRONTEND
)
_ACCEPT_OTHER_MARK = _fault(
    "accept-other-mark",
    "an ACCEPT rule for backend asks for redis' mark instead of frontend's",
    Kind.ACCEPT_CHANGED,
    inject=_accept_other_mark,
    app=BACKEND,
)
_ACCEPT_STALE = _fault(
    "accept-stale", "an ACCEPT rule lets frontend reach redis, which no policy allows", Kind.ACCEPT_STALE, inject=_accept_nobody_ordered, app=REDIS
)
_FORWARD_FLUSHED = _fault(
    "forward-flushed",
    "somebody flushes FORWARD: policies stop working, and every container loses its default deny",
    Kind.JUMP_MISSING,
    inject=_flush_forward,
    also=_kinds(Kind.DEFAULT_DENY_MISSING, Kind.POLICY_CHAIN_ORPHAN, Kind.CONTAINER_RULE_MISSING),
)
_FOREIGN_DROP = _fault(
    "foreign-drop", "a DROP above silk's jumps stops all traffic to redis; the policy chain looks perfect", Kind.FOREIGN_DROP, inject=_foreign_drop
)
_OPEN = _fault(
    "enforcement-disabled", "one rule in front of the policy chain opens the whole overlay", Kind.ENFORCEMENT_DISABLED, inject=_open
)
_SECOND_CHAIN = _fault(
    "policy-chain-repeated",
    "an old policy chain is still jumped to, and its ACCEPT for frontend at redis counts",
    Kind.POLICY_CHAIN_REPEATED,
    inject=_second_chain,
    also=_kinds(Kind.ACCEPT_STALE, Kind.RULE_UNKNOWN),
)
_SAME_ADDRESS = _fault(
    "container-conflict",
    "a dead frontend is still in the books under redis' address, so redis is marked as frontend",
    Kind.CONTAINER_CONFLICT,
    inject=_same_address,
    mend=_ghost_gone,
    also=_kinds(
        Kind.CONTAINER_CHAIN_MISSING,
        Kind.CONTAINER_RULE_MISSING,
        Kind.DEFAULT_DENY_MISSING,
        Kind.JUMP_MISSING,
        Kind.ASG_MISSING,
        Kind.NAT_RULE_MISSING,
        Kind.MARK_STALE,
        Kind.MARK_WRONG_TAG,
    ),
)
_STORE_EMPTY = _fault(
    "store-shrunk",
    "the container metadata is suddenly empty: VPA's next plan would wipe every policy",
    Kind.STORE_SHRUNK,
    inject=_empty_store,
    mend=_store_told_again,
    also=_kinds(Kind.RULE_LEFTOVER, Kind.CONTAINER_CHAIN_ORPHAN, Kind.NAT_RULE_STALE),
)

TOUR = (
    _MARK_DELETED,
    _ACCEPT_OTHER_MARK,
    _ACCEPT_STALE,
    _FORWARD_FLUSHED,
    _FOREIGN_DROP,
    _SECOND_CHAIN,
    _STORE_EMPTY,
    _SAME_ADDRESS,
)
"""The most telling ones, for people who watch."""

ALL = (
    *TOUR,
    _OPEN,
    _fault("accept-deleted", "an ACCEPT rule for backend is gone", Kind.ACCEPT_MISSING, inject=_delete_accept, app=BACKEND),
    _fault("mark-other-tag", "a frontend is marked as payments", Kind.MARK_WRONG_TAG, inject=_mark_other_tag, app=FRONTEND),
    _fault("comment-wrong", "an ACCEPT rule's comment names another source", Kind.COMMENT_WRONG, inject=_comment),
    _fault("rule-duplicated", "an ACCEPT rule stands twice", Kind.RULE_DUPLICATE, inject=_duplicate),
    _fault("mark-misplaced", "a MARK stands behind the ACCEPT that needs it", Kind.RULE_MISPLACED, inject=_mark_behind_accept, app=FRONTEND),
    _fault("rule-unknown", "a rule of somebody's own in the policy chain", Kind.RULE_UNKNOWN, inject=_unknown_rule),
    _fault("jump-deleted", "FORWARD no longer jumps to the policy chain", Kind.JUMP_MISSING, inject=_delete_jump, also=_kinds(Kind.POLICY_CHAIN_ORPHAN)),
    _fault("jump-misplaced", "the jump to the policy chain stands behind the default denies", Kind.JUMP_MISPLACED, inject=_jump_last),
    _fault("policy-chain-gone", "the policy chain is gone", Kind.POLICY_CHAIN_MISSING, inject=_no_policy_chain),
    _fault("policy-chain-orphan", "an old policy chain is left behind", Kind.POLICY_CHAIN_ORPHAN, inject=_orphan_chain),
    _fault("policy-chain-from-future", "a clock stepped back: the policy chain's time lies ahead", Kind.POLICY_CHAIN_FROM_FUTURE, inject=_chain_from_future),
    _fault("default-deny-deleted", "redis has lost its default deny", Kind.DEFAULT_DENY_MISSING, inject=_no_default_deny, app=REDIS),
    _fault("foreign-accept", "an ACCEPT above silk's jumps opens redis to everybody", Kind.FOREIGN_ACCEPT, inject=_foreign_accept),
    _fault(
        "container-chain-gone",
        "redis' overlay chain is gone",
        Kind.CONTAINER_CHAIN_MISSING,
        inject=_no_container_chain,
        app=REDIS,
        also=_kinds(Kind.DEFAULT_DENY_MISSING, Kind.JUMP_MISSING, Kind.CONTAINER_RULE_MISSING),
    ),
    _fault("container-rule-added", "a rule of somebody's own in redis' overlay chain", Kind.CONTAINER_RULE_STALE, inject=_rule_in_container_chain, app=REDIS),
    _fault("group-rule-deleted", "a rule of frontend's security groups is gone", Kind.ASG_MISSING, inject=_group_rule_deleted, app=FRONTEND),
    _fault("group-rule-added", "redis may reach what no security group allows", Kind.ASG_STALE, inject=_group_rule_added, app=REDIS),
    _fault("masquerade-deleted", "redis' address translation is gone", Kind.NAT_RULE_MISSING, inject=_no_masquerade, app=REDIS),
    _fault("port-forwarded", "a port of the cell leads to redis that nobody asked for", Kind.NAT_RULE_STALE, inject=_other_port_forwarded, app=REDIS),
    _fault(
        "backend-split",
        "the other backend of iptables holds a rule too",
        Kind.BACKEND_SPLIT,
        inject=_other_backend,
        mend=_other_backend_emptied,
        also=_kinds(Kind.FOREIGN_DROP, Kind.FOREIGN_RULE),
    ),
    _fault("container-unreadable", "an entry of the container metadata has no address", Kind.CONTAINER_UNREADABLE, inject=_no_address, mend=_store_told_again),
    _fault("tag-conflict", "payments gets frontend's tag", Kind.TAG_CONFLICT, inject=_shared_tag, mend=_own_tag, also=_kinds(Kind.RULE_DUPLICATE)),
    _fault(
        "rule-leftover", "a frontend is deleted, and its rules stay until VPA plans again", Kind.RULE_LEFTOVER, inject=_container_gone, mend=_container_back
    ),
)
"""Every fault, each found by itself."""
