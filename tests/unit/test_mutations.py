"""Promise: any difference is found.

Each rule of each policy chain is damaged in every way; a finding names it, and none names another rule.
"""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.audit.judge import judge
from c2c_auditor.model import rule as r
from c2c_auditor.model.cni import HostService
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter import canonical
from support.mutations import Mutation, moves, mutations, with_rules
from support.recordings import SMALL_CELLS, Recording, recording


def _new(cell: Recording, ruleset: r.Ruleset) -> list[Finding]:
    """What an audit finds that it did not find before."""
    known = {finding.key for finding in judge(cell.facts, cell.ruleset, None).findings}
    return [finding for finding in judge(cell.facts, ruleset, None).findings if finding.key not in known]


def _assert_named(cell: Recording, mutation: Mutation) -> None:
    found = _new(cell, mutation.ruleset)
    named = {rule for finding in found for rule in (finding.found, finding.expected) if rule is not None}
    assert named & mutation.touched, f"{cell.name}: {mutation.what} was not found"
    assert named <= mutation.touched, f"{cell.name}: {mutation.what} was blamed on an untouched rule"


@pytest.mark.parametrize("name", SMALL_CELLS)
def test_every_damage_to_every_rule_of_a_small_cell_is_found_and_named(name: str) -> None:
    """Exhaustive: deletion, duplication and each field, for each rule."""
    cell = recording(name)
    chain = cell.policy_chain
    for index in range(len(cell.ruleset.chains("filter")[chain].rules)):
        for mutation in mutations(cell.ruleset, chain, index, cell.addresses):
            _assert_named(cell, mutation)


@pytest.mark.parametrize("name", SMALL_CELLS)
def test_every_move_that_matters_is_found_and_named(name: str) -> None:
    """A MARK behind the ACCEPT that needs it, and the other way round; a LOG behind its ACCEPT."""
    cell = recording(name)
    for mutation in moves(cell.ruleset, cell.policy_chain):
        _assert_named(cell, mutation)
        assert {finding.kind for finding in _new(cell, mutation.ruleset)} == {Kind.RULE_MISPLACED}


@pytest.mark.parametrize("name", ["fleet-12-nft", "fleet-40"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damage_to_large_cells_is_found_and_named(name: str, data: st.DataObject) -> None:
    """Sampled: the fleet cells hold logging, ranges, udp, several instances and overlay ingress at once."""
    cell = recording(name)
    chain = cell.policy_chain
    index = data.draw(st.integers(0, len(cell.ruleset.chains("filter")[chain].rules) - 1))
    _assert_named(cell, data.draw(st.sampled_from(list(mutations(cell.ruleset, chain, index, cell.addresses)))))
    _assert_named(cell, data.draw(st.sampled_from(list(moves(cell.ruleset, chain)))))


@pytest.mark.parametrize("name", SMALL_CELLS)
def test_every_damage_to_every_other_rule_of_a_small_cell_is_found_and_named(name: str) -> None:
    """All chains of all tables, all jumps: some 1,100 to 2,600 damages per cell.

    A mapped port that is gone is named by its number on the cell.
    """
    cell = recording(name)
    known = {finding.key for finding in judge(cell.facts, cell.ruleset, None).findings}
    for table in cell.ruleset.tables:
        for chain, found in cell.ruleset.chains(table).items():
            for index in range(len(found.rules) if chain != cell.policy_chain else 0):
                for mutation in mutations(cell.ruleset, chain, index, cell.addresses, table=table):
                    new = [
                        finding
                        for finding in judge(cell.facts, mutation.ruleset, None).findings
                        if finding.key not in known
                    ]
                    named = {rule for finding in new for rule in (finding.found, finding.expected) if rule is not None}
                    port = _host_port(found.rules[index])
                    by_number = port is not None and any(
                        f"port {port} of the cell" in finding.summary for finding in new
                    )
                    assert named & mutation.touched or by_number, f"{table} {chain} rule {index + 1}: {mutation.what}"


@pytest.mark.parametrize("name", ["fleet-12-nft", "fleet-40"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damage_to_any_chain_of_a_large_cell_is_found(name: str, data: st.DataObject) -> None:
    """Sampled over all tables and chains."""
    cell = recording(name)
    table = data.draw(st.sampled_from(sorted(cell.ruleset.tables)))
    chain = data.draw(
        st.sampled_from(
            [one for one, found in cell.ruleset.chains(table).items() if found.rules and one != cell.policy_chain]
        )
    )
    index = data.draw(st.integers(0, len(cell.ruleset.chains(table)[chain].rules) - 1))
    mutation = data.draw(st.sampled_from(list(mutations(cell.ruleset, chain, index, cell.addresses, table=table))))
    assert _new(cell, mutation.ruleset), f"{table} {chain} rule {index + 1}: {mutation.what}"


def test_configured_host_services_decide_where_containers_cannot() -> None:
    """Both containers lost the same rule: only who knows what should be there can say so."""
    cell = recording("pair")
    services = tuple(
        HostService(address=IPv4Address("169.254.0.2"), protocol=protocol, port=port)
        for protocol, port in (("tcp", 53), ("udp", 53), ("tcp", 9001))
    )
    ruleset = cell.ruleset
    for chain in [name for name in cell.ruleset.chains("filter") if name.startswith("input--")]:
        rules = ruleset.chains("filter")[chain].rules
        ruleset = with_rules(ruleset, chain, (rules[0], *rules[2:]))
    assert not judge(cell.facts, ruleset, None).findings
    judgement = judge(evolve(cell.facts, host_services=services), ruleset, None)
    assert [one.kind for one in judgement.findings] == [Kind.CONTAINER_RULE_MISSING] * 2
    assert not judge(evolve(cell.facts, host_services=services), cell.ruleset, None).findings


def _host_port(rule: r.Rule) -> int | None:
    """The cell's port that a translation maps."""
    ports = [
        match.destination.first
        for match in rule.matches
        if isinstance(match, r.TransportMatch) and match.destination is not None
    ]
    return ports[0] if isinstance(rule.target, r.Dnat) and ports else None


def _container_moves(cell: Recording) -> list[tuple[str, tuple[r.Rule, ...], r.Rule]]:
    """The last rule of each container's chain moved to its front: it refuses, so everything behind it is dead."""
    return [
        (name, (chain.rules[-1], *chain.rules[:-1]), chain.rules[-1])
        for name, chain in cell.ruleset.chains("filter").items()
        if name.startswith(("overlay--", "asg-", "input--")) and len(chain.rules) > 1
    ]


@pytest.mark.parametrize("name", SMALL_CELLS)
def test_a_refusal_moved_to_the_front_of_a_containers_chain_is_found_and_named(name: str) -> None:
    """Nothing is missing and nothing is added, and yet nothing passes."""
    cell = recording(name)
    for chain, rules, moved in _container_moves(cell):
        found = _new(cell, with_rules(cell.ruleset, chain, rules))
        assert moved in {finding.found for finding in found}, chain
        assert {finding.effect for finding in found} <= {Effect.OUTAGE, Effect.ADVICE}, chain


def _does(rule: r.Rule) -> str:
    """What a rule does to a packet: lets it on, stops it, or neither."""
    if isinstance(rule.target, r.Log):
        return "log"
    return "refuse" if isinstance(rule.target, r.Reject) or rule.target == r.DROP else "allow"


def _family(rule: r.Rule) -> str:
    return rule.target.chain.partition("--")[0] if isinstance(rule.target, r.Jump) else ""


def _harmless(chain: str, passed: tuple[r.Rule, ...], moved: r.Rule) -> bool:
    """The moves of docs/findings.md that no packet notices."""
    if chain in ("INPUT", "PREROUTING", "POSTROUTING") or chain.startswith("netin--"):
        return True  # jumps, translations and marks of different containers and ports: no packet meets two of them
    if chain == "FORWARD":
        families = {"vpa", "overlay"}  # a container's default deny before the policies is the one order that counts
        return not any({_family(moved), _family(rule)} == families for rule in passed)
    return all(_does(rule) == _does(moved) for rule in passed)


@pytest.mark.parametrize("name", [name for name in SMALL_CELLS if name != "pair-policy-disabled"])
def test_every_move_in_every_other_chain_is_found_or_harmless(name: str) -> None:
    """Each rule is moved to each place of its chain, in all tables.

    A move that no packet notices is no finding; any other finding names a rule that was moved or passed.
    """
    cell = recording(name)
    known = {finding.key for finding in judge(cell.facts, cell.ruleset, None).findings}
    for table in cell.ruleset.tables:
        for chain, found in cell.ruleset.chains(table).items():
            for start in range(len(found.rules) if chain != cell.policy_chain else 0):
                for end in range(len(found.rules)):
                    rules = list(found.rules)
                    moved = rules.pop(start)
                    rules.insert(end, moved)
                    passed = found.rules[min(start, end) : max(start, end) + 1]
                    passed = tuple(rule for rule in passed if rule is not moved)
                    new = [
                        one
                        for one in judge(
                            cell.facts, with_rules(cell.ruleset, chain, tuple(rules), table), None
                        ).findings
                        if one.key not in known
                    ]
                    where = f"{table} {chain}: {start + 1} to {end + 1}"
                    assert bool(new) != _harmless(chain, passed, moved), where
                    assert {one.found for one in new} <= {moved, *passed}, where


FOREIGN = {
    "a DROP before everything": ("FORWARD", 0, r.Rule(target=r.DROP), Kind.FOREIGN_DROP, Effect.OUTAGE),
    "an ACCEPT before everything": ("FORWARD", 0, r.Rule(target=r.ACCEPT), Kind.FOREIGN_ACCEPT, Effect.BREACH),
    "a RETURN before everything": ("FORWARD", 0, r.Rule(target=r.RETURN), Kind.FOREIGN_ACCEPT, Effect.BREACH),
    "an ACCEPT after everything": ("FORWARD", None, r.Rule(target=r.ACCEPT), Kind.FOREIGN_RULE, Effect.ADVICE),
    "a log before everything": ("FORWARD", 0, r.Rule(target=r.Log(prefix="x ")), Kind.FOREIGN_RULE, Effect.ADVICE),
    "an ACCEPT in INPUT": ("INPUT", 0, r.Rule(target=r.ACCEPT), Kind.FOREIGN_ACCEPT, Effect.BREACH),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_rule_is_judged_by_what_it_can_do(what: str) -> None:
    """Accept, drop, neither; before silk's rules have decided, or after."""
    cell = recording("pair")
    chain, at, rule, kind, effect = FOREIGN[what]
    rules = list(cell.ruleset.chains("filter")[chain].rules)
    rules.insert(len(rules) if at is None else at, rule)
    assert [(one.kind, one.effect) for one in _new(cell, with_rules(cell.ruleset, chain, tuple(rules)))] == [
        (kind, effect)
    ]


def test_a_foreign_rule_beside_the_overlay_is_nobodys_business() -> None:
    """Docker's or a VPN's own rules share FORWARD."""
    cell = recording("pair")
    docker = r.Rule(
        source=r.AddressMatch(value=0xAC110000, mask=0xFFFF0000),
        destination=r.AddressMatch(value=0xAC110000, mask=0xFFFF0000),
        target=r.DROP,
    )
    rules = (docker, *cell.ruleset.chains("filter")["FORWARD"].rules)
    assert not _new(cell, with_rules(cell.ruleset, "FORWARD", rules))


def test_after_a_flush_of_forward_and_a_policy_change_each_container_is_named_as_open() -> None:
    """What really happens: VPA puts its own jump back and nothing else."""
    cell = recording("pair")
    jump = (r.Rule(target=r.Jump(chain=cell.policy_chain)),)
    found = [
        one for one in _new(cell, with_rules(cell.ruleset, "FORWARD", jump)) if one.kind is Kind.DEFAULT_DENY_MISSING
    ]
    assert {one.effect for one in found} == {Effect.BREACH}
    assert sorted(address for one in found for address in one.addresses) == ["10.255.1.4", "10.255.2.7"]
    assert all("everybody on the overlay reaches it" in one.summary for one in found)


def _jump_damages(cell: Recording) -> dict[str, tuple[tuple[r.Rule, ...], set[Kind]]]:
    """What can happen to the jump to the policy chain, and what must be said of it."""
    jump = r.Rule(target=r.Jump(chain=cell.policy_chain))
    forward = cell.ruleset.chains("filter")["FORWARD"].rules
    rest = tuple(rule for rule in forward if rule != jump)
    narrowed = r.Rule(in_interface=r.InterfaceMatch(name="eth0"), target=jump.target)
    return {
        "deleted": (rest, {Kind.JUMP_MISSING}),
        "duplicated": ((jump, *forward), {Kind.JUMP_DUPLICATE}),
        "moved to the end": ((*rest, jump), {Kind.JUMP_MISPLACED}),
        "given a condition": ((narrowed, *rest), {Kind.JUMP_MISSING}),
        "made a goto": ((r.Rule(target=r.Goto(chain=cell.policy_chain)), *rest), {Kind.JUMP_MISSING}),
    }


@pytest.mark.parametrize("name", [name for name in SMALL_CELLS if name != "pair-policy-disabled"])
def test_every_damage_to_the_jump_is_found(name: str) -> None:
    """The jump is part of what silk writes."""
    cell = recording(name)
    for what, (forward, kinds) in _jump_damages(cell).items():
        found = {
            finding.kind
            for finding in _new(cell, with_rules(cell.ruleset, "FORWARD", forward))
            if finding.kind.value.startswith(("jump", "policy_chain"))
        }
        assert found == kinds, what


def test_a_left_over_accept_whose_mark_now_belongs_to_another_app_says_who_gets_in() -> None:
    """Tags are recycled: the comment still names the old app, the mark lets in the new one."""
    cell = recording("pair")
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    mark = canonical.mark(2)  # dest-app's own tag, by the policy server's answer
    left = evolve(
        rules[1],
        matches=(
            canonical.transport(r.TCP, 9, 9),
            mark,
            canonical.comment("src:gone_dst:20e39f68-f0ed-40db-8564-d432d5716f29"),
        ),
    )
    (found,) = _new(cell, with_rules(cell.ruleset, cell.policy_chain, (*rules, left)))
    assert (found.kind, found.effect) == (Kind.ACCEPT_STALE, Effect.BREACH)
    assert '"dest-app" (acme/dev) (mark 0x2) reaches "dest-app" (acme/dev) at 10.255.2.7 on tcp 9' in found.summary


def test_a_container_marked_with_another_apps_tag_says_whose_rights_it_has() -> None:
    """A MARK left over from the container that had the address before."""
    cell = recording("pair")
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    marking = r.Rule(
        source=canonical.host(cell.addresses[0]), matches=(canonical.comment("src:gone"),), target=canonical.set_mark(1)
    )
    (found,) = _new(cell, with_rules(cell.ruleset, cell.policy_chain, (marking, *rules)))
    assert (found.kind, found.effect) == (Kind.MARK_WRONG_TAG, Effect.BREACH)
    assert "so it may reach whatever that app may" in found.summary
    assert '"source-app" (acme/dev)' in found.summary
