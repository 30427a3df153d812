"""Findings: one difference between what should be and what is, with what it does to traffic."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from attrs import evolve, field, frozen

from c2c_auditor.model.cell import Names
from c2c_auditor.model.change import Change
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.kind import Effect, Kind, worst
from c2c_auditor.model.rule import Rule


class State(str, Enum):
    """Where a finding is in its life."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    RESOLVED = "resolved"


@frozen(kw_only=True)
class App:
    """An app as findings speak of it: guid for machines, names for people."""

    guid: str
    names: Names = field(factory=Names)


@frozen(kw_only=True)
class Place:
    """Where in the tables of ``family``; ``position`` counts from 1, None where a rule should be but is not."""

    table: str
    chain: str
    position: int | None = None
    family: AddressFamily = AddressFamily.IPV4


@frozen(kw_only=True)
class Difference:
    """One field that is not what it should be, both values as people write them."""

    field: str
    expected: str
    found: str


@frozen(kw_only=True)
class Finding:
    """One difference.

    ``effects`` are all that it does to traffic, at least one: an ACCEPT with another app's mark lets that app in, and
    stops the one that should come.

    ``subject`` identifies it from one reading to the next, so it never holds a position or a chain's timestamp unless
    that is the point.

    ``found`` and ``expected`` are the rules in question, either may be absent. ``policy`` names the policy behind an
    expected rule.

    ``cause`` is the name of the `model.cause.Cause` that it shares with others, empty if there is none.
    ``changed_by`` is the commit that took away, changed or added the rule or the chain, where it was heard.

    ``unknown_since`` is set while what should be is not known: when it was last known, in seconds since the epoch.
    """

    kind: Kind
    effects: frozenset[Effect]
    subject: tuple[str, ...]
    summary: str
    remedy: str = ""
    place: Place | None = None
    found: Rule | None = None
    expected: Rule | None = None
    differences: tuple[Difference, ...] = ()
    source: App | None = None
    destination: App | None = None
    addresses: tuple[str, ...] = ()
    handles: tuple[str, ...] = ()
    policy: str = ""
    details: tuple[str, ...] = ()
    cause: str = field(default="", eq=False)
    state: State = field(default=State.PENDING, eq=False)
    first_seen: float = field(default=0.0, eq=False)
    since: float = field(default=0.0, eq=False)
    unknown_since: float | None = field(default=None, eq=False)
    changed_by: Change | None = field(default=None, eq=False)

    @property
    def effect(self) -> Effect:
        """The worst of its effects."""
        return worst(self.effects)

    @property
    def ipv6(self) -> bool:
        """Whether it is about rules of IPv6."""
        return self.place is not None and self.place.family is AddressFamily.IPV6

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for the same finding in two readings."""
        return (self.kind.value, *self.subject)

    def settled(self, state: State, *, first_seen: float, since: float) -> Finding:
        """The finding in ``state``; times in seconds since the epoch."""
        return evolve(self, state=state, first_seen=first_seen, since=since)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """``findings``, worst first: by effect, then by kind and subject."""
    effects = tuple(Effect)
    return tuple(
        sorted(findings, key=lambda finding: (effects.index(finding.effect), finding.kind.value, finding.subject))
    )
