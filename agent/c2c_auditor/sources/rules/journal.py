"""Keeps what commits did, and who made them, until somebody asks: silk's and others', the newest hundred of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import MOST_CHANGES, MOST_RULES, Author, Done, newest_done
from c2c_auditor.silk.authorship import classified
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.committers import Committers, process_of
from c2c_auditor.sources.rules.deeds import deed_of, difference, told
from c2c_auditor.sources.rules.follower import Turn


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
        seen = process.seen if process.seen is not None else self._clocks.wall()
        self._counts[author.value] += 1
        change = told(deed, seen=seen, author=author, act=act, by=process, generation=commit.generation)
        self._keep(Done(change=change, deed=deed))

    def note_difference(self, before: r.Ruleset, after: r.Ruleset) -> None:
        """Add what is different in the second of two readings. Where nothing is announced, nobody is known."""
        deed = difference(before, after)
        if deed.chains:
            change = told(deed, seen=self._clocks.wall(), author=Author.UNKNOWN)
            self._keep(Done(change=change, deed=deed))

    def _keep(self, done: Done) -> None:
        self._done.append(done)
        self._rules += done.size
        if len(self._done) > 4 * MOST_CHANGES or self._rules > MOST_RULES:
            self._done = newest_done(self._done)
            self._rules = sum(one.size for one in self._done)

    def forget_deeds(self) -> None:
        """What came before may have been undone since, unheard: it proves nothing of what is there."""
        self._done = [evolve(done, deed=None) for done in self._done]

    def counts(self) -> Mapping[str, int]:
        """Commits since the last call, by author."""
        counted, self._counts = dict(self._counts), Counter()
        return counted

    def take(self) -> tuple[Done, ...]:
        """What was done since the last call, the oldest first."""
        taken, self._done, self._rules = newest_done(self._done), [], 0
        return tuple(taken)
