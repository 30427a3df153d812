"""What commands cannot mend, why, and what does."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from c2c_auditor.audit.mend.rights import is_foreign
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.scene import Scene
from c2c_auditor.model.finding import Finding, Place
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.rule import Loss, Rule

_OF_BACKEND = "backend "
_UNTOLD = "what should stand there is not told by anything on this cell"
_REASONS = {
    Kind.STORE_SHRUNK: "the rules are right and the container metadata is not",
    Kind.CONTAINER_CONFLICT: "the container metadata gives one address to two containers: no rule can tell them apart",
    Kind.CONTAINER_UNREADABLE: "the container metadata does not tell what to plan",
    Kind.TAG_CONFLICT: "the tags come from the policy server: no rule can tell two apps with one tag apart",
    Kind.POLICY_UNREADABLE: "the policy server's answer does not tell what to plan",
    Kind.PORT_NOT_EXPOSED: "the rules are as the policy says",
    Kind.ENFORCEMENT_DISABLED: "the operator's switch opens the overlay, and silk's rules carry that out",
    Kind.READER_DISAGREES: "what really stands there must be known first",
    Kind.BACKEND_SPLIT: "which backend is meant is decided by garden.iptables_bin_dir, not by rules",
    Kind.CONTAINER_CHAIN_ORPHAN: (
        "whether such a container still runs is not in the rules; once you know that none does, ask for this finding "
        "by its id"
    ),
    Kind.FLOW_OPEN: "no single rule is to blame: c2c-auditor explain shows which rules decide together",
    Kind.FLOW_BLOCKED: "no single rule is to blame: c2c-auditor explain shows which rules decide together",
    Kind.NAT_RULE_MISSING: "which of the cell's ports garden gave to the container is told by the lost rules only",
}
_SWAP = (
    "the container runs, and its security groups stand in a chain under the name of the swap; these commands rename "
    "no chain, and vxlan-policy-agent writes both afresh at its start"
)
_OF_OTHERS = frozenset({Kind.FOREIGN_ACCEPT, Kind.FOREIGN_DROP, Kind.FOREIGN_RULE})


@frozen(kw_only=True)
class Refusal:
    """A finding for which nothing is printed. ``foreign`` is its rule, where that would go if it were named."""

    finding: Finding
    reason: str
    remedy: str
    foreign: Rule | None = None


@frozen(kw_only=True)
class Blocked:
    """Why no command at all is printed for a reading, and what to do first."""

    reason: str
    remedy: str


def blocked(scene: Scene) -> Blocked | None:
    """What forbids any command; None where each finding can be looked at by itself."""
    reading, judgement = scene.reading, scene.judgement
    for status in reading.sources:
        if not status.up and status.problem is not None:
            return Blocked(
                reason=f"what should stand here is not known for sure: {status.name}: {status.problem.problem}",
                remedy=status.problem.remedy,
            )
    if reading.listings:
        return Blocked(
            reason="a listing is no cell: its rules may be another's, or have changed",
            remedy="run c2c-auditor mend on the cell, or with --bundle on a capture of it",
        )
    if any(_misread(inputs) for inputs in scene.questioned):
        return Blocked(
            reason="the rules were not read with all of their conditions",
            remedy="set iptables_bin_dir to the directory of the iptables that silk uses",
        )
    shrunk = next((one for one in judgement.findings if one.kind is Kind.STORE_SHRUNK), None)
    if shrunk is not None:
        return Blocked(reason=shrunk.summary, remedy=shrunk.remedy)
    bad = next((one for one in judgement.findings if one.kind is Kind.POLICY_UNREADABLE), None)
    if bad is not None:
        return Blocked(reason=bad.summary, remedy=bad.remedy)
    if judgement.unknown or any(one.judgement.reach is None for one in scene.judged):
        missing = next((note for note in judgement.notes if note.startswith("Reachability")), "")
        return Blocked(
            reason=(
                f"not everything could be judged, so what commands would do is not known. {missing or _missing(scene)}"
            ),
            remedy="see c2c-auditor audit for what is missing",
        )
    return None


def _misread(inputs: Inputs) -> bool:
    return bool(inputs.ruleset.lost & {Loss.NATIVE_EXPRESSIONS, Loss.INTERFACES, Loss.CHAIN_NAMES, Loss.OTHER_CHAINS})


def _missing(scene: Scene) -> str:
    families = ", ".join(sorted({kind.family.value for kind in scene.judgement.unknown}))
    return f"Not judged: {families or 'who reaches whom'}."


def conflicting(findings: Sequence[Finding]) -> frozenset[str]:
    """Addresses that two containers have, and guids of apps with a wrong tag: rules about them must wait."""
    found: set[str] = set()
    for finding in findings:
        if finding.kind is Kind.CONTAINER_CONFLICT:
            found.update(finding.addresses)
        elif finding.kind is Kind.TAG_CONFLICT:
            found.update(finding.details)
            found.update([finding.source.guid] if finding.source is not None else [])
    return frozenset(found)


def waits(finding: Finding, conflicts: frozenset[str]) -> bool:
    """Whether ``finding`` is about an address or an app that is in conflict with another."""
    apps = (app.guid for app in (finding.source, finding.destination) if app is not None)
    return not conflicts.isdisjoint((*finding.addresses, *apps))


def elsewhere(finding: Finding) -> bool:
    """Whether ``finding`` is about the rules of the backend that silk does not write to."""
    return any(detail.startswith(_OF_BACKEND) for detail in finding.details)


def is_doubtful(inputs: Inputs, place: Place) -> bool:
    """Whether what stands in this chain is not known for sure, because a second reader says something else."""
    return any((one.table, one.chain) == (place.table, place.chain) for one in inputs.ruleset.disagreements)


def refusal(finding: Finding, inputs: Inputs, *, harm: str | None, conflicts: frozenset[str]) -> Refusal:
    """Why nothing is printed for ``finding``; ``harm`` is what the commands that were worked out would do besides."""
    foreign = finding.found if is_foreign(inputs, finding) else None
    if finding.kind not in _REASONS and waits(finding, conflicts):
        reason = "two containers with one address, or two apps with one tag, must be told apart first"
    elif finding.kind not in _REASONS and finding.place is not None and is_doubtful(inputs, finding.place):
        reason = "two programs read the rules of this chain differently (reader_disagrees)"
    elif finding.kind is Kind.CONTAINER_CHAIN_ORPHAN and _is_listed(inputs, finding.subject[0]):
        reason = _SWAP
    elif elsewhere(finding):
        reason = "it is about the backend that silk does not write to"
    elif finding.kind in _OF_OTHERS and foreign is None:
        reason = "silk did not set this, and it is no rule of the backend that silk writes to"
    elif foreign is not None:
        reason = "silk did not write this rule, and it goes only by its name"
    elif harm is not None:
        reason = f"commands for it alone were worked out and not printed: {harm}"
    elif finding.place is not None and finding.place.chain == "POSTROUTING":
        reason = _UNTOLD
    else:
        reason = _REASONS.get(finding.kind, _UNTOLD)
    return Refusal(finding=finding, reason=reason, remedy=finding.remedy, foreign=foreign)


def _is_listed(inputs: Inputs, handle: str) -> bool:
    store = inputs.facts.store
    return store is not None and any(container.handle == handle for container in store.containers)
