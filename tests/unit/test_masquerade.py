"""Containers' MASQUERADE rules are judged by what they do, in every silk, with and without the lease.

Other rules beside them count too.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.cni import CniConfig, Lease, LeaseSource
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk.settings import as_cni
from support.recordings import CELLS, recording

# A recorded cell of four containers, 10.255.7.2 to 10.255.7.5, in 2024's form.
CELL = recording("limits-and-denies")
TEXT = (CELLS / CELL.name / "iptables-save.txt").read_text()
FORM = "! -d 10.255.0.0/16 ! -o silk-vtep -j MASQUERADE"
FIRST = f"-A POSTROUTING -s 10.255.7.2/32 {FORM}"
assert CELL.facts.config is not None
CNI = as_cni(CELL.facts.config)
LEASE = Lease(network=IPv4Network("10.255.7.0/24"), source=LeaseSource.SILK_DAEMON)
KINDS = (Kind.NAT_RULE_MISSING, Kind.NAT_RULE_STALE, Kind.JUMP_DUPLICATE)


def _known(cni: CniConfig) -> CellFacts:
    """The facts of that cell with the CNI wrapper's configuration and the lease known."""
    return evolve(CELL.facts, cni=cni, lease=LEASE)


def _judged(text: str, facts: CellFacts = CELL.facts) -> Judgement:
    return judge(facts, parse_save(text, where="test"), None)


def _found(text: str, facts: CellFacts = CELL.facts) -> list[tuple[str, str]]:
    """Kind and effect of what is found about address translation."""
    return [(one.kind.value, one.effect.value) for one in _judged(text, facts).findings if one.kind in KINDS]


def _all(form: str) -> str:
    return TEXT.replace(FORM, form)


def _one(rule: str) -> str:
    """The first container's rule replaced by ``rule``; in it, the rules of the others are in the form of newer silk."""
    lines = _all("! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE").splitlines()
    at = next(index for index, line in enumerate(lines) if "POSTROUTING -s 10.255.7.2/32" in line)
    lines[at : at + 1] = [f"[0:0] -A POSTROUTING {line}" for line in rule.splitlines()]
    return "\n".join(lines) + "\n"


FACTS = {
    "nothing known": CELL.facts,
    "the lease known": evolve(CELL.facts, lease=LEASE),
    "the lease from silk-vtep": evolve(CELL.facts, lease=evolve(LEASE, source=LeaseSource.VTEP)),
}


@pytest.mark.parametrize("known", FACTS)
@pytest.mark.parametrize(
    "form",
    [
        FORM,
        "! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE",
        "! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE --random-fully",
        "! -d 10.255.0.0/16 ! -o silk-vtep -j MASQUERADE --random",
        "! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE --to-ports 1024-65535 --random-fully",
        "! -d 10.255.7.0/24 ! -o silk-vtep -m comment --comment silk -j MASQUERADE",
        "! -o silk-vtep -m iprange ! --dst-range 10.255.7.0-10.255.7.255 -j MASQUERADE",
    ],
)
def test_both_forms_of_silk_are_clean_whatever_port_options_they_have(form: str, known: str) -> None:
    """2024's form leaves out the overlay, the newer one the lease: both do the same."""
    assert _found(_all(form), FACTS[known]) == []


def test_which_lease_was_used_is_said() -> None:
    """From silk-daemon, or from the rules; with 2024's form there is none to use."""
    newer = _all("! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE")
    notes = [note for note in _judged(newer).notes if "lease" in note]
    (note,) = notes
    assert note == (
        "MASQUERADE was judged by this cell's lease, 10.255.7.0/24; its source: what most containers' rules "
        "have in common."
    )
    known = _judged(newer, FACTS["the lease known"]).notes
    assert any("10.255.7.0/24; its source: silk-daemon." in note for note in known)
    assert not [note for note in _judged(TEXT).notes if "lease" in note]


BARE = [("nat_rule_missing", "outage")]
WRONG = {
    "a rule of a network beyond the overlay": "-s 10.255.7.2/32 ! -d 10.0.0.0/8 ! -o silk-vtep -j MASQUERADE",
    "for tcp only": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o silk-vtep -p tcp -j MASQUERADE",
    "for one destination": "-s 10.255.7.2/32 -d 192.0.2.0/24 ! -o silk-vtep -j MASQUERADE",
    "on another interface only": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 -o eth7 -j MASQUERADE",
    "but on the underlay": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o eth0 -j MASQUERADE",
    "on the vtep only": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 -o silk-vtep -j MASQUERADE",
    "for another source": "-s 10.255.7.99/32 ! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE",
    "an ACCEPT": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o silk-vtep -j ACCEPT",
    "a SNAT": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o silk-vtep -j SNAT --to-source 10.0.0.9",
    "at a rate": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o silk-vtep -m limit --limit 1/sec -j MASQUERADE",
    "towards other cells": "-s 10.255.7.2/32 ! -d 10.255.7.0/24 -j MASQUERADE",
    "towards its neighbours": "-s 10.255.7.2/32 ! -o silk-vtep -j MASQUERADE",
    "the lease of another cell": "-s 10.255.7.2/32 ! -d 10.255.8.0/24 ! -o silk-vtep -j MASQUERADE",
    "its own address alone": "-s 10.255.7.2/32 ! -d 10.255.7.2/32 ! -o silk-vtep -j MASQUERADE",
    "a range that ends too early": (
        "-s 10.255.7.2/32 ! -o silk-vtep -m iprange ! --dst-range 10.255.7.0-10.255.7.9 -j MASQUERADE"
    ),
}


@pytest.mark.parametrize("known", FACTS)
@pytest.mark.parametrize("what", WRONG)
def test_what_leaves_unmasqueraded_or_is_masqueraded_towards_the_overlay_is_found(what: str, known: str) -> None:
    """One finding for the one container; the other three are right."""
    judgement = _judged(_one(WRONG[what]), FACTS[known])
    found = [one for one in judgement.findings if one.kind in KINDS]
    assert [(one.kind.value, one.effect.value) for one in found] == BARE
    assert found[0].addresses == ("10.255.7.2",)
    assert found[0].expected is not None


@pytest.mark.parametrize("known", FACTS)
def test_a_rule_that_is_gone_is_found_and_the_one_that_silk_would_write_is_shown(known: str) -> None:
    """The other containers' rules, or the lease, tell what it left out."""
    (found,) = [one for one in _judged(_one(""), FACTS[known]).findings if one.kind in KINDS]
    assert found.expected is not None
    assert found.expected.destination is not None
    assert (found.expected.destination.value, found.expected.destination.negated) == (
        int(IPv4Address("10.255.7.0")),
        True,
    )


def test_a_second_rule_is_left_over_unless_it_undoes_the_first() -> None:
    """A rule of a deleted container stays while silk-daemon is away, and its address comes to another one."""
    right = "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE"
    accept = "-s 10.255.7.2/32 -j ACCEPT"
    assert _found(_one(f"{right}\n{right}")) == [("jump_duplicate", "residue")]
    assert _found(_one(f"{right}\n-s 10.255.7.2/32 {FORM}")) == [("jump_duplicate", "residue")]
    assert _found(_one(f"{right}\n{accept}")) == [("jump_duplicate", "residue")]
    assert _found(_one(f"{accept}\n{right}")) == [("nat_rule_stale", "outage")]
    assert _found(_one(f"{right}\n-s 10.255.7.2/32 -j MASQUERADE")) == [("nat_rule_stale", "outage")]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("-j MASQUERADE", True),
        ("-s 10.255.0.0/16 -j MASQUERADE", True),
        ("-s 10.255.0.0/16 -o silk-vtep -j MASQUERADE", True),
        ("-s 10.255.0.0/16 ! -d 10.255.0.0/16 -j MASQUERADE", False),
        ("-s 10.255.0.0/16 ! -o silk-vtep -j MASQUERADE", False),
        ("-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", False),
        ("-o eth0 -j MASQUERADE", False),
        ("-s 10.255.7.77/32 ! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE", False),
    ],
)
def test_rules_of_others_that_rewrite_overlay_traffic_are_found(rule: str, *, found: bool) -> None:
    """A rule that a deleted container left, and Docker's own, hold for no container."""
    right = "-s 10.255.7.2/32 ! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE"
    assert _found(_one(f"{right}\n{rule}")) == ([("nat_rule_stale", "outage")] if found else [])


def test_containers_of_two_leases_are_clean() -> None:
    """A cell that was given a new lease: each container has the rule of the lease that its address is of."""
    pair = recording("pair")
    text = (CELLS / pair.name / "iptables-save.txt").read_text()
    for address, lease in (("10.255.1.4", "10.255.1.0/24"), ("10.255.2.7", "10.255.2.0/24")):
        text = text.replace(f"-s {address}/32 {FORM}", f"-s {address}/32 {FORM.replace('10.255.0.0/16', lease)}")
    assert _found(text, pair.facts) == []
    newer = evolve(pair.facts, lease=evolve(LEASE, network=IPv4Network("10.255.2.0/24")))
    assert _found(text, newer) == []
    older = text.replace("-s 10.255.2.7/32 ! -d 10.255.2.0/24", "-s 10.255.2.7/32 ! -d 10.255.1.0/24")
    assert _found(older, newer) == BARE


RANGE = IPv4Network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("! -d 10.0.0.0/8 ! -o silk-vtep -j MASQUERADE", []),
        ("! -d 10.0.0.0/8 ! -o silk-vtep -j MASQUERADE --random-fully", []),
        ("! -d 10.255.0.0/16 ! -o silk-vtep -j MASQUERADE", [("nat_rule_missing", "residue")]),
        ("! -d 10.0.0.0/9 ! -o silk-vtep -j MASQUERADE", BARE),
        ("! -d 10.0.0.0/7 ! -o silk-vtep -j MASQUERADE", BARE),
        ("! -o silk-vtep -j MASQUERADE", BARE),
    ],
)
def test_the_operators_range_is_what_counts_where_it_is_known(form: str, found: list[tuple[str, str]]) -> None:
    """``no_masquerade_cidr_range``, in any silk: what differs without harm is said, too."""
    facts = _known(evolve(CNI, no_masquerade=RANGE))
    assert _found(_all(form), facts) == found * 4


def test_a_range_of_addresses_is_understood() -> None:
    """From one address to another."""
    ends = IPv4Address("10.254.0.0"), IPv4Address("10.255.7.255")
    facts = _known(evolve(CNI, no_masquerade=ends))
    right = "! -o silk-vtep -m iprange ! --dst-range 10.254.0.0-10.255.7.255 -j MASQUERADE"
    assert _found(_all(right), facts) == []
    assert _found(_all(right.replace("10.254.0.0-", "10.253.0.0-")), facts) == BARE * 4


def test_a_range_beside_the_overlay_is_masqueraded_as_the_operator_wants() -> None:
    """Then containers of one cell see each other with the cell's address, which is what silk writes."""
    facts = _known(evolve(CNI, no_masquerade=IPv4Network("192.168.0.0/16")))
    assert _found(_all("! -d 192.168.0.0/16 ! -o silk-vtep -j MASQUERADE"), facts) == []


def test_the_vteps_name_is_the_configured_one() -> None:
    """A rule for another interface masquerades towards other cells."""
    facts = _known(evolve(CNI, vtep_name="meow-vtep"))
    right = "! -d 10.255.7.0/24 ! -o meow-vtep -j MASQUERADE"
    assert _found(_all(right), facts) == []
    assert _found(_all(right.replace("meow", "silk")), facts) == BARE * 4


def test_a_lease_that_is_the_whole_overlay_is_none() -> None:
    """The vtep's address can carry the overlay's prefix; then the rules tell the lease."""
    newer = _all("! -d 10.255.7.0/24 ! -o silk-vtep -j MASQUERADE")
    whole = Lease(network=IPv4Network("10.255.0.0/16"), source=LeaseSource.VTEP)
    assert _found(newer, evolve(CELL.facts, lease=whole)) == []
    single = Lease(network=IPv4Network("10.255.7.0/32"), source=LeaseSource.VTEP)
    assert _found(newer, evolve(CELL.facts, lease=single)) == []


def test_two_containers_that_claim_one_address_have_one_rule() -> None:
    """The stale entry's rule is the live one's: neither lacks it."""
    store = CELL.facts.store
    assert store is not None
    twin = evolve(store.containers[1], handle="twin", address=store.containers[0].address)
    facts = evolve(CELL.facts, store=evolve(store, containers=(*store.containers, twin)))
    assert _found(TEXT, facts) == []


def test_a_rule_that_rewrites_overlay_traffic_hides_no_flow() -> None:
    """What the policy of FORWARD stops is a finding beside it."""
    pair = recording("pair")
    text = (CELLS / pair.name / "iptables-save.txt").read_text()
    text = re.sub(r"(?s)(\*filter.*?:FORWARD )ACCEPT", r"\1DROP", text)
    text = text.replace("-A POSTROUTING", "-A POSTROUTING -j MASQUERADE\n[0:0] -A POSTROUTING", 1)
    kinds = {one.kind for one in _judged(text, pair.facts).findings}
    assert {Kind.NAT_RULE_STALE, Kind.FLOW_BLOCKED} <= kinds


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("! -d 10.0.0.0/8 ! -o silk-vtep -j MASQUERADE", "10.0.0.0/8"),
        ("! -o silk-vtep -m iprange ! --dst-range 10.0.0.0-10.255.255.9 -j MASQUERADE", "10.0.0.0-10.255.255.9"),
    ],
)
def test_a_range_that_most_containers_share_is_taken_for_the_operators(form: str, said: str) -> None:
    """Old bundles lack the CNI wrapper's configuration.

    A container that differs from the others is found all the same.
    """
    judgement = _judged(_all(form))
    assert not [one for one in judgement.findings if one.kind in KINDS]
    assert any(said in note for note in judgement.notes)
    other = _all(form).replace(
        f"-s 10.255.7.2/32 {form}", "-s 10.255.7.2/32 ! -d 10.9.0.0/16 ! -o silk-vtep -j MASQUERADE"
    )
    assert _found(other) == [("nat_rule_missing", "outage")]


def test_a_range_without_the_containers_themselves_is_nobodys_setting() -> None:
    """What it leaves out is not their addresses: their packets to each other would be rewritten."""
    assert _found(_all("! -d 172.16.0.0/12 ! -o silk-vtep -j MASQUERADE")) == [("nat_rule_missing", "outage")] * 4
