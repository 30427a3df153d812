"""Findings about nat's POSTROUTING: how the source addresses of containers' packets are translated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.container_jumps import RECREATE, container_name, evidence
from c2c_auditor.audit.checks.foreign_rules import touches
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.masquerading import Addresses, Masquerading, holds_on, intervals, masquerading
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.chain_names import overlay
from c2c_auditor.silk.masquerade import masquerade_rule

_TABLE, _CHAIN = "nat", "POSTROUTING"
_DOES = {
    Masquerading.BARE: (Effect.OUTAGE, "sends to the outside with its overlay address, and no answer comes back"),
    Masquerading.OVERLAY: (Effect.OUTAGE, "reaches other containers with the cell's address instead of its own"),
    Masquerading.ALIKE: (Effect.RESIDUE, "is masqueraded by a rule that today's silk does not write"),
}


def masquerade(inputs: Inputs) -> Iterator[Finding]:
    """Each container's MASQUERADE rule, judged by what it does; and other rules that rewrite overlay traffic."""
    store, chain = inputs.facts.store, inputs.ruleset.chains(_TABLE).get(_CHAIN)
    if store is None or chain is None:
        return
    by_source: dict[r.AddressMatch | None, list[Entry]] = {}
    for at, rule in enumerate(chain.rules, 1):
        if not jumped_chain(rule):
            by_source.setdefault(rule.source, []).append(Entry(chain=_CHAIN, position=at, rule=rule))
    present = inputs.ruleset.chains("filter")
    hosts = {r.AddressMatch(value=int(container.address)) for container in store.containers}
    for container in store.containers:
        own = by_source.get(r.AddressMatch(value=int(container.address)), [])
        if own or overlay(container.handle) in present:  # a container without chains: `container_chains` says so
            yield from _container(inputs, container, own)
    for source, entries in by_source.items():
        if source not in hosts:
            yield from _foreign(inputs, entries)


@frozen(kw_only=True)
class _Found:
    """A rule of a container and what it does; ``entry`` is None for a rule that is not there."""

    entry: Entry | None = None
    does: Masquerading = Masquerading.BARE


def _container(inputs: Inputs, container: Container, own: Sequence[Entry]) -> Iterator[Finding]:
    """The rules of one container: one of them must do what silk's does, and none may undo it."""
    expected = expected_rule(inputs, container)
    found = [
        _Found(entry=entry, does=judged_rule(inputs, container, entry, expected))
        for entry in own
        if entry.rule.target != r.NO_TARGET
    ]
    right = next((one.entry for one in found if one.does is Masquerading.AS_WRITTEN), None)
    if right is None:
        yield _missing(inputs, container, min(found, key=_severity, default=_Found()), expected)
        return
    for one in found:
        if one.entry is not None and one.entry is not right:
            before = one.entry.position < right.position
            undone = one.does is Masquerading.OVERLAY or (one.does is Masquerading.BARE and before)
            yield _second(inputs, container, one.entry, one.does if undone else Masquerading.AS_WRITTEN)


def _severity(found: _Found) -> int:
    return list(Masquerading).index(found.does)


def expected_rule(inputs: Inputs, container: Container) -> r.Rule | None:
    """What silk writes; None where it is not known what it leaves out."""
    left_out = inputs.wrapper.left_out
    return masquerade_rule(container, left_out, inputs.wrapper.config.vtep_name) if left_out is not None else None


def judged_rule(inputs: Inputs, container: Container, entry: Entry, expected: r.Rule | None) -> Masquerading:
    """What a rule of ``container`` does, beside the ``expected`` one."""
    if entry.rule == expected:
        return Masquerading.AS_WRITTEN
    wrapper = inputs.wrapper
    custom = wrapper.config.no_masquerade
    at = Addresses(
        container=container.address,
        overlay=intervals(inputs.config.overlay_networks),
        custom=intervals((custom,)) if custom is not None else None,
        lease=wrapper.lease.network if wrapper.lease is not None else None,
        vtep=wrapper.config.vtep_name,
        underlay=wrapper.underlay_interfaces,
    )
    return masquerading(entry.rule, at, inputs.ruleset.lost)


def _missing(inputs: Inputs, container: Container, found: _Found, expected: r.Rule | None) -> Finding:
    effect, what = _DOES[found.does]
    state = "gone" if found.entry is None else "changed"
    return describe.finding(
        Kind.NAT_RULE_MISSING,
        subject=(container.handle, _TABLE, _CHAIN, "MASQUERADE"),
        summary=f"{container_name(inputs, container)} {what}: its MASQUERADE rule in {_CHAIN} is {state}.",
        remedy=RECREATE,
        effect=effect,
        entry=found.entry,
        expected=expected,
        chain=_CHAIN,
        table=_TABLE,
        **evidence(inputs, container),
    )


def _second(inputs: Inputs, container: Container, entry: Entry, does: Masquerading) -> Finding:
    """A further rule of a container that has the right one."""
    whose = f"Rule {entry.position} of {_CHAIN} is a second one for {container_name(inputs, container)}"
    if does is Masquerading.AS_WRITTEN:
        kind, effect, what = Kind.JUMP_DUPLICATE, Effect.RESIDUE, f"{whose}; the other decides."
    else:
        kind, effect, what = Kind.NAT_RULE_STALE, *_DOES[does]
        what = f"{whose}, because of which it {what}."
    return describe.finding(
        kind,
        subject=(container.handle, _TABLE, _CHAIN, describe.text(entry.rule)),
        summary=what,
        remedy=RECREATE,
        effect=effect,
        entry=entry,
        table=_TABLE,
        **evidence(inputs, container),
    )


def _foreign(inputs: Inputs, entries: Sequence[Entry]) -> Iterator[Finding]:
    """MASQUERADE rules that silk did not write and that rewrite packets from containers to other cells."""
    vtep = inputs.wrapper.config.vtep_name
    for entry in entries:
        rule = entry.rule
        if (
            isinstance(rule.target, r.Masquerade)
            and r.Loss.INTERFACES not in inputs.ruleset.lost
            and holds_on(rule.out_interface, vtep)
            and touches(rule, inputs.config.overlay_networks, source_only=True)
            and touches(_reversed(rule), inputs.config.overlay_networks, source_only=True)
            and not inputs.declared.covers(_TABLE, _CHAIN, rule, {})
        ):
            yield describe.finding(
                Kind.NAT_RULE_STALE,
                subject=(_TABLE, _CHAIN, describe.text(rule)),
                summary=(
                    f"Rule {entry.position} of {_CHAIN}, which silk did not write, gives packets to other cells' "
                    "containers this cell's address."
                ),
                remedy="Find out who added it (its owner's job or a person); silk neither adds nor removes it.",
                effect=Effect.OUTAGE,
                entry=entry,
                table=_TABLE,
            )


def _reversed(rule: r.Rule) -> r.Rule:
    return r.Rule(source=rule.destination, target=rule.target)
