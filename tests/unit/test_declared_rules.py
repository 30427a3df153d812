"""Rules of others that an operator declared: accepted with what they decide, listed, and missed when they are gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.cli import cli
from c2c_auditor.config import parse_config
from c2c_auditor.errors import ConfigError
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.placed import parse_placed
from c2c_auditor.sources.declared import DeclaredRuleSettings
from c2c_auditor.sources.recordings.bundle import bundle_files, read_bundle
from c2c_auditor.sources.recordings.redact import redacted
from c2c_auditor.sources.recordings.writing import write_bundle
from support.mutations import with_rules
from support.recordings import CELLS, recording

CELL = recording("fleet-12-nft")
REASON = "the backup job's bridge"
OVERLAY_DROP = "-A FORWARD -s 10.255.0.0/16 -d 10.255.0.0/16 -p tcp -m tcp --dport 8080 -j DROP"
OVERLAY_ACCEPT = "-A FORWARD -s 10.255.0.0/16 -d 10.255.0.0/16 -j ACCEPT"
RAW_DROP = "-t raw -A PREROUTING -d 10.255.0.0/16 -p tcp -m tcp --dport 8080 -j DROP"
OUTWARD_DROP = "-A FORWARD -s 10.255.0.0/16 -d 198.51.100.0/24 -j DROP"
INPUT_DROP = "-A INPUT -s 10.255.0.0/16 -p tcp -m tcp --dport 22 -j DROP"
MASQUERADE = "-t nat -A POSTROUTING -s 10.255.0.0/16 -d 10.255.0.0/16 -j MASQUERADE"


def standing(text: str, ruleset: r.Ruleset = CELL.ruleset) -> r.Ruleset:
    """``ruleset`` with the rule that ``text`` says, in front of its chain."""
    placed = parse_placed(text, r.AddressFamily.IPV4)
    if placed.table not in ruleset.tables:
        hook = r.Chain(name=placed.chain, policy="ACCEPT")
        table = r.Table(name=placed.table, chains={placed.chain: hook})
        ruleset = evolve(ruleset, tables={**ruleset.tables, placed.table: table})
    chains = ruleset.chains(placed.table)
    rules = chains[placed.chain].rules if placed.chain in chains else ()
    changed = {**chains, placed.chain: r.Chain(name=placed.chain)} if placed.chain not in chains else chains
    tables = {**ruleset.tables, placed.table: r.Table(name=placed.table, chains=changed)}
    return with_rules(evolve(ruleset, tables=tables), placed.chain, (placed.rule, *rules), placed.table)


def judged(ruleset: r.Ruleset, *declared: str) -> Judgement:
    """The cell's judgement, with ``declared`` in its configuration."""
    rules = tuple(DeclaredRuleSettings(rule=text, reason=REASON).value() for text in declared)
    return judge(evolve(CELL.facts, declared_rules=rules), ruleset, None)


def new(judgement: Judgement) -> list[Finding]:
    """The findings that the cell does not have by itself."""
    known = {finding.key for finding in judge(CELL.facts, CELL.ruleset, None).findings}
    return [finding for finding in judgement.findings if finding.key not in known]


@pytest.mark.parametrize("text", [OVERLAY_DROP, OVERLAY_ACCEPT, RAW_DROP, OUTWARD_DROP, INPUT_DROP, MASQUERADE])
def test_a_declared_rule_is_accepted_with_what_it_decides_and_listed(text: str) -> None:
    """Undeclared it is an outage or a breach; declared it is no finding, and no flow counts as wrong."""
    ruleset = standing(text)
    assert any(finding.effect.harms for finding in new(judged(ruleset)))
    judgement = judged(ruleset, text)
    assert new(judgement) == []
    assert not judgement.statements
    assert judgement.tally.flows is not None
    wrong = {key: count for key, count in judgement.tally.flows.items() if key[0] is not key[1] and count}
    assert wrong == {}
    assert [note for note in judgement.notes if REASON in note and text.removeprefix("-t ").split(" -A ")[-1] in note]


def test_explain_says_that_it_is_meant_to_be(tmp_path: Path) -> None:
    """Whether the flow passes is the kernel's word, and the reason stands beside it."""
    cell = shutil.copytree(CELLS / "pair", tmp_path / "cell")
    rules = cell / "iptables-save.txt"
    drop = "-A FORWARD -d 10.255.2.7/32 -p tcp -m tcp --dport 8080 -j DROP"
    rules.write_text(rules.read_text().replace("[0:0] -A FORWARD", f"[0:0] {drop}\n[0:0] -A FORWARD", 1))
    (cell / "declared_rules.json").write_text(json.dumps({"declared_rules": [{"rule": drop, "reason": REASON}]}))
    asked = ("explain", "--bundle", str(cell), "source-app", "dest-app", "8080/tcp")
    said = CliRunner().invoke(cli, asked, standalone_mode=False).output
    assert "DOES NOT PASS" in said
    assert REASON in said


@pytest.mark.parametrize("text", [OVERLAY_DROP, OVERLAY_ACCEPT, RAW_DROP])
def test_what_another_rule_does_to_the_same_flows_stays_a_finding(text: str) -> None:
    """A declaration is for one rule, not for what it hides."""
    lost = CELL.ruleset.chains("filter")[CELL.policy_chain].rules
    ruleset = standing(text, with_rules(CELL.ruleset, CELL.policy_chain, lost[:-1]))
    assert Kind.INGRESS_MISSING in {finding.kind for finding in new(judged(ruleset, text))}
    wider = text.replace(" -p tcp -m tcp --dport 8080", "").replace("-j", "-m comment --comment other -j")
    assert any(finding.effect.harms for finding in new(judged(standing(wider, standing(text)), text)))


def test_a_rule_that_is_gone_is_missed() -> None:
    """With the reason, so that its owner is found."""
    (finding,) = new(judged(CELL.ruleset, RAW_DROP))
    assert (finding.kind, finding.effect) == (Kind.DECLARED_RULE_MISSING, Effect.ADVICE)
    assert "PREROUTING of raw lacks a rule" in finding.summary
    assert REASON in finding.summary


def test_another_spelling_is_the_same_rule_and_another_rule_is_not() -> None:
    """Rules are compared as values."""
    spelled = (
        "FORWARD -p tcp --protocol tcp -m tcp --destination-port 8080 --src 10.255.0.0/16 -d 10.255.0.0/16 -j DROP"
    )
    assert new(judged(standing(OVERLAY_DROP), spelled.replace(" --protocol tcp", ""))) == []
    kinds = {finding.kind for finding in new(judged(standing(OVERLAY_DROP), OVERLAY_DROP.replace("8080", "8081")))}
    assert kinds == {Kind.FOREIGN_DROP, Kind.DECLARED_RULE_MISSING}


def test_a_jump_is_accepted_with_all_that_stands_behind_it() -> None:
    """One rule more in that chain, and the jump is a stranger again."""
    jump, behind = "-A FORWARD -j BLOCKED", OVERLAY_DROP.replace("FORWARD", "BLOCKED")
    ruleset = standing(behind, standing(jump))
    assert new(judged(ruleset, jump, behind)) == []
    assert {finding.kind for finding in new(judged(ruleset, jump))} == {Kind.FOREIGN_DROP}
    more = standing(behind.replace("8080", "8082"), ruleset)
    assert {finding.kind for finding in new(judged(more, jump, behind))} == {Kind.FOREIGN_DROP}


def test_an_equal_rule_in_silks_own_chain_is_not_covered() -> None:
    """What decides there is a finding with its effect, although the same rule is declared elsewhere."""
    drop = parse_placed(OVERLAY_DROP, r.AddressFamily.IPV4).rule
    rules = CELL.ruleset.chains("filter")[CELL.policy_chain].rules
    inside = with_rules(standing(OVERLAY_DROP), CELL.policy_chain, (drop, *rules))
    harms = [finding for finding in new(judged(inside, OVERLAY_DROP)) if finding.effect.harms]
    assert Kind.RULE_UNKNOWN in {finding.kind for finding in harms}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"rule": "-A overlay--0123 -j DROP", "reason": "x"}, "silk's own"),
        ({"rule": "-A asg-0123 -j DROP", "reason": "x"}, "silk's own"),
        ({"rule": "-t broute -A FORWARD -j DROP", "reason": "x"}, "no table broute"),
        ({"rule": "iptables -A FORWARD", "reason": "x"}, "is no rule: write it as iptables-save prints it"),
        ({"rule": "-A FORWARD -d fd00::1/128 -j DROP", "reason": "x"}, "is no rule"),
        ({"rule": "-A FORWARD -j DROP", "reason": " "}, "who needs it"),
        ({"rule": "-A FORWARD -j DROP"}, "reason"),
        ({"rule": "-A FORWARD -j DROP", "reason": "x", "table": "raw"}, "table"),
    ],
)
def test_what_cannot_be_declared_is_an_error_that_says_why(entry: dict[str, object], problem: str) -> None:
    """With the key, at the start."""
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps({"declared_rules": [entry]}), where="auditor.json")
    assert problem in str(caught.value)
    assert "declared_rules" in str(caught.value)


def test_rules_of_ip6tables_are_declared_as_such() -> None:
    """They are none of iptables'."""
    given = {"rule": "-A FORWARD -d fd00::1/128 -j DROP", "reason": "x", "ipv6": True}
    (one,) = parse_config(json.dumps({"declared_rules": [given]}), where="auditor.json").declared_rules
    assert one.value().family is r.AddressFamily.IPV6
    facts = evolve(CELL.facts, declared_rules=(one.value(),))
    assert judge(facts, CELL.ruleset, None) == judge(CELL.facts, CELL.ruleset, None)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_bundle_holds_them_and_audits_the_same(tmp_path: Path, *, hidden: bool) -> None:
    """With pseudonyms too, which the declared rules share with those that stand."""
    jump, behind = "-A FORWARD -j SECRET", OVERLAY_DROP.replace("FORWARD", "SECRET")
    declared = tuple(DeclaredRuleSettings(rule=text, reason=REASON).value() for text in (jump, behind, RAW_DROP))
    ruleset = standing(RAW_DROP, standing(behind, standing(jump)))
    reading = Reading(time=1.8e9, facts=evolve(CELL.facts, declared_rules=declared), rulesets=(ruleset,))
    files = bundle_files(reading, {}, ingress_tag=None)
    files = redacted(files) if hidden else files
    assert ("SECRET" in "".join(files.values()), REASON in "".join(files.values())) == (not hidden, not hidden)
    write_bundle(tmp_path / "bundle", files)
    bundle = read_bundle(tmp_path / "bundle")
    assert len(bundle.facts.declared_rules) == 3
    assert [one.rule for one in bundle.facts.declared_rules if one.chain == "PREROUTING"] == [declared[2].rule]
    notes = judge_cell(evolve(reading, facts=bundle.facts)).judgement.notes
    assert sum(note.startswith("Accepted as the configuration declares") for note in notes) == (1 if hidden else 3)
