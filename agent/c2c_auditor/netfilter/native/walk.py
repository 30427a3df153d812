"""The registers of nf_tables, and what a part of a rule asks and does.

A register holds what was asked for instead of a value.
"""

from __future__ import annotations

from attrs import evolve, frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.native.attributes import number
from c2c_auditor.netfilter.native.loads import EQUAL, UNEQUAL, Ask, Load


@frozen
class Act:
    """The packet meets what was asked so far, and ``target`` happens to it."""

    target: r.Target


@frozen
class Unknown:
    """What the expression ``name`` does is not known: the rule may match, and anything may happen."""

    name: str


@frozen
class Never:
    """No packet of the family meets this."""


@frozen
class End:
    """Nothing that follows is reached."""


Effect = Ask | r.Match | Act | Unknown | Never | End
"""What a part of a rule asks or does."""


class Walk:
    """A part of a rule in the course of its expressions: what registers hold, what was asked, what was done."""

    def __init__(self, family: r.AddressFamily) -> None:
        self.family = family
        self.effects: list[Effect] = []
        self._registers: dict[int, Load | bytes] = {}
        self._filled: set[int] = set()

    def act(self, target: r.Target) -> None:
        """Something happens to the packet."""
        self.effects.append(Act(target))

    def match(self, match: r.Match) -> None:
        """The packet must meet ``match``."""
        self.effects.append(match)

    def load(self, register: bytes | None, what: Load | bytes) -> None:
        """Put ``what`` into a register, and over what its bytes reach."""
        place = _place(register)
        end = place + (what.length if isinstance(what, Load) else len(what))
        for other, held in list(self._registers.items()):
            if other < end and place < other + (held.length if isinstance(held, Load) else len(held)):
                del self._registers[other]
        self._registers[place] = what
        self._filled.add(place)

    def done(self) -> None:
        """An expression did more than load."""
        self._filled.clear()

    def loaded(self, register: bytes | None) -> Load:
        """What was loaded into a register; a load of its own kind for a fixed value."""
        found = self._held(register)
        return found if isinstance(found, Load) else Load(kind=f"0x{found.hex()}")

    def constant(self, register: bytes | None) -> bytes | None:
        """The value of a register; None if it is not the same for all packets."""
        found = self._held(register)
        return found if isinstance(found, bytes) else None

    def words(self, register: bytes | None) -> str:
        """What a register holds, for people."""
        return self.loaded(register).words

    def holding(self) -> tuple[str, ...]:
        """The operands of an expression that has no word of its own, for people.

        They are what was loaded for it: since the last expression that did more than load, wherever that one stands.
        """
        held = (self._registers[place] for place in sorted(self._filled & self._registers.keys()))
        return tuple(f"0x{one.hex()}" if isinstance(one, bytes) else one.words for one in held if one != b"")

    def _held(self, register: bytes | None) -> Load | bytes:
        found = self._registers.get(_place(register))
        if found is None:
            raise NotUnderstood("a register that was not loaded")
        return found

    def ask(self, load: Load, how: str, first: bytes, last: bytes = b"") -> None:
        """Compare what was loaded."""
        if load.flip is not None and any(load.flip):
            if how in (EQUAL, UNEQUAL) and len(first) == len(load.flip):
                first = bytes(one ^ other for one, other in zip(first, load.flip, strict=True))
            else:
                load = evolve(load, kind=f"{load.words} ^ 0x{load.flip.hex()}")
        if load.flip is not None:
            load = evolve(load, flip=None)
        self.effects.append(Ask(load=load, how=how, first=first, last=last))


def _place(register: bytes | None) -> int:
    """Where a register begins, in bytes: there are four of 16 bytes, or the same in words of 4. The verdict's is -1."""
    given = number(register or b"")
    if given == 0:
        return -1
    return (given - 1) * 16 if given <= 4 else (given - 8) * 4  # noqa: PLR2004 - NFT_REG_4, NFT_REG32_00
