"""A chain as it is beside the chain as it should be: places, each with the rule of now and the rule of then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.sequence import longest_increasing
from c2c_auditor.audit.mend.edits import Action, Edit
from c2c_auditor.model import rule as r
from c2c_auditor.model.table import BUILT_IN_CHAINS

FRONT = 0
"""Before the first rule, as a position behind which something comes."""


@frozen(kw_only=True)
class Slot:
    """One place of a chain.

    ``present`` stands there now, at ``position``; ``wanted`` should. ``causes`` are the numbers of the causes that a
    change of it is for.
    """

    present: r.Rule | None = None
    position: int | None = None
    wanted: r.Rule | None = None
    causes: tuple[int, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether something is to be done here."""
        return self.present != self.wanted


@frozen(kw_only=True)
class ChainMend:
    """One chain's places in order; ``exists`` and ``stays`` say whether there is such a chain, now and then.

    ``causes`` are those of making it or taking it away.
    """

    table: str
    chain: str
    slots: tuple[Slot, ...] = ()
    exists: bool = True
    stays: bool = True
    causes: tuple[int, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the chain itself comes or goes."""
        return self.exists != self.stays


class Places:
    """What should stand in one chain, while it is worked out: at first, what stands there."""

    def __init__(self, chain: r.Chain | None) -> None:
        """``chain`` as it is; None for one that is not there."""
        self._present = chain.rules if chain is not None else ()
        self._wanted: list[r.Rule | None] = list(self._present)
        self._behind: dict[int, list[r.Rule]] = {}

    @property
    def entries(self) -> int:
        """How many rules stand there now."""
        return len(self._present)

    def put(self, position: int, rule: r.Rule | None) -> None:
        """Let ``rule`` stand where the one at ``position`` stands now; None lets that one go."""
        self._wanted[position - 1] = rule

    def take_out(self, position: int) -> None:
        """Let the rule at ``position`` go, unless something else is to be done there."""
        if self._wanted[position - 1] == self._present[position - 1]:
            self._wanted[position - 1] = None

    def insert(self, behind: int, rule: r.Rule) -> None:
        """Let ``rule`` come behind the rule at this position of now, and behind what was put there before."""
        self._behind.setdefault(behind, []).append(rule)

    def arrange(
        self, wanted: Sequence[r.Rule], kept: Iterable[tuple[r.Rule, Entry]], displaced: frozenset[int] = frozenset()
    ) -> None:
        """Put each of ``wanted`` that has no place yet behind the one that comes before it in that order.

        ``kept`` are wanted rules and the entries that hold their places, right or changed; those at the positions
        ``displaced`` move.
        """
        order = {rule: index for index, rule in enumerate(wanted)}
        holding: list[tuple[int, int]] = []
        for rule, entry in sorted(kept, key=lambda pair: pair[1].position):
            self.put(entry.position, None if entry.position in displaced else rule)
            if entry.position not in displaced:
                holding.append((order[rule], entry.position))
        straight = longest_increasing([index for index, _ in holding])
        anchors = dict(pair for number, pair in enumerate(holding) if number in straight)
        there = {index for index, _ in holding}
        behind = min((position for _, position in holding), default=self.entries + 1) - 1
        for index, rule in enumerate(wanted):
            behind = anchors.get(index, behind)
            if index not in there:
                self.insert(behind, rule)

    def slots(self) -> tuple[Slot, ...]:
        """All places in order."""
        found = [Slot(wanted=rule) for rule in self._behind.get(FRONT, ())]
        for at, (present, wanted) in enumerate(zip(self._present, self._wanted, strict=True), 1):
            found.append(Slot(present=present, position=at, wanted=wanted))
            found += [Slot(wanted=rule) for rule in self._behind.get(at, ())]
        return tuple(found)


def edits_of(mends: Sequence[ChainMend]) -> Iterator[Edit]:
    """The commands for all ``mends``, table by table, in an order in which they can be run.

    New chains come first, then rules, those of built-in chains last; then what goes.
    """
    for table in dict.fromkeys(mend.table for mend in mends):
        here = [mend for mend in mends if mend.table == table]
        going = [mend for mend in here if mend.exists and not mend.stays]
        staying = sorted((mend for mend in here if mend.stays), key=lambda mend: mend.chain in BUILT_IN_CHAINS)
        for mend in staying:
            if not mend.exists:
                yield Edit(action=Action.CREATE, table=table, chain=mend.chain, causes=mend.causes)
        for mend in staying:
            yield from _rules(mend)
        for mend in going:
            if rules := tuple(slot.present for slot in mend.slots if slot.present is not None):
                yield Edit(action=Action.EMPTY, table=table, chain=mend.chain, rules=rules, causes=mend.causes)
        for mend in going:
            yield Edit(action=Action.REMOVE, table=table, chain=mend.chain, causes=mend.causes)


def _rules(mend: ChainMend) -> Iterator[Edit]:
    """What changes, each place by itself, unless writing the whole chain afresh is shorter."""
    changes = sum(slot.changes for slot in mend.slots)
    wanted = [slot for slot in mend.slots if slot.wanted is not None]
    if changes <= len(wanted) + 1:
        yield from _one_by_one(mend)
        return
    present = tuple(slot.present for slot in mend.slots if slot.present is not None)
    causes = tuple(dict.fromkeys(number for slot in mend.slots for number in slot.causes))
    yield Edit(action=Action.EMPTY, table=mend.table, chain=mend.chain, rules=present, causes=causes)
    for position, slot in enumerate(wanted, 1):
        yield Edit(
            action=Action.INSERT,
            table=mend.table,
            chain=mend.chain,
            position=position,
            last=True,
            rule=slot.wanted,
            causes=slot.causes or causes,
        )


def _one_by_one(mend: ChainMend) -> Iterator[Edit]:
    """From the top down: positions are those that the commands before have left."""
    position = 1
    rest = sum(slot.present is not None for slot in mend.slots)
    for slot in mend.slots:
        rest -= slot.present is not None
        if slot.changes:
            action = Action.INSERT if slot.present is None else Action.REPLACE if slot.wanted else Action.DELETE
            yield Edit(
                action=action,
                table=mend.table,
                chain=mend.chain,
                position=position,
                last=action is Action.INSERT and rest == 0,
                rule=slot.wanted,
                before=slot.present,
                causes=slot.causes,
            )
        position += slot.wanted is not None
