"""Which rules of a chain can concern traffic between two ends: an index by the hosts and marks that rules name.

A policy chain of 20,000 rules has a few for each destination and mark, and a cell's FORWARD jumps to hundreds of chains
that each concern one container. A question about two ends needs those few, in order, and never looks at the others.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.actions import Action, action
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import end_part

Hosts = frozenset[int]
_POSITION_BITS = 32
_POSITION = (1 << _POSITION_BITS) - 1
# Of one destination: positions of rules for any mark, and those of `_Marked.exact`.
_Named = tuple[list[int], list[int]]
_PLAIN = (Action.ACCEPT, Action.REFUSE, Action.GO_ON)


@frozen(kw_only=True, cache_hash=True)
class Scope:
    """The hosts whose packets a rule or a chain can take: those from ``sources`` and those to ``destinations``."""

    sources: Hosts = frozenset()
    destinations: Hosts = frozenset()


@frozen
class _Marked:
    """Positions, from 0 and ascending, of rules for one destination.

    ``any`` are rules for packets with any mark. ``exact`` are those for one mark, as numbers with the mark above the
    position, ascending: a policy chain has 20,000 rules, and as lists by mark they took 4 MiB.
    """

    any: array[int]
    exact: array[int]

    def asking(self, mark: int | None) -> Sequence[int]:
        if mark is None:
            return self.all
        first, behind = (bisect_left(self.exact, one << _POSITION_BITS) for one in (mark, mark + 1))
        found = [one & _POSITION for one in self.exact[first:behind]]
        return sorted([*self.any, *found]) if self.any else found

    @cached_property
    def all(self) -> Sequence[int]:
        """Those for any mark and for each."""
        return array("Q", sorted([*self.any, *(one & _POSITION for one in self.exact)]))


class ChainIndex:
    """The rules of one chain that traffic can meet, by what they name.

    ``general`` are those that concern all hosts, as positions. ``hosts`` are all that a rule of this chain names, or of
    one that it jumps to for some hosts alone. ``scope`` are those that the chain concerns, None for all. ``jumps`` are
    the positions of jumps that name no host, to chains that concern some hosts alone, and ``jumping`` is whether there
    is any jump at all. ``first_named`` is the position of the first rule that names a destination, by destination.

    ``runs``: rules of ``general`` that stand next to each other and do the same on every walk (`decided.Run`), by the
    position of the first: the position behind the last, and what they ask of the ends.
    """

    __slots__ = (
        *("_destinations", "_narrowed", "_sources", "_steps", "first_named", "general"),
        *("hosts", "jumping", "jumps", "rules", "runs", "scope"),
    )  # a cell has some 2,000

    def __init__(self, rules: tuple[r.Rule, ...], scopes: Iterator[Scope | None]) -> None:
        """``scopes`` of the chains that rules without a host jump and go to, in their order."""
        self.rules = rules
        self.general: list[int] = []
        self.jumps: list[int] = []
        self.first_named: dict[int, int] = {}
        self.jumping = False
        self._sources: dict[int, list[int]] = {}
        named: dict[int, _Named] = defaultdict(lambda: ([], []))
        further: set[int] = set()
        for at, rule in enumerate(rules):
            target = rule.target
            jumps = target is not r.ACCEPT and isinstance(target, r.Jump | r.Goto)  # most accept
            if jumps:
                self.jumping = True
            to, of = _host(rule.destination), _host(rule.source)
            if to is not None:
                self.first_named.setdefault(to, at)
                mark = exact_mark(rule)
                if mark is None:
                    named[to][0].append(at)
                else:
                    named[to][1].append(mark << _POSITION_BITS | at)
                if of is not None:
                    further.add(of)
            elif of is not None:
                self._sources.setdefault(of, []).append(at)
            else:
                scope = next(scopes) if jumps else None
                # A goto ends its chain for all hosts.
                self._jump(at, scope if isinstance(target, r.Jump) else None, named)
        self._destinations = {
            to: _Marked(array("Q", anyway), array("Q", sorted(exact))) for to, (anyway, exact) in named.items()
        }
        self.hosts: Hosts = _hosts(self._sources, self._destinations, further)
        self.scope = (
            None if self.general else Scope(sources=_hosts(self._sources), destinations=_hosts(self._destinations))
        )
        self._narrowed: tuple[KnownEnds, ChainIndex] | None = None
        self.found_runs()

    def _jump(self, at: int, scope: Scope | None, named: dict[int, _Named]) -> None:
        if scope is None:
            self.general.append(at)
            return
        if scope.sources or scope.destinations:
            self.jumps.append(at)
        for source in scope.sources:
            self._sources.setdefault(source, []).append(at)
        for destination in scope.destinations:
            named[destination][0].append(at)

    def narrowed(self, ends: KnownEnds) -> ChainIndex:
        """Without the rules for all hosts that no packet between ``ends`` can meet; the same object for equal ends."""
        general = [at for at in self.general if ends.can_meet(self.rules[at])]
        if len(general) == len(self.general):
            return self
        if self._narrowed is None or self._narrowed[0] != ends:
            self._narrowed = ends, self._with(general)
        return self._narrowed[1]

    def _with(self, general: list[int]) -> ChainIndex:
        one = copy(self)
        one.general = general
        one.found_runs()
        return one

    def found_runs(self) -> None:
        """Work out `runs` of ``general``."""
        self.runs: dict[int, tuple[int, r.Rule]] = {}
        self._steps: list[int] = []
        first, behind, part = -1, -1, None
        for at in self.general:
            same = _run_part(self.rules[at])
            if same is not None and same == part and at == behind:
                self.runs[first] = at + 1, same
            else:
                self._steps.append(at)
                first, part = at, same
            behind = at + 1

    def concerning(self, source: int | None, destination: int, marks: tuple[int | None, ...]) -> Sequence[int]:
        """Positions, ascending, of the rules that can take a packet between the two with one of ``marks``.

        No source: rules for one source are left out.
        """
        return self._concerning(self.general, source, destination, marks)

    def steps(self, source: int | None, destination: int, marks: tuple[int | None, ...]) -> Sequence[int]:
        """`concerning`, with the first rule of each of `runs` in place of all of it."""
        return self._concerning(self._steps, source, destination, marks)

    def _concerning(
        self, general: list[int], source: int | None, destination: int, marks: tuple[int | None, ...]
    ) -> Sequence[int]:
        to = self._destinations.get(destination)
        found: Sequence[int] = general
        if to is not None:
            found = to.asking(marks[0]) if len(marks) == 1 else to.all
            if general:
                found = sorted([*general, *found])
        if source in self._sources:
            found = sorted({*found, *self._sources[source]})  # a jump may concern both ends
        return found

    def sources(self) -> Mapping[int, list[int]]:
        """The positions of the rules that are for one source, by source."""
        return self._sources


@derived
def _leaf(chain: r.Chain) -> ChainIndex | None:
    """The index of a chain that no other chain counts for, None for one that jumps to some."""
    return None if any(_targets(chain)) else ChainIndex(chain.rules, iter(()))


@derived
def _last(chain: r.Chain) -> dict[tuple[Scope | None, ...], ChainIndex]:
    """The index of a chain that jumps, by what it was made of, as it was last needed."""
    del chain
    return {}


def chain_index(chain: r.Chain, scope_of: Callable[[str], Scope | None]) -> ChainIndex:
    """The index of one chain; ``scope_of`` a chain's name says which hosts the chain concerns, None for all.

    The same object for the same chain, as long as those that it jumps to concern the same hosts.
    """
    leaf = _leaf(chain)
    if leaf is not None:
        return leaf
    scopes = tuple(map(scope_of, _targets(chain)))
    last = _last(chain)
    if scopes not in last:
        last.clear()
        last[scopes] = ChainIndex(chain.rules, iter(scopes))
    return last[scopes]


def _targets(chain: r.Chain) -> Iterator[str]:
    """The chains that rules without a host jump and go to, in their order."""
    return (
        rule.target.chain
        for rule in chain.rules
        if isinstance(rule.target, r.Jump | r.Goto) and _host(rule.destination) is None and _host(rule.source) is None
    )


def exact_mark(rule: r.Rule) -> int | None:
    """The one mark that ``rule`` asks for, None if it asks for none or for several."""
    for match in rule.matches:
        if isinstance(match, r.MarkMatch) and match.mask == r.ALL_BITS and not match.negated:
            return match.value
    return None


def _run_part(rule: r.Rule) -> r.Rule | None:
    """What the rules of a run have in common; None for a rule that cannot be part of one."""
    if action(rule.target, ()) not in _PLAIN or any(isinstance(match, r.MarkMatch) for match in rule.matches):
        return None
    return end_part(rule)


def _hosts(*several: Iterable[int]) -> Hosts:
    """Those of ``several``; most are the one host of a container, which many chains have."""
    return canonical.shared(frozenset().union(*several))


def _host(match: r.AddressMatch | None) -> int | None:
    """The one host that ``match`` is for."""
    return match.value if match is not None and match.is_host else None
