"""Keeps what commits did, and who made them, until somebody asks: silk's and others', the newest hundred of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import MOST_CHANGES, Author, Deed, Done, newest
from c2c_auditor.silk.authorship import classified
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.committers import Committers, process_of
from c2c_auditor.sources.rules.deeds import deed_of, difference, told
from c2c_auditor.sources.rules.follower import Turn

# In all deeds that nobody has asked for yet: a dozen swaps of the largest policy chain.
_MOST_RULES = 300_000


class Journal:
    """`take` gives what was noted since the last call."""

    def __init__(self, committers: Committers | None = None, clocks: Clocks | None = None) -> None:
        """``committers`` looks at processes at once; without it that is tried when a commit is noted."""
        self._committers = committers
        self._clocks = clocks if clocks is not None else Clocks()
        self._counts: Counter[str] = Counter()
        self._done: list[Done] = []
        self._rules = 0

    def note(self, turn: Turn) -> None:
        """Add a commit."""
        deed, commit = deed_of(turn.applied), turn.commit
        process = self._committers.of(commit) if self._committers is not None else None
        if process is None:
            process = process_of(commit)
        author, act = classified(commit.name, process.parent, deed)
        self._counts[author.value] += 1
        change = told(deed, seen=self._clocks.wall(), author=author, act=act, by=process, generation=commit.generation)
        self._keep(Done(change=change, deed=deed))

    def note_difference(self, before: r.Ruleset, after: r.Ruleset) -> None:
        """Add what is different in the second of two readings. Where nothing is announced, nobody is known."""
        deed = difference(before, after)
        if deed.chains:
            change = told(deed, seen=self._clocks.wall(), author=Author.UNKNOWN)
            self._keep(Done(change=change, deed=deed))

    def _keep(self, done: Done) -> None:
        self._rules += _size(done.deed)
        if self._rules > _MOST_RULES:
            self.forget_deeds()
            self._rules = _size(done.deed)
        self._done.append(done)
        if len(self._done) > 4 * MOST_CHANGES:
            self._done = newest(self._done, _done_by)

    def forget_deeds(self) -> None:
        """What came before may have been undone since, unheard: it proves nothing of what is there."""
        self._done = [evolve(done, deed=None) for done in self._done]

    def counts(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""
        counted, self._counts = dict(self._counts), Counter()
        return counted

    def take(self) -> tuple[Done, ...]:
        """What was done since the last call, the oldest first."""
        taken, self._done, self._rules = newest(self._done, _done_by), [], 0
        return tuple(taken)


def _size(deed: Deed | None) -> int:
    return sum(len(rules) for of in (deed.added, deed.removed) for rules in of.values()) if deed is not None else 0


def _done_by(done: Done) -> Author:
    return done.change.author
