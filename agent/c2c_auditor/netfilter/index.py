"""Which rules of a chain can concern traffic between two given ends: an index by the hosts and the marks that rules name.

A policy chain of 20,000 rules has a few for each destination and mark, and a cell's FORWARD jumps to hundreds of chains that each concern one container.
Whoever asks about two ends needs those few, in order, and never looks at the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from c2c_auditor.model import rule as r

Hosts = frozenset[int]
_DEEPEST = 64


@frozen(kw_only=True)
class Scope:
    """The hosts whose packets a rule or a chain can take: those from ``sources`` and those to ``destinations``."""

    sources: Hosts = frozenset()
    destinations: Hosts = frozenset()


@frozen
class _Marked:
    """Rules for one destination: ``any`` whatever the mark, ``exact`` by the one mark that they ask for. Positions from 0, ascending."""

    any: list[int] = field(factory=list)
    exact: dict[int, list[int]] = field(factory=dict)

    def asking(self, mark: int | None) -> list[int]:
        return self.any + self.exact.get(mark, []) if mark is not None else self.all()

    def all(self) -> list[int]:
        return [*self.any, *(at for positions in self.exact.values() for at in positions)]


class ChainIndex:
    """One chain's rules by what they name. ``general`` are those that concern everybody."""

    def __init__(self, rules: tuple[r.Rule, ...], scopes: Scopes) -> None:
        self.rules = rules
        self.general: list[int] = []
        self._sources: dict[int, list[int]] = {}
        self._destinations: dict[int, _Marked] = {}
        for at, rule in enumerate(rules):
            self._add(at, rule, scopes.of_rule(rule))

    def _add(self, at: int, rule: r.Rule, scope: Scope | None) -> None:
        if scope is None:
            self.general.append(at)
            return
        for source in scope.sources:
            self._sources.setdefault(source, []).append(at)
        for destination in scope.destinations:
            marked = self._destinations.setdefault(destination, _Marked())
            mark = exact_mark(rule)
            if mark is None:
                marked.any.append(at)
            else:
                marked.exact.setdefault(mark, []).append(at)

    def concerning(self, source: int | None, destination: int, marks: tuple[int | None, ...]) -> list[int]:
        """Positions, ascending, of the rules that can take a packet between the two with one of ``marks``; no source: rules for one source are left out."""
        found = set(self.general)
        if source is not None:
            found.update(self._sources.get(source, ()))
        to = self._destinations.get(destination)
        if to is not None:
            found.update(to.asking(marks[0]) if len(marks) == 1 else to.all())
        return sorted(found)

    def marks_for(self, destination: int) -> Iterator[int]:
        """The marks that rules for ``destination`` alone ask for."""
        to = self._destinations.get(destination)
        yield from to.exact if to is not None else ()

    def hosts(self) -> frozenset[int]:
        """Every host that a rule names."""
        return frozenset(self._sources) | frozenset(self._destinations)

    def sources(self) -> Mapping[int, list[int]]:
        """The positions of the rules that are for one source, by source."""
        return self._sources

    def destinations(self) -> Iterator[tuple[int, list[int]]]:
        """The positions of the rules that are for one destination, by destination."""
        for destination, marked in self._destinations.items():
            yield destination, marked.all()


def exact_mark(rule: r.Rule) -> int | None:
    """The one mark that ``rule`` asks for, None if it asks for none or for several."""
    for match in rule.matches:
        if isinstance(match, r.MarkMatch) and match.mask == r.ALL_BITS and not match.negated:
            return match.value
    return None


class Scopes:
    """Scopes of rules; those of chains that are jumped to without a host are worked out once. None is everybody."""

    def __init__(self, chains: Mapping[str, r.Chain]) -> None:
        self._chains = chains
        self._known: dict[str, Scope | None] = {}

    def of_rule(self, rule: r.Rule, depth: int = 0) -> Scope | None:
        """The hosts that ``rule`` names; of a bare jump, those that its chain's rules name. A goto ends its chain for everybody."""
        to = rule.destination
        if to is not None and to.mask == r.ALL_BITS and not to.negated:
            return Scope(destinations=frozenset((to.value,)))
        of = rule.source
        if of is not None and of.mask == r.ALL_BITS and not of.negated:
            return Scope(sources=frozenset((of.value,)))
        if isinstance(rule.target, r.Jump):
            return self._of_chain(rule.target.chain, depth)
        return None

    def _of_chain(self, name: str, depth: int) -> Scope | None:
        if name in self._known:
            return self._known[name]
        chain = self._chains.get(name)
        if chain is None or depth > _DEEPEST:
            return None
        sources: set[int] = set()
        destinations: set[int] = set()
        scope: Scope | None = None
        for rule in chain.rules:
            part = self.of_rule(rule, depth + 1)
            if part is None:
                break
            sources |= part.sources
            destinations |= part.destinations
        else:
            scope = Scope(sources=frozenset(sources), destinations=frozenset(destinations))
        self._known[name] = scope
        return scope
