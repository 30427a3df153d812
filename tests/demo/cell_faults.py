"""Faults around the policy chain: containers' chains, foreign rules, the other backend, and the facts."""

from __future__ import annotations

from c2c_auditor.model.kind import Kind
from demo import rules
from demo.cell import Cell
from demo.fault import Fault, first
from demo.world import FRONTEND, PAYMENTS, REDIS, SHOP, UNDERLAY_INTERFACE, Instance


def _no_default_deny(cell: Cell) -> None:
    chain = rules.chain("overlay", first(cell, REDIS).handle)
    cell.edit(f"-D {chain} {cell.position(chain, '-j REJECT')[0]}")


def _foreign_drop(cell: Cell) -> None:
    cell.edit(f"-I FORWARD 1 -d {first(cell, REDIS).address} -p tcp -j DROP")


def _foreign_accept(cell: Cell) -> None:
    cell.edit(f"-I FORWARD 1 -d {first(cell, REDIS).address} -p tcp -j ACCEPT")


def _drop_before_all_others(cell: Cell) -> None:
    cell.edit(f"-I PREROUTING 1 -d {first(cell, REDIS).address} -p tcp -j DROP", table="raw")


def _raw_emptied(cell: Cell) -> None:
    cell.edit("-F PREROUTING", table="raw")


def _no_container_chain(cell: Cell) -> None:
    redis = first(cell, REDIS)
    chain = rules.chain("input", redis.handle)
    cell.edit(f"-D INPUT -s {redis.address} -j {chain}", f"-F {chain}", f"-X {chain}")


def _rule_in_container_chain(cell: Cell) -> None:
    redis = first(cell, REDIS)
    cell.edit(f"-I {rules.chain('overlay', redis.handle)} 1 -s 10.255.77.0/24 -d {redis.address} -j ACCEPT")


def _group_rule_deleted(cell: Cell) -> None:
    chain = rules.asg_chain(first(cell, FRONTEND).handle)
    cell.edit(f"-D {chain} {cell.position(chain, '--dport 443')[0]}")


def _group_rule_added(cell: Cell) -> None:
    cell.edit(f"-I {rules.asg_chain(first(cell, REDIS).handle)} 1 -d 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT")


def _no_masquerade(cell: Cell) -> None:
    cell.edit(f"-D POSTROUTING {cell.silk.masquerade(first(cell, REDIS))}", table="nat")


def _masquerade_leaves_out_too_much(cell: Cell) -> None:
    redis = first(cell, REDIS)
    wrong = rules.masquerade(redis.address, "10.0.0.0/8")
    cell.edit(f"-D POSTROUTING {cell.silk.masquerade(redis)}", f"-A POSTROUTING {wrong}", table="nat")


def _other_port_forwarded(cell: Cell) -> None:
    redis = first(cell, REDIS)
    rule = f"-i {UNDERLAY_INTERFACE} -p tcp --dport 6379 -j DNAT --to-destination {redis.address}:6379"
    cell.edit(f"-A {rules.chain('netin', redis.handle)} {rule}", table="nat")


def _other_backend(cell: Cell) -> None:
    redis = first(cell, REDIS)
    chain = rules.chain("overlay", redis.handle)
    content = [f"-A {chain} {rule}" for rule in rules.overlay_rules(redis.address)]
    cell.other.restore("filter", f":{chain} - [0:0]", *content, f"-A FORWARD -j {chain}")


def _other_backend_emptied(cell: Cell) -> None:
    cell.other.command("filter", "-F")
    cell.other.command("filter", "-X")


def _empty_store(cell: Cell) -> None:
    cell.write_store([])


def _store_told_again(cell: Cell) -> None:
    cell.write_store()


def _ghost(cell: Cell) -> Instance:
    """A container that died without being taken down: a frontend in the books under redis' address.

    silk prefers the higher handle.
    """
    return Instance(
        handle="ffffffff-0000-4000-8000-66aa", address=first(cell, REDIS).address, app=FRONTEND, host_port=61020
    )


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


STORE_EMPTY = Fault(
    name="store-shrunk",
    story="the container metadata is suddenly empty: VPA's next plan would wipe every policy",
    kinds=frozenset({Kind.STORE_SHRUNK}),
    inject=_empty_store,
    mend=_store_told_again,
    also=frozenset({Kind.RULE_LEFTOVER, Kind.CONTAINER_CHAIN_ORPHAN, Kind.NAT_RULE_STALE}),
)
SAME_ADDRESS = Fault(
    name="container-conflict",
    story="a dead frontend is still in the books under redis' address, so redis has frontend's rights",
    kinds=frozenset({Kind.CONTAINER_CONFLICT}),
    inject=_same_address,
    mend=_ghost_gone,
    also=frozenset(
        {
            Kind.CONTAINER_CHAIN_MISSING,
            Kind.DEFAULT_DENY_MISSING,
            Kind.JUMP_MISSING,
            Kind.ASG_MISSING,
            Kind.NAT_RULE_MISSING,
        }
    ),
)
NO_ADDRESS = Fault(
    name="container-unreadable",
    story="an entry of the container metadata has no address",
    kinds=frozenset({Kind.CONTAINER_UNREADABLE}),
    inject=_no_address,
    mend=_store_told_again,
)
TAG_CONFLICT = Fault(
    name="tag-conflict",
    story="payments has frontend's tag, and each the other's rights",
    kinds=frozenset({Kind.TAG_CONFLICT}),
    inject=_shared_tag,
    mend=_own_tag,
)
CONTAINER_DELETED = Fault(
    name="rule-leftover",
    story="a frontend is deleted, and its rules stay until VPA plans again",
    kinds=frozenset({Kind.RULE_LEFTOVER}),
    inject=_container_gone,
    mend=_container_back,
)
BACKEND_SPLIT = Fault(
    name="backend-split",
    story="the other backend of iptables holds rules of silk's too",
    kinds=frozenset({Kind.BACKEND_SPLIT}),
    inject=_other_backend,
    mend=_other_backend_emptied,
    also=frozenset(Kind),  # whatever a fragment of a cell's rules lacks
)

DEFAULT_DENY_DELETED = Fault(
    name="default-deny-deleted",
    story="redis has lost its default deny",
    kinds=frozenset({Kind.DEFAULT_DENY_MISSING}),
    inject=_no_default_deny,
    app=REDIS,
)
FOREIGN_DROP = Fault(
    name="foreign-drop",
    story="a DROP above silk's jumps stops all traffic to redis, and the policy chain looks perfect",
    kinds=frozenset({Kind.FOREIGN_DROP}),
    inject=_foreign_drop,
)
FOREIGN_ACCEPT = Fault(
    name="foreign-accept",
    story="an ACCEPT above silk's jumps opens redis to everybody",
    kinds=frozenset({Kind.FOREIGN_ACCEPT}),
    inject=_foreign_accept,
)
DROP_IN_RAW = Fault(
    name="drop-in-raw",
    story="a DROP in another table stops all traffic to redis: iptables -S shows nothing of it",
    kinds=frozenset({Kind.FOREIGN_DROP}),
    inject=_drop_before_all_others,
    mend=_raw_emptied,
)
CONTAINER_CHAIN_GONE = Fault(
    name="container-chain-gone",
    story="redis' input chain is gone: it reaches the cell's own services",
    kinds=frozenset({Kind.CONTAINER_CHAIN_MISSING}),
    inject=_no_container_chain,
    app=REDIS,
)
CONTAINER_RULE_ADDED = Fault(
    name="container-rule-added",
    story="a rule of somebody's own stands in redis' overlay chain",
    kinds=frozenset({Kind.CONTAINER_RULE_STALE}),
    inject=_rule_in_container_chain,
    app=REDIS,
)
GROUP_RULE_DELETED = Fault(
    name="group-rule-deleted",
    story="a rule of frontend's security groups is gone",
    kinds=frozenset({Kind.ASG_MISSING}),
    inject=_group_rule_deleted,
    app=FRONTEND,
)
GROUP_RULE_ADDED = Fault(
    name="group-rule-added",
    story="redis may reach what no security group allows",
    kinds=frozenset({Kind.ASG_STALE}),
    inject=_group_rule_added,
    app=REDIS,
)
MASQUERADE_DELETED = Fault(
    name="masquerade-deleted",
    story="redis' address translation is gone",
    kinds=frozenset({Kind.NAT_RULE_MISSING}),
    inject=_no_masquerade,
    app=REDIS,
)
MASQUERADE_WRONG_RANGE = Fault(
    name="masquerade-wrong-range",
    story="redis' address translation leaves out all of 10.0.0.0/8: from there no answer comes back",
    kinds=frozenset({Kind.NAT_RULE_MISSING}),
    inject=_masquerade_leaves_out_too_much,
    app=REDIS,
    also=frozenset({Kind.NAT_RULE_STALE}),
)
PORT_FORWARDED = Fault(
    name="port-forwarded",
    story="a port of the cell leads to redis without a mapping",
    kinds=frozenset({Kind.NAT_RULE_STALE}),
    inject=_other_port_forwarded,
    app=REDIS,
)
