"""Promise: where IPv6 is on, what silk writes to ip6tables is judged like what it writes to iptables.

Elsewhere nothing is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from io import StringIO
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from attrs import define, evolve, field
from click.testing import CliRunner
from rich.console import Console

from c2c_auditor.assembly.live import LiveReader
from c2c_auditor.assembly.once import read_scene
from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.questions.explanation import explain, parse_flow
from c2c_auditor.audit.questions.lookup import about
from c2c_auditor.audit.questions.matrix import Only, matrix
from c2c_auditor.audit.reporting import blind_report, report_at_once
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.audit.staleness import Staleness
from c2c_auditor.cli import cli
from c2c_auditor.errors import Reason, SourceError, UsageError
from c2c_auditor.export.document import to_json
from c2c_auditor.export.text import print_report
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, SecurityRule, Store, VpaConfig
from c2c_auditor.model.change import Done
from c2c_auditor.model.cni import CniConfig, DenyNetworks, HostService, OutboundConnections
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Family, Kind
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.model.report import Result
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.packet import Certainty
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk import asg
from c2c_auditor.silk.chain_names import ChainFamily
from c2c_auditor.silk.input import service_rule
from c2c_auditor.silk.netout import netout_plan, netout_rate_limit_log_plan
from c2c_auditor.silk.overlay import overlay_plan
from c2c_auditor.sources.recordings.bundle import RULES_IPV6, bundle_files, read_bundle
from c2c_auditor.sources.recordings.redact import redacted
from c2c_auditor.sources.recordings.writing import write_bundle
from c2c_auditor.sources.rules.text import read_text
from support.mutations import mutations, with_rules
from support.recordings import GOLDEN

IPV4, IPV6 = r.AddressFamily.IPV4, r.AddressFamily.IPV6
PAIR = GOLDEN / "reports" / "pair-dual-stack"
SOURCE, DEST = "2001:db8:4e04:d139:1::3", "2001:db8:4e04:d139:1::2"
HANDLES = {SOURCE: "78e51061-7311-48a3-82ce-6f44", DEST: "35bf992d-c9e9-4616-a12e-7696"}
ASG = "asg-35bf992dc9e94616a12e"
FACT_FILES = {"store": "store.json", "policies": "policies.json", "vpa-config": "vxlan-policy-agent.json"}
READING = BundleReader(directory=PAIR).read()
RULES = next(ruleset for ruleset in READING.rulesets if ruleset.family is IPV6)


def _judged(ipv6: r.Ruleset) -> Scene:
    return judge_cell(evolve(READING, rulesets=(READING.rulesets[0], ipv6)))


def _found(ipv6: r.Ruleset) -> tuple[Finding, ...]:
    return _judged(ipv6).judgement.findings


def _without(chain: str) -> r.Ruleset:
    chains = {name: found for name, found in RULES.chains("filter").items() if name != chain}
    rest = {
        name: evolve(found, rules=tuple(rule for rule in found.rules if getattr(rule.target, "chain", "") != chain))
        for name, found in chains.items()
    }
    return evolve(RULES, tables={"filter": r.Table(name="filter", chains=rest)})


def _forward(*rules: r.Rule) -> r.Ruleset:
    return with_rules(RULES, "FORWARD", rules)


FLUSHED = _forward()


def test_every_damage_to_every_rule_of_ip6tables_is_found_and_named() -> None:
    """All chains and jumps of both containers; each finding says that it is about IPv6."""
    store = READING.facts.store
    assert store is not None
    addresses = tuple(container.ipv6 for container in store.containers if container.ipv6 is not None)
    for chain, found in RULES.chains("filter").items():
        for index in range(len(found.rules)):
            for mutation in mutations(RULES, chain, index, addresses):
                new = _found(mutation.ruleset)
                named = {rule for finding in new for rule in (finding.found, finding.expected)}
                assert named & mutation.touched, f"{chain} rule {index + 1}: {mutation.what}"
                assert all(finding.ipv6 and finding.summary.startswith("IPv6: ") for finding in new), mutation.what


def test_a_flushed_forward_leaves_each_container_open_to_ipv6() -> None:
    """The rules of IPv4 are as they should be, and the report is a breach all the same."""
    scene = _judged(FLUSHED)
    denied = [finding for finding in scene.judgement.findings if finding.kind is Kind.DEFAULT_DENY_MISSING]
    assert {finding.effect for finding in denied} == {Effect.BREACH}
    assert sorted(address for finding in denied for address in finding.addresses) == sorted(HANDLES)
    assert all("everybody with a route to it reaches it" in finding.summary for finding in denied)
    assert any("everything beyond this cell can reach" in text for text in scene.judgement.statements)
    assert not [one for one in scene.judgement.findings if one.kind in (Kind.FLOW_OPEN, Kind.FLOW_BLOCKED)]


FOREIGN = {
    "a DROP before everything": (0, r.Rule(target=r.DROP), Kind.FOREIGN_DROP, Effect.OUTAGE),
    "an ACCEPT before everything": (0, r.Rule(target=r.ACCEPT), Kind.FOREIGN_ACCEPT, Effect.BREACH),
    "an ACCEPT behind everything": (None, r.Rule(target=r.ACCEPT), Kind.FOREIGN_RULE, Effect.ADVICE),
    "an ACCEPT for one container": (
        0,
        r.Rule(destination=canonical.network(IPv6Network(f"{DEST}/128")), target=r.ACCEPT),
        Kind.FOREIGN_ACCEPT,
        Effect.BREACH,
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_others_rules_are_judged_by_what_they_can_do(what: str) -> None:
    """In FORWARD of ip6tables as in that of iptables."""
    at, rule, kind, effect = FOREIGN[what]
    rules = list(RULES.chains("filter")["FORWARD"].rules)
    rules.insert(len(rules) if at is None else at, rule)
    assert [(finding.kind, finding.effect) for finding in _found(_forward(*rules))] == [(kind, effect)]


def test_a_rule_beside_the_containers_addresses_is_no_finding() -> None:
    """The cell's own address may be of the same /64."""
    beside = canonical.network(IPv6Network("2001:db8:4e04:d139:2::/80"))
    own = r.Rule(source=beside, destination=beside, target=r.ACCEPT)
    assert not _found(_forward(own, *RULES.chains("filter")["FORWARD"].rules))


@pytest.mark.parametrize(
    ("chain", "kind", "effect"),
    [
        ("overlay--35bf992d-c9e9-4616-", Kind.DEFAULT_DENY_MISSING, Effect.BREACH),
        ("netout--35bf992d-c9e9-4616-a", Kind.CONTAINER_CHAIN_MISSING, Effect.BREACH),
        ("input--35bf992d-c9e9-4616-a1", Kind.CONTAINER_CHAIN_MISSING, Effect.BREACH),
        (ASG, Kind.ASG_MISSING, Effect.OUTAGE),
    ],
)
def test_a_lost_chain_is_found(chain: str, kind: Kind, effect: Effect) -> None:
    """With its jumps, as somebody would delete it."""
    assert (kind, effect) in {(finding.kind, finding.effect) for finding in _found(_without(chain))}


def test_a_log_chain_is_expected_where_something_logs() -> None:
    """Silk's source makes it everywhere; what was seen of ip6tables had none, and nothing leads there."""
    assert not _found(_without("netout--35bf992d-c9e9-4--log"))


def test_a_stale_rule_of_a_security_group_is_found() -> None:
    """Its chain allows more than the groups do."""
    stale = r.Rule(matches=(r.IpRangeMatch(destination=(1 << 120, 1 << 121, False), family=IPV6),), target=r.ACCEPT)
    rules = RULES.chains("filter")[ASG].rules
    (finding,) = _found(with_rules(RULES, ASG, (*rules[:3], stale, *rules[3:])))
    assert (finding.kind, finding.effect, finding.found) == (Kind.ASG_STALE, Effect.BREACH, stale)


def test_chains_of_a_container_that_is_gone_are_found() -> None:
    """By their names, like those of IPv4."""
    chains = {**RULES.chains("filter"), "overlay--gone": r.Chain(name="overlay--gone")}
    (finding,) = _found(evolve(RULES, tables={"filter": r.Table(name="filter", chains=chains)}))
    assert (finding.kind, finding.effect) == (Kind.CONTAINER_CHAIN_ORPHAN, Effect.RESIDUE)


def test_chains_of_a_container_whose_address_is_not_known_are_no_orphans() -> None:
    """It is there, by its entry in the store; what its chains should hold is not known."""
    store = READING.facts.store
    assert store is not None
    first, *others = store.containers
    known = evolve(READING.facts, store=evolve(store, containers=(evolve(first, ipv6=None), *others)))
    judgement = judge_cell(evolve(READING, facts=known)).judgement
    assert not judgement.findings
    assert any("chains of 1 container were judged" in note for note in judgement.notes)


def test_the_same_damage_in_both_families_is_two_findings() -> None:
    """They have subjects of their own, so that one of them can end before the other."""
    ipv4 = with_rules(READING.rulesets[0], "FORWARD", ())
    scene = judge_cell(evolve(READING, rulesets=(ipv4, FLUSHED)))
    denied = [finding for finding in scene.judgement.findings if finding.kind is Kind.DEFAULT_DENY_MISSING]
    assert len({finding.key for finding in denied}) == 4
    assert sum(finding.ipv6 for finding in denied) == 2


def test_what_a_finding_of_ipv6_is_about_stands_in_each_form_of_the_report() -> None:
    """JSON names the family of the place, the terminal the table as nf_tables does."""
    report = report_at_once(_judged(FLUSHED))
    places = [finding["place"] for finding in json.loads(to_json(report))["findings"]]
    assert {place["ip"] for place in places} == {"ipv6"}
    console = Console(width=300, file=StringIO(), record=True)
    print_report(report, console)
    assert "FORWARD of ip6tables lost all of its jumps" in console.export_text()


def test_services_of_the_cell_are_those_of_the_family() -> None:
    """By the CNI wrapper's configuration: the chain of ip6tables holds those of IPv6, that of iptables the others."""
    service = HostService(address=IPv6Address("fe80::53"), protocol="udp", port=53)
    others = tuple(
        HostService(address=IPv4Address("169.254.0.2"), protocol=protocol, port=port)
        for protocol, port in (("tcp", 53), ("udp", 53), ("tcp", 9001))
    )
    cni = CniConfig(
        host_services=(*others, service), deny_networks_ipv6=DenyNetworks(always=(IPv6Network("fd00::/8"),))
    )
    reading = evolve(READING, facts=evolve(READING.facts, cni=cni))
    missing = judge_cell(reading).judgement.findings
    assert {(finding.kind, finding.ipv6) for finding in missing} == {(Kind.CONTAINER_RULE_MISSING, True)}
    assert {finding.expected for finding in missing} == {service_rule(service)}


def test_of_several_interfaces_any_is_taken_for_right() -> None:
    """Which of them IPv6 leaves by is not known; a jump for none of them is missed all the same."""
    facts = evolve(READING.facts, underlay_interfaces=("eth1", "eth2"))
    ipv4 = judge_cell(evolve(READING, facts=facts, rulesets=READING.rulesets[:1])).judgement.findings
    assert judge_cell(evolve(READING, facts=facts)).judgement.findings == ipv4
    rules = [rule for rule in RULES.chains("filter")["FORWARD"].rules if rule.source is None]
    lost = judge_cell(evolve(READING, rulesets=(READING.rulesets[0], _forward(*rules)))).judgement.findings
    assert [(finding.kind, finding.effect) for finding in lost] == [(Kind.JUMP_MISSING, Effect.BREACH)] * 2


def test_a_container_without_any_chain_may_have_been_deleted_meanwhile() -> None:
    """While the store is away, such a finding about IPv6 waits as one about IPv4 does."""
    gone = {name: chain for name, chain in RULES.chains("filter").items() if "35bf992d" not in name}
    ruleset = evolve(RULES, tables={"filter": r.Table(name="filter", chains=gone)})
    judgement = _judged(ruleset).judgement
    (finding,) = [one for one in judgement.findings if one.kind is Kind.CONTAINER_CHAIN_MISSING]
    away = Staleness(last_success={"store": 7.0})
    assert away.unknown_since(finding, judgement) == 7.0


def test_what_was_judged_is_said() -> None:
    """Only where there is something of IPv6, and what it is of."""
    judged = "IPv6: input, netout, overlay and security group chains of 2 containers were judged."
    assert judged in _judged(RULES).judgement.notes
    config = READING.facts.config
    assert config is not None
    unsynced = evolve(READING.facts, config=evolve(config, asg_syncing=False))
    notes = judge_cell(evolve(READING, facts=unsynced)).judgement.notes
    assert "IPv6: input, netout and overlay chains of 2 containers were judged." in notes


def test_ipv6_without_rules_to_look_at_is_said() -> None:
    """A recording that was made without them."""
    scene = judge_cell(evolve(READING, rulesets=READING.rulesets[:1]))
    assert any("nothing of IPv6 was judged" in note for note in scene.judgement.notes)
    assert not scene.judgement.findings


def test_a_source_that_is_missing_makes_ipv6_unknown_too() -> None:
    """Security groups decide both families; the kinds that IPv6 does not have are not unknown for its sake."""
    scene = judge_cell(evolve(READING, facts=evolve(READING.facts, security_groups=None)))
    assert scene.ipv6 is not None
    assert {kind.family for kind in scene.ipv6.judgement.unknown} == {Family.SECURITY_GROUP}
    assert not judge_cell(READING).judgement.unknown


@define
class _Rules:
    """Rules that remember what was read of them."""

    read_families: list[tuple[r.AddressFamily, ...]] = field(factory=list)
    hangs: r.AddressFamily | None = None

    def read(self, families: Sequence[r.AddressFamily] = (IPV4,)) -> tuple[r.Ruleset, ...]:
        if self.hangs in families:
            raise SourceError(source="rules", reason=Reason.TIMEOUT, where="ip6tables", problem="hangs", remedy="look")
        self.read_families.append(tuple(families))
        return READING.rulesets[: len(families)]

    def changes(self) -> Mapping[str, int]:
        return {}

    def done(self) -> tuple[Done, ...]:
        return ()

    def packets(self) -> Mapping[str, int] | None:
        return None


@define
class _Facts:
    facts: CellFacts

    def read(self) -> FactsReading:
        return FactsReading(facts=self.facts)


def _store(*, ipv6: bool) -> Store:
    store = READING.facts.store
    assert store is not None
    if ipv6:
        return store
    return evolve(store, containers=tuple(evolve(container, ipv6=None) for container in store.containers))


@pytest.mark.parametrize(
    ("facts", "families"),
    [
        (CellFacts(), (IPV4,)),
        (CellFacts(store=_store(ipv6=False), config=VpaConfig()), (IPV4,)),
        (CellFacts(store=_store(ipv6=True), config=VpaConfig()), (IPV4, IPV6)),
        (CellFacts(store=_store(ipv6=False), config=VpaConfig(ipv6=True)), (IPV4, IPV6)),
    ],
)
def test_rules_of_ipv6_are_read_where_silk_writes_some(facts: CellFacts, families: tuple[r.AddressFamily, ...]) -> None:
    """VPA's configuration or a container's address says so.

    Without them nothing is run for IPv6, and no note tells of it.
    """
    rules = _Rules()
    reading = LiveReader(rules, _Facts(facts)).read()
    assert rules.read_families == [families]
    assert any("IPv6" in note for note in judge_cell(reading).judgement.notes) == (
        IPV6 in families and bool(facts.store)
    )


def test_rules_of_ipv6_that_cannot_be_read_make_the_report_blind() -> None:
    """A cell with IPv6 on is not clean because its rules of IPv4 are."""
    reading = LiveReader(_Rules(hangs=IPV6), _Facts(READING.facts)).read()
    (status,) = reading.sources
    assert status.problem is not None
    assert (reading.rulesets, status.up, status.problem.where) == ((), False, "ip6tables")
    assert blind_report(reading).result is Result.BLIND


@pytest.mark.parametrize(
    ("damaged", "passes"), [(RULES, Certainty.NO), (FLUSHED, Certainty.YES)], ids=["as it should be", "flushed"]
)
def test_why_a_container_is_reached_over_ipv6_or_not_is_explained(damaged: r.Ruleset, passes: Certainty) -> None:
    """By the walk through FORWARD of ip6tables: from here or from beyond the cell, never by policy."""
    cells = about((_judged(damaged).questioned,), SOURCE, DEST)
    for source in (SOURCE, "2606:4700::1111"):
        answer = explain(cells, source, DEST, parse_flow("8080"))
        assert (answer.passes, answer.intended) == (passes, False), source
        assert answer.walks[0].packet.family is IPV6
        assert "over IPv6 nothing that begins a connection may reach a container" in answer.half
        assert answer.allow == ""  # no policy would
    assert "2606:4700::1111 beyond this cell" in explain(cells, "2606:4700::1111", DEST).source


def test_what_cannot_be_explained_over_ipv6_is_refused() -> None:
    """Egress is the security groups', and without rules there is no answer."""
    scene = _judged(RULES)
    with pytest.raises(UsageError, match="what reaches a container of this cell"):
        explain(about((scene.questioned,), SOURCE, "2606:4700::1111"), SOURCE, "2606:4700::1111")
    with pytest.raises(UsageError, match="no rules of IPv6"):
        about((scene.questioned[:1],), SOURCE, DEST)
    (inputs,) = about((scene.questioned,), "source-app", "dest-app")
    assert not inputs.ipv6
    for ends in ((SOURCE, "10.255.1.9"), ("10.255.1.9", DEST)):
        with pytest.raises(UsageError, match="both ends of one family"):
            explain(about((scene.questioned,), *ends), *ends)


def test_the_matrix_finds_an_address_of_either_family() -> None:
    """A cell's rules of both are asked, whichever end it is; an address of nobody's has no lines, and is no error."""
    inputs = [inputs for inputs, _ in _judged(FLUSHED).reached]
    for name in (SOURCE, "10.255.1.9", "2606:4700::1111"):
        for ends in ((name, None), (None, name)):
            found = matrix(_judged(FLUSHED).reached, only=Only.of(inputs, *ends))
            assert bool(found.lines) == (name == SOURCE)


def test_the_matrix_shows_what_passes_over_ipv6() -> None:
    """Nothing is intended there, so every line is a difference."""
    sound, flushed = _judged(RULES), _judged(FLUSHED)
    assert not matrix(sound.reached, differences=True).lines
    assert len(matrix(sound.reached).lines) == len(matrix(sound.reached[:1]).lines)
    lines = matrix(flushed.reached, differences=True).lines
    assert {(line.intended, line.actual) for line in lines} == {("nothing", "everything")}
    assert len(lines) == 4  # to each of both: the other, and everything beyond


def test_commands_answer_for_ipv6(tmp_path: Path) -> None:
    """`audit`, `explain` and `matrix` of a bundle whose FORWARD was flushed."""
    bundle = tmp_path / "bundle"
    shutil.copytree(PAIR, bundle)
    text = (PAIR / RULES_IPV6).read_text()
    flushed = "\n".join(line for line in text.splitlines() if " -A FORWARD" not in line)
    (bundle / RULES_IPV6).write_text(f"{flushed}\n")
    run = CliRunner().invoke
    audited = run(cli, ["audit", "--bundle", str(bundle), "--format", "json"], standalone_mode=False)
    assert audited.return_value == 1
    assert {finding["effect"] for finding in json.loads(audited.stdout)["findings"]} == {"breach"}
    arguments = ["explain", SOURCE, DEST, "--bundle", str(bundle)]
    explained = run(cli, arguments, standalone_mode=False)
    assert (explained.return_value, "PASSES" in explained.stdout) == (1, True)
    shown = run(cli, ["matrix", "--bundle", str(bundle), "--differences"], standalone_mode=False)
    assert shown.return_value == 1


def test_a_listing_of_ip6tables_is_judged_as_far_as_it_tells(tmp_path: Path) -> None:
    """Without facts it is silk's own jumps that say where containers are."""
    given = tmp_path / "ip6"
    text = (PAIR / RULES_IPV6).read_text()
    given.write_text(text)
    for end, count in ((text, 0), (text.replace("[0:0] -A FORWARD", "-A FORWARD -j ACCEPT\n[0:0] -A FORWARD", 1), 1)):
        given.write_text(end)
        result = CliRunner().invoke(cli, ["audit", "--rules", str(given), "--format", "json"], standalone_mode=False)
        report = json.loads(result.stdout)
        assert len(report["findings"]) == count
        assert any("only the rules of others were judged" in note for note in report["notes"])
        assert result.return_value == count


def test_rules_of_ip6tables_alone_are_never_called_clean(tmp_path: Path) -> None:
    """What only iptables has was not looked at, with facts or without; the policies are what most people mean."""
    given, facts = tmp_path / "ip6", [f"--{name}={PAIR / file}" for name, file in FACT_FILES.items()]
    given.write_text((PAIR / RULES_IPV6).read_text())
    for options in ([], facts):
        result = CliRunner().invoke(cli, ["audit", "--rules", str(given), *options], standalone_mode=False)
        assert result.return_value == 0
        assert result.stdout.startswith("no contradiction found;"), result.stdout
        assert "those of iptables (iptables-save)" in result.stdout.replace("\n", " ")


def test_a_bundle_holds_the_rules_of_ipv6(tmp_path: Path) -> None:
    """As they were read, also where nothing in them shows the family; and under pseudonyms it audits the same."""
    empty = evolve(
        RULES,
        tables={
            "filter": r.Table(
                name="filter", chains={name: r.Chain(name=name, policy="ACCEPT") for name in ("INPUT", "FORWARD")}
            )
        },
    )
    reading = evolve(READING, rulesets=(READING.rulesets[0], empty))
    texts = {name: (PAIR / name).read_text() for name in ("store.json", "vxlan-policy-agent.json", "policies.json")}
    files = bundle_files(reading, texts, ingress_tag=None)
    assert RULES_IPV6 in files
    for name, made in (("plain", files), ("redacted", redacted(files)), ("moved", redacted(files, addresses=True))):
        write_bundle(tmp_path / name, made)
        again = BundleReader(directory=tmp_path / name).read()
        assert [ruleset.family for ruleset in again.rulesets] == [IPV4, IPV6]
        missing = [one for one in judge_cell(again).judgement.findings if one.ipv6]
        assert [one.kind for one in missing] == [Kind.CONTAINER_CHAIN_MISSING] * 2
    handles = read_bundle(tmp_path / "redacted").rules[RULES_IPV6]
    assert "35bf992d" not in handles


def test_under_pseudonyms_for_addresses_the_cell_audits_the_same(tmp_path: Path) -> None:
    """Also those of IPv6: none of the containers', nor the networks that are theirs, is left."""
    names = [path.name for path in PAIR.iterdir() if path.name != "expected.json"]
    made = redacted({name: (PAIR / name).read_text() for name in names}, addresses=True)
    write_bundle(tmp_path / "bundle", made)
    scene = judge_cell(BundleReader(directory=tmp_path / "bundle").read())
    assert (scene.judgement.findings, scene.judgement.unknown) == ((), frozenset())
    assert scene.ipv6 is not None
    text = "\n".join(made.values())
    for address in ("2001:db8", "4e04:d139", "fd12:3456"):
        assert address not in text
    for kept in ("2000::-3fff:", "::-ffff:", "fd00::/8", "--icmpv6-type 128/0"):
        assert kept in text


def _container() -> tuple[CellFacts, str]:
    scene = read_scene(BundleReader(directory=PAIR))
    assert scene.ipv6 is not None
    return scene.ipv6.inputs.facts, DEST


def test_silks_chains_of_ipv6_are_planned_from_the_same_settings() -> None:
    """Denied networks, limits and logging; no mark, no vtep, and the family's own answer."""
    facts, _ = _container()
    assert facts.store is not None
    container = facts.store.containers[0]
    cni = CniConfig(
        deny_networks=DenyNetworks(always=(IPv6Network("fd00::/8"),), running=(IPv6Network("fd01::/16"),)),
        outbound_connections=OutboundConnections(limit=True, logging=True, dry_run=False),
        c2c_logging=True,
    )
    overlay = [render_rule(rule) for rule in overlay_plan(container, cni).head]
    assert overlay == [
        f"-d {DEST}/128 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f'-d {DEST}/128 -m limit --limit 1/sec --limit-burst 1 -j LOG --log-prefix "DENY_C2C_35bf992d-c9e9-4616- "',
        f"-d {DEST}/128 -j REJECT --reject-with icmp6-port-unreachable",
    ]
    netout = [render_rule(rule) for rule in netout_plan(container, cni, garden=True, frame=True).head]
    assert netout[3:] == [
        "-d fd01::/16 -j REJECT --reject-with icmp6-port-unreachable",
        "-d fd00::/8 -j REJECT --reject-with icmp6-port-unreachable",
    ]
    assert "--hashlimit-above 100/sec" in netout[2]
    log = netout_rate_limit_log_plan(container, cni)
    assert (log.family, log.head[-1].target) == (ChainFamily.RATE_LIMIT_LOG, r.REJECTS[IPV6])


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        (
            {"protocol": "all", "destination": "::/0"},
            ["-m iprange --dst-range ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ),
        ({"protocol": "all", "destination": "0.0.0.0/0,fd00::7"}, ["-m iprange --dst-range fd00::7-fd00::7"]),
        ({"protocol": "all", "destination": "10.0.0.0/8"}, []),
        ({"protocol": "icmp", "destination": "fd00::7", "type": 8}, []),
        (
            {"protocol": "icmpv6", "destination": "fd00::7", "type": -1, "code": -1},
            ["-p ipv6-icmp -m iprange --dst-range fd00::7-fd00::7"],
        ),
        (
            {"protocol": "icmpv6", "destination": "fd00::7", "type": 1, "code": -1},
            ["-p ipv6-icmp -m icmp6 --icmpv6-type 1 -m iprange --dst-range fd00::7-fd00::7"],
        ),
        (
            {"protocol": "udp", "destination": "fd00::1-fd00::9", "ports": "53"},
            ["-p udp -m udp --dport 53 -m iprange --dst-range fd00::1-fd00::9"],
        ),
    ],
)
def test_a_security_groups_rule_is_converted_for_its_family(rule: dict[str, object], written: list[str]) -> None:
    """Each family gets the destinations that are its own."""
    facts, _ = _container()
    assert facts.store is not None
    container = facts.store.containers[0]
    groups = facts.security_groups
    assert groups is not None
    changed = (evolve(groups[0], rules=(SecurityRule(**rule),)),)  # type: ignore[arg-type]  # made by hand above
    plan = asg.asg_plan(container, changed, VpaConfig())
    middle = [render_rule(one) for one in plan.head[2:-1]]
    assert [sorted(text.split(" -")) for text in middle] == [
        sorted(f"{text} -j ACCEPT".split(" -")) for text in written
    ]


def test_one_containers_rules_as_they_were_read_from_silks_source_are_clean() -> None:
    """The recorded shapes, without a chain for logging; flushed, they are a breach."""
    store = READING.facts.store
    groups = READING.facts.security_groups
    assert store is not None
    assert groups is not None
    alone = evolve(
        READING.facts,
        store=Store(containers=(evolve(store.containers[0], handle="35bf992d-c9e9-4616-a16a-7696"),)),
        security_groups=(evolve(groups[0], rules=groups[0].rules[:-1]),),
        config=VpaConfig(ipv6=True, asg_syncing=True),
    )
    shapes = read_text((GOLDEN / "ip6tables" / "ip6tables-save.txt").read_text(), where="x")
    judgement = judge(alone, shapes, None)
    assert (judgement.findings, judgement.unknown) == ((), frozenset())
    flushed = judge(alone, with_rules(shapes, "FORWARD", ()), None)
    assert {finding.effect for finding in flushed.findings} == {Effect.BREACH}
