"""silk's own programs wrote the recorded cells: the plan equals their rules, and an audit finds nothing."""

from __future__ import annotations

import re

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk.policy import infer_ingress_tag, plan_policy_chain
from support.recordings import CELL_NAMES, recording


@pytest.mark.parametrize("name", CELL_NAMES)
def test_the_plan_is_what_silk_wrote_rule_by_rule_and_in_its_order(name: str) -> None:
    """Equal tuples, not equal sets: order included."""
    cell = recording(name)
    facts = cell.facts
    assert facts.store is not None
    assert facts.policies is not None
    assert facts.config is not None
    planned = plan_policy_chain(facts.store, facts.policies, facts.config, facts.ingress_tag)
    assert tuple(plan.rule for plan in planned) == cell.ruleset.chains("filter")[cell.policy_chain].rules


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_recorded_cell_is_clean(name: str) -> None:
    """Nothing at all is found, hints on ports apart; with enforcement switched off exactly that."""
    cell = recording(name)
    found = {finding.kind for finding in judge(cell.facts, cell.ruleset, None).findings} - {Kind.PORT_NOT_EXPOSED}
    assert found == ({Kind.ENFORCEMENT_DISABLED} if name == "pair-policy-disabled" else set())


@pytest.mark.parametrize("name", [name for name in CELL_NAMES if recording(name).facts.ingress_tag is not None])
def test_the_ingress_tag_is_the_one_that_rules_of_its_shape_share(name: str) -> None:
    """Nothing that only reads can ask for the tag; the rules tell it."""
    cell = recording(name)
    assert infer_ingress_tag(cell.ruleset.chains("filter")[cell.policy_chain].rules) == cell.facts.ingress_tag


@pytest.mark.parametrize("name", CELL_NAMES)
def test_without_vpa_config_its_switches_are_inferred_and_said_to_be(name: str) -> None:
    """Logging and overlay ingress show in the rules themselves."""
    cell = recording(name)
    judgement = judge(evolve(cell.facts, config=None, ingress_tag=None), cell.ruleset, None)
    found = {finding.kind for finding in judgement.findings} - {Kind.PORT_NOT_EXPOSED}
    assert found == ({Kind.ENFORCEMENT_DISABLED} if name == "pair-policy-disabled" else set())
    assert any("inferred" in note for note in judgement.notes)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_single_switches_that_nobody_told_are_inferred_and_said_to_be(name: str) -> None:
    """Where VPA's own file cannot be read, what is known of it counts, and only the rest is inferred."""
    cell = recording(name)
    assert cell.facts.config is not None
    config = evolve(cell.facts.config, c2c_logging=None, overlay_ingress=None)
    judgement = judge(evolve(cell.facts, config=config, ingress_tag=None), cell.ruleset, None)
    found = {finding.kind for finding in judgement.findings} - {Kind.PORT_NOT_EXPOSED}
    assert found == ({Kind.ENFORCEMENT_DISABLED} if name == "pair-policy-disabled" else set())
    assert any("inferred" in note for note in judgement.notes)


def test_both_backends_print_the_same_cell_alike() -> None:
    """`pair` and `pair-nft` differ only in names that were made up per run (handles, host ports, time)."""
    assert _anonymous("pair") == _anonymous("pair-nft")


def _anonymous(name: str) -> dict[str, dict[str, list[str]]]:
    """A cell's rules by table and chain, each made-up name replaced by what it stands for; counters left out."""
    cell = recording(name)
    assert cell.facts.store is not None

    def plain(text: str) -> str:
        text = text.replace(cell.policy_chain, "vpa--TIME")
        for container in cell.facts.store.containers if cell.facts.store else ():
            text = text.replace(container.handle.replace("-", "")[:20], f"<{container.address}>")
            for size in range(len(container.handle), 11, -1):
                text = text.replace(container.handle[:size], f"<{container.address}>")
        return re.sub(r"--dport 6\d{4} (?=-j (DNAT|MARK))", "--dport HOST ", text)

    return {
        table: {
            plain(chain): sorted(plain(render_rule(rule)) for rule in found.rules)
            for chain, found in cell.ruleset.chains(table).items()
        }
        for table in cell.ruleset.tables
    }
