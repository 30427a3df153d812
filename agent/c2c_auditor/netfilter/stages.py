"""The chains that the kernel hands a packet to, hook by hook: those of all tables, of both backends and of nf_tables.

On one hook they come in the order of their priorities (net/netfilter/core.c, ``nf_hook_slow``). A chain that accepts a
packet hands it to the next; one that drops it ends its way. So what passes has passed all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.table import FILTER, NAT, TABLES, Hook
from c2c_auditor.netfilter.actions import saves_mark
from c2c_auditor.netfilter.packet import Packet

ROUTED = (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING)
"""The hooks that a packet meets which a cell passes on."""
_CONNTRACK = -200  # NF_IP_PRI_CONNTRACK: chains before it see no connection


@frozen(kw_only=True)
class Stage:
    """One base chain and the chains of its table.

    ``table`` is its name as `Place` and sentences have it, with the backend where that is not the main one. ``main`` is
    FORWARD's filter of the main ruleset: what it accepts was decided by silk's rules. ``translates``: only the first
    packet of each connection comes to it. ``saved``: a rule here or at PREROUTING before may have given the connection
    a mark.
    """

    hook: Hook
    priority: int
    table: str
    start: str
    chains: Mapping[str, r.Chain]
    main: bool = False
    translates: bool = False
    saved: bool = False

    @property
    def redirects(self) -> bool:
        """Whether DNAT here leads packets away."""
        return self.translates and self.hook is Hook.PREROUTING

    @property
    def policy(self) -> str | None:
        """The policy of its base chain."""
        return self.chains[self.start].policy

    def meets(self, packet: Packet) -> bool:
        """Whether ``packet`` comes here at all."""
        return not self.translates or packet.state in ("NEW", None)

    def seen(self, packet: Packet) -> Packet:
        """``packet``, which is to be forwarded, as the rules here see it.

        A connection has no mark until a rule gives it one, so where packets come in the first one finds none.
        """
        if self.hook is Hook.POSTROUTING:
            return evolve(packet, in_interface="")
        if self.hook is not Hook.PREROUTING:
            return packet
        if self.priority <= _CONNTRACK:
            return evolve(packet, out_interface="", state="UNTRACKED" if packet.state == "UNTRACKED" else "INVALID")
        first = packet.state == "NEW" and not self.saved
        return evolve(packet, out_interface="", connection_mark=0 if first else None)


def stages(rulesets: Sequence[r.Ruleset], hooks: Sequence[Hook] = ROUTED) -> tuple[Stage, ...]:
    """Every base chain on ``hooks`` that has rules or a policy other than ACCEPT, in the order of a packet's way.

    ``rulesets`` are one address family's, of one backend each, the main one first. Chains of equal priority come in
    their order: the kernel's is that in which they were registered, which nothing tells. The main ruleset's FORWARD is
    always part of it.
    """
    found = [stage for number, ruleset in enumerate(rulesets) for stage in _of_ruleset(ruleset, other=number > 0)]
    found = [stage for stage in found if stage.main or _used(stage)]
    return tuple(
        _with_saved(
            stage for hook in hooks for stage in sorted(found, key=lambda stage: stage.priority) if stage.hook is hook
        )
    )


def _with_saved(ordered: Iterable[Stage]) -> Iterator[Stage]:
    """``Stage.saved``. Only PREROUTING's stages make use of it: behind it a connection may carry anything."""
    saved = False
    for stage in ordered:
        if stage.hook is Hook.PREROUTING and not saved:
            saved = any(saves_mark(rule.target) for chain in stage.chains.values() for rule in chain.rules)
        yield evolve(stage, saved=True) if saved else stage


def _of_ruleset(ruleset: r.Ruleset, *, other: bool) -> Iterator[Stage]:
    suffix = f" ({ruleset.backend.value})" if other else ""
    for spec in TABLES:
        table = ruleset.tables.get(spec.name)
        if table is None:
            continue
        for hook in spec.hooks:
            if hook.value in table.chains:
                yield Stage(
                    hook=hook,
                    priority=spec.priority(hook, nft=ruleset.backend is r.Backend.NFT),
                    table=f"{spec.name}{suffix}",
                    start=hook.value,
                    chains=table.chains,
                    main=spec is FILTER and hook is Hook.FORWARD and not other,
                    translates=spec is NAT,
                )
        yield from _of_native(table, f"{spec.name}{suffix}")
    for table in ruleset.natives:
        yield from _of_native(table, table.name)


def _of_native(table: r.Table, name: str) -> Iterator[Stage]:
    """The base chains that nftables made, in its own tables or in one of iptables'."""
    for chain in table.chains.values():
        if chain.base is not None:
            yield Stage(
                hook=chain.base.hook,
                priority=chain.base.priority,
                table=name,
                start=chain.name,
                chains=table.chains,
                translates=chain.base.kind == "nat",
            )


def _used(stage: Stage) -> bool:
    return bool(stage.chains[stage.start].rules) or stage.policy not in (None, "ACCEPT")


def behind(rule: r.Rule, chains: Mapping[str, r.Chain]) -> Iterator[r.Rule]:
    """``rule`` itself, or where it is a jump the rules that it leads to, each chain once."""
    seen: set[str] = set()
    todo = [rule]
    while todo:
        one = todo.pop()
        target = one.target
        if not isinstance(target, r.Jump | r.Goto):
            yield one
        elif target.chain in chains and target.chain not in seen:
            seen.add(target.chain)
            todo.extend(chains[target.chain].rules)


def does_anything(ruleset: r.Ruleset) -> bool:
    """Whether packets meet any rule of ``ruleset``, or a policy that refuses them."""
    return any(map(_used, _of_ruleset(ruleset, other=False)))
