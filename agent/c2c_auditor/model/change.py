"""What one commit did to the rules: as people are told it, and as values that findings are held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from attrs import field, frozen

from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import Rule

MOST_CHANGES = 100
MOST_RULES = 300_000
"""In all deeds that are kept: a dozen swaps of the largest policy chain."""
T = TypeVar("T")


class Author(str, Enum):
    """Who made a commit; ``unknown`` where the backend does not tell."""

    VPA = "vpa"
    CNI = "cni"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"

    @property
    def silks(self) -> bool:
        """Whether it is one of silk's programs."""
        return self in (Author.VPA, Author.CNI)


class Act(str, Enum):
    """What a commit is a part of; ``other`` for all that silk does not do."""

    POLICY_SWAP = "policy swap"
    CONTAINER_CREATED = "container created"
    CONTAINER_DELETED = "container deleted"
    SECURITY_GROUPS = "security groups"
    OTHER = "other"


class ChainPlace(NamedTuple):
    """A chain; the table of nftables' own has its family in its name (``inet firewall``) and IPv4 for a family."""

    family: AddressFamily
    table: str
    chain: str


Rules = Mapping[ChainPlace, tuple[Rule, ...]]


@frozen(kw_only=True, eq=False)
class Deed:
    """What one commit did, with all of its rules.

    ``chains`` are all that it named; ``made`` and ``lost`` those that are new or gone, ``policies`` those whose policy
    is another. Of the ``doubtful`` ones it is not known which rules it changed.
    """

    chains: frozenset[ChainPlace] = frozenset()
    added: Rules = field(factory=dict)
    removed: Rules = field(factory=dict)
    made: frozenset[ChainPlace] = frozenset()
    lost: frozenset[ChainPlace] = frozenset()
    policies: frozenset[ChainPlace] = frozenset()
    doubtful: frozenset[ChainPlace] = frozenset()


@frozen(kw_only=True)
class Change:
    """One commit. ``seen`` is when the agent read it, in seconds since the epoch.

    ``process`` is cut at 15 bytes; ``command`` is how it was called and ``parent`` who started it, both empty where the
    process was gone before it could be looked up. ``chains`` are those that it named, with their tables, the first
    few. ``added`` and ``removed`` are rules as iptables prints them, the first few; ``left_out`` counts the others.
    Where nothing is announced (iptables-legacy, or no netlink) a change is all that is different from the reading
    before: then there is no process, and no generation.
    """

    seen: float
    author: Author
    act: Act = Act.OTHER
    generation: int = 0
    pid: int = 0
    process: str = ""
    command: str = ""
    parent: str = ""
    chains: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left_out: int = 0


@frozen(kw_only=True, eq=False)
class Done:
    """A change with what it did; ``deed`` is None where that is not kept."""

    change: Change
    deed: Deed | None

    @property
    def size(self) -> int:
        """How many rules the deed holds."""
        if self.deed is None:
            return 0
        return sum(len(rules) for of in (self.deed.added, self.deed.removed) for rules in of.values())


def newest(changes: Sequence[T], author: Callable[[T], Author]) -> list[T]:
    """The newest hundred of silk's and of others', in their order: silk's daily work never hides what others did."""
    kept: list[T] = []
    count: Counter[bool] = Counter()
    for change in reversed(changes):
        silks = author(change).silks
        count[silks] += 1
        if count[silks] <= MOST_CHANGES:
            kept.append(change)
    return kept[::-1]


def newest_done(done: Sequence[Done]) -> list[Done]:
    """The same; beyond `MOST_RULES` in all, the older ones without their deeds."""
    kept: list[Done] = []
    rules = 0
    for one in reversed(newest(done, lambda each: each.change.author)):
        rules += one.size
        kept.append(one if rules <= MOST_RULES else Done(change=one.change, deed=None))
    return kept[::-1]
