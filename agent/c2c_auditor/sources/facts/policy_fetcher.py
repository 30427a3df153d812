"""Fetches policies and security groups from the policy server, and keeps the last good ones.

Several memories lie in series between the server and a judgement, each with its own purpose:

- `policy_server.PolicyServer` knows its last answer's text by its digest: when other cells' policies changed, the same
  4 MB come again. `last_answer.LastAnswer` knows each stretch of it: when one policy changed, the others stand there
  again.
- `policy_feed.PolicyFeed` keeps the server's time of last change, so that policies are requested only when it moved.
- `known.Known` keeps the last good value for when the server is away, and the identical object for an equal one.
- `audit.scene.Scene`, held by the cycle, is the last judgement; it stands as long as rules and facts are equal.
- The reachability in it keeps each container's rows, so that one changed rule does not cost the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeGuard

from attrs import evolve, field, frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import PolicySet, SecurityGroup
from c2c_auditor.model.report import Problem
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts.known import Known
from c2c_auditor.sources.facts.policy_feed import PolicyFeed, SecurityGroupFeed, Server

_AWAY = frozenset({Reason.TIMEOUT.value, Reason.UNREACHABLE.value, Reason.TLS.value})


class PolicyClient(Server, Protocol):
    """A connection to the policy server (`policy_server.PolicyServer`)."""

    def close(self) -> None:
        """Close the connections."""


@frozen(kw_only=True)
class PolicyQuery:
    """What is wanted from the policy server: the policies of ``guids`` and the security groups of ``spaces``.

    ``groups_interval`` is VPA's own poll interval for security groups in seconds, None where silk does not sync them.
    """

    client: PolicyClient
    guids: frozenset[str]
    spaces: frozenset[str]
    groups_interval: float | None


@frozen(kw_only=True)
class PolicyKnowledge:
    """What is known from the policy server.

    ``asked_at`` is since when a gathering is under way, in seconds of steady time.
    """

    policies: Known[PolicySet] = field(factory=lambda: Known(name="policy_server"))
    groups: Known[tuple[SecurityGroup, ...]] = field(factory=lambda: Known(name="security_groups"))
    asked_at: float | None = field(default=None, eq=False)

    def failed(self, error: SourceError) -> PolicyKnowledge:
        """After a failure that concerns both."""
        return evolve(self, policies=self.policies.failed(error), groups=self.groups.failed(error))


class PolicySource(Protocol):
    """Where policies come from: a fetcher, or a thread that has one."""

    @property
    def latest(self) -> PolicyKnowledge:
        """What is known now."""

    def read(self, query: PolicyQuery) -> PolicyKnowledge:
        """What is known in answer to ``query``; failures are part of it."""


class PolicyFetcher:
    """Fetches when it is called and waits for the answers."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._latest = PolicyKnowledge()
        self._feeds: tuple[PolicyClient, PolicyFeed, SecurityGroupFeed] | None = None

    @property
    def latest(self) -> PolicyKnowledge:
        """What is known now."""
        return self._latest

    def read(self, query: PolicyQuery) -> PolicyKnowledge:
        """One whole gathering."""
        for _ in self.fetch(query):
            pass
        return self._latest

    def fetch(self, query: PolicyQuery) -> Iterator[PolicyKnowledge]:
        """One gathering in steps: what is known after the policies, and after the security groups."""
        policies, groups = self._connected(query.client)
        steady = self._clocks.steady
        found = self._latest.policies.refreshed(self._clocks, lambda: policies.read(query.guids, steady()))
        self._latest = evolve(self._latest, policies=found)
        yield self._latest
        interval = query.groups_interval
        if interval is not None:
            more = self._latest.groups
            if not _away(found.problem):
                more = more.refreshed(self._clocks, lambda: groups.read(query.spaces, steady(), interval))
            elif groups.due(query.spaces, steady(), interval):
                more = evolve(more, problem=evolve(found.problem, source=more.name))
            self._latest = evolve(self._latest, groups=more)
            yield self._latest

    def _connected(self, client: PolicyClient) -> tuple[PolicyFeed, SecurityGroupFeed]:
        """The feeds of ``client``; another client starts with new ones, and the one before is closed."""
        if self._feeds is None or self._feeds[0] is not client:
            if self._feeds is not None:
                self._feeds[0].close()
            self._feeds = client, PolicyFeed(client), SecurityGroupFeed(client)
        return self._feeds[1:]


def _away(problem: Problem | None) -> TypeGuard[Problem]:
    """Whether nothing else need be requested of the server either."""
    return problem is not None and problem.reason in _AWAY
