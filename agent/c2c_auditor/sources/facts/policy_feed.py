"""Decides when to request what from the policy server: its time of last change often, the rest when that has moved.

A thousand cells share the same two instances. So policies are fetched when the server says that they changed, when this
cell's guids changed, or after ten minutes; security groups likewise, and no more often than VPA's own poll.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve

from c2c_auditor.model.cell import PolicySet, SecurityGroup

_REFRESH_SECONDS = 600.0
_WITHOUT_SERVER_TIME_SECONDS = 3600.0


class Server(Protocol):
    """The requests that a feed makes (`policy_server.PolicyServer`)."""

    def last_updated(self) -> int:
        """When policies changed, in ns."""

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """The policies of some guids."""

    def security_groups_last_updated(self) -> int | None:
        """When security groups changed, in ns; None from a server without this endpoint."""

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """The security groups of some spaces."""


class PolicyFeed:
    """The policies of one cell, requested only when they may have changed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: PolicySet | None = None
        self._server_time = 0
        self._guids: frozenset[str] = frozenset()
        self._checked_at = 0.0

    def read(self, guids: frozenset[str], now: float) -> PolicySet:
        """The policies for ``guids`` at ``now`` (seconds). Raises SourceError.

        The identical object as long as these policies are the same: on a busy platform others' policies change every
        few seconds, and then only the server's time differs. So ``last_updated`` of the answer is the time at which
        it was first given.
        """
        known = self._known
        recent = known is not None and 0 <= now - self._checked_at < _REFRESH_SECONDS
        # For other guids the policies are requested in any case, and the time of before will do: at worst it leads to
        # one more request later.
        updated = self._server_time if recent and guids != self._guids else self._server.last_updated()
        if known is not None and recent and updated == self._server_time and guids == self._guids:
            return known
        # The time is read before the policies: a change in between leads to another request.
        answer = evolve(self._server.policies(guids), last_updated=updated)
        if known is None or evolve(answer, last_updated=known.last_updated) != known:
            known = answer
        self._known, self._server_time, self._guids, self._checked_at = known, updated, guids, now
        return known


class SecurityGroupFeed:
    """The security groups of one cell's spaces, no more often than every ``interval`` seconds.

    As VPA does (silk-release PR 156): where the server says when groups last changed, they are fetched only when that
    moved or the spaces changed; and every ten minutes, like policies.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: tuple[SecurityGroup, ...] | None = None
        self._spaces: frozenset[str] = frozenset()
        self._server_time: int | None = None
        self._checked_at = self._fetched_at = 0.0
        self._without_server_time_since: float | None = None

    def due(self, spaces: frozenset[str], now: float, interval: float) -> bool:
        """Whether a reading at ``now`` takes a request."""
        return self._known is None or spaces != self._spaces or not 0 <= now - self._checked_at < interval

    def read(self, spaces: frozenset[str], now: float, interval: float) -> tuple[SecurityGroup, ...]:
        """The groups for ``spaces`` at ``now`` (seconds); the identical object when they are equal.

        Raises SourceError.
        """
        if self._known is not None and not self.due(spaces, now, interval):
            return self._known
        same = self._known if spaces == self._spaces else None
        # The time is read before the groups: a change in between leads to another request.
        recent = self._known is not None and 0 <= now - self._checked_at < interval
        updated = self._server_time if recent else self._read_server_time(now)
        unchanged = (
            updated is not None and updated == self._server_time and 0 <= now - self._fetched_at < _REFRESH_SECONDS
        )
        if same is None or not unchanged:
            answer = self._server.security_groups(spaces)
            self._known = answer if self._known is None or answer != self._known else self._known
            self._fetched_at = now
        self._spaces, self._server_time, self._checked_at = spaces, updated, now
        return self._known or ()

    def _read_server_time(self, now: float) -> int | None:
        """The server's time of the last change, None if it has no such endpoint.

        After None the endpoint is tried again only after an hour, when the server may have been updated.
        """
        since = self._without_server_time_since
        if since is not None and 0 <= now - since < _WITHOUT_SERVER_TIME_SECONDS:
            return None
        updated = self._server.security_groups_last_updated()
        self._without_server_time_since = now if updated is None else None
        return updated
