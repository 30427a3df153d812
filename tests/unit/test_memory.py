"""Memory follows what a cell holds, not what it has held: containers come and go for months."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.reporting import report_at_once
from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.collector import Collector
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.rule import CommentMatch, Rule
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.cached import cached, trim_caches
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk.policy import Planned
from c2c_auditor.silk.remembered import forget_unused, remembered
from c2c_auditor.silk.shapes import ChainPlan
from support.big_cell import big_cell
from support.mutations import with_rules
from support.recordings import SMALL_CELLS, recording


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What the collector finds is put here, and kept. It finds nothing by itself meanwhile."""
    threshold = gc.get_threshold()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.set_threshold(*threshold)
        gc.enable()


def test_what_is_planned_is_worked_out_once_and_forgotten_with_the_container() -> None:
    """An audit that does not ask for it any longer is the first of two; after the second it is gone."""
    worked_out: list[str] = []

    @remembered
    def plan(container: str, *, garden: bool) -> tuple[str, bool]:
        worked_out.append(container)
        return container, garden

    for present in ("ab", "ab", "b", "b", "ab"):
        for container in present:
            assert plan(container, garden=True) == (container, True)
        forget_unused()
    assert worked_out == ["a", "b", "a"]
    assert plan("b", garden=False) == ("b", False)


def test_a_process_that_never_forgets_is_bounded_all_the_same() -> None:
    """Commands and tests have no audits after which to forget."""
    held: list[int] = []

    @remembered
    def plan(_: int) -> Value:
        return Value()

    class Value:
        def __init__(self) -> None:
            held.append(1)

        def __del__(self) -> None:
            held.pop()

    for number in range(20_000):
        plan(number)
    assert len(held) <= 2 * 4096 + 2


def test_what_is_held_follows_the_cell() -> None:
    """Cells with other containers, apps and marks, one after the other: what stays does not become more."""
    held = [_held_after(seed) for seed in range(12)]
    assert max(held[6:]) < 1.5 * held[1]


def _held_after(seed: int) -> int:
    cell = big_cell(containers=10, rules=100, seed=seed)
    ruleset = parse_save(cell.save, where="generated", parser=RuleParser())
    assert judge(cell.facts, ruleset, None).unmet == frozenset()
    forget_unused()
    del cell, ruleset
    gc.collect()
    return sum(1 for value in gc.get_objects() if isinstance(value, Rule | CommentMatch | ChainPlan | Planned))


def test_equal_values_are_one_as_long_as_something_holds_them() -> None:
    """Rules of the reading and of the plan are the same objects."""
    one = canonical.shared(Rule(matches=(CommentMatch(text="src:here"),)))
    assert canonical.shared(Rule(matches=(CommentMatch(text="src:here"),))) is one


def test_what_nothing_holds_any_longer_is_forgotten() -> None:
    """And what is still held stays the first of its equals."""
    held = [canonical.shared(CommentMatch(text=f"held {number}")) for number in range(1000)]
    for number in range(1000):
        canonical.shared(CommentMatch(text=f"dropped {number}"))
    canonical.forget_unheld()
    texts = {one.text for one in gc.get_objects() if isinstance(one, CommentMatch)}
    assert not {text for text in texts if text.startswith("dropped")}
    assert all(canonical.shared(CommentMatch(text=f"held {number}")) is one for number, one in enumerate(held))


def test_a_witness_of_rules_that_are_held_leaves_nothing_behind() -> None:
    """Its rules are those very objects; one that differs is its own, and neither is remembered."""
    text = "-d 10.255.1.5/32 -p tcp -m tcp --dport 8080 -m mark --mark 0x1 -j ACCEPT"
    held = RuleParser().rule(text)
    witness = RuleParser(given={held: held})
    assert witness.rule(text) is held
    assert witness.rule(text.replace("8080", "8081")) == RuleParser().rule(text.replace("8080", "8081"))
    assert witness.rule("") == Rule()
    assert len(witness) == len(RuleParser())


def test_what_is_known_of_single_values_follows_the_cell() -> None:
    """Of ten containers one goes and one comes, a thousand times: what a few audits need is held, and used again."""
    held: list[int] = []
    worked_out: list[int] = []

    class Value:
        def __init__(self) -> None:
            held.append(1)

        def __del__(self) -> None:
            held.pop()

    @cached
    def value(container: int) -> Value:
        worked_out.append(container)
        return Value()

    most = 0
    for first in range(1000):
        for container in range(first, first + 10):
            value(container)
        trim_caches()
        most = max(most, len(held))
    assert most < 100
    assert len(worked_out) < 1.3 * 1010


@pytest.mark.parametrize("name", SMALL_CELLS)
@pytest.mark.parametrize("emptied", [None, "FORWARD", "policies"])
def test_an_audit_leaves_nothing_for_the_collector(garbage: list[object], name: str, emptied: str | None) -> None:
    """Findings with an effect on traffic too: what an audit no longer needs is free at once."""
    cell = recording(name)
    ruleset = cell.ruleset
    if emptied is not None:
        ruleset = with_rules(ruleset, cell.policy_chain if emptied == "policies" else emptied, ())
    report = report_at_once(judge_cell(Reading(time=1795400000.0, facts=cell.facts, rulesets=(ruleset,))))
    assert report.findings or emptied is None
    del report, ruleset, cell
    gc.collect()
    assert not {type(one).__qualname__ for one in garbage if type(one).__module__.startswith("c2c_auditor")}


def test_cycles_are_collected_once_a_minute_and_not_in_audits(garbage: list[object]) -> None:
    """A library's errors are such; what the first audit left is not looked at, whatever becomes of it."""

    class Error:
        def __init__(self) -> None:
            self.frame = self

    def found() -> int:
        return sum(isinstance(one, Error) for one in garbage)

    collector = Collector()
    Error()
    collector.rest(100.0)
    for _ in range(1000):
        Error()
    collector.rest(159.0)
    assert found() == 0
    collector.rest(160.0)
    assert found() == 1000
    Error()
    collector.rest(219.0)
    assert found() == 1000
    collector.rest(220.0)
    assert found() == 1001
