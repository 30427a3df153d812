"""Which rules of a chain can concern traffic between two ends: an index by the hosts and marks that rules name.

A policy chain of 20,000 rules has a few for each destination and mark, and a cell's FORWARD jumps to hundreds of chains
that each concern one container. A question about two ends needs those few, in order, and never looks at the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import chain

from attrs import field, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action, action
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import end_part

Hosts = frozenset[int]
_PLAIN = (Action.ACCEPT, Action.REFUSE, Action.GO_ON)


@frozen(kw_only=True)
class Scope:
    """The hosts whose packets a rule or a chain can take: those from ``sources`` and those to ``destinations``."""

    sources: Hosts = frozenset()
    destinations: Hosts = frozenset()


@frozen
class _Marked:
    """Positions, from 0 and ascending, of rules for one destination.

    ``any`` are rules for packets with any mark, ``exact`` those for one mark, by that mark.
    """

    any: list[int] = field(factory=list)
    exact: dict[int, list[int]] = field(factory=dict)

    def asking(self, mark: int | None) -> list[int]:
        return sorted(self.any + self.exact.get(mark, [])) if mark is not None else self.all

    @cached_property
    def all(self) -> list[int]:
        """Those for any mark and for each; asked for when the chain has been read."""
        return sorted((*self.any, *chain.from_iterable(self.exact.values())))


class Named:
    """One chain's rules by what they name; ``general`` are those that concern all hosts, as positions."""

    def __init__(self, rules: tuple[r.Rule, ...], scope_of: Callable[[str], Scope | None]) -> None:
        """``scope_of`` a chain's name says which hosts the chain concerns, None for all."""
        self.rules = rules
        self.general: list[int] = []
        self.sources: dict[int, list[int]] = {}
        self.destinations: dict[int, _Marked] = {}
        self._further_sources: set[int] = set()
        for at, rule in enumerate(rules):
            to, of = _host(rule.destination), _host(rule.source)
            if to is not None:
                self._destination(to, at, exact_mark(rule))
                if of is not None:
                    self._further_sources.add(of)
            elif of is not None:
                self.sources.setdefault(of, []).append(at)
            else:
                scope = scope_of(rule.target.chain) if isinstance(rule.target, r.Jump | r.Goto) else None
                # A goto ends its chain for all hosts.
                self._jump(at, scope if isinstance(rule.target, r.Jump) else None)
        self.hosts: Hosts = frozenset().union(self.sources, self.destinations, self._further_sources)
        """Every host that a rule of this chain names, or of one that it jumps to for some hosts alone."""

    @classmethod
    def of(cls, chain: r.Chain) -> Named | None:
        """A chain's rules by what they name, None where that depends on other chains: where it jumps to some."""
        if any(isinstance(rule.target, r.Jump | r.Goto) for rule in chain.rules):
            return None
        return cls(chain.rules, lambda _: None)

    def _jump(self, at: int, scope: Scope | None) -> None:
        if scope is None:
            self.general.append(at)
            return
        for source in scope.sources:
            self.sources.setdefault(source, []).append(at)
        for destination in scope.destinations:
            self._destination(destination, at, None)

    def _destination(self, destination: int, at: int, mark: int | None) -> None:
        marked = self.destinations.get(destination)
        if marked is None:
            marked = self.destinations[destination] = _Marked()
        if mark is None:
            marked.any.append(at)
        else:
            marked.exact.setdefault(mark, []).append(at)


_alone = derived(Named.of)


class ChainIndex:
    """The rules of one chain that traffic can meet.

    ``general`` are those that concern all hosts.

    ``runs``: rules of ``general`` that stand next to each other and do the same on every walk (`decided.Run`), by the
    position of the first: the position behind the last, and what they ask of the ends.
    """

    def __init__(self, chain: r.Chain, scope_of: Callable[[str], Scope | None]) -> None:
        """``scope_of``: as of `Named`."""
        self._named = _alone(chain) or Named(chain.rules, scope_of)
        self.rules = chain.rules
        self.general = self._named.general
        self._found_runs()

    @property
    def hosts(self) -> Hosts:
        """`Named.hosts`."""
        return self._named.hosts

    def narrow(self, ends: KnownEnds) -> None:
        """Forget the rules for all hosts that no packet between ``ends`` can meet."""
        general = [at for at in self.general if ends.can_meet(self.rules[at])]
        if len(general) < len(self.general):
            self.general = general
            self._found_runs()

    def _found_runs(self) -> None:
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

    @property
    def scope(self) -> Scope | None:
        """The hosts that the chain concerns, None for all."""
        if self.general:
            return None
        return Scope(sources=frozenset(self._named.sources), destinations=frozenset(self._named.destinations))

    def concerning(self, source: int | None, destination: int, marks: tuple[int | None, ...]) -> list[int]:
        """Positions, ascending, of the rules that can take a packet between the two with one of ``marks``.

        No source: rules for one source are left out.
        """
        return self._concerning(self.general, source, destination, marks)

    def steps(self, source: int | None, destination: int, marks: tuple[int | None, ...]) -> list[int]:
        """`concerning`, with the first rule of each of `runs` in place of all of it."""
        return self._concerning(self._steps, source, destination, marks)

    def _concerning(
        self, general: list[int], source: int | None, destination: int, marks: tuple[int | None, ...]
    ) -> list[int]:
        to = self._named.destinations.get(destination)
        found = general
        if to is not None:
            found = to.asking(marks[0]) if len(marks) == 1 else to.all
            if general:
                found = sorted(general + found)
        if source in self._named.sources:
            found = sorted({*found, *self._named.sources[source]})  # a jump may concern both ends
        return found

    def sources(self) -> Mapping[int, list[int]]:
        """The positions of the rules that are for one source, by source."""
        return self._named.sources

    def destinations(self) -> Iterator[tuple[int, list[int]]]:
        """The positions of the rules that are for one destination, by destination."""
        for destination, marked in self._named.destinations.items():
            yield destination, marked.all


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


def _host(match: r.AddressMatch | None) -> int | None:
    """The one host that ``match`` is for."""
    return match.value if match is not None and match.is_host else None
