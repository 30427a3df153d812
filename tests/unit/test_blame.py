"""Findings name the commit that caused them: the one that touched the very rule or chain, and no other."""

from __future__ import annotations

import pytest
from attrs import evolve

from c2c_auditor.audit.blame import blamed
from c2c_auditor.audit.judge import judge
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Author, ChainPlace, Change, Deed, Done
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.sources.rules.deeds import difference
from support.mutations import with_rules
from support.recordings import recording
from support.reports import NOW

CELL = recording("pair")
OTHERS = Change(seen=NOW - 5, author=Author.FOREIGN, generation=1)
LATER = Change(seen=NOW - 1, author=Author.FOREIGN, generation=2)


def _findings(ruleset: r.Ruleset) -> tuple[Finding, ...]:
    return judge(CELL.facts, ruleset, NOW).findings


def _done(before: r.Ruleset, after: r.Ruleset, change: Change = OTHERS) -> Done:
    return Done(change=change, deed=difference(before, after))


def _blamed(ruleset: r.Ruleset, *done: Done) -> dict[Finding, Change]:
    return dict(blamed(_findings(ruleset), done))


@pytest.mark.parametrize("table", ["filter", "nat", "mangle"])
def test_whatever_is_taken_out_or_put_in_each_finding_names_the_commit(table: str) -> None:
    """Each rule of each chain in turn: taken out, put in twice, and another in its place."""
    named = 0
    for name, chain in CELL.ruleset.chains(table).items():
        for at, rule in enumerate(chain.rules):
            before, behind = chain.rules[:at], chain.rules[at + 1 :]
            strange = r.Rule(source=rule.source, target=r.DROP)
            for changed in ((*before, *behind), (*before, rule, rule, *behind), (*before, strange, *behind)):
                damaged = with_rules(CELL.ruleset, name, changed, table)
                found = _findings(damaged)
                told = dict(blamed(found, [_done(CELL.ruleset, damaged)]))
                assert set(told) == set(found), (name, at, len(changed))
                named += len(told)
    assert named > 20


def test_a_flush_and_a_chain_that_is_gone_are_named() -> None:
    """With FORWARD go the jumps, with a container's chain its default deny, with the policy chain all policies."""
    flushed = with_rules(CELL.ruleset, "FORWARD", ())
    found = _blamed(flushed, _done(CELL.ruleset, flushed))
    assert {finding.kind for finding in found} >= {Kind.JUMP_MISSING, Kind.DEFAULT_DENY_MISSING}
    assert len(found) == len(_findings(flushed))
    policy_chain = CELL.policy_chain
    overlay = next(name for name in CELL.ruleset.chains("filter") if name.startswith("overlay--"))
    for gone, kind in ((policy_chain, Kind.POLICY_CHAIN_MISSING), (overlay, Kind.DEFAULT_DENY_MISSING)):
        chains = {name: chain for name, chain in flushed.chains("filter").items() if name != gone}
        without = evolve(flushed, tables={**flushed.tables, "filter": r.Table(name="filter", chains=chains)})
        blamed = _blamed(without, _done(flushed, without, LATER), _done(CELL.ruleset, flushed))
        assert LATER in [change for finding, change in blamed.items() if finding.kind is kind]


def test_a_policy_that_somebody_set_is_named() -> None:
    """-P FORWARD DROP of another table is no rule, and still a change."""
    chains = dict(CELL.ruleset.chains("mangle"))
    chains["FORWARD"] = evolve(chains["FORWARD"], policy="DROP")
    dropped = evolve(CELL.ruleset, tables={**CELL.ruleset.tables, "mangle": r.Table(name="mangle", chains=chains)})
    (change,) = (
        change
        for finding, change in _blamed(dropped, _done(CELL.ruleset, dropped)).items()
        if finding.kind is Kind.FOREIGN_DROP
    )
    assert change is OTHERS


def _without_mark() -> r.Ruleset:
    return with_rules(CELL.ruleset, CELL.policy_chain, CELL.ruleset.chains("filter")[CELL.policy_chain].rules[1:])


def test_of_two_that_touched_the_rule_the_last_one_is_named() -> None:
    """Taken out, put back, taken out again."""
    gone = _without_mark()
    done = (_done(CELL.ruleset, gone), _done(gone, CELL.ruleset), _done(CELL.ruleset, gone, LATER))
    assert set(_blamed(gone, *done).values()) == {LATER}


def test_nothing_is_guessed() -> None:
    """Another chain, a rule that was put back, a commit of which not all is known, and no commit at all name nobody."""
    gone = _without_mark()
    elsewhere = with_rules(CELL.ruleset, "INPUT", ())
    place = ChainPlace(r.AddressFamily.IPV4, "filter", CELL.policy_chain)
    it = _done(CELL.ruleset, gone)
    assert not _blamed(gone)
    assert not _blamed(gone, _done(CELL.ruleset, elsewhere))
    assert not _blamed(gone, it, _done(gone, CELL.ruleset, LATER))
    assert not _blamed(gone, it, Done(change=LATER, deed=None))
    assert not _blamed(gone, it, Done(change=LATER, deed=Deed(doubtful=frozenset({place}))))
    assert not _blamed(gone, Done(change=OTHERS, deed=Deed(chains=frozenset({place}))))
    both = Deed(
        chains=frozenset({place}),
        added={place: CELL.ruleset.chains("filter")[CELL.policy_chain].rules},
        removed={place: CELL.ruleset.chains("filter")[CELL.policy_chain].rules},
    )
    assert not _blamed(gone, Done(change=OTHERS, deed=both))
