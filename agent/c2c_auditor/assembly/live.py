"""Reads the live cell: facts first, then rules, as one `Reading`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from attrs import evolve

from c2c_auditor.errors import SourceError
from c2c_auditor.model.change import Done
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.reading import FactsReading, Reading
from c2c_auditor.model.report import NetlinkStatus, SourceStatus
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts.known import problem_of

T = TypeVar("T")


class RulesSource(Protocol):
    """Where rules come from."""

    def read(self, families: Sequence[AddressFamily] = (AddressFamily.IPV4,)) -> tuple[Ruleset, ...]:
        """Of each family the backends in use, the main one first; identical objects when nothing changed.

        Raises SourceError.
        """

    def changes(self) -> Mapping[str, int]:
        """Commits seen since the last call, by author (``vpa``, ``cni``, ``foreign``).

        Empty if the backend has none.
        """

    def done(self) -> tuple[Done, ...]:
        """What was done to the rules since the last call, the oldest first."""

    def packets(self) -> Mapping[str, int] | None:
        """Packets by verdict (``accepted``, ``refused``) since the start; None as long as nobody counted."""


class FactsSource(Protocol):
    """Where facts come from; failures are part of the reading, never raised."""

    def read(self) -> FactsReading:
        """What is known now."""


class LiveReader:
    """Reads facts, then rules: an expectation is known before the rules that are held against it."""

    def __init__(
        self,
        rules: RulesSource,
        facts: FactsSource,
        clocks: Clocks | None = None,
        netlink: Callable[[], NetlinkStatus | None] = lambda: None,
    ) -> None:
        """``netlink`` tells how announcements of nf_tables are heard, None where they are not."""
        self._rules = rules
        self._netlink = netlink
        self._facts = facts
        self._clocks = clocks if clocks is not None else Clocks()
        self._status = SourceStatus(name="rules", up=False)

    def read(self) -> Reading:
        """The cell as it is. Rules that cannot be read make a reading without rules, not an error."""
        now = self._clocks.wall()
        facts, facts_seconds = self._timed(self._facts.read)
        rulesets, rules_seconds = self._timed(lambda: self._read_rules(now, ipv6=facts.facts.ipv6))
        return Reading(
            time=now,
            facts=facts.facts,
            rulesets=rulesets,
            sources=(self._status, *facts.sources),
            processes=facts.processes,
            netlink=self._netlink(),
            commits=self._rules.changes() if rulesets else {},
            done=self._rules.done() if rulesets else (),
            packets=self._rules.packets() if rulesets else None,
            seconds={"facts": facts_seconds, "rules": rules_seconds},
        )

    def _timed(self, read: Callable[[], T]) -> tuple[T, float]:
        started = self._clocks.steady()
        value = read()
        return value, self._clocks.steady() - started

    def _read_rules(self, now: float, *, ipv6: bool) -> tuple[Ruleset, ...]:
        """The rules of IPv4, and those of IPv6 where silk writes some: elsewhere nothing is run for them."""
        try:
            rulesets = self._rules.read(tuple(AddressFamily) if ipv6 else (AddressFamily.IPV4,))
        except SourceError as error:
            self._status = evolve(self._status, up=False, problem=problem_of(error))
            return ()
        self._status = SourceStatus(name="rules", up=True, last_success=now)
        return rulesets
