"""What findings do to traffic, decided by reachability where it can.

And the reverse: flows that pass or do not although no finding says why are a finding of their own, so that no
difference in traffic goes unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

from attrs import evolve

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.harms import MOST, Blame, Harm, Harms, in_order
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.strangers import Strangers
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.audit.traffic.statements import Places, destination_name, sentences
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.scope import Scope
from c2c_auditor.netfilter.actions import MARKING, action
from c2c_auditor.netfilter.flows import matching, meet, union
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.silk.chain_names import ChainFamily, family_of

# Of so many findings of one kind each says in sentences whom it concerns. A cell that lost its policy chain has 20,000,
# and a report that is served keeps no more than these (`export.bounded`).
_MOST_TOLD = 200


class Effects:
    """The differences of one reading, for findings to be held against."""

    def __init__(self, inputs: Inputs, reach: Reachability, places: Places) -> None:
        self._inputs = inputs
        self._places = places
        self._senders = reach.senders
        self._harms = Harms(reach)
        self._strangers = Strangers(inputs, reach.senders.overlay)
        self._accused: frozenset[r.Rule] = frozenset()
        # Of each blame, the accused rules.
        self._accused_in: dict[Blame, frozenset[r.Rule | None]] = {}
        self._said: dict[int, tuple[str, ...]] = {}
        self._told: Counter[Kind] = Counter()

    def decided(self, findings: Iterable[Finding]) -> list[Finding]:
        """``findings`` with their effects as traffic shows them, and what traffic shows beyond them."""
        given = list(findings)
        self._accused = frozenset(
            finding.found for finding in given if finding.found is not None and _decides_flows(finding.kind.scope)
        )
        self._accused_in = {blame: self._accused.intersection(blame.rules) for blame in self._harms.blames.values()}
        known = [self._decided(finding) for finding in given]
        return [*known, *self._unexplained([finding for finding in known if finding.effect.harms])]

    def _decided(self, finding: Finding) -> Finding:
        concerned = self._concerned(finding)
        if concerned is None:
            return finding
        if not concerned:
            return finding if self._starved(finding) else _harmless(finding)
        effects = frozenset(one.effect for one in concerned)
        self._told[finding.kind] += 1
        if self._told[finding.kind] > _MOST_TOLD:
            return evolve(finding, effects=effects) if effects != finding.effects else finding
        # Each effect has its sentence, however many differences the worst one makes.
        leading = [next(one for one in concerned if one.effect is effect) for effect in Effect if effect in effects]
        texts = (text for one in (*leading, *concerned[:MOST]) for text in self._sentences(one))
        shown = islice(dict.fromkeys(texts), MOST)
        return evolve(finding, effects=effects, details=(*finding.details, *shown))

    def _concerned(self, finding: Finding) -> Sequence[Harm] | None:
        """The differences in traffic that ``finding`` accounts for, by its scope: the first of each effect.

        None where traffic between containers does not tell what the finding does, so that it keeps the effect that its
        check gave it.
        """
        if finding.kind.scope is Scope.STRANGER and (decided := self._harms.decided_by(finding.found)):
            return decided  # whatever its check made of it: this rule decides
        if not finding.effect.harms:
            return None
        if finding.kind in (Kind.FOREIGN_ACCEPT, Kind.FOREIGN_DROP):
            return self._of_stranger(finding)
        return self._of_scope(finding)

    def _of_scope(self, finding: Finding) -> Sequence[Harm] | None:
        """`_concerned` of a finding that harms, by what its kind is about."""
        match finding.kind.scope:
            case Scope.POLICY_RULE:
                return self._of_rule(finding)
            case Scope.SENDER:
                return self._of_container(finding)
            case Scope.CONTAINER | Scope.STRANGER:
                return self._of_container(finding) if finding.addresses and _on_overlay(finding) else None
            case Scope.JUMP if finding.addresses:
                return self._of_container(finding) if _on_overlay(finding) else None
            case Scope.JUMP | Scope.CELL:
                return [one for one in self._harms.all if one.effect in finding.effects]
            case Scope.EGRESS | Scope.MAPPED_PORTS | Scope.SETTING | Scope.BACKENDS | Scope.FACTS:
                return None
            case Scope.IDENTITY | Scope.FLOWS | Scope.HYGIENE:
                return None

    def _of_stranger(self, finding: Finding) -> list[Harm] | None:
        """Differences that a rule of others, or the rules that it jumps to, decide, or mark packets for.

        None where it may decide about other traffic. A RETURN leaves the decision to the policy, which is no rule.
        """
        rule, stage = finding.found, self._strangers.stage(finding)
        if rule is None or stage is None or rule.target == r.RETURN:
            return None
        behind = self._strangers.behind(rule, stage)
        decided = [one for other in behind for one in self._harms.decided_by(other)]
        marking = (other for other in behind if action(other.target, ()) in MARKING)
        marked = [one for other in marking for one in self._harms.marked_by(other)]
        stops = finding.kind is Kind.FOREIGN_DROP
        if not decided and not marked:
            elsewhere = self._strangers.elsewhere(rule, stage, stops=stops)
            if elsewhere or (stops and self._unserved and not stage.redirects):
                return None
        return in_order([*decided, *marked])

    @cached_property
    def _unserved(self) -> bool:
        """Whether requests to a container's mapped ports, or answers from outside to a container, do not pass."""
        return not all(sender.served for sender in self._senders.all)

    def _of_container(self, finding: Finding) -> list[Harm]:
        """Differences of the containers that ``finding`` names, and of the senders that its MARK rule marks."""
        return [*self._near(finding), *self._marked_by(finding.found)]

    def _of_rule(self, finding: Finding) -> list[Harm]:
        """What one rule of the policy chain does, and what it fails to do.

        The first is what passes by the rule found and should not, the second what the expected one would let pass.
        """
        passing = self._harms.decided_by(finding.found, (Effect.BREACH,))
        if finding.expected is None:
            return passing
        flows = union(*matching(finding.expected, Packet(source=0, destination=0, protocol=0)))
        app = finding.source.guid if finding.source is not None else ""
        stopped = (
            one
            for address in finding.addresses
            for one in self._harms.between(address, app)
            if one.effect is Effect.OUTAGE and meet(one.flows, flows) and not self._others_accused(one, finding)
        )
        return [*passing, *islice(stopped, MOST)]

    def _marked_by(self, found: r.Rule | None) -> list[Harm]:
        """Differences of senders that a MARK rule gives a mark, whether it is meant for them or not."""
        return self._harms.marked_by(found) if found is not None and isinstance(found.target, r.SetMark) else []

    def _near(self, finding: Finding) -> list[Harm]:
        """Differences of the containers that ``finding`` is about, without those that another rule is to blame for."""
        return [
            one
            for address in finding.addresses
            for one in self._harms.at(address)
            if not self._others_accused(one, finding)
        ]

    def _others_accused(self, one: Harm, finding: Finding) -> bool:
        """Whether a rule that another finding names is to blame for a difference."""
        return any(self._accused_in[blame] - {finding.found} for blame in one.blames)

    def _starved(self, finding: Finding) -> bool:
        """Whether requests to the mapped ports of a container that ``finding`` names, or answers to it, do not pass."""
        senders = (self._senders.get(handle) for handle in finding.handles)
        return _chains_of_one(finding.kind.scope) and any(not sender.served for sender in senders if sender is not None)

    def _sentences(self, one: Harm) -> tuple[str, ...]:
        """What a difference is in words, once for all findings that it concerns."""
        said = self._said.get(one.number)
        if said is None:
            said = tuple(sentences(one.to, one.row, self._inputs.people, self._places))
            self._said[one.number] = said
        return said

    def _unexplained(self, harmful: Sequence[Finding]) -> Iterator[Finding]:
        """One finding for each destination and effect that none of ``harmful`` has to do with."""
        if any(not finding.addresses and not _decides_alone(finding.found) for finding in harmful):
            return  # something that concerns the whole cell
        rules = {finding.found for finding in harmful if finding.found is not None}
        blamed = {blame for blame in self._harms.blames.values() if not rules.isdisjoint(blame.rules)}
        marking = [rule for rule in rules if isinstance(rule.target, r.SetMark)]
        marked = {one.number for rule in marking for one in self._harms.marked_by(rule)}
        known = {address for finding in harmful for address in finding.addresses}
        grouped: dict[tuple[str, Effect], list[Harm]] = {}
        for one in self._harms.all:
            if known.isdisjoint(one.ends) and blamed.isdisjoint(one.blames) and one.number not in marked:
                end = one.to.container.handle if one.to.container is not None else one.to.app
                grouped.setdefault((end, one.effect), []).append(one)
        for (end, _), group in grouped.items():
            yield self._flow(end, group)

    def _flow(self, end: str, group: Sequence[Harm]) -> Finding:
        to, row = group[0].to, group[0].row
        opened = group[0].effect is Effect.BREACH
        kind = Kind.FLOW_OPEN if opened else Kind.FLOW_BLOCKED
        rule = next((rule for rule in group[0].rules if rule is not None), None)
        count = sum(one.row.count for one in group)
        what = (
            "sources reach {} although no policy allows it" if opened else "sources do not reach {} as policies allow"
        )
        several = f"{count} {what.format(destination_name(to, self._inputs.people))}: " if count > 1 else ""
        texts = [sentence for one in group[: 1 + MOST] for sentence in self._sentences(one)]
        return describe.finding(
            kind,
            subject=(end,),
            summary=f"{several}{texts[0]}",
            remedy=(
                "Look at the walk: c2c-auditor explain SOURCE DESTINATION PORT/PROTOCOL; then at who wrote the rule "
                "that decides."
            ),
            entry=self._places.of(rule) if rule is not None else None,
            addresses=(str(to.container.address),) if to.container is not None else (),
            handles=(to.container.handle,) if to.container is not None else (),
            details=tuple(texts[1 : 1 + MOST]),
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


def _decides_alone(rule: r.Rule | None) -> bool:
    """Whether ``rule`` decides by its own verdict, and not by where it sends packets or how it marks them."""
    alone = (r.Reject, r.Policy, r.Masquerade)  # what MASQUERADE rewrites has passed FORWARD
    return rule is not None and (isinstance(rule.target, alone) or rule.target in (r.ACCEPT, r.DROP))


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
    effect = Effect.ADVICE if finding.kind in (Kind.FOREIGN_ACCEPT, Kind.FOREIGN_DROP) else Effect.RESIDUE
    return evolve(finding, effects=frozenset({effect}), summary=summary)
