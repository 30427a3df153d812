"""When to request what from the policy server: its clock with each fetch, the rest only when there may be news.

A thousand cells share the same two instances. So policies are requested when the server's clock moved, when this cell's
guids changed, or after ten minutes; security groups no more often than VPA polls them.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve

from c2c_auditor.model.cell import PolicySet, SecurityGroup

_REFRESH_SECONDS = 600.0


class Server(Protocol):
    """The policy server (`policy_server.PolicyServer`)."""

    def last_updated(self) -> int:
        """When policies changed, in ns."""

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """The policies of some guids."""

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """The security groups of some spaces."""


class PolicyFeed:
    """The policies of one cell, requested as seldom as possible."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: PolicySet | None = None
        self._updated = 0
        self._guids: frozenset[str] = frozenset()
        self._requested = 0.0

    def read(self, guids: frozenset[str], now: float) -> PolicySet:
        """The policies for ``guids`` at ``now`` (steady seconds). Raises SourceError.

        The identical object as long as these policies are the same: on a busy platform the policies of other cells
        change every few seconds, and then only the server's clock differs. So ``last_updated`` of the answer is the
        clock at which these policies were first seen.
        """
        updated = self._server.last_updated()
        known = self._known
        if (
            known is not None
            and updated == self._updated
            and guids == self._guids
            and 0 <= now - self._requested < _REFRESH_SECONDS
        ):
            return known
        # The clock is read before the policies: what changes in between moves it, and is requested again.
        answer = evolve(self._server.policies(guids), last_updated=updated)
        if known is None or evolve(answer, last_updated=known.last_updated) != known:
            known = answer
        self._known, self._updated, self._guids, self._requested = known, updated, guids, now
        return known


class SecurityGroupFeed:
    """The security groups of one cell's spaces, no more often than every ``interval`` seconds."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: tuple[SecurityGroup, ...] | None = None
        self._spaces: frozenset[str] = frozenset()
        self._requested = 0.0

    def read(self, spaces: frozenset[str], now: float, interval: float) -> tuple[SecurityGroup, ...]:
        """The groups for ``spaces`` at ``now`` (steady seconds); the identical object when they are equal.

        Raises SourceError.
        """
        if self._known is not None and spaces == self._spaces and 0 <= now - self._requested < interval:
            return self._known
        answer = self._server.security_groups(spaces)
        known = answer if self._known is None or answer != self._known else self._known
        self._known, self._spaces, self._requested = known, spaces, now
        return known
