"""Findings about rules in the policy chain that the plan lacks: left-overs, and rules that let traffic pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.family import Address
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of
from c2c_auditor.silk.policy import ingress_tag_of, open_rules


def extra_rules(inputs: Inputs, entries: Iterable[Entry]) -> Iterator[Finding]:
    """One finding per rule, or none if it belongs to a policy that could not be read."""
    untold = {bad.guids for bad in inputs.facts.policies.unreadable} if inputs.facts.policies is not None else set()
    wired = wired_addresses(inputs)
    opening = open_rules(inputs.config.overlay_networks)
    for entry in entries:
        source, destination = comment_guids(entry.rule)
        if (source, destination) in untold or entry.rule in opening:
            continue  # open rules are the matter of `cell_facts.enforcement_disabled`
        yield from _extra(inputs, entry, wired)


def comment_guids(rule: r.Rule) -> tuple[str, str]:
    """The guids of ``src:A_dst:B`` or ``src:A``; empty where the comment does not tell."""
    comment = fields.only(rule, r.CommentMatch)
    if comment is None or not comment.text.startswith("src:"):
        return "", ""
    source, _, destination = comment.text.removeprefix("src:").partition("_dst:")
    return source, destination


def wired_addresses(inputs: Inputs) -> frozenset[int]:
    """Addresses whose default deny hangs in FORWARD: containers that are alive whatever the store says."""
    chains = inputs.ruleset.chains("filter")
    forward = chains.get("FORWARD", r.Chain(name="FORWARD"))
    jumped = [
        rule.target.chain
        for rule in forward.rules
        if isinstance(rule.target, r.Jump) and family_of(rule.target.chain) is ChainFamily.OVERLAY
    ]
    return frozenset(
        rule.destination.value
        for name in jumped
        for rule in chains.get(name, r.Chain(name=name)).rules
        if rule.destination is not None and rule.destination.host is not None and isinstance(rule.target, r.Reject)
    )


def _extra(inputs: Inputs, entry: Entry, wired: frozenset[int]) -> Iterator[Finding]:
    rule = entry.rule
    marks = isinstance(rule.target, r.SetMark) and rule.source is not None and rule.source.host is not None
    match = rule.source if marks else rule.destination
    address = match.host if match is not None else None
    shaped = address is not None and (marks or _is_accept(rule) or isinstance(rule.target, r.Log))
    if not shaped or address is None:
        yield _unknown(inputs, entry)
        return
    owners = inputs.people.by_address.get(int(address), ())
    if not owners:
        if int(address) not in wired:  # else the store has lost a live container, and `facts.store_shrunk` says so
            yield _leftover(inputs, entry, address)
    elif marks:
        yield _mark(inputs, entry, owners)
    else:
        yield _accept(inputs, entry, owners)


def _is_accept(rule: r.Rule) -> bool:
    """The shape of an ACCEPT that silk writes: one address, a protocol, one mark."""
    mark = fields.only(rule, r.MarkMatch)
    return (
        rule.target == r.ACCEPT
        and rule.source is None
        and mark is not None
        and not mark.negated
        and rule.protocol is not None
    )


def _leftover(inputs: Inputs, entry: Entry, address: Address) -> Finding:
    source, destination = comment_guids(entry.rule)
    concerned = " to ".join(inputs.people.display_name(guid) for guid in (source, destination) if guid)
    return describe.finding(
        Kind.RULE_LEFTOVER,
        subject=(describe.text(entry.rule),),
        summary=(
            f"A rule{f' for {concerned}' if concerned else ''} is left over at {address}, an address that no "
            "container has; it affects no traffic."
        ),
        remedy=(
            "Nothing to do: vxlan-policy-agent removes it with its next plan (a policy changes or a container is "
            "created here)."
        ),
        entry=entry,
        addresses=(str(address),),
        **describe.apps(inputs, source, destination),
    )


def _mark(inputs: Inputs, entry: Entry, owners: Sequence[Container]) -> Finding:
    """A live container has a mark that no policy gives it."""
    people = inputs.people
    rule, owner = entry.rule, owners[0]
    tag = rule.target.value if isinstance(rule.target, r.SetMark) else 0
    marked_as, _ = comment_guids(rule)
    held_by_others = people.tag_owners.get(tag, frozenset()) - {owner.app}
    others_guid = marked_as not in ("", *(container.app for container in owners))
    wrong = bool(held_by_others) or others_guid
    kind = Kind.MARK_WRONG_TAG if others_guid or tag not in people.app_tags.get(owner.app, {tag}) else Kind.MARK_STALE
    gains = (
        f" The mark is now that of {people.holders(tag)}, so it may reach whatever that app may."
        if held_by_others
        else ""
    )
    named = (
        f", as if it were {people.display_name(marked_as)}"
        if others_guid
        else ", although no policy names it as a source"
    )
    return describe.finding(
        kind,
        subject=(owner.handle, describe.text(rule)),
        summary=f"{people.display_name(owner.app)} at {owner.address} is marked 0x{tag:x}{named}.{gains}",
        remedy=describe.REPLAN,
        effect=Effect.BREACH if wrong else Effect.ADVICE,
        entry=entry,
        addresses=(str(owner.address),),
        handles=tuple(container.handle for container in owners),
        **describe.apps(inputs, owner.app, ""),
    )


def _accept(inputs: Inputs, entry: Entry, owners: Sequence[Container]) -> Finding:
    people, rule, owner = inputs.people, entry.rule, owners[0]
    source, _ = comment_guids(rule)
    mark = fields.only(rule, r.MarkMatch)
    tag = mark.value if mark is not None else 0
    ports = f"{fields.shown(rule, fields.PROTOCOL)} {fields.shown(rule, fields.PORTS).removeprefix('--dport ')}"
    where = f"{people.display_name(owner.app)} at {owner.address} on {ports}"
    if isinstance(rule.target, r.Log):
        kind, effect, summary = (
            Kind.LOG_RULE_STALE,
            Effect.ADVICE,
            f"Traffic to {where} is logged, although no policy or setting requires it.",
        )
    elif ingress_tag_of(rule) is not None and not source:
        kind, effect = Kind.INGRESS_STALE, Effect.BREACH
        summary = (
            f"Packets with mark 0x{tag:x} ({_ingress_holder(inputs, tag)}) reach {where}, a port that it does not "
            "expose to the ingress router."
        )
    else:
        kind, effect = Kind.ACCEPT_STALE, Effect.BREACH
        holder = (
            people.holders(tag)
            if people.tag_owners.get(tag)
            else people.display_name(source)
            if source
            else "an app unknown on this cell"
        )
        summary = f"Without any policy {holder} (mark 0x{tag:x}) reaches {where}."
    return describe.finding(
        kind,
        subject=(owner.handle, describe.text(rule)),
        summary=summary,
        remedy=describe.REPLAN,
        effect=effect,
        entry=entry,
        addresses=(str(owner.address),),
        handles=tuple(container.handle for container in owners),
        **describe.apps(inputs, source, owner.app),
    )


def _ingress_holder(inputs: Inputs, tag: int) -> str:
    return "the ingress router" if tag == inputs.ingress_tag else inputs.people.holders(tag)


def _unknown(inputs: Inputs, entry: Entry) -> Finding:
    """A rule of no shape that silk writes.

    nft rules that iptables cannot express may be printed wider than they are, so the text says so.
    """
    del inputs
    target = entry.rule.target
    if target == r.ACCEPT or isinstance(target, r.SetMark | r.Jump | r.Goto | r.OpaqueTarget):
        effect, does = Effect.BREACH, "lets packets pass or changes their mark"
    elif isinstance(target, r.Log | r.NoTarget):
        effect, does = Effect.ADVICE, "decides nothing"
    else:
        effect, does = Effect.OUTAGE, "ends the walk before silk's rules below it"
    wide = (
        " A bare ACCEPT may be a native nftables rule that iptables shows without its conditions: look with nft."
        if _bare(entry.rule)
        else ""
    )
    return describe.finding(
        Kind.RULE_UNKNOWN,
        subject=(describe.text(entry.rule),),
        summary=f"Rule {entry.position} of {entry.chain}, which silk did not write, {does}.{wide}",
        remedy="Find out who added it; restarting vxlan-policy-agent writes the chain afresh.",
        effect=effect,
        entry=entry,
    )


def _bare(rule: r.Rule) -> bool:
    return rule == r.Rule(target=r.ACCEPT)
