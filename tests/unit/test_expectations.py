"""When the policy server is queried: often for its time, seldom for the rest, never with a stale answer."""

from __future__ import annotations

from collections import Counter

import pytest
from attrs import define, field

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import Policy, PolicySet, SecurityGroup
from c2c_auditor.model.rule import PortRange
from c2c_auditor.sources.facts.policy_feed import PolicyFeed, SecurityGroupFeed

ONE = Policy(
    source="a", source_tag=1, destination="b", destination_tag=2, protocol="tcp", ports=PortRange(first=1, last=1)
)
TWO = Policy(
    source="a", source_tag=1, destination="c", destination_tag=3, protocol="tcp", ports=PortRange(first=1, last=1)
)
GUIDS = frozenset({"a", "b"})


@define
class Scripted:
    """A server with given answers, which counts its requests."""

    updated: int = 1
    known: tuple[Policy, ...] = (ONE,)
    groups: tuple[SecurityGroup, ...] = ()
    groups_updated: int | None = None
    broken: bool = False
    requests: Counter[str] = field(factory=Counter)

    def last_updated(self) -> int:
        """Its clock."""
        self.requests["last_updated"] += 1
        return self.updated

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """A new object each time, as after a new parse."""
        self._ask(f"policies {len(guids)}")
        return PolicySet(policies=tuple(self.known))

    def security_groups_last_updated(self) -> int | None:
        """None, as an older server's 404."""
        self.requests["groups_last_updated"] += 1
        return self.groups_updated

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """A new tuple each time."""
        self._ask(f"groups {len(spaces)}")
        return (*self.groups,)

    def _ask(self, what: str) -> None:
        self.requests[what] += 1
        if self.broken:
            raise SourceError(source="policy_server", reason=Reason.STATUS, where="x", problem="500", remedy="wait")


def test_policies_are_asked_for_once_while_the_servers_clock_stands_still() -> None:
    """The identical object tells everybody above that there is nothing to judge anew."""
    server = Scripted()
    feed = PolicyFeed(server)
    first = feed.read(GUIDS, 0.0)
    assert all(feed.read(GUIDS, now) is first for now in (5.0, 10.0, 599.0))
    assert first == PolicySet(policies=(ONE,), last_updated=1)
    assert server.requests == {"last_updated": 4, "policies 2": 1}


def test_a_moved_clock_means_asking_again() -> None:
    """Also one that moved backwards: a restored database is another truth."""
    server = Scripted(updated=5)
    feed = PolicyFeed(server)
    feed.read(GUIDS, 0.0)
    server.updated, server.known = 4, (ONE, TWO)
    assert feed.read(GUIDS, 1.0) == PolicySet(policies=(ONE, TWO), last_updated=4)


def test_other_guids_mean_asking_again() -> None:
    """A container came, whose policies were not requested yet. The clock need not be read for that, only after it."""
    server = Scripted()
    feed = PolicyFeed(server)
    feed.read(GUIDS, 0.0)
    server.updated = 2
    feed.read(GUIDS | {"c"}, 1.0)
    assert server.requests == {"last_updated": 1, "policies 2": 1, "policies 3": 1}
    feed.read(GUIDS | {"c"}, 2.0)
    assert server.requests == {"last_updated": 2, "policies 2": 1, "policies 3": 2}


@pytest.mark.parametrize("now", [600.0, -3600.0])
def test_after_ten_minutes_everything_is_asked_for(now: float) -> None:
    """A change that the clock did not show is seen then; so it is after our own clock was set back."""
    server = Scripted()
    feed = PolicyFeed(server)
    feed.read(GUIDS, 0.0)
    server.known = ()
    assert feed.read(GUIDS, now).policies == ()


def test_others_changes_leave_this_cells_answer_the_identical_object() -> None:
    """On a busy platform the clock moves every few seconds, mostly for policies of other cells.

    Each clock is followed up once.
    """
    server = Scripted()
    feed = PolicyFeed(server)
    first = feed.read(GUIDS, 0.0)
    server.updated = 2
    assert feed.read(GUIDS, 1.0) is first
    assert feed.read(GUIDS, 2.0) is first
    assert server.requests["policies 2"] == 2


def test_a_failed_answer_is_asked_for_again() -> None:
    """Silk notes the clock before it acts and so forgets; here it counts only with its policies."""
    server = Scripted()
    feed = PolicyFeed(server)
    feed.read(GUIDS, 0.0)
    server.updated, server.known, server.broken = 2, (TWO,), True
    with pytest.raises(SourceError):
        feed.read(GUIDS, 1.0)
    server.broken = False
    assert feed.read(GUIDS, 2.0).policies == (TWO,)


def test_security_groups_are_asked_for_no_more_often_than_vpa_does() -> None:
    """And stay the identical object while they are equal."""
    server = Scripted(groups=(SecurityGroup(guid="g", name="n"),))
    feed = SecurityGroupFeed(server)
    spaces = frozenset({"s"})
    first = feed.read(spaces, 0.0, 60.0)
    assert feed.read(spaces, 59.0, 60.0) is first
    assert server.requests["groups 1"] == 1
    assert feed.read(spaces, 60.0, 60.0) is first
    assert server.requests["groups 1"] == 2
    server.groups = ()
    assert feed.read(spaces, 120.0, 60.0) == ()


def test_another_space_means_asking_for_security_groups_at_once() -> None:
    """Its groups are not known yet."""
    server = Scripted()
    feed = SecurityGroupFeed(server)
    feed.read(frozenset({"s"}), 0.0, 60.0)
    feed.read(frozenset({"s", "t"}), 1.0, 60.0)
    assert server.requests == {"groups_last_updated": 1, "groups 1": 1, "groups 2": 1}


def test_security_groups_are_fetched_only_when_the_servers_clock_moved() -> None:
    """Or the spaces changed, or ten minutes went by."""
    server = Scripted(groups=(SecurityGroup(guid="g", name="n"),), groups_updated=1)
    feed = SecurityGroupFeed(server)
    spaces = frozenset({"s"})
    first = feed.read(spaces, 0.0, 60.0)
    assert all(feed.read(spaces, now, 60.0) is first for now in (60.0, 119.0, 120.0, 599.0))
    assert (server.requests["groups 1"], server.requests["groups_last_updated"]) == (1, 4)
    assert feed.read(spaces, 660.0, 60.0) is first
    assert server.requests["groups 1"] == 2
    server.groups, server.groups_updated = (), 2
    assert feed.read(spaces, 720.0, 60.0) == ()
    assert feed.read(spaces, 721.0, 60.0) == ()
    assert server.requests["groups 1"] == 3
    feed.read(frozenset({"s", "t"}), 722.0, 60.0)
    assert server.requests["groups 2"] == 1


def test_a_change_while_groups_are_fetched_is_not_missed() -> None:
    """The clock counts that was read before them; one that goes back counts as moved."""
    server = Scripted(groups_updated=5)
    feed = SecurityGroupFeed(server)
    for number, updated in enumerate((5, 6, 4)):
        server.groups_updated = updated
        feed.read(frozenset({"s"}), 60.0 * number, 60.0)
    assert server.requests["groups 1"] == 3


def test_a_failed_fetch_is_tried_again_with_the_next_reading() -> None:
    """Although the clock has been read by then."""
    server = Scripted(groups_updated=1)
    feed = SecurityGroupFeed(server)
    spaces = frozenset({"s"})
    feed.read(spaces, 0.0, 60.0)
    server.broken, server.groups_updated, server.groups = True, 2, (SecurityGroup(guid="g", name="n"),)
    with pytest.raises(SourceError):
        feed.read(spaces, 60.0, 60.0)
    server.broken = False
    assert feed.read(spaces, 61.0, 60.0) == server.groups


def test_a_server_without_that_clock_is_asked_for_it_once_an_hour() -> None:
    """It may be a newer one by then; until it is, groups are fetched at VPA's pace."""
    server = Scripted()
    feed = SecurityGroupFeed(server)
    for minute in range(60):
        feed.read(frozenset({"s"}), 60.0 * minute, 60.0)
    assert (server.requests["groups_last_updated"], server.requests["groups 1"]) == (1, 60)
    server.groups_updated = 1
    for minute in range(60, 65):
        feed.read(frozenset({"s"}), 60.0 * minute, 60.0)
    assert server.requests["groups 1"] == 61
