"""When to ask the policy server for what: ``policies_last_updated`` with each audit, the rest only when there is something new to hear.

A thousand cells ask the same two instances. So policies are asked for when the server says that they changed, when this
cell's guids changed, or after ten minutes; security groups no more often than VPA's own poll.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve

from c2c_auditor.model.cell import PolicySet, SecurityGroup

_REFRESH_SECONDS = 600.0


class Server(Protocol):
    """What is asked (`policy_server.PolicyServer`)."""

    def last_updated(self) -> int:
        """When policies changed, in ns."""

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """The policies of some guids."""

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """The security groups of some spaces."""


class PolicyFeed:
    """The policies of one cell, asked for as seldom as may be."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: PolicySet | None = None
        self._updated = 0
        self._guids: frozenset[str] = frozenset()
        self._asked = 0.0

    def read(self, guids: frozenset[str], now: float) -> PolicySet:
        """The policies for ``guids`` at ``now`` (seconds). Raises SourceError.

        The identical object as long as these policies are the same: on a busy platform others' policies change every
        few seconds, and then only the server's clock differs. So ``last_updated`` of the answer is the clock at which
        it was first given.
        """
        updated = self._server.last_updated()
        known = self._known
        if (
            known is not None
            and updated == self._updated
            and guids == self._guids
            and 0 <= now - self._asked < _REFRESH_SECONDS
        ):
            return known
        # The time is taken before the policies: what changes in between is asked for again.
        answer = evolve(self._server.policies(guids), last_updated=updated)
        if known is None or evolve(answer, last_updated=known.last_updated) != known:
            known = answer
        self._known, self._updated, self._guids, self._asked = known, updated, guids, now
        return known


class SecurityGroupFeed:
    """The security groups of one cell's spaces, no more often than every ``interval`` seconds."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: tuple[SecurityGroup, ...] | None = None
        self._spaces: frozenset[str] = frozenset()
        self._asked = 0.0

    def read(self, spaces: frozenset[str], now: float, interval: float) -> tuple[SecurityGroup, ...]:
        """The groups for ``spaces`` at ``now`` (seconds); the identical object when they are equal.

        Raises SourceError.
        """
        if self._known is not None and spaces == self._spaces and 0 <= now - self._asked < interval:
            return self._known
        answer = self._server.security_groups(spaces)
        known = answer if self._known is None or answer != self._known else self._known
        self._known, self._spaces, self._asked = known, spaces, now
        return known
