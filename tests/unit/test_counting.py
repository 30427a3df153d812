"""Packets by verdict: what rules gained between two readings, whatever becomes of the rules."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.counting import ACCEPTED, REFUSED, PolledCounting, Totals
from support.recordings import recording


def _add(totals: Totals, packets: dict[str, int], unread: tuple[str, ...] = ()) -> Mapping[str, int]:
    """One reading in which rules called ``r…`` refuse; ``unread`` are there and could not be read."""
    found: dict[str, dict[Hashable, int]] = {ACCEPTED: {}, REFUSED: {}}
    for rule, count in packets.items():
        found[REFUSED if rule.startswith("r") else ACCEPTED][rule] = count
    totals.add(found, unread)
    sums = totals.sums()
    assert sums is not None
    return sums


def test_it_begins_with_nothing_and_counts_what_is_gained() -> None:
    """What was counted before the agent started is not the agent's."""
    totals = Totals()
    assert totals.sums() is None
    assert _add(totals, {"a": 1000, "r": 7}) == {ACCEPTED: 0, REFUSED: 0}
    assert _add(totals, {"a": 1010, "r": 9}) == {ACCEPTED: 10, REFUSED: 2}


def test_a_swap_keeps_what_the_old_chain_had_and_adds_what_the_new_one_counted() -> None:
    """All rules are others then; nothing is counted twice, and nothing goes down."""
    totals = Totals()
    _add(totals, {"a1": 1000})
    _add(totals, {"a1": 1500})
    assert _add(totals, {"a2": 30}) == {ACCEPTED: 530, REFUSED: 0}
    assert _add(totals, {"a2": 40}) == {ACCEPTED: 540, REFUSED: 0}


def test_a_rule_that_was_set_to_zero_goes_on_from_there() -> None:
    """As after iptables -Z."""
    totals = Totals()
    _add(totals, {"a": 1000})
    assert _add(totals, {"a": 5}) == {ACCEPTED: 5, REFUSED: 0}


def test_a_rule_that_one_reading_misses_is_not_counted_anew() -> None:
    """A commit during a dump shifts the places by which the kernel goes on."""
    totals = Totals()
    _add(totals, {"a": 1000, "b": 1})
    _add(totals, {"a": 1001}, unread=("b",))
    assert _add(totals, {"a": 1002, "b": 4}) == {ACCEPTED: 5, REFUSED: 0}


@given(st.lists(st.dictionaries(st.sampled_from("abcr"), st.integers(0, 50)), max_size=12))
def test_it_never_goes_down(readings: list[dict[str, int]]) -> None:
    """Whatever is read."""
    totals = Totals()
    last = {ACCEPTED: 0, REFUSED: 0}
    for reading in readings:
        sums = dict(_add(totals, reading))
        assert all(sums[verdict] >= last[verdict] for verdict in last)
        last = sums


def test_of_a_polled_backend_the_readings_counters_are_taken_once_in_a_minute() -> None:
    """ACCEPTs of the policy chain and the containers' REJECTs, of a recorded cell; other rules count for nothing."""
    now = [0.0]
    counting = PolledCounting(Clocks(steady=lambda: now[0]))
    cell = recording("pair")

    def counted(packets: int) -> r.Ruleset:
        chains = {
            name: evolve(chain, packets=(packets,) * len(chain.rules))
            for name, chain in cell.ruleset.chains("filter").items()
        }
        return evolve(cell.ruleset, tables={"filter": r.Table(name="filter", chains=chains)})

    policy = cell.ruleset.chains("filter")[cell.policy_chain].rules
    accepts = sum(rule.target == r.ACCEPT for rule in policy)
    counting.note(counted(10))
    counting.note(counted(11))
    assert counting.sums() == {ACCEPTED: 0, REFUSED: 0}
    now[0] = 60.0
    counting.note(counted(12))
    assert counting.sums() == {ACCEPTED: 2 * accepts, REFUSED: 2 * len(cell.addresses)}
