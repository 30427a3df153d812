"""The memory of reachability for each container, and the keys that must be equal for it to hold.

Only values are kept here. How they are worked out is in `reachability`.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import evolve, field, frozen

from c2c_auditor.audit.traffic.destinations import DestinationFlows, Outcome
from c2c_auditor.audit.traffic.senders import Sender, SenderKey, Senders
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy
from c2c_auditor.netfilter.flows import FlowSet
from c2c_auditor.netfilter.packet import end_part


@frozen(kw_only=True)
class SenderConditions:
    """What the rules towards one container ask of its senders.

    ``marks`` are those that the rules name. ``whole_marks`` is whether every rule compares or sets all bits of a mark:
    then all other marks are alike. ``others`` are the rules that tell senders apart by anything but marks; one stands
    for all that do so in the same way.
    """

    outline: tuple[object, ...]
    marks: tuple[int, ...]
    whole_marks: bool
    others: tuple[r.Rule, ...]

    @classmethod
    def of(cls, outline: tuple[object, ...]) -> SenderConditions:
        """The conditions of the rules in an outline (`Paths.outline`)."""
        rules = [part for part in outline if isinstance(part, r.Rule)]
        matches = [match for rule in rules for match in rule.matches if isinstance(match, r.MarkMatch)]
        masks = [match.mask for match in matches]
        masks += [rule.target.mask for rule in rules if isinstance(rule.target, r.SetMark)]
        return cls(
            outline=outline,
            marks=tuple(dict.fromkeys(match.value for match in matches)),
            whole_marks=all(mask == r.ALL_BITS for mask in masks),
            others=tuple({end_part(rule): rule for rule in rules if _asks_for_a_source(rule)}.values()),
        )


class Asked(NamedTuple):
    """What one sender's flows to one container depend on beside its mark: with equal ones senders have equal flows.

    ``conditions_met`` is one value for each of `SenderConditions.others`, ``own`` only for a sender whose walk is its
    own: its address, and the rules that decide.
    """

    conditions_met: tuple[object, ...] = ()
    own: tuple[object, ...] | None = None


_Start = int | tuple[object, ...] | None
"""The mark that a sender is taken to start with, or `Asked.own` of it."""
Outcomes = dict[Asked, dict[int | None, Outcome]]
"""What becomes of the flows to one container; the mark is None for every one that no rule asks for."""


@frozen(kw_only=True)
class DestinationKey:
    """What the rows of one container depend on besides the rules: with equal keys and rules the rows are equal.

    ``mark_owners`` are the apps behind each mark that counts here. ``apps_elsewhere`` is how many apps may send from
    other cells, None where they are not counted one by one. ``senders`` are the containers of this cell that have a
    row, each with the mark that it is taken to start with, or what is `Asked.own` of it. ``declared`` are the
    rules that are meant to decide as they do.
    """

    container: Container
    policies: tuple[Policy, ...]
    ingress: FlowSet
    ingress_tag: int | None
    stranger: int
    mark_owners: tuple[tuple[int, tuple[str, ...]], ...]
    apps_elsewhere: int | None
    senders: tuple[tuple[SenderKey, _Start], ...]
    itself: SenderKey
    declared: frozenset[r.Rule]


@frozen(kw_only=True)
class Remembered:
    """The rows of one container and what they were worked out from.

    ``outcomes`` hold as long as the rules do, ``reached`` as long as the key does too. ``listed`` is how many sources
    were looked at one by one. ``sender`` is the container itself, and ``around`` is `Senders.around`: where both are
    the same objects again, so are rules and key, but for the policies. Not so with ``around`` None.
    """

    conditions: SenderConditions
    key: DestinationKey
    outcomes: Outcomes
    reached: DestinationFlows
    listed: int
    sender: Sender = field(eq=False, repr=False)
    around: object = field(eq=False, repr=False)

    def stands(self, senders: Senders, policies: tuple[Policy, ...]) -> bool:
        """Whether another reading cannot say anything else; False where that takes a closer look."""
        container = self.sender.container
        return (
            self.around is not None
            and self.around is senders.around
            and self.sender is senders.get(container.handle)
            and self.key.policies == policies
            and not senders.unusual(int(container.address))
        )

    def marked_otherwise(self, key: DestinationKey) -> dict[int, int] | None:
        """Where ``key`` differs only by the marks that senders start with: by their place, the marks that they had.

        None where it differs by more.
        """
        if len(key.senders) != len(self.key.senders) or evolve(self.key, senders=key.senders) != key:
            return None
        found: dict[int, int] = {}
        for at, (old, new) in enumerate(zip(self.key.senders, key.senders, strict=True)):
            if old == new:
                continue
            if old[0] != new[0] or not isinstance(old[1], int) or not isinstance(new[1], int):
                return None
            found[at] = old[1]
        return found


def if_same_rules(remembered: Remembered | None, outline: tuple[object, ...]) -> Remembered | None:
    """What is remembered of a container, None where the rules towards it have changed."""
    return remembered if remembered is not None and remembered.conditions.outline == outline else None


def _asks_for_a_source(rule: r.Rule) -> bool:
    if rule.source is not None or rule.in_interface is not None:
        return True
    return any((isinstance(match, r.IpRangeMatch | r.AddressTypeMatch) and match.source) for match in rule.matches)
