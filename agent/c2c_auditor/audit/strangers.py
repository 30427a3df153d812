"""Decides whether rules that silk did not write affect other traffic than that between containers.

Reachability says what they do to that. What containers send to the outside, and what the outside sends to them, is not
worked out flow by flow, so a rule that can meet such packets keeps the effect that its target can have.
"""

from __future__ import annotations

from collections.abc import Sequence

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.ends import Overlay
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import Finding
from c2c_auditor.netfilter.actions import MARKING, Action, action
from c2c_auditor.netfilter.flows import ALL, without
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.stages import Stage, behind
from c2c_auditor.netfilter.way import paths_of
from c2c_auditor.silk.chain_names import container_interface

_STATES = frozenset({"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"})


class Strangers:
    """What can be said of a foreign rule by its conditions and those of the chains that it leads to."""

    def __init__(self, inputs: Inputs, overlay: Overlay) -> None:
        self._stages = {(stage.table, stage.start): stage for stage in inputs.stages}
        self._hosts = inputs.facts.store.containers if inputs.facts.store is not None else ()
        self._ends = overlay
        self._overlay = inputs.networks
        self._family = inputs.ruleset.family
        self._containers = self._ends_of(self._hosts)
        self._outside = KnownEnds((), (inputs.wrapper.underlay,), self._family)

    def _ends_of(self, containers: Sequence[Container]) -> KnownEnds:
        addresses = (int(container.address) for container in containers)
        return KnownEnds(addresses, map(container_interface, containers), self._family)

    def stage(self, finding: Finding) -> Stage | None:
        """The stage in whose base chain the rule of ``finding`` stands; None for a rule elsewhere."""
        place = finding.place
        return self._stages.get((place.table, place.chain)) if place is not None else None

    def behind(self, rule: r.Rule, stage: Stage) -> list[r.Rule]:
        """``rule`` itself, or where it is a jump the rules that it leads to, each chain once."""
        return list(behind(rule, stage.chains))

    def elsewhere(self, rule: r.Rule, stage: Stage, *, stops: bool) -> bool:
        """Whether ``rule`` can decide about packets between containers and the outside.

        Of those that come in, only what it accepts: requests that it stops are seen at the containers' mapped ports.
        """
        if not stage.main:
            return stops and any(self._stops_outward(one, stage) for one in behind(rule, stage.chains))
        deciding = [one for one in behind(rule, stage.chains) if action(one.target, ()) not in (Action.GO_ON, *MARKING)]
        return any(
            all(map(self._can_leave, (rule, one))) or (not stops and all(map(self._can_enter, (rule, one))))
            for one in deciding
            if _state_counts(rule, stops=stops) and _state_counts(one, stops=stops)
        )

    def _stops_outward(self, rule: r.Rule, stage: Stage) -> bool:
        """Whether ``rule`` stops packets that a container sends to the outside, in a chain that is not silk's.

        Packets that are led elsewhere arrive all the same: where to is their owner's matter.
        """
        if action(rule.target, ()) not in (Action.REFUSE, Action.DOUBT) or self._on_overlay(rule):
            return False
        source = next((one for one in self._hosts if self._ends_of((one,)).can_meet(_source_part(rule))), None)
        if source is None:
            return False
        match = rule.destination
        packet = self._ends.outward(source, match.value if match is not None and not match.negated else None)
        stopped = paths_of(stage).disposition(stage.seen(packet))
        return any(rule in rules for rules in stopped.deciding(without(ALL, stopped.passes)))

    def _can_leave(self, rule: r.Rule) -> bool:
        """Whether a container's packet to the outside can meet ``rule``."""
        ends = r.Rule(source=rule.source, in_interface=rule.in_interface)
        out = r.Rule(out_interface=rule.out_interface)
        return self._containers.can_meet(ends) and self._outside.can_meet(out) and not self._on_overlay(rule)

    def _can_enter(self, rule: r.Rule) -> bool:
        """Whether a packet from the outside to a container can meet ``rule``."""
        ends = r.Rule(destination=rule.destination, out_interface=rule.out_interface)
        return self._containers.can_meet(ends) and self._outside.can_meet(r.Rule(in_interface=rule.in_interface))

    def _on_overlay(self, rule: r.Rule) -> bool:
        """Whether all destinations of ``rule`` are on the overlay."""
        match = rule.destination
        return (
            match is not None
            and not match.negated
            and any(
                match.mask & int(network.netmask) == int(network.netmask)
                and match.value & int(network.netmask) == int(network.network_address)
                for network in self._overlay
            )
        )


def _source_part(rule: r.Rule) -> r.Rule:
    return r.Rule(source=rule.source, in_interface=rule.in_interface)


def _state_counts(rule: r.Rule, *, stops: bool) -> bool:
    """Whether ``rule`` takes packets that silk's own rules would decide otherwise.

    Those accept what belongs to a connection, so another rule that does so as well changes nothing.
    """
    matter = {"NEW", "ESTABLISHED", "RELATED"} if stops else {"NEW"}
    state_matches = [match for match in rule.matches if isinstance(match, r.StateMatch)]
    return all(
        bool(matter.difference(match.states) if match.negated else matter.intersection(match.states))
        or not _STATES.issuperset(match.states)
        for match in state_matches
    )
