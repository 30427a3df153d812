"""Bundles: what was captured is what is read, whole or not at all, and under pseudonyms it audits the same."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest
from attrs import evolve

from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.errors import Reason, SourceError, UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cni import Lease, LeaseSource
from c2c_auditor.model.finding import Place
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.table import Hook
from c2c_auditor.sources.facts.cni_config import parse_cni_config
from c2c_auditor.sources.recordings.addresses import Addresses
from c2c_auditor.sources.recordings.bundle import CNI_CONFIG, RULES, Bundle, bundle_files, lease_entry, read_bundle
from c2c_auditor.sources.recordings.redact import redacted
from c2c_auditor.sources.recordings.writing import write_bundle
from c2c_auditor.sources.rules.text import read_text
from support.recordings import CELL_NAMES, CELLS, recording

NAMES = (
    "cell.json",
    "store.json",
    "vxlan-policy-agent.json",
    "policies.json",
    "policies_last_updated",
    "security_groups.json",
    "ingress_tag",
    CNI_CONFIG,
    RULES,
)


def _files(name: str) -> dict[str, str]:
    return {file: (CELLS / name / file).read_text() for file in NAMES if (CELLS / name / file).exists()}


def _bundle(directory: Path, **changed: str | None) -> Path:
    """The recorded pair with some files changed or, for None, left out; ``__`` stands for a dot."""
    files = {**_files("pair"), **{name.replace("__", "."): text for name, text in changed.items()}}
    write_bundle(directory / "bundle", {name: text for name, text in files.items() if text is not None})
    return directory / "bundle"


def _findings(bundle: Bundle) -> Counter[tuple[str, str]]:
    rulesets = tuple(read_text(text, where=name) for name, text in bundle.rules.items())
    reading = Reading(time=bundle.time, facts=bundle.facts, rulesets=rulesets)
    return Counter((finding.kind.value, finding.effect.value) for finding in judge_cell(reading).judgement.findings)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_recorded_cell_is_a_bundle(name: str) -> None:
    """Its facts are what an independent reading of the same files gives."""
    bundle, expected = read_bundle(CELLS / name), recording(name).facts
    assert bundle.facts.policies is not None
    assert expected.policies is not None
    assert bundle.facts.store == expected.store
    assert set(bundle.facts.policies.policies) == set(expected.policies.policies)
    assert bundle.facts.policies.last_updated == int((CELLS / name / "policies_last_updated").read_text())
    assert bundle.facts.security_groups == expected.security_groups
    assert (bundle.facts.ingress_tag, bundle.facts.underlay_interfaces) == (expected.ingress_tag, ("eth0",))
    backend = "nft" if name.endswith(("nft", "-cell")) else "legacy"
    assert (bundle.backend, bundle.time) == (backend, None)
    assert bundle.facts.notes == ()
    assert (bundle.facts.cni is not None) == (CELLS / name / CNI_CONFIG).exists()
    assert (bundle.facts.lease, bundle.sources) == (expected.lease, ())


@pytest.mark.parametrize("source", LeaseSource)
def test_a_lease_is_kept_with_who_told_it(source: LeaseSource, tmp_path: Path) -> None:
    """In cell.json, as `capture` writes it."""
    lease = Lease(network=IPv4Network("10.255.7.0/24"), source=source)
    bundle = read_bundle(_bundle(tmp_path, **{"cell.json": json.dumps({"lease": lease_entry(lease)})}))
    assert bundle.facts.lease == lease


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cell.json", '{"time": "12"}'),
        ("cell.json", '{"time": true}'),
        ("cell.json", '{"time": 1e999}'),
        ("cell.json", '{"time": %s}' % ("9" * 5000)),
        ("cell.json", '{"underlay_interfaces": "eth0"}'),
        ("cell.json", '{"backend": 7}'),
        ("cell.json", '{"lease": {"network": "10.255.7.0/99"}}'),
        ("cell.json", '{"lease": {"network": "10.255.7.0/24", "source": "a friend"}}'),
        ("cell.json", "[" * 100_000),
        ("ingress_tag", "1_0"),
        ("ingress_tag", "0x3"),
        ("ingress_tag", "²"),
        ("ingress_tag", "100000000"),
        ("policies_last_updated", "9" * 5000),
        ("policies_last_updated", "1_0"),
        (CNI_CONFIG, '{"plugins": [{"dns_servers": 7}]}'),
    ],
)
def test_a_file_that_makes_no_sense_is_a_failed_source(name: str, text: str, tmp_path: Path) -> None:
    """With its path; nothing is invented for it."""
    bundle = read_bundle(_bundle(tmp_path, **{name: text}))
    (status,) = bundle.sources
    assert (status.name, status.up) == (name, False)
    assert status.problem is not None
    assert name in status.problem.where


def test_a_fifo_in_a_bundle_is_a_failed_source(tmp_path: Path) -> None:
    """It would be waited for, for ever."""
    directory = _bundle(tmp_path, store__json=None)
    os.mkfifo(directory / "store.json")
    (status,) = read_bundle(directory).sources
    assert (status.name, status.problem is not None and "a FIFO" in status.problem.problem) == ("store.json", True)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_what_is_written_is_what_is_read(name: str, tmp_path: Path) -> None:
    """Byte for byte."""
    write_bundle(tmp_path / "bundle", _files(name))
    assert {path.name: path.read_text() for path in (tmp_path / "bundle").iterdir()} == _files(name)
    assert read_bundle(tmp_path / "bundle") == read_bundle(CELLS / name)


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    """A comment may hold anything."""
    (tmp_path / "rules").write_bytes(b"*filter\n:X - [0:0]\n-A X -m comment --comment \xff\nCOMMIT\n")
    directory = _bundle(tmp_path, **{RULES: (tmp_path / "rules").read_text(errors="surrogateescape")})
    assert (directory / RULES).read_bytes() == (tmp_path / "rules").read_bytes()


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("store.json", "store"),
        ("vxlan-policy-agent.json", "config"),
        ("policies.json", "policies"),
        ("security_groups.json", "security_groups"),
        ("cell.json", "underlay_interfaces"),
    ],
)
@pytest.mark.parametrize("text", [None, "", "{", "<html>"])
def test_a_fact_that_cannot_be_had_is_unknown_and_said(name: str, fact: str, text: str | None, tmp_path: Path) -> None:
    """Nothing is invented for it, and the others are there."""
    whole = read_bundle(_bundle(tmp_path / "whole")).facts
    bundle = read_bundle(_bundle(tmp_path, **{name: text}))
    facts = bundle.facts
    assert getattr(facts, fact) is None
    assert evolve(facts, **{fact: getattr(whole, fact)}, notes=()) == whole
    (said,) = (*facts.notes, *(status.name for status in bundle.sources))
    assert name in said
    assert bool(bundle.sources) == (text is not None)


def test_a_bundle_without_rules_is_no_bundle(tmp_path: Path) -> None:
    """There would be nothing to audit; and neither is a directory that is not there."""
    with pytest.raises(SourceError) as caught:
        read_bundle(_bundle(tmp_path, **{RULES: None}))
    assert caught.value.reason is Reason.MISSING
    with pytest.raises(SourceError, match="no such directory"):
        read_bundle(tmp_path / "nowhere")


def test_a_cell_with_both_backends_has_two_texts_the_main_one_first(tmp_path: Path) -> None:
    """And the time of the capture, which recordings do not have."""
    cell = json.dumps({"backend": "nft", "time": 12.5})
    bundle = read_bundle(_bundle(tmp_path, **{"iptables-save.legacy.txt": "*filter\nCOMMIT\n", "cell.json": cell}))
    assert list(bundle.rules) == [RULES, "iptables-save.legacy.txt"]
    assert (bundle.backend, bundle.time) == ("nft", 12.5)


def test_only_its_owner_may_read_a_bundle(tmp_path: Path) -> None:
    """Whatever the umask says."""
    before = os.umask(0)
    try:
        directory = _bundle(tmp_path)
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """An empty directory may be used, anything else may not."""
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", {RULES: "x"})
    (tmp_path / "file").write_text("mine")
    for taken in ("empty", "file"):
        with pytest.raises(UsageError, match=taken):
            write_bundle(tmp_path / taken, {RULES: "y"})
    assert (tmp_path / "empty" / RULES).read_text() == "x"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_bundle_is_whole_or_not_there(tmp_path: Path) -> None:
    """What cannot be written half way through leaves nothing behind."""
    (tmp_path / "target").symlink_to(tmp_path / "elsewhere")  # a directory cannot take a link's place
    with pytest.raises(UsageError, match="target"):
        write_bundle(tmp_path / "target", {RULES: "x"})
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("name", ["client.key", "../store.json", "/etc/shadow", "iptables-save.txt.key"])
def test_keys_and_whatever_else_is_no_part_of_a_bundle(name: str, tmp_path: Path) -> None:
    """There is no name under which they could be put in."""
    with pytest.raises(UsageError, match="no part of a bundle"):
        write_bundle(tmp_path / "bundle", {RULES: "x", name: "secret"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("addresses", [False, True])
@pytest.mark.parametrize("name", CELL_NAMES)
def test_under_pseudonyms_a_cell_audits_the_same(name: str, addresses: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """Chain names, log prefixes and comments still fit the handles and guids.

    Here with every third rule gone, so that there is something to find.
    """
    files = _files(name)
    lines = files[RULES].splitlines(keepends=True)
    files[RULES] = "".join(line for number, line in enumerate(lines) if number % 3 or " -A " not in line)
    write_bundle(tmp_path / "plain", files)
    write_bundle(tmp_path / "redacted", redacted(files, addresses=addresses))
    plain, made = read_bundle(tmp_path / "plain"), read_bundle(tmp_path / "redacted")
    assert _findings(plain)
    assert _findings(made) == _findings(plain)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_under_pseudonyms_nothing_of_the_original_is_left(name: str) -> None:
    """No guid or handle, nor eight signs of one; no name; no path. Addresses stay."""
    files = _files(name)
    text = "\n".join(text for name, text in redacted(files).items() if name != "cell.json")
    original = "\n".join(files.values())
    for guid in set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}", original)):
        assert guid[:8] not in text
    for secret in ("dest-app", "source-app", "acme", "/var/vcap", "service.cf.internal"):
        assert secret not in text
    for address in set(re.findall(r"10\.255\.\d+\.\d+", files["store.json"])):
        assert address in text


def _cut(handle: str) -> str:
    """A handle in all the forms that silk cuts it to."""
    return (
        f":overlay--{handle[:19]} - [0:0]\n:asg-{handle.replace('-', '')[:20]} - [0:0]\n-A x -j "
        f"netout--{handle[:15]}--log\n"
        f"-A x -g netout--{handle[:12]}--rl-log\n:overlay--{f'check-{handle}'[:19]} - [0:0]\n"
        f'-A x -j LOG --log-prefix "OK_000D_{handle[:20]} "\n-A x -j LOG --log-prefix "DENY_C2C_{handle[:19]} "\n'
        f"-A x -m hashlimit --hashlimit-name {handle} -m comment --comment src:{handle}_dst:{handle}\n"
    )


def test_a_handle_has_one_pseudonym_however_it_is_cut() -> None:
    """With dashes or without, also where no file tells the whole of it, as with chains of containers that are gone."""
    handle = "0a1b2c3d-4e5f-6071-8293-a4b5"
    store = json.dumps({handle: {"ip": "10.255.1.1"}, f"check-{handle}": {"ip": "10.255.1.2"}})
    made = redacted({"store.json": store, RULES: _cut(handle)})
    other, check = json.loads(made["store.json"])
    assert check == f"check-{other}"
    assert made[RULES] == _cut(other) != _cut(handle)


def test_a_comment_that_is_not_silks_tells_nothing() -> None:
    """Whoever wrote it may have named people in it."""
    rules = (
        '-A FORWARD -m comment --comment "for the ACME \\"payroll\\" team" -j ACCEPT\n'
        "-A FORWARD -m comment --comment payroll -j DROP\n"
    )
    made = redacted({RULES: rules})[RULES]
    assert "payroll" not in made
    assert "ACME" not in made
    assert [line.rpartition(" ")[2] for line in made.splitlines()] == ["ACCEPT", "DROP"]


OTHERS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:payroll-4711 - [0:0]
:4711 - [0:0]
:vpa--payroll - [0:0]
[1:2] -A FORWARD -j payroll-4711
-A FORWARD -g 4711
-A payroll-4711 -j LOG --log-prefix "payroll 4711: "
-A payroll-4711 -m string --string "payroll" --algo bm -j DROP
-A payroll-4711 -m string --hex-string "|0a|payroll" --algo bm -j DROP
-A payroll-4711 -m set --match-set payroll src -j DROP
-A payroll-4711 -m recent --set --name 4711 --mask 255.255.255.255 --rsource
-A payroll-4711 -j NFLOG --nflog-prefix payroll
-A 4711 -m recent --rcheck --name 4711 --mask 255.255.255.255 --rsource -j vpa--payroll
COMMIT
"""


def test_what_others_call_things_is_replaced_alike_everywhere() -> None:
    """Chains, log prefixes, strings, sets and lists; built-in names stay."""
    made = redacted({RULES: OTHERS, "iptables-save.legacy.txt": OTHERS})
    assert made[RULES] == made["iptables-save.legacy.txt"]
    assert "payroll" not in made[RULES]
    assert "4711" not in made[RULES]
    text = made[RULES].replace("chain-1", "payroll-4711").replace("chain-2", "4711").replace("chain-3", "vpa--payroll")
    lines = list(zip(OTHERS.splitlines(), text.splitlines(), strict=True))
    assert [given for given, shown in lines if given == shown] == [*OTHERS.splitlines()[:8], "COMMIT"]
    names = re.findall(r"--name (\S+)", made[RULES])
    assert len(names) == 2
    assert len(set(names)) == 1
    for word in ("-j DROP", "-j LOG", "-j NFLOG", "--algo bm", "--mask 255.255.255.255"):
        assert made[RULES].count(word) == OTHERS.count(word)
    read_text(made[RULES], where="x")


def test_names_of_digits_are_names() -> None:
    """Also a number may name a customer; addresses and ports are known by their keys."""
    tags = {"app_name": "4711", "space_name": "4712", "organization_name": "4713", "customer": "4714"}
    metadata = {"ports": "8080, 2222", "customer": "4715", "log_config": json.dumps({"tags": tags})}
    store = json.dumps({"4716": {"ip": "10.255.1.1", "metadata": metadata}})
    made = redacted({"store.json": store})["store.json"]
    assert re.search("47[0-9]{2}", made) is None
    assert "8080, 2222" in made
    assert "10.255.1.1" in made


def test_the_cni_wrappers_configuration_is_replaced_too() -> None:
    """What it decides stays."""
    text = (CELLS / "pair-source-cell" / CNI_CONFIG).read_text()
    made = redacted({CNI_CONFIG: text})[CNI_CONFIG]
    assert "/var/vcap" not in made
    assert parse_cni_config(made, where="x") == parse_cni_config(text, where="x")


@pytest.mark.parametrize("name", CELL_NAMES)
def test_addresses_can_be_replaced_too(name: str) -> None:
    """None of the containers' or of the underlay's is left, in no file and in no interface's name."""
    files = _files(name)
    files["cell.json"] = json.dumps({"lease": {"network": "10.255.7.0/24"}})
    text = "\n".join(redacted(files, addresses=True).values())
    for address in set(re.findall(r"\b10\.(?:255|0)\.\d+\.\d+", "\n".join(files.values()))) - {"10.255.0.0"}:
        assert re.search(rf"(?<![\w.]){re.escape(address)}(?![\w.])", text) is None


def test_what_is_broken_stays_broken_and_tells_nothing() -> None:
    """Redaction keeps a torn store unreadable and an empty one empty.

    A container with a broken log_config still has one.
    """
    store = json.dumps({"a": {"ip": "10.255.1.1", "metadata": {"log_config": '{"tags": {"app_name": "payroll'}}})
    assert redacted({"store.json": '{"payroll": '}) == {"store.json": "{"}
    assert redacted({"store.json": ""}) == {"store.json": ""}
    made = redacted({"store.json": store})["store.json"]
    assert "payroll" not in made
    assert '"log_config": "{"' in made


def test_each_bundle_has_pseudonyms_of_its_own() -> None:
    """So two bundles tell no more together than each for itself."""
    files = _files("pair")
    assert redacted(files)["store.json"] != redacted(files)["store.json"]


def test_addresses_that_share_a_network_share_one_afterwards() -> None:
    """Of the same size, and none else does; what every machine has stays."""
    made = Addresses(b"k").in_text(
        "10.255.7.0/24 10.255.7.9 10.255.8.9 10.255.0.0/16 s-010255007009 1.2.3.4.5 10.0.0.300"
    )
    lease, inside, outside, overlay, interface, *strange = made.split()
    assert ip_address(inside) in ip_network(lease)
    assert ip_address(outside) not in ip_network(lease)
    assert ip_address(outside) in ip_network(overlay)
    assert (ip_network(lease).prefixlen, ip_network(overlay).prefixlen) == (24, 16)
    assert interface == "s-" + "".join(f"{octet:03}" for octet in ip_address(inside).packed)
    assert strange == ["1.2.3.4.5", "10.0.0.300"]
    for kept in ("0.0.0.0/0", "127.0.0.1:53", "169.254.0.2:9001", "224.0.0.0/4", "255.255.255.255", "10.0.0.0/8"):
        assert Addresses(b"k").in_text(kept) == kept
    assert len({Addresses(b"k").of(IPv4Address(number)) for number in range(0x0A000000, 0x0A001000)}) == 0x1000
    assert Addresses(b"k").in_text("10.1.2.3") != Addresses(b"l").in_text("10.1.2.3")


@pytest.mark.parametrize(
    "kept",
    [
        "0.0.0.0-9.255.255.255",
        "11.0.0.0-169.253.255.255",
        "169.255.0.0-172.15.255.255",
        "172.32.0.0-192.167.255.255",
        "192.169.0.0-255.255.255.255",
        "10.0.0.0-10.255.255.255",
    ],
)
def test_a_range_between_blocks_with_a_meaning_stays(kept: str) -> None:
    """Those of a stock platform's public networks: what they let through stays the same."""
    assert Addresses(b"k").in_text(kept) == kept


def test_any_other_range_is_replaced() -> None:
    """One that is a network stays of its size; another one has its ends' pseudonyms in order."""
    made = Addresses(b"k")
    first, last = map(IPv4Address, made.in_text("10.9.8.0-10.9.8.255").split("-"))
    assert (int(last) - int(first), int(made.of(IPv4Address("10.9.8.7"))) >= int(first)) == (255, True)
    ends = sorted(map(made.of, map(IPv4Address, ("10.9.8.7", "10.9.8.90"))))
    assert made.in_text("10.9.8.7-10.9.8.90") == f"{ends[0]}-{ends[1]}"


def _with_native_rules() -> Reading:
    """The pair with a table of nftables' own, and one of its chains in iptables' filter; both may stop packets."""
    reading = BundleReader(directory=CELLS / "pair").read()
    drop = r.Rule(matches=(r.OpaqueMatch(module="nft", arguments=("@th,16,16", "==", "@secret")),), target=r.DROP)
    base = r.Base(hook=Hook.FORWARD, priority=-7)
    chain = r.Chain(name="secret-chain", policy="ACCEPT", rules=(drop, r.Rule(target=r.Jump(chain="more"))), base=base)
    more = r.Chain(name="more", rules=(r.Rule(target=r.DROP),))
    (ruleset,) = reading.rulesets
    table = ruleset.tables["filter"]
    hung = r.Table(name="filter", chains={**table.chains, "hung": evolve(chain, name="hung", rules=(drop,))})
    native = r.Table(name="inet secret", chains={"secret-chain": chain, "more": more})
    changed = evolve(ruleset, tables={**ruleset.tables, "filter": hung}, natives=(native,))
    return evolve(reading, time=1.8e9, rulesets=(changed,))


def test_a_bundle_holds_native_tables(tmp_path: Path) -> None:
    """The rules read back are those captured, so a bundle audits as the cell does."""
    live = _with_native_rules()
    write_bundle(tmp_path / "captured", bundle_files(live, {}, ingress_tag=None))
    again = BundleReader(directory=tmp_path / "captured").read()
    assert again.rulesets == live.rulesets
    found = judge_cell(evolve(live, rulesets=again.rulesets)).judgement
    assert found.findings == judge_cell(live).judgement.findings
    assert "inet secret" in {finding.place.table for finding in found.findings if finding.place is not None}


def test_pseudonyms_cover_native_tables(tmp_path: Path) -> None:
    """Tables, chains and sets; what the rules do stays."""
    files = redacted(bundle_files(_with_native_rules(), {}, ingress_tag=None))
    assert "secret" not in "".join(files.values())
    write_bundle(tmp_path / "captured", files)
    (table,) = BundleReader(directory=tmp_path / "captured").read().rulesets[0].natives
    assert [len(chain.rules) for chain in table.chains.values()] == [2, 1]
    (jump,) = (
        rule.target for chain in table.chains.values() for rule in chain.rules if isinstance(rule.target, r.Jump)
    )
    assert jump.chain in table.chains


def test_native_tables_alone_stand_beside_the_other_backends_rules(tmp_path: Path) -> None:
    """nf_tables without any of iptables' rules has no file of rules."""
    live = _with_native_rules()
    (ruleset,) = live.rulesets
    legacy = evolve(ruleset, natives=(), backend=r.Backend.LEGACY)
    beside = r.Ruleset(tables={}, natives=ruleset.natives, backend=r.Backend.NFT)
    write_bundle(tmp_path / "both", bundle_files(evolve(live, rulesets=(legacy, beside)), {}, ingress_tag=None))
    (again,) = BundleReader(directory=tmp_path / "both").read().rulesets
    assert again == ruleset


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"ipv4": [{"name": "x"}]}',
        '{"ipv4": [{"name": "x", "chains": [{"name": "y", "rules": ["--no-such thing"]}]}]}',
    ],
)
def test_native_tables_that_cannot_be_read_are_unknown(tmp_path: Path, text: str) -> None:
    """What they do to traffic is not known then, and a source says why."""
    files = {**bundle_files(_with_native_rules(), {}, ingress_tag=None), "native-tables.json": text}
    write_bundle(tmp_path / "captured", files)
    again = BundleReader(directory=tmp_path / "captured").read()
    assert [status.name for status in again.sources if not status.up] == ["native-tables.json"]
    assert {Kind.FOREIGN_DROP, Kind.FLOW_BLOCKED} <= judge_cell(again).judgement.unknown


def test_an_older_bundle_says_what_it_lacks(tmp_path: Path) -> None:
    """Native tables, of which it has the number alone, are unknown; raw and security were not read."""
    files = bundle_files(_with_native_rules(), {}, ingress_tag=None)
    cell = {key: value for key, value in json.loads(files["cell.json"]).items() if key != "tables"}
    kept = {name: text for name, text in files.items() if name != "native-tables.json"}
    write_bundle(tmp_path / "captured", {**kept, "cell.json": json.dumps(cell)})
    judgement = judge_cell(BundleReader(directory=tmp_path / "captured").read()).judgement
    assert {Kind.FOREIGN_DROP, Kind.FLOW_BLOCKED} <= judgement.unknown
    assert any("nftables' own" in note for note in judgement.notes)
    assert any("raw and security" in note for note in judgement.notes)


def test_the_second_backend_of_a_bundle_is_named(tmp_path: Path) -> None:
    """By its file, which the findings about it repeat."""
    shutil.copytree(CELLS / "pair", tmp_path / "split")
    (tmp_path / "split" / "iptables-save.nft.txt").write_text(
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -d 10.255.2.7 -j DROP\nCOMMIT\n"
    )
    (found,) = judge_cell(BundleReader(directory=tmp_path / "split").read()).judgement.findings
    assert (found.kind, found.place) == (Kind.FOREIGN_DROP, Place(table="filter (nft)", chain="FORWARD", position=1))
