"""Rules of others beside FORWARD's filter, in a real kernel: other hooks, other tables, the other backend.

Each has the effect on flows that it has, and `explain` says the same.
"""

from __future__ import annotations

import subprocess

import pytest
from attrs import frozen

from c2c_auditor.audit.questions.explanation import explain, parse_flow
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.packet import Certainty
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from support.namespaces import in_namespace
from support.recordings import CELLS, recording
from support.whole_way import BASES, OTHER, prove

pytestmark = pytest.mark.kernel
REFUSING = (
    ("raw", "PREROUTING"),
    ("mangle", "PREROUTING"),
    ("nat", "PREROUTING"),
    ("mangle", "FORWARD"),
    ("filter", "FORWARD"),
    ("security", "FORWARD"),
    ("mangle", "POSTROUTING"),
)
DESTINATION = "10.255.2.7"


@frozen
class Typed:
    """A rule that somebody appends, the effect that it has, and whether the pair's flow then passes."""

    table: str
    rule: str
    effect: Effect | None
    passes: Certainty
    other: bool = False


YES, NO, MAY = Certainty.YES, Certainty.NO, Certainty.MAY
CASES = (
    Typed("raw", f"PREROUTING -d {DESTINATION} -j DROP", Effect.OUTAGE, NO),
    Typed("mangle", f"FORWARD -d {DESTINATION} -j DROP", Effect.OUTAGE, NO),
    Typed("mangle", f"POSTROUTING -d {DESTINATION} -j DROP", Effect.OUTAGE, NO),
    Typed("security", f"FORWARD -d {DESTINATION} -j DROP", Effect.OUTAGE, NO),
    Typed("filter", f"FORWARD -d {DESTINATION} -j DROP", Effect.OUTAGE, NO, other=True),
    Typed("raw", f"PREROUTING -d {DESTINATION} -j DROP", Effect.OUTAGE, NO, other=True),
    Typed("mangle", "FORWARD -i silk-vtep -j DROP", Effect.OUTAGE, YES),
    Typed("mangle", "POSTROUTING -m statistic --mode nth --every 2 --packet 0 -j DROP", Effect.OUTAGE, MAY),
    # The pair is on one cell: its packets do not come in by the vtep, and are marked behind PREROUTING.
    # A mark that the sender's app does not have, and one that the connection had: a new one has none.
    Typed("mangle", "PREROUTING -i silk-vtep -j MARK --set-xmark 0x99", Effect.OUTAGE, YES),
    Typed("mangle", "PREROUTING -j CONNMARK --restore-mark", Effect.OUTAGE, YES),
    Typed("mangle", "PREROUTING -i silk-vtep -j MARK --set-xmark 0x1", Effect.BREACH, YES),
    Typed("nat", f"PREROUTING -d {DESTINATION} -p tcp --dport 8080 -j DNAT --to 10.0.0.9", Effect.OUTAGE, NO),
    # These change no flow.
    Typed("raw", "PREROUTING -s 192.0.2.0/24 -j DROP", Effect.ADVICE, YES),
    Typed("raw", f"PREROUTING -d {DESTINATION} -j TRACE", Effect.ADVICE, YES),
    Typed("mangle", "FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", Effect.ADVICE, YES),
    Typed("mangle", "POSTROUTING -j CONNMARK --save-mark", Effect.ADVICE, YES),
    Typed("mangle", "FORWARD -j ACCEPT", None, YES),
    Typed("security", "FORWARD -i docker0 -j DROP", Effect.ADVICE, YES),
    Typed("nat", "PREROUTING -d 169.254.169.254 -p tcp --dport 80 -j DNAT --to 10.0.0.9:8775", None, YES),
    Typed("nat", "PREROUTING -p tcp --dport 2375 -j DNAT --to 10.0.0.9:2375", Effect.ADVICE, YES),
    Typed("filter", "FORWARD -j ACCEPT", None, YES, other=True),
    # What containers send to the outside counts as well.
    Typed("mangle", "POSTROUTING -o eth0 -j DROP", Effect.OUTAGE, YES),
    Typed("raw", "PREROUTING -s 10.255.0.0/16 -d 8.8.8.8 -j DROP", Effect.OUTAGE, YES),
)


def _audited(backends: Backends) -> Scene:
    cell = recording("pair")
    return judge_cell(Reading(facts=cell.facts, rulesets=backends.read()))


def _typed(backend: str, how: str, one: Typed) -> None:
    command = (f"iptables-{OTHER[backend] if one.other else backend}", "-w", "-t", one.table, how)
    subprocess.run((*command, *one.rule.split()), check=True, timeout=30, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@in_namespace
def test_a_rule_on_another_hook_has_the_effect_that_it_has(backend: str) -> None:
    """Appended to the recorded pair's cell, one after the other."""
    whole = (CELLS / "pair" / "iptables-save.txt").read_bytes()
    subprocess.run((f"iptables-{backend}-restore", "-w"), input=whole, check=True, timeout=30)
    found: dict[Typed, tuple[list[Effect], Certainty]] = {}
    with Netlink() as netlink:
        backends = Backends([NativeReader(netlink), LegacyReader()])
        assert _audited(backends).judgement.findings == ()
        for one in CASES:
            _typed(backend, "-A", one)
            scene = _audited(backends)
            answer = explain((scene.inputs,), "source-app", "dest-app", parse_flow("8080"))
            found[one] = [finding.effect for finding in scene.judgement.findings], answer.passes
            backend_too = f" ({OTHER[backend]})" if one.other else ""
            place = f"Rule 1 of {one.rule.split()[0]} in {one.table}{backend_too}, which silk did not write"
            added_first = one.table not in ("nat", "mangle") or not one.rule.startswith("PREROUTING")
            assert not added_first or all(place in finding.summary for finding in scene.judgement.findings)
            _typed(backend, "-D", one)
    wrong = [one for one in CASES if found[one] != ([one.effect] if one.effect else [], one.passes)]
    assert [(one.table, one.rule, found[one]) for one in wrong] == []


@pytest.mark.parametrize("table", ["mangle", "security"])
@pytest.mark.parametrize("backend", ["nft", "legacy"])
@in_namespace
def test_a_policy_that_refuses_is_found_on_every_hook(backend: str, table: str) -> None:
    """Where no rule stands, too."""
    whole = (CELLS / "pair" / "iptables-save.txt").read_bytes()
    subprocess.run((f"iptables-{backend}-restore", "-w"), input=whole, check=True, timeout=30)
    subprocess.run((f"iptables-{backend}", "-w", "-t", table, "-P", "FORWARD", "DROP"), check=True, timeout=30)
    with Netlink() as netlink:
        (found,) = _audited(Backends([NativeReader(netlink), LegacyReader()])).judgement.findings
    assert (found.kind, found.effect) == (Kind.FOREIGN_DROP, Effect.OUTAGE)
    assert f"The policy of FORWARD in {table} is DROP" in found.summary


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_what_arrives_is_what_the_evaluator_says_over_all_hooks(backend: str) -> None:
    """Random rules in every table of both backends, and real packets."""
    _over_all_hooks(backend)


@in_namespace
def _over_all_hooks(backend: str) -> None:
    tally = prove(backend, seed=20261126, rulesets=120)
    assert tally.rulesets >= 120
    assert tally.packets >= 2000
    assert min(tally.share(YES), tally.share(NO)) > 0.12, tally
    assert tally.marked > 50, tally
    main = {f"{table} {chain}" for table, chain in REFUSING}
    other = {f"{table} ({OTHER[backend]}) {chain}" for table, chain in REFUSING if table != "nat"}
    native = {f"inet proof c{number}" for number in range(len(BASES))}
    assert main | other | native <= set(tally.refused_in), tally


NATIVE = (
    # A chain that refuses what it does not accept, and one that drops what a set names: nothing says what is in it.
    ("type filter hook forward priority filter + 10; policy drop;", (), Effect.OUTAGE, NO),
    ("type filter hook prerouting priority raw;", (f"ip daddr {DESTINATION} drop",), Effect.OUTAGE, NO),
    (
        "type filter hook postrouting priority mangle;",
        (f"ip daddr {DESTINATION} tcp dport 8080 drop",),
        Effect.OUTAGE,
        NO,
    ),
    ("type filter hook forward priority -5;", ("ip saddr @blocked drop",), Effect.OUTAGE, MAY),
    ("type filter hook prerouting priority mangle;", ("iifname silk-vtep meta mark set 0x1",), Effect.BREACH, YES),
    (
        "type nat hook prerouting priority dstnat;",
        (f"ip daddr {DESTINATION} tcp dport 8080 dnat ip to 10.0.0.9",),
        Effect.OUTAGE,
        NO,
    ),
    ("type filter hook forward priority filter;", ("iifname docker0 drop", "counter"), Effect.ADVICE, YES),
    ("type filter hook forward priority filter;", ("meta nfproto ipv6 drop",), None, YES),
    ("type filter hook output priority filter; policy drop;", (), None, YES),
    ("type filter hook forward priority filter;", ("accept",), None, YES),
)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@in_namespace
def test_a_native_table_has_the_effect_that_it_has(backend: str) -> None:
    """In a table of family inet, beside silk's rules in either backend."""
    whole = (CELLS / "pair" / "iptables-save.txt").read_bytes()
    subprocess.run((f"iptables-{backend}-restore", "-w"), input=whole, check=True, timeout=30)
    wrong = []
    with Netlink() as netlink:
        backends = Backends([NativeReader(netlink), LegacyReader()])
        for base, rules, effect, passes in NATIVE:
            chain = "\n".join(("chain c {", base, *rules, "}"))
            text = f"table inet mine {{\nset blocked {{ type ipv4_addr; }}\n{chain}\n}}\n"
            subprocess.run(("nft", "-f", "-"), input=text, text=True, check=True, timeout=30)
            scene = _audited(backends)
            answer = explain((scene.inputs,), "source-app", "dest-app", parse_flow("8080"))
            subprocess.run(("nft", "delete", "table", "inet", "mine"), check=True, timeout=30)
            found = {finding.effect for finding in scene.judgement.findings}
            if found != ({effect} if effect else set()) or answer.passes is not passes:
                wrong.append((base, rules, found, answer.passes))
        assert _audited(backends).judgement.findings == ()
    assert wrong == []


@in_namespace
def test_a_chain_that_nft_hung_into_one_of_iptables_tables_counts() -> None:
    """With a hook and a priority of its own."""
    whole = (CELLS / "pair" / "iptables-save.txt").read_bytes()
    subprocess.run(("iptables-nft-restore", "-w"), input=whole, check=True, timeout=30)
    added = "add chain ip filter extra { type filter hook forward priority 7; policy drop; }"
    subprocess.run(("nft", "-f", "-"), input=added, text=True, check=True, timeout=30)
    with Netlink() as netlink:
        (found,) = _audited(Backends([NativeReader(netlink), LegacyReader()])).judgement.findings
    assert (found.kind, found.effect) == (Kind.FOREIGN_DROP, Effect.OUTAGE)
    assert "The policy of extra in filter is DROP" in found.summary
