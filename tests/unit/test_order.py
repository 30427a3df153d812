"""Rules of the policy chain that are all there: which order works, and which rule is named where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

import pytest

from c2c_auditor.audit.comparison.compare import compare
from c2c_auditor.audit.comparison.entry import Entries
from c2c_auditor.audit.comparison.order import Misplaced, misplaced
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy, VpaConfig
from c2c_auditor.model.rule import PortRange
from c2c_auditor.silk.policy import Planned, Purpose, accept_rule, log_rule, mark_rule

FRONT, BACK = (
    Container(handle=app, address=IPv4Address(address), app=app)
    for app, address in (("front", "10.255.0.1"), ("back", "10.255.0.2"))
)
PORTS = PortRange(first=8080, last=8080)
# Each of the two apps may reach the other: front has tag 1, back has tag 2.
TO_BACK, TO_FRONT = (
    Policy(source=source, source_tag=tag, destination=destination, destination_tag=3 - tag, protocol="tcp", ports=PORTS)
    for source, tag, destination in (("front", 1, "back"), ("back", 2, "front"))
)
PLAN = {
    "mark front": Planned(rule=mark_rule(FRONT, 1), purpose=Purpose.MARK, container=FRONT),
    "mark back": Planned(rule=mark_rule(BACK, 2), purpose=Purpose.MARK, container=BACK),
    "log back": Planned(rule=log_rule(BACK, TO_BACK, VpaConfig()), purpose=Purpose.LOG, container=BACK, policy=TO_BACK),
    "accept back": Planned(rule=accept_rule(BACK, TO_BACK), purpose=Purpose.ACCEPT, container=BACK, policy=TO_BACK),
    "log front": Planned(
        rule=log_rule(FRONT, TO_FRONT, VpaConfig()), purpose=Purpose.LOG, container=FRONT, policy=TO_FRONT
    ),
    "accept front": Planned(
        rule=accept_rule(FRONT, TO_FRONT), purpose=Purpose.ACCEPT, container=FRONT, policy=TO_FRONT
    ),
}
NAMES = {plan.rule: name for name, plan in PLAN.items()}
IN_ORDER = tuple(PLAN)


def _misplaced(*chains: Sequence[str]) -> tuple[Misplaced, ...]:
    """The plan's rules standing in ``chains``, each given as the names of its rules from the top."""
    entries = Entries.of(
        *(
            r.Chain(name=f"vpa--{number}", rules=tuple(PLAN[name].rule for name in chain))
            for number, chain in enumerate(chains)
        )
    )
    return misplaced(compare(tuple(PLAN.values()), entries, lambda _, __: True).matched)


def _moved(order: Sequence[str], rule: str, before: str) -> list[str]:
    """``order`` with one rule taken out and put before another."""
    rest = [name for name in order if name != rule]
    at = rest.index(before)
    return [*rest[:at], rule, *rest[at:]]


def _named(found: Sequence[Misplaced]) -> list[tuple[str, str, str]]:
    return [
        (NAMES[one.moved.planned.rule], NAMES[one.late.planned.rule], NAMES[one.early.planned.rule]) for one in found
    ]


@pytest.mark.parametrize(
    "order",
    [
        IN_ORDER,
        ("mark back", "mark front", "log back", "accept back", "log front", "accept front"),
        ("mark front", "mark back", "log front", "accept front", "log back", "accept back"),
        ("mark front", "log back", "accept back", "mark back", "log front", "accept front"),
        ("mark front", "mark back", "log front", "log back", "accept front", "accept back"),
    ],
)
def test_orders_by_which_the_same_packets_pass_are_no_finding(order: tuple[str, ...]) -> None:
    """Marks among each other, policies among each other, a mark behind an ACCEPT that asks for another."""
    assert _misplaced(order) == ()


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (_moved(IN_ORDER, "accept back", "mark front"), [("accept back", "mark front", "accept back")]),
        (_moved(IN_ORDER, "mark front", "log front"), [("mark front", "mark front", "accept back")]),
        (_moved(IN_ORDER, "accept front", "log front"), [("accept front", "log front", "accept front")]),
    ],
)
def test_the_rule_that_was_moved_is_named_with_the_one_that_it_hurts(
    order: list[str], found: list[tuple[str, str, str]]
) -> None:
    """An ACCEPT before its source's MARK, a MARK behind its ACCEPT, an ACCEPT before its LOG."""
    assert _named(_misplaced(order)) == found


def test_one_mark_behind_many_accepts_is_one_finding() -> None:
    """The rule that was moved is named once, not once for each rule that it passed."""
    order = [*[name for name in IN_ORDER if name != "mark front"], "mark front"]
    assert _named(_misplaced(order)) == [("mark front", "mark front", "accept back")]


def test_a_packet_meets_two_chains_one_after_the_other() -> None:
    """While silk swaps chains, a mark in the second comes behind an ACCEPT in the first at any position."""
    rest = [name for name in IN_ORDER if name != "mark front"]
    assert _misplaced(["mark front"], rest) == ()
    assert _named(_misplaced(rest, ["mark front"])) == [("mark front", "mark front", "accept back")]
