"""Decides whether rules that silk did not write affect other traffic than that between containers.

Reachability says what they do to that. What containers send to the outside, and what the outside sends to them, is not
worked out flow by flow, so a rule that can meet such packets keeps the effect that its target can have.
"""

from __future__ import annotations

from collections.abc import Iterator

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action, action
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.silk.chain_names import container_interface

_STATES = frozenset({"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"})
_MARKING = (Action.SET_MARK, Action.FORGET_MARK)


class Strangers:
    """What can be said of a foreign rule by its conditions and those of the chains that it leads to."""

    def __init__(self, inputs: Inputs) -> None:
        containers = inputs.facts.store.containers if inputs.facts.store is not None else ()
        self._chains = inputs.ruleset.chains("filter")
        self._overlay = inputs.networks
        family = inputs.ruleset.family
        addresses = (int(container.address) for container in containers)
        self._containers = KnownEnds(addresses, map(container_interface, containers), family)
        self._outside = KnownEnds((), (inputs.wrapper.underlay,), family)

    def behind(self, rule: r.Rule) -> Iterator[r.Rule]:
        """``rule`` itself, or where it is a jump the rules that it leads to, each chain once."""
        seen: set[str] = set()
        todo = [rule]
        while todo:
            one = todo.pop()
            name = jumped_chain(one)
            if not name:
                yield one
            elif name in self._chains and name not in seen:
                seen.add(name)
                todo.extend(self._chains[name].rules)

    def marks(self, rule: r.Rule) -> bool:
        """Whether ``rule`` changes the mark of what it takes."""
        return action(rule.target, ()) in _MARKING

    def elsewhere(self, rule: r.Rule, *, stops: bool) -> bool:
        """Whether ``rule`` can decide about packets between containers and the outside.

        Of those that come in, only what it accepts: requests that it stops are seen at the containers' mapped ports.
        """
        deciding = [one for one in self.behind(rule) if action(one.target, ()) not in (Action.GO_ON, *_MARKING)]
        return any(
            all(map(self._can_leave, (rule, one))) or (not stops and all(map(self._can_enter, (rule, one))))
            for one in deciding
            if _state_counts(rule, stops=stops) and _state_counts(one, stops=stops)
        )

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
