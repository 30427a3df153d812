"""Policies fetched beside the audits: `read` gives what is known, and waits only once at the start."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from attrs import define, evolve, field

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import PolicySet, SecurityGroup
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts import policy_thread
from c2c_auditor.sources.facts.known import Known
from c2c_auditor.sources.facts.policy_fetcher import PolicyFetcher, PolicyKnowledge, PolicyQuery
from c2c_auditor.sources.facts.policy_schedule import Pace
from c2c_auditor.sources.facts.policy_thread import PolicyThread
from support.waiting import turns

_BOUND = 20.0  # seconds after which a test has failed
_NEVER = 3600.0


@define(eq=False)
class Client:
    """A policy server."""

    updated: int = 1
    closed: bool = False

    def last_updated(self) -> int:
        """Its clock."""
        return self.updated

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """None at all."""
        assert guids
        return PolicySet()

    def security_groups_last_updated(self) -> int | None:
        """A server that does not know."""
        return None

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """One for each space."""
        return tuple(SecurityGroup(guid=space, name=space) for space in sorted(spaces))

    def close(self) -> None:
        """Take note."""
        self.closed = True


@define(eq=False)
class Away(Client):
    """One that gives no policies; ``error`` says why."""

    error: SourceError | None = None
    asked_for_groups: int = 0

    def last_updated(self) -> int:
        """The error."""
        if self.error is not None:
            raise self.error
        return 1

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """The error."""
        if self.error is not None:
            raise self.error
        return super().policies(guids)

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """Counted."""
        self.asked_for_groups += 1
        return super().security_groups(spaces)


CLIENT = Client()
QUERY = PolicyQuery(client=CLIENT, guids=frozenset({"a"}), spaces=frozenset(), groups_interval=None)
OTHER = evolve(QUERY, guids=frozenset({"a", "b"}))


@define
class Scripted:
    """A fetcher that waits until the test lets it go on, and gives what ``answers`` holds."""

    answers: list[Callable[[], PolicyKnowledge]]
    latest: PolicyKnowledge = field(factory=PolicyKnowledge)
    go: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    started: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    queries: list[PolicyQuery] = field(factory=list)

    def fetch(self, query: PolicyQuery) -> Iterator[PolicyKnowledge]:
        """One gathering."""
        self.queries.append(query)
        self.started.release()
        assert self.go.acquire(timeout=_BOUND)
        yield self.answers.pop(0)()


def _knowing(version: int) -> PolicyKnowledge:
    return PolicyKnowledge(policies=Known(name="policy_server", value=PolicySet(last_updated=version), good_at=0.0))


@contextmanager
def _thread(fetcher: Scripted, *, pause: float = _NEVER, first_wait: float = 0.0) -> Iterator[PolicyThread]:
    """The thread while the block lasts; it has ended after it."""
    pace = Pace(rest=pause, least=0.0, start=0.0, first_wait=first_wait, jitter=lambda: 0.0)
    with PolicyThread(fetcher, pace) as thread:
        yield thread
    fetcher.go.release()
    thread.join(_BOUND)
    assert not thread.is_alive()


def _readable(thread: PolicyThread, seconds: float = _BOUND) -> bool:
    return bool(select.select([thread], [], [], seconds)[0])


def test_a_read_does_not_wait_for_a_fetch_that_hangs() -> None:
    """It gives what was known before; what comes later is announced on the descriptor, and read then."""
    fetcher = Scripted([lambda: _knowing(1), lambda: _knowing(2)])
    with _thread(fetcher) as thread:
        assert thread.read(QUERY) == PolicyKnowledge()
        assert fetcher.started.acquire(timeout=_BOUND)
        assert thread.latest.asked_at is not None
        assert not _readable(thread, 0)
        fetcher.go.release()
        assert _readable(thread)
        assert thread.read(QUERY) == _knowing(1)
        assert not _readable(thread, 0)
        assert thread.read(OTHER) == _knowing(1)
        fetcher.go.release()
        assert _readable(thread)
        assert thread.read(OTHER) == thread.latest == _knowing(2)
        assert fetcher.queries == [QUERY, OTHER]


def test_the_first_read_waits_for_the_first_fetch() -> None:
    """So that an agent's first audit is not blind where everything is well."""
    fetcher = Scripted([lambda: _knowing(1)])
    fetcher.go.release()
    with _thread(fetcher, first_wait=_BOUND) as thread:
        assert thread.read(QUERY) == _knowing(1)


def test_what_is_known_already_is_not_announced_again() -> None:
    """A fetch that brings nothing new causes no audit."""
    fetcher = Scripted([lambda: _knowing(1), lambda: _knowing(1), lambda: _knowing(1)])
    with _thread(fetcher, pause=0.0) as thread:
        thread.read(QUERY)
        fetcher.go.release()
        assert _readable(thread)
        thread.read(QUERY)
        fetcher.go.release()
        for _ in range(3):  # the third fetch has begun: the second is over
            assert fetcher.started.acquire(timeout=_BOUND)
        assert not _readable(thread, 0)


def test_policies_are_expected_from_a_swap_until_they_have_been_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first chain is a swap, nor the same one again. A server that is slow is not waited for."""
    monkeypatch.setattr(policy_thread, "_SOON_SECONDS", _NEVER)
    fetcher = Scripted([lambda: _knowing(1), lambda: _knowing(2), lambda: _knowing(3)])
    with _thread(fetcher) as thread:
        thread.expect(1.0)
        assert [thread.expecting] == [False]
        thread.read(QUERY)
        fetcher.go.release()
        assert _readable(thread)
        thread.expect(1.0)
        assert [thread.expecting] == [False]
        thread.expect(2.0)
        assert [thread.expecting] == [True]
        thread.read(QUERY)
        fetcher.go.release()
        assert _readable(thread)
        for _ in turns():  # what is known is announced just before the fetch is over
            if not thread.expecting:
                break
        thread.expect(2.0)
        assert [thread.expecting] == [False]
        thread.expect(3.0)
        for _ in turns():
            if thread.latest.asked_at is not None:
                break
        assert [thread.expecting] == [True]
        monkeypatch.setattr(policy_thread, "_SOON_SECONDS", 0.0)
        assert [thread.expecting] == [False]


def test_a_bug_in_a_fetch_is_a_failed_source_and_the_thread_lives_on() -> None:
    """Policies would grow old unnoticed otherwise."""

    def bug() -> PolicyKnowledge:
        raise KeyError("surprise")

    fetcher = Scripted([bug, lambda: _knowing(1)])
    with _thread(fetcher, pause=0.0) as thread:
        thread.read(QUERY)
        fetcher.go.release()
        assert _readable(thread)
        problem = thread.read(OTHER).policies.problem
        assert problem is not None
        assert (problem.source, problem.reason) == ("policy_server", "failed")
        assert "KeyError: 'surprise'" in problem.problem
        fetcher.go.release()
        assert _readable(thread)
        assert thread.read(OTHER) == _knowing(1)


def test_the_thread_holds_no_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """It parses what comes from the network."""
    dropped = threading.Event()
    monkeypatch.setattr("c2c_auditor.sources.facts.policy_thread.drop_in_thread", dropped.set)
    with _thread(Scripted([])):
        assert dropped.wait(_BOUND)


def test_a_gathering_waits_for_all_and_is_known_step_by_step() -> None:
    """Policies do not wait for security groups; where silk syncs none they are not requested."""
    fetcher = PolicyFetcher(Clocks(wall=lambda: 7.0, steady=lambda: 3.0))
    query = evolve(QUERY, spaces=frozenset({"s"}), groups_interval=60.0)
    first, second = fetcher.fetch(query)
    assert (first.policies.value, first.groups.value) == (PolicySet(last_updated=1), None)
    assert second.groups.value == (SecurityGroup(guid="s", name="s"),)
    assert (second.groups.good_at, second.groups.last_success) == (3.0, 7.0)
    assert len(list(fetcher.fetch(QUERY))) == 1
    assert fetcher.read(query) == fetcher.latest == second


@pytest.mark.parametrize(("reason", "requests"), [(Reason.TIMEOUT, 0), (Reason.UNREACHABLE, 0), (Reason.STATUS, 1)])
def test_a_server_that_is_away_is_not_asked_for_security_groups_too(reason: Reason, requests: int) -> None:
    """They are away with it, once they are due."""
    error = SourceError(source="policy_server", reason=reason, where="x", problem="away", remedy="wait")
    client = Away(error=error)
    fetcher = PolicyFetcher(Clocks())
    query = evolve(QUERY, client=client, spaces=frozenset({"s"}), groups_interval=60.0)
    client.error = None
    known = fetcher.read(query)
    client.error = error
    known = fetcher.read(query)
    assert (known.policies.problem is None, known.groups.problem) == (False, None)  # those were read a moment ago
    known = fetcher.read(evolve(query, spaces=frozenset({"t"})))
    assert known.groups.problem is None if requests else known.groups.problem is not None
    assert client.asked_for_groups == 1 + requests


def test_another_client_starts_anew_and_closes_the_one_before() -> None:
    """After a reload, or when VPA's configuration names another server."""
    fetcher = PolicyFetcher(Clocks())
    old, new = Client(), Client(updated=2)
    fetcher.read(evolve(QUERY, client=old))
    known = fetcher.read(evolve(QUERY, client=new)).policies.value
    assert known is not None
    assert (known.last_updated, old.closed, new.closed) == (2, True, False)
