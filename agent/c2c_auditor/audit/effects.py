"""What findings do to traffic, decided by reachability where it can.

And the reverse: flows that pass or do not although no finding says why are a finding of their own, so that no
difference in traffic goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from attrs import evolve

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.audit.traffic.statements import Places, destination_name, sentences
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.scope import Scope
from c2c_auditor.netfilter.flows import ALL, FlowSet, both, matching, union
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_MOST_SENTENCES = 3


class _Harm(NamedTuple):
    """One difference of one row: ``flows`` that pass and should not, or should and may not.

    The ``rules`` that decide so.
    """

    effect: Effect
    to: DestinationFlows
    row: Row
    flows: FlowSet
    rules: tuple[r.Rule | None, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """The addresses of those of its ends that are containers here."""
        return tuple(
            str(container.address)
            for container in (self.to.container, self.row.source.container)
            if container is not None
        )


class Effects:
    """The differences of one reading, for findings to be held against."""

    def __init__(self, inputs: Inputs, reach: Reachability, places: Places) -> None:
        self._inputs = inputs
        self._places = places
        self._senders = reach.senders
        self._stranger = reach.senders.overlay.stranger
        self._accused: frozenset[r.Rule] = frozenset()
        self._rows: list[_Harm] = []
        self._blamed: dict[r.Rule, list[_Harm]] = {}
        # By the addresses of both ends, since a cell whose rules were flushed has tens of thousands of differences and
        # hundreds of findings.
        self._ends: dict[str, list[_Harm]] = {}
        for to, row in reach.differences():
            for effect, flows in _harm(row, ALL):
                one = _Harm(effect, to, row, flows, tuple(row.deciding(flows)))
                self._rows.append(one)
                for rule in one.rules:
                    if rule is not None:
                        self._blamed.setdefault(rule, []).append(one)
                for end in one.ends:
                    self._ends.setdefault(end, []).append(one)

    def decided(self, findings: Iterable[Finding]) -> list[Finding]:
        """``findings`` with their effects as traffic shows them, and what traffic shows beyond them."""
        given = list(findings)
        self._accused = frozenset(
            finding.found for finding in given if finding.found is not None and _decides_flows(finding.kind.scope)
        )
        known = [self._decided(finding) for finding in given]
        return [*known, *self._unexplained([finding for finding in known if finding.effect.harms])]

    def _decided(self, finding: Finding) -> Finding:
        concerned = self._concerned(finding)
        if concerned is None:
            return finding
        if not concerned:
            return finding if self._starved(finding) else _harmless(finding)
        effects = frozenset(one.effect for one in concerned)
        # Each effect has its sentence, however many differences the worst one makes.
        leading = [next(one for one in concerned if one.effect is effect) for effect in Effect if effect in effects]
        texts = (text for one in (*leading, *concerned[:_MOST_SENTENCES]) for text in self._sentences(one))
        shown = islice(dict.fromkeys(texts), _MOST_SENTENCES)
        return evolve(finding, effects=effects, details=(*finding.details, *shown))

    def _concerned(self, finding: Finding) -> list[_Harm] | None:
        """The differences in traffic that ``finding`` accounts for, by what its kind is about.

        None where traffic between containers does not tell what the finding does, so that it keeps the effect that its
        check gave it.
        """
        scope = finding.kind.scope
        if scope is Scope.STRANGER and finding.found in self._blamed:
            return self._blamed[finding.found]  # whatever its check made of it: this rule decides
        if not finding.effect.harms:
            return None
        match scope:
            case Scope.POLICY_RULE:
                return self._of_rule(finding)
            case Scope.SENDER:
                return self._of_container(finding)
            case Scope.CONTAINER | Scope.STRANGER:
                return self._of_container(finding) if finding.addresses and _on_overlay(finding) else None
            case Scope.JUMP if finding.addresses:
                return self._of_container(finding) if _on_overlay(finding) else None
            case Scope.JUMP | Scope.CELL:
                return [one for one in self._rows if one.effect in finding.effects]
            case Scope.EGRESS | Scope.MAPPED_PORTS | Scope.SETTING | Scope.BACKENDS | Scope.FACTS:
                return None
            case Scope.IDENTITY | Scope.FLOWS | Scope.HYGIENE:
                return None

    def _of_container(self, finding: Finding) -> list[_Harm]:
        """Differences of the containers that ``finding`` names, and of the senders that its MARK rule marks."""
        return [*self._near(finding), *self._marked_by(finding.found)]

    def _of_rule(self, finding: Finding) -> list[_Harm]:
        """What one rule of the policy chain does, and what it fails to do.

        The first is what passes by the rule found and should not, the second what the expected one would let pass.
        """
        passing = (
            [one for one in self._blamed.get(finding.found, ()) if one.effect is Effect.BREACH] if finding.found else []
        )
        if finding.expected is None:
            return passing
        flows = union(*matching(finding.expected, Packet(source=0, destination=0, protocol=0)))
        stopped = [
            one
            for one in self._near(finding)
            if one.effect is Effect.OUTAGE
            and one.to.container is not None
            and one.ends[0] in finding.addresses
            and both(one.flows, flows)
        ]
        return [*passing, *stopped]

    def _marked_by(self, found: r.Rule | None) -> list[_Harm]:
        """Differences of senders that a MARK rule gives a mark, whether it is meant for them or not."""
        if found is None or not isinstance(found.target, r.SetMark):
            return []
        return [one for one in self._rows if _is_from(found, self._address(one.row))]

    def _near(self, finding: Finding) -> list[_Harm]:
        """Differences of the containers that ``finding`` is about, without those that another rule is to blame for."""
        others = self._accused - {finding.found}
        return [
            one
            for address in finding.addresses
            for one in self._ends.get(address, ())
            if not others.intersection(one.rules)
        ]

    def _starved(self, finding: Finding) -> bool:
        """Whether requests to the mapped ports of a container that ``finding`` names, or answers to it, do not pass."""
        senders = (self._senders.get(handle) for handle in finding.handles)
        return _chains_of_one(finding.kind.scope) and any(not sender.served for sender in senders if sender is not None)

    def _sentences(self, one: _Harm) -> Iterator[str]:
        return sentences(one.to, one.row, self._inputs.people, self._places)

    def _unexplained(self, harmful: Sequence[Finding]) -> Iterator[Finding]:
        """One finding for each destination and effect that none of ``harmful`` has to do with."""
        if any(not finding.addresses and not _decides_alone(finding.found) for finding in harmful):
            return  # something that concerns the whole cell
        blamed = {finding.found for finding in harmful if finding.found is not None}
        marking = [rule for rule in blamed if isinstance(rule.target, r.SetMark)]
        known = {address for finding in harmful for address in finding.addresses}
        grouped: dict[tuple[str, Effect], list[_Harm]] = {}
        for one in self._rows:
            explained = known.intersection(one.ends) or blamed.intersection(one.rules)
            if not explained and not any(_is_from(rule, self._address(one.row)) for rule in marking):
                end = one.to.container.handle if one.to.container is not None else one.to.app
                grouped.setdefault((end, one.effect), []).append(one)
        for (end, _), group in grouped.items():
            yield self._flow(end, group)

    def _address(self, row: Row) -> int:
        """The address that ``row``'s packets come from."""
        return int(row.source.container.address) if row.source.container is not None else self._stranger

    def _flow(self, end: str, group: Sequence[_Harm]) -> Finding:
        effect, to, row, _, rules = group[0]
        opened = effect is Effect.BREACH
        kind = Kind.FLOW_OPEN if opened else Kind.FLOW_BLOCKED
        rule = next((rule for rule in rules if rule is not None), None)
        count = sum(one.row.count for one in group)
        what = (
            "sources reach {} although no policy allows it" if opened else "sources do not reach {} as policies allow"
        )
        text = f"{count} {what.format(destination_name(to, self._inputs.people))}"
        texts = [sentence for one in group[: 1 + _MOST_SENTENCES] for sentence in self._sentences(one)]
        return describe.finding(
            kind,
            subject=(end,),
            summary=f"{text}: {texts[0]}",
            remedy=(
                "Look at the walk: c2c-auditor explain SOURCE DESTINATION PORT/PROTOCOL; then at who wrote the rule "
                "that decides."
            ),
            entry=self._places.of(rule) if rule is not None else None,
            addresses=(str(to.container.address),) if to.container is not None else (),
            handles=(to.container.handle,) if to.container is not None else (),
            details=tuple(texts[1 : 1 + _MOST_SENTENCES]),
            **describe.apps(self._inputs, row.source.app, to.app),
        )


def _decides_flows(scope: Scope) -> bool:
    """Whether the rule found is itself to blame for the flows that it decides, and no other finding is."""
    match scope:
        case Scope.POLICY_RULE | Scope.STRANGER | Scope.SETTING:
            return True
        case Scope.CELL | Scope.SENDER | Scope.CONTAINER | Scope.JUMP | Scope.EGRESS | Scope.MAPPED_PORTS:
            return False
        case Scope.IDENTITY | Scope.BACKENDS | Scope.FACTS | Scope.FLOWS | Scope.HYGIENE:
            return False


def _chains_of_one(scope: Scope) -> bool:
    """Whether findings are about a container's chains, which also serve its mapped ports and bring it its answers."""
    match scope:
        case Scope.CONTAINER | Scope.STRANGER | Scope.JUMP:
            return True
        case Scope.POLICY_RULE | Scope.SENDER | Scope.CELL | Scope.SETTING | Scope.EGRESS | Scope.MAPPED_PORTS:
            return False
        case Scope.IDENTITY | Scope.BACKENDS | Scope.FACTS | Scope.FLOWS | Scope.HYGIENE:
            return False


def _harm(row: Row, flows: FlowSet) -> Iterator[tuple[Effect, FlowSet]]:
    """What a row says of ``flows``: what passes and should not, what should and may not."""
    if opened := both(row.open, flows):
        yield Effect.BREACH, opened
    if blocked := both(union(row.blocked, row.doubtful), flows):
        yield Effect.OUTAGE, blocked


def _decides_alone(rule: r.Rule | None) -> bool:
    """Whether ``rule`` decides by its own verdict, and not by where it sends packets or how it marks them."""
    alone = (r.Reject, r.Masquerade)  # what MASQUERADE rewrites has passed FORWARD
    return rule is not None and (isinstance(rule.target, alone) or rule.target in (r.ACCEPT, r.DROP))


def _is_from(rule: r.Rule, address: int) -> bool:
    return rule.source is None or (address & rule.source.mask == rule.source.value) != rule.source.negated


def _on_overlay(finding: Finding) -> bool:
    """Whether a container's chain or jump is about traffic between containers."""
    chains = [finding.place.chain if finding.place is not None else ""]
    chains += [
        rule.target.chain
        for rule in (finding.expected, finding.found)
        if rule is not None and isinstance(rule.target, r.Jump | r.Goto)
    ]
    return any(family_of(chain) in (ChainFamily.OVERLAY, ChainFamily.POLICY) for chain in chains)


def _harmless(finding: Finding) -> Finding:
    """The difference is there, and no packet between containers is decided otherwise because of it."""
    summary = describe.harmless(finding.summary, finding.effect)
    return evolve(finding, effects=frozenset({Effect.RESIDUE}), summary=summary)
