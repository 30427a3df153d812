"""The mend: what is printed for which finding, what is refused, and that only what was proved is printed."""

from __future__ import annotations

import json
import subprocess

import pytest
from attrs import evolve

from c2c_auditor.audit.mend.edits import Action, Edit, applied, way_back
from c2c_auditor.audit.mend.mend import Mend, Request, mend
from c2c_auditor.audit.mend.rights import parse_named
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.errors import UsageError
from c2c_auditor.export.mend import mend_document, script
from c2c_auditor.export.mend_commands import blocks, fits
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import BadRecord, CellFacts, Names, Policy, Store
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Problem, SourceStatus
from c2c_auditor.netfilter import canonical
from c2c_auditor.silk.chain_names import ContainerChains
from support.mending import mended, scene_of
from support.mutations import with_rules
from support.recordings import CELL_NAMES, Recording, recording

PAIR = recording("pair")
VPA = PAIR.policy_chain
RULES = PAIR.ruleset.chains("filter")[VPA].rules
FORWARD = PAIR.ruleset.chains("filter")["FORWARD"].rules
DESTINATION = "overlay--35bf992d-c9e9-4616-"
DENY = PAIR.ruleset.chains("filter")[DESTINATION].rules[-1]
STRANGE = r.Rule(
    destination=canonical.host(PAIR.addresses[0]),
    protocol=canonical.protocol(r.TCP),
    matches=(canonical.transport(r.TCP, 5, 6),),
    target=r.DROP,
)
COMMAND = ("c2c-auditor", "mend")


def _with(chain: str, *rules: r.Rule, ruleset: r.Ruleset = PAIR.ruleset) -> r.Ruleset:
    return with_rules(ruleset, chain, rules)


def _everything(scene: Scene) -> Mend:
    """What is printed when nothing is named."""
    return mend(scene, Request(findings=scene.judgement.findings))


def _edits(found: Mend) -> list[Edit]:
    return [edit for commands in found.commands for edit in commands.edits]


def _lines(found: Mend) -> list[str]:
    return [line for block in blocks(found, undo=False) for line in block.lines if not line.startswith("#")]


def _refused(found: Mend) -> dict[Kind, str]:
    return {refusal.finding.kind: refusal.reason for refusal in found.refused}


@pytest.mark.parametrize("name", [name for name in CELL_NAMES if name != "article"])
def test_for_a_cell_as_silk_wrote_it_nothing_is_printed(name: str) -> None:
    """Whatever hints there are: what no finding asks for is left alone."""
    assert not mended(scene_of(recording(name))).commands


def test_a_flushed_forward_gets_its_jumps_back_and_then_nothing_more() -> None:
    """The policy chain's first, the others behind it; they close what was open, and mending again finds nothing."""
    scene = scene_of(PAIR, _with("FORWARD"))
    found = _everything(scene)
    assert _lines(found)[1] == f"-I FORWARD 1 -j {VPA}" or _lines(found)[1] == f"-A FORWARD -j {VPA}"
    assert sorted(map(str, found.commands[0].after.chains("filter")["FORWARD"].rules)) == sorted(map(str, FORWARD))
    assert (found.left, found.refused) == ((), ())
    assert found.outcome is not None
    assert not found.outcome.worse
    assert any("closes" in text and "to everybody" in text for text in found.outcome.closes)
    again = _everything(judge_cell(evolve(scene.reading, rulesets=(found.commands[0].after,))))
    assert (again.commands, again.causes) == ((), {})


def test_the_default_deny_comes_behind_the_other_rules_and_before_those_of_others() -> None:
    """Silk's own order decides; a foreign rule at the end stays at the end."""
    rules = PAIR.ruleset.chains("filter")[DESTINATION].rules
    found = _everything(scene_of(PAIR, _with(DESTINATION, *rules[:-1], STRANGE)))
    assert found.commands[0].after.chains("filter")[DESTINATION].rules == (*rules[:-1], DENY, STRANGE)


def test_a_mark_comes_before_the_accept_that_needs_it_whatever_the_order() -> None:
    """Harmless moves stay as they are as long as the mark works; where it would not, silk's order is restored."""
    mark, *accepts = RULES
    for rules in (tuple(accepts), (*accepts[1:], accepts[0])):
        found = _everything(scene_of(PAIR, _with(VPA, *rules)))
        (edit,) = _edits(found)
        assert (edit.action, edit.position, edit.rule) == (Action.INSERT, 1, mark)
        assert not found.left


def test_one_wrong_field_is_one_line() -> None:
    """The rule is replaced where it stands."""
    wrong = evolve(
        RULES[1], matches=canonical.matches_in_order([*RULES[1].matches[:1], canonical.mark(0x4), RULES[1].matches[2]])
    )
    found = _everything(scene_of(PAIR, _with(VPA, RULES[0], wrong, *RULES[2:])))
    (edit,) = _edits(found)
    assert (edit.action, edit.position, edit.before, edit.rule) == (Action.REPLACE, 2, wrong, RULES[1])


def test_one_finding_alone_is_mended_when_only_it_is_asked_for() -> None:
    """The other stays, and is no refusal. What closes an allowed flow as long as the other is there is refused."""
    rules = PAIR.ruleset.chains("filter")[DESTINATION].rules
    scene = scene_of(PAIR, _with(DESTINATION, *rules[:-1], ruleset=_with(VPA, *RULES[1:])))
    by_kind = {finding.kind: finding for finding in scene.judgement.findings}
    found = mend(scene, Request(findings=(by_kind[Kind.MARK_MISSING],)))
    assert [edit.chain for edit in _edits(found)] == [VPA]
    assert ({one.kind for one in found.left}, found.refused) == ({Kind.DEFAULT_DENY_MISSING}, ())
    found = mend(scene, Request(findings=(by_kind[Kind.DEFAULT_DENY_MISSING],)))
    assert not found.commands
    assert "would no longer reach" in _refused(found)[Kind.DEFAULT_DENY_MISSING]
    assert len(_edits(_everything(scene))) == 2


def test_a_rule_of_others_goes_only_by_its_name_and_the_refusal_says_which() -> None:
    """What the text prints as an option is what the option takes."""
    scene = scene_of(PAIR, _with("FORWARD", STRANGE, *FORWARD))
    found = _everything(scene)
    assert not found.commands
    (refusal,) = mend_document(found, undo=False)["refused"]
    named = parse_named(refusal["remove_foreign"])
    again = mend(scene, Request(findings=scene.judgement.findings, foreign=named))
    assert _lines(again) == ["*filter", "-D FORWARD 1", "COMMIT"]
    assert not again.left


def test_a_name_that_no_finding_is_about_and_a_text_that_is_no_rule_are_refused() -> None:
    """Nothing is taken out on the strength of a typing error."""
    scene = scene_of(PAIR, _with("FORWARD", STRANGE, *FORWARD))
    with pytest.raises(UsageError, match="no finding is about such a rule"):
        mend(scene, Request(findings=scene.judgement.findings, foreign=parse_named(f"-A FORWARD -j {VPA}")))
    for text in ("", "FORWARD -p", "-t nat"):
        with pytest.raises(UsageError, match="give chain and rule"):
            parse_named(text)


def test_a_chain_that_is_gone_is_made_again_with_its_jump() -> None:
    """Under the name that the container's chain has."""
    chains = {name: chain for name, chain in PAIR.ruleset.chains("filter").items() if name != DESTINATION}
    gone = evolve(PAIR.ruleset, tables={**PAIR.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    forward = tuple(rule for rule in FORWARD if rule.target != r.Jump(chain=DESTINATION))
    found = _everything(scene_of(PAIR, _with("FORWARD", *forward, ruleset=gone)))
    assert _lines(found)[1] == f":{DESTINATION} - [0:0]"
    assert not found.left


def _without_policy_chain() -> r.Ruleset:
    chains = {name: chain for name, chain in PAIR.ruleset.chains("filter").items() if name != VPA}
    gone = evolve(PAIR.ruleset, tables={**PAIR.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    return _with("FORWARD", *FORWARD[1:], ruleset=gone)


def test_a_lost_policy_chain_is_made_under_the_name_that_silk_would_give_it_now() -> None:
    """So that VPA's next plan finds it older than its own, and takes it away."""
    scene = scene_of(PAIR, _without_policy_chain())
    found = _everything(scene)
    assert _lines(found)[1] == ":vpa--1800000000000000 - [0:0]"
    assert not found.left
    untimed = judge_cell(evolve(scene.reading, time=None))
    assert not _everything(untimed).commands
    assert Kind.POLICY_CHAIN_MISSING in _refused(_everything(untimed))


def _second_chain(*rules: r.Rule) -> r.Ruleset:
    old = "vpa--1795397000000000"
    chains = {**PAIR.ruleset.chains("filter"), old: r.Chain(name=old, rules=rules)}
    added = evolve(PAIR.ruleset, tables={**PAIR.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    return _with("FORWARD", FORWARD[0], r.Rule(target=r.Jump(chain=old)), *FORWARD[1:], ruleset=added)


def test_an_older_policy_chain_goes_with_its_jump_in_one_commit() -> None:
    """It is emptied at once, not rule by rule."""
    found = _everything(scene_of(PAIR, _second_chain(*RULES)))
    lines = _lines(found)
    assert lines == ["*filter", "-D FORWARD 2", "-F vpa--1795397000000000", "-X vpa--1795397000000000", "COMMIT"]


def test_an_older_policy_chain_with_a_rule_of_others_stays_until_that_is_named() -> None:
    """Taking the chain away would take the rule out."""
    scene = scene_of(PAIR, _second_chain(*RULES, STRANGE))
    found = _everything(scene)
    assert not found.commands
    assert {Kind.RULE_UNKNOWN, Kind.POLICY_CHAIN_REPEATED} <= set(_refused(found))
    assert not mended(scene).left


def test_rules_in_the_reverse_of_silks_order_are_written_afresh() -> None:
    """One flush and each rule once is shorter than two lines for each rule."""
    cell = recording("fleet-12-nft")
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    scene = scene_of(cell, with_rules(cell.ruleset, cell.policy_chain, rules[::-1]))
    edits = _edits(_everything(scene))
    assert (edits[0].action, len(edits)) == (Action.EMPTY, len(rules) + 1)


def test_the_container_chains_of_nobody_go_only_when_asked_for() -> None:
    """Whether such a container runs stands nowhere in the rules."""
    name = "overlay--ffffffff-0000-4000-"
    chains = {**PAIR.ruleset.chains("filter"), name: r.Chain(name=name, rules=(DENY,))}
    added = evolve(PAIR.ruleset, tables={**PAIR.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    scene = scene_of(PAIR, _with("FORWARD", *FORWARD, r.Rule(target=r.Jump(chain=name)), ruleset=added))
    assert "ask for this finding" in _refused(_everything(scene))[Kind.CONTAINER_CHAIN_ORPHAN]
    asked = mend(scene, Request(findings=scene.judgement.findings, asked=True))
    assert _lines(asked) == ["*filter", f"-D FORWARD {len(FORWARD) + 1}", f"-F {name}", f"-X {name}", "COMMIT"]


def test_half_a_swap_of_a_container_that_runs_is_left_to_vpa() -> None:
    """No command renames the chain in force; nobody is told to make sure that the container does not run."""
    store = PAIR.facts.store
    assert store is not None
    of = ContainerChains.of(store.containers[0].handle)
    chains = dict(PAIR.ruleset.chains("filter"))
    chains[of.asg_candidate] = evolve(chains.pop(of.asg), name=of.asg_candidate)
    chains[of.netout] = evolve(
        chains[of.netout], rules=(r.Rule(target=r.Jump(chain=of.asg_candidate)), *chains[of.netout].rules[1:])
    )
    tables = {**PAIR.ruleset.tables, "filter": r.Table(name="filter", chains=chains)}
    scene = scene_of(PAIR, evolve(PAIR.ruleset, tables=tables))
    found = mend(scene, Request(findings=scene.judgement.findings, asked=True))
    assert not found.commands
    assert "rename no chain" in _refused(found)[Kind.CONTAINER_CHAIN_ORPHAN]


DAMAGED = _with("FORWARD")


def _blocked(facts: CellFacts = PAIR.facts, *sources: SourceStatus, listings: bool = False) -> str:
    """Why nothing at all is printed for a flushed FORWARD."""
    found = _everything(
        judge_cell(Reading(time=1.8e9, facts=facts, rulesets=(DAMAGED,), sources=sources, listings=listings))
    )
    assert found.blocked is not None
    assert (found.commands, found.causes, bool(found.blocked.remedy)) == ((), {}, True)
    assert "# No commands: " in script(found, COMMAND, undo=False, review=False)
    return found.blocked.reason


def test_old_or_partial_expectations_forbid_every_command() -> None:
    """A source that is away, a listing, a policy that cannot be read, a store that lists too little."""
    problem = Problem(source="policy_server", reason="timeout", where="https", problem="hangs", remedy="look")
    away = SourceStatus(name="policy_server", up=False, problem=problem)
    assert "policy_server: hangs" in _blocked(PAIR.facts, away)
    assert "a listing is no cell" in _blocked(listings=True)
    assert "not everything could be judged" in _blocked(evolve(PAIR.facts, policies=None))
    policies = PAIR.facts.policies
    assert policies is not None
    bad = BadRecord(subject="a to b", where="policies[0]", problem="port 0", guids=("a", "b"))
    assert "port 0" in _blocked(evolve(PAIR.facts, policies=evolve(policies, unreadable=(bad,))))


def test_a_store_that_lost_its_containers_forbids_every_command() -> None:
    """Even for a rule that is wrong by itself."""
    facts = evolve(PAIR.facts, store=Store())
    found = _everything(scene_of(Recording(name="x", facts=facts, ruleset=_with(VPA, *RULES[1:]))))
    assert found.blocked is not None
    assert "lists 0 of 2" in found.blocked.reason


def test_what_concerns_an_address_of_two_containers_waits_and_the_rest_does_not() -> None:
    """Which of the two is meant is not known; the other container's default deny has nothing to do with it."""
    store = PAIR.facts.store
    assert store is not None
    marked = RULES[0].source
    assert marked is not None
    source = next(one for one in store.containers if one.address == marked.host)
    twin = evolve(source, handle="ffffffff-0000-4000-8000-0000")
    containers = tuple(sorted((*store.containers, twin), key=lambda one: one.handle))
    facts = evolve(PAIR.facts, store=evolve(store, containers=containers))
    rules = PAIR.ruleset.chains("filter")["input--35bf992d-c9e9-4616-a1"].rules
    damaged = _with("input--35bf992d-c9e9-4616-a1", *rules[:-1], ruleset=_with(VPA, *RULES[1:]))
    found = _everything(scene_of(Recording(name="x", facts=facts, ruleset=damaged)))
    assert [edit.chain for edit in _edits(found)] == ["input--35bf992d-c9e9-4616-a1"]
    assert {Kind.CONTAINER_CONFLICT, Kind.MARK_MISSING} <= set(_refused(found))


def test_what_concerns_an_app_with_two_tags_waits() -> None:
    """The policy server must say first which of them it has."""
    policies = PAIR.facts.policies
    assert policies is not None
    first, *others = policies.policies
    facts = evolve(PAIR.facts, policies=evolve(policies, policies=(evolve(first, source_tag=9), *others)))
    found = _everything(scene_of(Recording(name="x", facts=facts, ruleset=PAIR.ruleset)))
    assert not found.commands
    assert "must be told apart first" in set(_refused(found).values()).pop() or Kind.TAG_CONFLICT in _refused(found)


def _with_policy(table: str, ruleset: r.Ruleset = PAIR.ruleset) -> r.Ruleset:
    chains = ruleset.chains(table)
    dropped = {**chains, "FORWARD": evolve(chains["FORWARD"], policy="DROP")}
    return evolve(ruleset, tables={**ruleset.tables, table: r.Table(name=table, chains=dropped)})


@pytest.mark.parametrize("table", ["filter", "mangle"])
def test_a_policy_that_others_set_is_refused(table: str) -> None:
    """It is no rule that could be taken out, whatever is named."""
    found = mended(scene_of(PAIR, _with_policy(table)))
    assert not found.commands
    assert {refusal.foreign for refusal in found.refused} == {None}


def test_a_rule_of_others_in_another_table_is_named_with_its_table() -> None:
    """The option that is printed says which."""
    scene = scene_of(PAIR, with_rules(PAIR.ruleset, "FORWARD", (STRANGE,), "mangle"))
    (refusal,) = mend_document(_everything(scene), undo=False)["refused"]
    assert refusal["remove_foreign"].startswith("-t mangle -A FORWARD ")
    named = parse_named(refusal["remove_foreign"])
    again = mend(scene, Request(findings=scene.judgement.findings, foreign=named))
    assert _lines(again) == ["*mangle", "-D FORWARD 1", "COMMIT"]


def test_a_rule_in_the_other_backend_is_not_looked_for_in_this_one() -> None:
    """At the same place stands silk's jump."""
    chains = {"FORWARD": r.Chain(name="FORWARD", policy="ACCEPT", rules=(STRANGE,))}
    beside = r.Ruleset(tables={"filter": r.Table(name="filter", chains=chains)}, backend=r.Backend.LEGACY)
    rulesets = (evolve(PAIR.ruleset, backend=r.Backend.NFT), beside)
    scene = judge_cell(Reading(time=1.8e9, facts=PAIR.facts, rulesets=rulesets))
    assert scene.judgement.findings
    found = mended(scene)
    assert (found.commands, len(found.refused)) == ((), len(scene.judgement.findings))


def test_a_chain_that_two_readers_read_differently_is_left_alone() -> None:
    """What really stands there is not known; another chain's finding is mended all the same."""
    rules = PAIR.ruleset.chains("filter")[DESTINATION].rules
    one = r.Disagreement(table="filter", chain=DESTINATION, position=1, read="", witnessed="-j X", witness="iptables")
    doubted = evolve(_with(DESTINATION, *rules[:-1], ruleset=_with(VPA, *RULES[1:])), disagreements=(one,))
    found = _everything(scene_of(PAIR, doubted))
    assert {edit.chain for edit in _edits(found)} <= {VPA}
    assert "two programs read" in _refused(found)[Kind.DEFAULT_DENY_MISSING]
    assert Kind.READER_DISAGREES in _refused(found)


def test_each_command_has_a_comment_and_the_check_stands_before_it() -> None:
    """A shell takes the text; the commands run only if the check says that they fit."""
    text = script(_everything(scene_of(PAIR, _with(VPA, *RULES[1:]))), COMMAND, undo=False, review=False)
    lines = text.splitlines()
    at = lines.index("*filter")
    assert lines[at + 1].startswith("# 1: puts in")
    assert '"source-app" (acme/dev) at 10.255.1.4 is not marked' in lines[at + 1]
    assert lines[at - 1] == "iptables-restore -w --noflush <<'MEND'"
    assert lines[at - 2].startswith("c2c-auditor mend --fits ")
    assert lines[at - 2].endswith(" &&")
    assert "# Afterwards: clean. No other finding is new, and no other flow is decided otherwise:" in lines
    assert "monit restart vxlan-policy-agent" in text[: text.index("*filter")]
    subprocess.run(("sh", "-n"), input=text, text=True, check=True, timeout=30)


@pytest.mark.parametrize("name", ["x\nMEND\nreboot\n", "'; reboot; '", "$(reboot)", "\x1b[2Jx", "# x"])
def test_no_name_of_an_app_ends_a_comment_or_the_text_between_the_marks(name: str) -> None:
    """Tenants choose names: each stays on its line, in its comment."""
    store = PAIR.facts.store
    assert store is not None
    names = Names(app=name, space="dev", org="acme")
    containers = tuple(evolve(one, names=names) for one in store.containers)
    facts = evolve(PAIR.facts, store=evolve(store, containers=containers))
    found = _everything(scene_of(Recording(name="x", facts=facts, ruleset=_with(VPA, *RULES[1:]))))
    usual = _everything(scene_of(PAIR, _with(VPA, *RULES[1:])))
    assert _commands(found) == _commands(usual)


def _commands(found: Mend) -> list[str]:
    text = script(found, COMMAND, undo=False, review=False)
    return [line for line in text.split("\n") if line and not line.startswith("#")]


def test_a_rule_that_no_line_can_hold_is_refused() -> None:
    """A guid with a line break would be another command."""
    policies = PAIR.facts.policies
    assert policies is not None
    bad = tuple(_renamed(policy) for policy in policies.policies)
    facts = evolve(PAIR.facts, policies=evolve(policies, policies=bad))
    found = _everything(scene_of(Recording(name="x", facts=facts, ruleset=PAIR.ruleset)))
    with pytest.raises(UsageError, match="cannot be written on one line"):
        blocks(found, undo=False)


def _renamed(policy: Policy) -> Policy:
    return evolve(policy, source="a\n-F FORWARD")


def test_the_check_tells_whether_the_chains_are_still_the_same() -> None:
    """Any change in a chain that the commands touch counts; one elsewhere does not."""
    (block,) = blocks(_everything(scene_of(PAIR, _with(VPA, *RULES[1:]))), undo=False)
    assert fits(block.fits, (_with(VPA, *RULES[1:]),))
    assert fits(block.fits, (_with("FORWARD", ruleset=_with(VPA, *RULES[1:])),))
    assert not fits(block.fits, (PAIR.ruleset,))
    assert not fits(block.fits, (_with(VPA, *RULES[:0:-1]),))
    for text in ("", "ipv4/text", "ipv4/text/0123/", "ipv5/text/0/filter:FORWARD"):
        with pytest.raises(UsageError, match="give the text that c2c-auditor mend printed"):
            fits(text, (PAIR.ruleset,))


def test_the_way_back_of_every_kind_of_edit_leads_back() -> None:
    """Chains made, emptied and taken away, rules put in, taken out and replaced."""
    for ruleset in (_with("FORWARD"), _without_policy_chain(), _second_chain(*RULES), _with(VPA, *RULES[1:])):
        for commands in mended(scene_of(PAIR, ruleset)).commands:
            back = applied(commands.after, way_back(commands.ruleset, commands.edits))
            assert back.tables == commands.ruleset.tables


def test_an_edit_that_the_kernel_would_refuse_is_refused() -> None:
    """Else something would be proved that cannot be done."""
    rule = RULES[0]
    for edit in (
        Edit(action=Action.DELETE, table="filter", chain=VPA, position=99, before=rule),
        Edit(action=Action.DELETE, table="filter", chain=VPA, position=2, before=rule),
        Edit(action=Action.INSERT, table="filter", chain=VPA, position=99, rule=rule),
        Edit(action=Action.INSERT, table="filter", chain="nobody", position=1, rule=rule),
        Edit(action=Action.CREATE, table="filter", chain=VPA),
        Edit(action=Action.REMOVE, table="filter", chain=VPA),
        Edit(action=Action.REMOVE, table="filter", chain="OUTPUT"),
        Edit(action=Action.EMPTY, table="filter", chain=VPA),
    ):
        with pytest.raises(ValueError, match="Edit"):
            applied(PAIR.ruleset, (edit,))


def test_as_json_it_says_the_same() -> None:
    """Causes, commands, what they come to, and what is refused."""
    scene = scene_of(PAIR, _with("FORWARD", STRANGE, ruleset=_with(VPA, *RULES[1:])))
    document = json.loads(json.dumps(mend_document(_everything(scene), undo=False)))
    (commands,) = document["commands"]
    assert commands["program"] == "iptables-restore"
    assert commands["text"].startswith("*filter\n# ")
    assert {one["kind"] for one in document["causes"].values()} >= {"mark_missing", "default_deny_missing"}
    assert document["afterwards"]["clean"] is False
    assert [one["kind"] for one in document["refused"]] == ["foreign_rule"]


def _harms(findings: tuple[Finding, ...]) -> list[Kind]:
    return [finding.kind for finding in findings if finding.effect.harms]


def test_with_a_rule_of_others_in_front_the_rest_is_mended_all_the_same() -> None:
    """What it decides is not made worse by what is put back behind it."""
    scene = scene_of(PAIR, _with("FORWARD", STRANGE, *FORWARD[1:]))
    found = _everything(scene)
    assert {edit.rule for edit in _edits(found)} == {FORWARD[0]}
    assert set(_harms(found.left)) == {Kind.FOREIGN_DROP}
