"""Works out the mark that a container's packets have when they reach the rules that match marks.

Silk writes MARK rules first, one per source, and ACCEPT rules behind them. So a source's packets can be taken to start
with their mark, and all sources with the same mark be judged at once. Where something stands in between, that is not
so, and such a source is walked by itself.
"""

from __future__ import annotations

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action
from c2c_auditor.netfilter.paths import Paths
from c2c_auditor.netfilter.way import Way

# Where a rule stands: the number of its stage, its position there, in the chain that is jumped to there, and so on.
_Place = tuple[int, ...]
_DEEPEST = 8
# Chains that are jumped to again and again are read again and again; a large cell has 20,000 rules.
_MOST_RULES = 400_000
_NEVER: _Place = (1 << 60,)
_PLAIN = (Action.ACCEPT, Action.REFUSE, Action.GO_ON)


class FirstMarks:
    """What stands before what in the rules of ``way``.

    ``own`` are the sources with rules of their own that do more than mark.
    """

    def __init__(self, way: Way, *, out: str) -> None:
        """The traffic leaves by interfaces whose names begin with ``out``: rules for others do not count."""
        self.own: set[int] = set()
        self._out = out
        self._marks: dict[int, list[tuple[_Place, int]]] = {}
        self._first_match: dict[int, _Place] = {}
        self._barrier: _Place | None = None
        self._left = _MOST_RULES
        for number, part in enumerate(way.parts):
            self._read(part.paths, part.paths.start, (number,))
        self._marked = {source: _settled(marks) for source, marks in self._marks.items()}
        self._last = max((place for place, _ in self._marked.values()), default=())

    def usual(self, source: int) -> int | None:
        """The mark that ``source`` can be taken to start with, wherever that comes early enough.

        None if it has to be walked by itself.
        """
        if source in self.own:
            return None
        return self._marked[source][1] if source in self._marked else 0

    def of(self, source: int, destination: int) -> int | None:
        """The mark that ``source`` can be taken to start with on its way to ``destination``.

        None if it has to be walked by itself.
        """
        usual = self.usual(source)
        if not usual or source not in self._marked:
            return usual
        return usual if self._marked[source][0] < self._limit(destination) else None

    def too_late(self, destination: int) -> bool:
        """Whether there is a source whose mark comes too late for ``destination``."""
        return self._last >= self._limit(destination)

    def _limit(self, destination: int) -> _Place:
        return min(limit for limit in (self._barrier, self._first_match.get(destination), _NEVER) if limit is not None)

    def _read(self, paths: Paths, chain: str, before: _Place) -> None:
        index = paths.index(chain)
        self._left -= len(index.rules) + 1
        jumps = {*index.jumps}
        for at in index.general:
            if _bare_jump(index.rules[at]) and paths.action(index.rules[at]) is Action.JUMP:
                jumps.add(at)
            elif not _neutral(index.rules[at], paths):
                self._bar((*before, at))
        for source, positions in index.sources().items():
            for at in positions:
                self._source(source, index.rules[at], (*before, at))
        for destination, at in index.first_named.items():
            place = (*before, at)
            self._first_match[destination] = min(place, self._first_match.get(destination, place))
        for at in sorted(jumps):
            self._enter(paths, index.rules[at], (*before, at))

    def _source(self, source: int, rule: r.Rule, place: _Place) -> None:
        """A rule for one source; a bare jump to such rules has none itself."""
        if _marks(rule) and isinstance(rule.target, r.SetMark):
            self._marks.setdefault(source, []).append((place, rule.target.value))
        elif rule.source is not None and not self._vanishes(rule):
            self.own.add(source)

    def _enter(self, paths: Paths, rule: r.Rule, place: _Place) -> None:
        """A jump without a host. With other conditions its chain is met by some packets only."""
        if not isinstance(rule.target, r.Jump):
            return
        if _bare_jump(rule) and len(place) <= _DEEPEST and self._left > 0:
            self._read(paths, rule.target.chain, place)
        else:
            self._bar(place)
            self.own.update(paths.index(rule.target.chain).sources())

    def _bar(self, place: _Place) -> None:
        self._barrier = place if self._barrier is None else min(place, self._barrier)

    def _vanishes(self, rule: r.Rule) -> bool:
        out = rule.out_interface
        return out is not None and not out.negated and not out.name.endswith("+") and not out.name.startswith(self._out)


def _settled(marks: list[tuple[_Place, int]]) -> tuple[_Place, int]:
    """The mark that a source ends with, and the place from which on no rule gives it another one.

    While silk replaces the policy chain, two of them are in force, and each source is marked twice alike.
    """
    *earlier, (place, last) = sorted(marks)
    for before, mark in reversed(earlier):
        if mark != last:
            break
        place = before
    return place, last


def _neutral(rule: r.Rule, paths: Paths) -> bool:
    """Whether marked and unmarked packets are alike to ``rule``, and those that it leaves meet the rules behind it."""
    return paths.action(rule) in _PLAIN and not any(isinstance(match, r.MarkMatch) for match in rule.matches)


def _bare_jump(rule: r.Rule) -> bool:
    return isinstance(rule.target, r.Jump) and rule == r.Rule(target=rule.target)


def _marks(rule: r.Rule) -> bool:
    """A rule that gives one source its mark, whatever the packet."""
    plain = r.Rule(
        source=rule.source,
        matches=tuple(match for match in rule.matches if isinstance(match, r.CommentMatch)),
        target=rule.target,
    )
    return isinstance(rule.target, r.SetMark) and rule.target.mask == r.ALL_BITS and rule == plain
