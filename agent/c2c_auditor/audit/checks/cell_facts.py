"""Findings about the facts themselves: entries of the store and policies that contradict each other or cannot work."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy, PolicySet, Store
from c2c_auditor.model.family import Address
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.netfilter.render import render_ports
from c2c_auditor.silk import asg
from c2c_auditor.silk.chain_names import ChainFamily, family_of, overlay
from c2c_auditor.silk.policy import open_rules


def enforcement_disabled(inputs: Inputs) -> Iterator[Finding]:
    """Findings where the overlay is open, by the operator's switch or by rules without it."""
    opening = open_rules(inputs.config.overlay_networks)
    outcome = inputs.comparison
    places: Iterable[Entry] = inputs.chains.entries
    if outcome is not None:  # open rules are the first of the plan, or extra
        places = (*(entry for _, entry in outcome.matched[: len(opening)]), *outcome.extra)
    found = [entry for entry in places if entry.rule in opening]
    if inputs.config.policy_disabled:
        yield _open(
            found[0] if found else None,
            every=True,
            why="as disable_container_network_policy is set",
            remedy="Set disable_container_network_policy to false and deploy.",
        )
        return
    for entry in found:
        yield _open(
            entry,
            every=len(opening) == 1,
            why="although disable_container_network_policy is off",
            remedy=describe.REPLAN,
        )


def _open(entry: Entry | None, *, every: bool, why: str, remedy: str) -> Finding:
    """``every`` is false for a rule that opens only the traffic from one of several overlay networks to another."""
    where: tuple[str, ...] = ()
    what = "every container reaches every other on all ports"
    if not every and entry is not None:
        ends = fields.shown(entry.rule, fields.ADDRESS).replace(" ", " to ")
        where, what = (describe.text(entry.rule),), f"everything passes from {ends}"
    return describe.finding(
        Kind.ENFORCEMENT_DISABLED,
        subject=where,
        summary=f"Network policy is not enforced on this cell: {what}, {why}.",
        remedy=remedy,
        entry=entry,
        chain="FORWARD",
    )


def lost_chains(inputs: Inputs) -> tuple[str, ...]:
    """The ``overlay--`` chains of containers that the store does not list.

    Empty unless FORWARD jumps to more of them than of chains whose containers are listed.

    A few such chains belong to containers that are being deleted. Many mean that the store was truncated; VPA's next
    plan then lacks the lost containers (serial.go, ``DecodeAll``). But a store with a container that has no chain is
    newer than the rules.
    """
    store = inputs.facts.store
    chains = inputs.ruleset.chains("filter")
    if store is None or any(overlay(container.handle) not in chains for container in store.containers):
        return ()
    listed = {
        overlay(handle)
        for handle in (
            *(container.handle for container in store.containers),
            *(bad.subject for bad in store.unreadable),
        )
    }
    wired = _wired(inputs)
    lost = tuple(chain for chain in wired if chain not in listed)
    return lost if len(lost) > len(wired) - len(lost) else ()


def _wired(inputs: Inputs) -> tuple[str, ...]:
    chains = inputs.ruleset.chains("filter")
    forward = chains.get("FORWARD", r.Chain(name="FORWARD")).rules
    return tuple(
        dict.fromkeys(
            chain for chain in map(jumped_chain, forward) if family_of(chain) is ChainFamily.OVERLAY and chain in chains
        )
    )


def store_shrunk(inputs: Inputs) -> Iterator[Finding]:
    """One finding for all containers that have chains and jumps although the store no longer lists them."""
    lost = lost_chains(inputs)
    if not lost:
        return
    chains = inputs.ruleset.chains("filter")
    wired = len(_wired(inputs))
    addresses = sorted({address for chain in lost if (address := _denied(chains[chain])) is not None}, key=int)
    yield describe.finding(
        Kind.STORE_SHRUNK,
        subject=(),
        summary=(
            f"The container metadata lists {wired - len(lost)} of {wired} containers that have chains on this cell: "
            "with its next plan vxlan-policy-agent removes the policy rules of the others."
        ),
        remedy=(
            "Check store.json for truncation and the disk for space; do not restart vxlan-policy-agent before the "
            "store is complete again."
        ),
        addresses=tuple(map(str, addresses)),
        details=lost,
    )


def _denied(chain: r.Chain) -> Address | None:
    """The address whose default deny a chain holds."""
    rejects = [rule.destination for rule in chain.rules if isinstance(rule.target, r.Reject)]
    return rejects[-1].host if rejects and rejects[-1] is not None else None


def container_conflict(inputs: Inputs) -> Iterator[Finding]:
    """Two containers at one address: silk marks the address once, as the app of the higher handle."""
    people = inputs.people
    for containers in people.by_address.values():
        if len(containers) > 1:
            apps = sorted({container.app for container in containers})
            handles = tuple(container.handle for container in containers)
            same = len(apps) == 1
            yield describe.finding(
                Kind.CONTAINER_CONFLICT,
                subject=(str(containers[0].address), *handles),
                summary=(
                    f"{len(containers)} containers claim {containers[0].address}: "
                    f"{', '.join(map(people.display_name, apps))}. "
                    + (
                        "One of them no longer exists."
                        if same
                        else "One of them is marked and reached as the other's app."
                    )
                ),
                remedy=(
                    "Find out which handle exists (gdn or cfdot); a stale entry of the store is removed when its "
                    "container is destroyed."
                ),
                effect=Effect.ADVICE if same else None,
                addresses=(str(containers[0].address),),
                handles=handles,
                details=tuple(f"{container.handle}: {people.display_name(container.app)}" for container in containers),
            )


def unreadable(inputs: Inputs) -> Iterator[Finding]:
    """One finding for each entry of the store and of the policy server's answer that could not be parsed."""
    store, policies = inputs.facts.store, inputs.facts.policies
    for bad in store.unreadable if store is not None else ():
        yield describe.finding(
            Kind.CONTAINER_UNREADABLE,
            subject=(bad.subject, bad.problem),
            summary=f"Container {bad.subject} cannot be planned: {bad.problem}.",
            remedy=f"Look at this entry in {bad.where}; recreating the container writes it afresh.",
            handles=(bad.subject,),
            addresses=(bad.address,) if bad.address else (),
        )
    for bad in policies.unreadable if policies is not None else ():
        yield describe.finding(
            Kind.POLICY_UNREADABLE,
            subject=(bad.subject, bad.problem),
            summary=f"A policy of {bad.subject} cannot be understood: {bad.problem}. Its rules were not judged.",
            remedy=f"Look at {bad.where} in the policy server's answer.",
            details=bad.guids,
        )


def tag_conflict(inputs: Inputs) -> Iterator[Finding]:
    """Tags are row ids: one per app. Two apps with one tag have each other's rights."""
    people = inputs.people
    for tag, apps in sorted(people.tag_owners.items()):
        if len(apps) > 1:
            yield describe.finding(
                Kind.TAG_CONFLICT,
                subject=(f"0x{tag:x}",),
                summary=(
                    f"Tag 0x{tag:x} stands for {len(apps)} apps: {', '.join(map(people.display_name, sorted(apps)))}. "
                    "Each reaches everything that the others may reach."
                ),
                remedy="Look at the policy server's groups table: each guid must have a row of its own.",
                details=tuple(sorted(apps)),
            )
    for app, tags in sorted(people.app_tags.items()):
        if len(tags) > 1:
            listed = ", ".join(f"0x{tag:x}" for tag in sorted(tags))
            yield describe.finding(
                Kind.TAG_CONFLICT,
                subject=(app,),
                summary=(
                    f"{people.display_name(app)} has {len(tags)} tags, {listed}: only one of them can be its mark, so "
                    "some of its policies cannot work."
                ),
                remedy="Look at the policy server's groups table: each guid must have one row.",
                effect=Effect.OUTAGE,
                source=people.app(app),
            )


def port_not_exposed(inputs: Inputs) -> Iterator[Finding]:
    """One finding for each tcp policy whose ports no local instance of its destination exposes.

    The metadata lists tcp ports only, so udp is not judged.
    """
    store, policies = inputs.facts.store, inputs.facts.policies
    if store is None or policies is None:
        return
    for policy, ports in _beside_the_ports(store, policies):
        opened = render_ports(policy.ports.first, policy.ports.last, "-")
        destination = inputs.people.display_name(policy.destination)
        yield describe.finding(
            Kind.PORT_NOT_EXPOSED,
            subject=(policy.source, policy.destination, opened),
            summary=(
                f"A policy lets {inputs.people.display_name(policy.source)} reach {destination} on tcp {opened}, "
                f"but {destination} exposes only {', '.join(map(str, ports))}."
            ),
            remedy="Check the policy's port. Ignore this hint if the app listens on a port that it does not expose.",
            policy=f"tcp {opened}",
            **describe.apps(inputs, policy.source, policy.destination),
        )


@derived
def _beside_the_ports(store: Store, policies: PolicySet) -> tuple[tuple[Policy, tuple[int, ...]], ...]:
    """The tcp policies that open none of the ports of their destination's instances, with these ports, ascending."""
    declared: dict[str, set[int]] = {}
    for container in store.containers:
        if container.ports:
            declared.setdefault(container.app, set()).update(container.ports)
    exposed = {app: tuple(sorted(ports)) for app, ports in declared.items()}
    return tuple(
        (policy, ports)
        for policy in policies.policies
        if policy.protocol == "tcp"
        and (ports := exposed.get(policy.destination))
        and bisect_left(ports, policy.ports.first) == bisect_right(ports, policy.ports.last)
    )


def unconvertible(inputs: Inputs) -> Iterator[Finding]:
    """One finding for each security group rule that silk cannot convert.

    Silk then no longer updates the chain of a container to which the group applies.
    """
    store, groups = inputs.facts.store, inputs.facts.security_groups
    if store is None or groups is None or not inputs.config.asg_syncing:
        return
    problems: dict[str, list[Container]] = {}
    for container in store.containers:
        if asg.has_chain(container):
            try:
                asg.asg_plan(container, asg.groups_of(container, groups), inputs.config)
            except asg.Unconvertible as refused:
                problems.setdefault(str(refused), []).append(container)
    for problem, containers in sorted(problems.items()):
        yield describe.finding(
            Kind.ASG_MISSING,
            subject=("unconvertible", problem),
            summary=(
                f"silk cannot convert a security group ({problem}) and therefore no longer updates the egress of "
                f"{len(containers)} containers."
            ),
            remedy="Correct the security group's rule (cf update-security-group).",
            effect=Effect.OUTAGE,
            addresses=tuple(str(container.address) for container in containers),
            handles=tuple(container.handle for container in containers),
        )
