"""For which finding each change is, so that what no finding asks for is left alone, and what nothing mends is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve

from c2c_auditor.audit.mend.slots import ChainMend, Slot
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding, Place
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_OF_A_CHAIN = frozenset({Kind.POLICY_CHAIN_REPEATED, Kind.POLICY_CHAIN_ORPHAN, Kind.POLICY_CHAIN_FROM_FUTURE})
Numbers = tuple[int, ...]


class Causes:
    """The findings of one family by what they are about; each is known by its number."""

    def __init__(self, numbered: Mapping[int, Finding]) -> None:
        self._places: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
        self._expected: defaultdict[r.Rule, list[int]] = defaultdict(list)
        self._found: defaultdict[tuple[str, r.Rule], list[int]] = defaultdict(list)
        self._chains: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._new_policy_chain: list[int] = []
        for number, finding in numbered.items():
            self._add(number, finding)

    def _add(self, number: int, finding: Finding) -> None:
        place = finding.place
        if finding.expected is not None:
            self._expected[finding.expected].append(number)
        if place is None:
            return
        if finding.kind in (Kind.POLICY_CHAIN_MISSING, Kind.POLICY_CHAIN_FROM_FUTURE):
            self._new_policy_chain.append(number)
        if finding.found is not None and place.position is not None:
            self._places[place.table, place.chain, place.position].append(number)
            self._found[place.chain, finding.found].append(number)
        for key in _chains(finding, place):
            self._chains[key].append(number)

    def attributed(self, mends: Iterable[ChainMend], *, in_order: bool) -> tuple[ChainMend, ...]:
        """``mends`` with the numbers of their causes; a chain that is new or goes has one cause for all of it.

        ``in_order``: rules that no finding is about move for the causes of their chain.
        """
        return tuple(self._attributed(mend, in_order=in_order) for mend in mends)

    def _attributed(self, mend: ChainMend, *, in_order: bool) -> ChainMend:
        whole = self._of_chain(mend.table, mend.chain)
        if mend.exists != mend.stays:
            slots = [evolve(slot, causes=whole) if slot.changes else slot for slot in mend.slots]
        else:
            slots = [evolve(slot, causes=self._of(mend, slot)) if slot.changes else slot for slot in mend.slots]
        if in_order:
            every = tuple(dict.fromkeys(number for slot in slots for number in slot.causes))
            slots = [evolve(slot, causes=slot.causes or every) if slot.changes else slot for slot in slots]
        return evolve(mend, slots=tuple(slots), causes=whole)

    def _of_chain(self, table: str, chain: str) -> Numbers:
        """The findings about a chain as a whole; a policy chain that none is about may be the one that is made."""
        found = self._chains.get((table, chain), ())
        return tuple(found or (self._new_policy_chain if family_of(chain) is ChainFamily.POLICY else ()))

    def _of(self, mend: ChainMend, slot: Slot) -> Numbers:
        """By the rule found there, the rule expected there, or the chain that it leads to."""
        found: list[int] = []
        if slot.position is not None:
            found += self._places.get((mend.table, mend.chain, slot.position), ())
        if slot.wanted is not None:
            found += self._expected.get(slot.wanted, ())
            if slot.present is None:  # what was moved comes back elsewhere
                found += self._found.get((mend.chain, slot.wanted), ())
        for rule in (slot.present, slot.wanted):
            if rule is not None and jumped_chain(rule):
                found += self._of_chain(mend.table, jumped_chain(rule))
        return tuple(dict.fromkeys(found))


def _chains(finding: Finding, place: Place) -> Iterable[tuple[str, str]]:
    """The chains that a finding is about as a whole."""
    if finding.kind in _OF_A_CHAIN:
        yield place.table, finding.subject[0]
    elif finding.kind is Kind.CONTAINER_CHAIN_ORPHAN:
        yield place.table, place.chain
        for detail in finding.details:
            table, _, chain = detail.partition(" ")
            yield table, chain
    elif finding.found is None and finding.expected is None:
        yield place.table, place.chain


def only(mends: Iterable[ChainMend], allowed: frozenset[int]) -> tuple[ChainMend, ...]:
    """Of ``mends`` what is for one of the causes ``allowed``; everything else stays as it is."""
    kept = (_only(mend, allowed) for mend in mends)
    return tuple(mend for mend in kept if mend.changes or any(slot.changes for slot in mend.slots))


def _only(mend: ChainMend, allowed: frozenset[int]) -> ChainMend:
    if mend.changes and not allowed.intersection(mend.causes):
        mend = evolve(mend, stays=mend.exists)
    slots = (_restricted(slot, allowed) for slot in mend.slots)
    return evolve(
        mend,
        slots=tuple(slot for slot in slots if slot.present is not None or slot.wanted is not None),
        causes=tuple(number for number in mend.causes if number in allowed),
    )


def _restricted(slot: Slot, allowed: frozenset[int]) -> Slot:
    if not slot.changes:
        return slot
    causes = tuple(number for number in slot.causes if number in allowed)
    return evolve(slot, causes=causes) if causes else evolve(slot, wanted=slot.present, causes=())


def numbers_of(mends: Sequence[ChainMend]) -> frozenset[int]:
    """The causes for which something is done."""
    whole = (number for mend in mends if mend.changes for number in mend.causes)
    single = (number for mend in mends for slot in mend.slots if slot.changes for number in slot.causes)
    return frozenset((*whole, *single))
