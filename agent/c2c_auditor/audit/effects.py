"""What findings do to traffic, decided by reachability where it can: by what passes now and should not, and by what should and does not.

And the reverse: what passes or does not although no finding says why is a finding of its own, so that no difference in traffic goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve

from c2c_auditor.audit import describe
from c2c_auditor.audit.inputs import Inputs
from c2c_auditor.audit.reachability import Reachability
from c2c_auditor.audit.reached import Reached, Row
from c2c_auditor.audit.statements import Places, aims, sentences
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Effect, Finding, Kind
from c2c_auditor.netfilter.flows import ALL, FlowSet, both, matching, union
from c2c_auditor.netfilter.packet import Packet

_MOST_SENTENCES = 3
# A rule that stands there and decides what it should not is to blame, whatever its kind does as a rule.
_BLAMED = frozenset({Kind.FOREIGN_ACCEPT, Kind.FOREIGN_DROP, Kind.FOREIGN_RULE, Kind.RULE_UNKNOWN, Kind.CONTAINER_RULE_STALE})
# What these do is a matter of traffic to one container alone, and of the rule's own flows.
_ONE_RULE = frozenset({Kind.ACCEPT_MISSING, Kind.ACCEPT_CHANGED, Kind.ACCEPT_STALE, Kind.INGRESS_MISSING, Kind.INGRESS_STALE})
# Whoever of these lets something pass is to blame for it, and nobody else.
_ACCUSED = _BLAMED | _ONE_RULE | {Kind.ENFORCEMENT_DISABLED}
# Of traffic from or to one container.
_ONE_CONTAINER = frozenset({Kind.MARK_MISSING, Kind.RULE_MISPLACED})
_OVERLAY = frozenset(
    {Kind.DEFAULT_DENY_MISSING, Kind.CONTAINER_RULE_MISSING, Kind.CONTAINER_RULE_STALE, Kind.JUMP_MISSING, Kind.JUMP_MISPLACED}
)
# Of any traffic between containers.
_WHOLE_CELL = frozenset({Kind.POLICY_CHAIN_MISSING, Kind.POLICY_CHAIN_REPEATED, Kind.JUMP_MISSING, Kind.JUMP_MISPLACED})


class Effects:
    """The differences of one reading, for findings to be held against."""

    def __init__(self, inputs: Inputs, reach: Reachability) -> None:
        self._inputs = inputs
        self._rows = list(reach.differences())
        self._places = Places(inputs.ruleset)
        self._senders = reach.senders
        self._stranger = reach.senders.overlay.stranger
        self._accused: frozenset[r.Rule] = frozenset()
        self._blamed: dict[r.Rule, list[tuple[Effect, Reached, Row]]] = {}
        for to, row in self._rows:
            for effect, flows in _harm(row, ALL):
                for rule in row.deciding(flows):
                    if rule is not None:
                        self._blamed.setdefault(rule, []).append((effect, to, row))

    def decided(self, findings: Iterable[Finding]) -> list[Finding]:
        """``findings`` with their effects as traffic shows them, and what traffic shows beyond them."""
        given = list(findings)
        self._accused = frozenset(finding.found for finding in given if finding.found is not None and finding.kind in _ACCUSED)
        known = [self._decided(finding) for finding in given]
        return [*known, *self._unexplained([finding for finding in known if finding.effect.harms])]

    def _decided(self, finding: Finding) -> Finding:
        concerned = self._concerned(finding)
        if concerned is None:
            return finding
        effects = {effect for effect, _, _ in concerned}
        if not effects:
            return finding if self._starved(finding) else _harmless(finding)
        effect = Effect.BREACH if Effect.BREACH in effects else Effect.OUTAGE
        said = tuple(dict.fromkeys(text for _, to, row in concerned for text in self._sentences(to, row)))
        return evolve(finding, effect=effect, details=(*finding.details, *said[:_MOST_SENTENCES]))

    def _concerned(self, finding: Finding) -> list[tuple[Effect, Reached, Row]] | None:
        """The differences that ``finding`` is about; None where traffic between containers does not decide, and the finding stays what it is."""
        kind, found = finding.kind, finding.found
        if kind in _BLAMED and found in self._blamed:
            return self._blamed[found]
        if not finding.effect.harms:
            return None
        if kind in _ONE_RULE:
            return self._of_rule(finding)
        if kind in _ONE_CONTAINER or (kind in _OVERLAY and finding.addresses and _on_overlay(finding)):
            return [*self._near(finding.addresses, finding, ALL), *self._marked_by(found)]
        if kind in _WHOLE_CELL and not finding.addresses:
            wanted = Effect.BREACH if finding.effect is Effect.BREACH else Effect.OUTAGE
            return [(effect, to, row) for to, row in self._rows for effect, _ in _harm(row, ALL) if effect is wanted]
        return None

    def _of_rule(self, finding: Finding) -> list[tuple[Effect, Reached, Row]]:
        """What one rule of the policy chain does or fails to do: what passes by the rule found, what does not pass that the expected one would let."""
        passing = [one for one in self._blamed.get(finding.found, ()) if one[0] is Effect.BREACH] if finding.found is not None else []
        if passing or finding.expected is None:
            return passing
        flows = union(*matching(finding.expected, Packet(source=0, destination=0, protocol=0)))
        return [one for one in self._near(finding.addresses, finding, flows) if one[0] is Effect.OUTAGE]

    def _marked_by(self, found: r.Rule | None) -> list[tuple[Effect, Reached, Row]]:
        """Differences of senders that a MARK rule gives a mark, whether it is meant for them or not."""
        if found is None or not isinstance(found.target, r.SetMark):
            return []
        return [(effect, to, row) for to, row in self._rows if _is_from(found, self._address(row)) for effect, _ in _harm(row, ALL)]

    def _near(self, addresses: Sequence[str], finding: Finding, flows: FlowSet) -> list[tuple[Effect, Reached, Row]]:
        """Differences on ``flows`` from or to containers at ``addresses``; a rule to one destination concerns that one only."""
        towards = finding.expected is not None and finding.expected.destination is not None and finding.kind in _ONE_RULE
        return [
            (effect, to, row)
            for to, row in self._rows
            if (to.container is not None and str(to.container.address) in addresses)
            or (not towards and row.source.container is not None and str(row.source.container.address) in addresses)
            for effect, harmed in _harm(row, flows)
            if not (self._accused - {finding.found}).intersection(row.deciding(harmed))
        ]

    def _starved(self, finding: Finding) -> bool:
        """Whether a container that ``finding`` is about lacks what comes by its mapped ports, or the answers to what it asks elsewhere."""
        senders = (self._senders.get(handle) for handle in finding.handles)
        return _on_overlay(finding) and any(not sender.served for sender in senders if sender is not None)

    def _sentences(self, to: Reached, row: Row) -> Iterator[str]:
        return sentences(to, row, self._inputs.people, self._places)

    def _unexplained(self, harmful: Sequence[Finding]) -> Iterator[Finding]:
        """One finding for each destination and effect that none of ``harmful`` has to do with."""
        if any(not finding.addresses and not _decides_alone(finding.found) for finding in harmful):
            return  # something that concerns the whole cell
        blamed = {finding.found for finding in harmful}
        marking = [rule for rule in blamed if rule is not None and isinstance(rule.target, r.SetMark)]
        known = {address for finding in harmful for address in finding.addresses}
        grouped: dict[tuple[str, Effect], list[tuple[Reached, Row, FlowSet]]] = {}
        for to, row in self._rows:
            ends = {str(container.address) for container in (to.container, row.source.container) if container is not None}
            if ends & known or any(_is_from(rule, self._address(row)) for rule in marking):
                continue
            for effect, flows in _harm(row, ALL):
                if not blamed.intersection(row.deciding(flows)):
                    end = to.container.handle if to.container is not None else to.app
                    grouped.setdefault((end, effect), []).append((to, row, flows))
        for (end, effect), group in grouped.items():
            yield self._flow(end, effect, group)

    def _address(self, row: Row) -> int:
        """The address that ``row``'s packets come from."""
        return int(row.source.container.address) if row.source.container is not None else self._stranger

    def _flow(self, end: str, effect: Effect, group: list[tuple[Reached, Row, FlowSet]]) -> Finding:
        to, row, flows = group[0]
        opened = effect is Effect.BREACH
        kind = Kind.FLOW_OPEN if opened else Kind.FLOW_BLOCKED
        rule = next((rule for rule in row.deciding(flows) if rule is not None), None)
        whom = aims(to, self._inputs.people)
        text = (
            f"{len(group)} sources reach {whom} although no policy allows it"
            if opened
            else f"{len(group)} sources do not reach {whom} as policies allow"
        )
        said = [sentence for to_, row_, _ in group for sentence in self._sentences(to_, row_)]
        return describe.finding(
            kind,
            subject=(end,),
            summary=f"{text}: {said[0]}",
            remedy="Look at the walk: c2c-auditor explain SOURCE DESTINATION PORT/PROTOCOL; then at who wrote the rule that decides.",
            entry=self._places.of(rule) if rule is not None else None,
            addresses=(str(to.container.address),) if to.container is not None else (),
            handles=(to.container.handle,) if to.container is not None else (),
            details=tuple(said[1 : 1 + _MOST_SENTENCES]),
            **describe.apps(self._inputs, row.source.app, to.app),
        )


def _harm(row: Row, flows: FlowSet) -> Iterator[tuple[Effect, FlowSet]]:
    """What a row says of ``flows``: what passes and should not, what should and may not."""
    if opened := both(row.open, flows):
        yield Effect.BREACH, opened
    if blocked := both(union(row.blocked, row.doubtful), flows):
        yield Effect.OUTAGE, blocked


def _decides_alone(rule: r.Rule | None) -> bool:
    """Whether what ``rule`` does to traffic is done by its own verdict, and not by where it sends packets or how it marks them."""
    return rule is not None and (isinstance(rule.target, r.Reject) or rule.target in (r.ACCEPT, r.DROP))


def _is_from(rule: r.Rule, address: int) -> bool:
    return rule.source is None or (address & rule.source.mask == rule.source.value) != rule.source.negated


def _on_overlay(finding: Finding) -> bool:
    """Whether a container's chain or jump is about traffic between containers."""
    chains = [finding.place.chain if finding.place is not None else ""]
    chains += [
        rule.target.chain for rule in (finding.expected, finding.found) if rule is not None and isinstance(rule.target, r.Jump | r.Goto)
    ]
    return any(chain.startswith(("overlay--", "vpa--")) for chain in chains)


def _harmless(finding: Finding) -> Finding:
    """The difference is there, and no packet between containers is decided otherwise because of it."""
    summary = describe.harmless(finding.summary, finding.effect)
    return evolve(finding, effect=Effect.RESIDUE, summary=summary)
