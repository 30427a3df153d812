"""Keeps a replica of nf_tables at the newest generation: everything listed once, then what each commit announces.

Tables and chains are dumped at one generation. Each chain's rules are dumped by themselves, for commits in between
shift the places by which the kernel goes on with a dump. What is announced meanwhile is applied, and only the chains
that it touched are dumped again: so it ends, however much is committed to others. Generations are numbered without
gaps. Where one is missing, or announcements were lost because more came than the socket holds, all is listed again.
"""

from __future__ import annotations

import itertools
import select
import time
from collections import deque
from collections.abc import Collection, Sequence

from attrs import frozen

from c2c_auditor.errors import NotUnderstood, Reason, SourceError
from c2c_auditor.sources.rules.ahead import Ahead
from c2c_auditor.sources.rules.applied import Applied, ChainKey
from c2c_auditor.sources.rules.command import MOST_RULES
from c2c_auditor.sources.rules.heard import Announced
from c2c_auditor.sources.rules.netlink import Commit, Netlink
from c2c_auditor.sources.rules.replica import Replica

_LISTINGS = 4
# Tables and chains take some ms: nobody commits so often that there is no such moment in so many tries.
_TRIES = 200
_ROUNDS = 50
_LATE = 5.0
"""Seconds that the announcement of a commit in force may take."""
_HALF, _WHOLE = 1 << 31, 1 << 32
_MOST_HEARD = 200_000
"""Messages that are kept while chains are dumped; the rest waits in the socket."""
_LISTENING = 16
"""After so many chains, or a large one, what is announced meanwhile is taken out of the socket: some 0.5 ms."""
_LARGE = 200
"""More rules than that are received by a thread of their own."""


class _Lost(Exception):  # noqa: N818 - no error: everything is listed again
    """Something was not announced, or not heard."""


@frozen
class Turn:
    """A commit that was applied, and what it did."""

    commit: Commit
    applied: Applied


class Follower:
    """Keeps ``replica``. ``listings`` counts how often all was listed; ``turns`` are the commits applied since then."""

    def __init__(self, netlink: Netlink, replica: Replica) -> None:
        self._requests = netlink.requests
        self._announcements = netlink.announcements
        self._replica = replica
        self._heard = replica.hearing()
        self._batch: list[Announced] = []
        self.generation: int | None = None
        self.listings = 0
        self.turns: deque[Turn] = deque(maxlen=_MOST_HEARD)

    def catch_up(self) -> None:
        """Bring the replica to the generation in force, or a later one. Raises SourceError."""
        for _ in range(_LISTINGS):
            try:
                if self.generation is None:
                    self._list()
                self._follow(self._requests.generation())
                self._refill()
            except _Lost:
                self.generation = None
            except NotUnderstood as error:
                self.generation = None
                raise _failed(Reason.MALFORMED, f"rules that no kernel gives: {error}"[:300]) from error
            except SourceError:
                raise
            except BaseException:  # given up: what was just taken out of the socket may be lost
                self.generation = None
                raise
            else:
                return
        raise _failed(Reason.INCONSISTENT, f"announcements were lost during each of {_LISTINGS} listings")

    def _list(self) -> None:
        for _ in self._announcements.read():
            pass
        self._heard.take()
        self._batch.clear()
        self.listings += 1
        for _ in range(_TRIES):
            before = self._requests.generation()
            tables = list(self._requests.tables())
            chains = list(self._requests.chains())
            if self._requests.generation() == before:
                self._replica.fill(tables, chains)
                self.generation = before
                return
        raise _failed(Reason.INCONSISTENT, f"the chains changed during each of {_TRIES} listings")

    def _listen(self, most: int | None = _MOST_HEARD) -> None:
        """Take what was announced out of the socket."""
        if most is None or self._heard.messages < most:
            self._heard.extend(self._announcements.read(), whole=bool(self._replica.stale))

    def _follow(self, until: int, suspect: Collection[ChainKey] = ()) -> set[ChainKey]:
        """Apply all commits up to ``until``; which chains they touched. Raises _Lost.

        Of a ``suspect`` chain the rules may be those before or after a commit: what is announced of it is not applied.
        """
        deadline = time.monotonic() + _LATE
        touched: set[ChainKey] = set()
        self._replica.stale.update(suspect)
        while True:
            self._listen(most=None)
            for announced in self._heard.take():
                if announced is None:
                    raise _Lost
                if isinstance(announced, Commit):
                    touched |= self._finish(announced)
                else:
                    self._batch.append(announced)
            if not _after(until, self._known()):
                return touched
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._announcements], [], [], left)[0]:
                raise _Lost

    def _known(self) -> int:
        if self.generation is None:
            raise _Lost
        return self.generation

    def _finish(self, commit: Commit) -> set[ChainKey]:
        """The end of a commit: apply it, unless it was in force when everything was listed."""
        messages, self._batch = self._batch, []
        known = self._known()
        if not _after(commit.generation, known):
            return set()
        if commit.generation != _next(known):
            raise _Lost
        applied = self._replica.apply(messages)
        self.generation = commit.generation
        self.turns.append(Turn(commit, applied))
        return applied.touched

    def _refill(self) -> None:
        """Dump the stale chains, and again those that were touched meanwhile."""
        for _ in range(_ROUNDS):
            filled = sorted(self._replica.stale)
            if not filled:
                return
            self._fill(filled)
            if self._replica.size() > MOST_RULES:
                self.generation = None
                raise _failed(Reason.TOO_LARGE, f"there are more than {MOST_RULES} rules", "find out who adds rules")
            touched = self._follow(self._requests.generation(), filled)
            self._replica.stale.difference_update(set(filled) - touched)
        raise _failed(Reason.INCONSISTENT, f"the same chains changed during each of {_ROUNDS} readings")

    def _fill(self, keys: Sequence[ChainKey]) -> None:
        chains = [(key, self._replica.tables[key[0]].chains[key[1]].message) for key in keys]
        large = [(key, chain) for key, chain in chains if chain.uses > _LARGE]
        from_iterable = itertools.chain.from_iterable
        with Ahead([(*table, chain.name) for (table, _), chain in large]) as ahead:
            for number, (key, chain) in enumerate(chains):
                if chain.uses <= _LARGE:
                    self._replica.fill_chain(key, from_iterable(self._requests.rules_together(*key[0], chain.name)))
                if number % _LISTENING == 0:
                    self._listen()
            for key, _ in large:
                self._replica.fill_chain(key, ahead.next_rules())
                self._listen()


def _next(generation: int) -> int:
    return (generation + 1) % _WHOLE or 1


def _after(generation: int, other: int) -> bool:
    """Whether a generation is newer; the numbers begin again behind the largest."""
    return 0 < (generation - other) % _WHOLE < _HALF


def _failed(
    reason: Reason, problem: str, remedy: str = "somebody rewrites them all the time: see commits with `nft monitor`"
) -> SourceError:
    return SourceError(source="rules", reason=reason, where="netlink nf_tables", problem=problem, remedy=remedy)
