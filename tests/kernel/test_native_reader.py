"""nf_tables read over netlink, against what iptables-nft-save says of the same rules, rule by rule."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Act, Author
from c2c_auditor.model.table import READ_TABLES
from c2c_auditor.netfilter.render import render_rule, render_ruleset
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.silk.chain_names import policy_chain_name
from c2c_auditor.sources.recordings.natives import natives_json, parse_natives, with_natives
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from support.namespaces import in_namespace
from support.recordings import CELL_NAMES, CELLS, GOLDEN
from support.rules import CHAIN, MARK_TARGETS, rules
from support.rulesets import World, tables

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("iptables-nft-restore") is None, reason="needs iptables-nft-restore"),
]
EVERY_OPTION = {
    r.AddressFamily.IPV4: GOLDEN / "every-option.txt",
    r.AddressFamily.IPV6: GOLDEN / "every-option-ipv6.txt",
}


@contextmanager
def native() -> Iterator[NativeReader]:
    """A reader in this namespace."""
    with Netlink() as netlink:
        yield NativeReader(netlink)


def _run(*argv: str, given: str = "") -> str:
    return subprocess.run(argv, check=True, input=given, capture_output=True, text=True, timeout=60).stdout


def _restore(rules: str, family: r.AddressFamily = r.AddressFamily.IPV4) -> None:
    _run(f"{family.tool}-nft-restore", given=rules)


TABLE_NAMES = tuple(spec.name for spec in READ_TABLES)


def saved(family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
    """What iptables itself says, with counters."""
    printed = "".join(_run(f"{family.tool}-nft-save", "-c", "-t", table) for table in TABLE_NAMES)
    return parse_save(printed, where="iptables-nft-save")


def _once(family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
    with native() as reader:
        return reader.read(family)


def _packets(ruleset: r.Ruleset) -> dict[tuple[str, str], tuple[int, ...]]:
    return {
        (table, name): chain.packets or () for table in ruleset.tables for name, chain in ruleset.chains(table).items()
    }


@pytest.mark.parametrize("name", CELL_NAMES)
@in_namespace
def test_a_recorded_cell_reads_as_it_is_saved(name: str) -> None:
    """Every rule of every table, and its packets; equal leaves are the same objects as the text's."""
    _run("iptables-nft-restore", "-c", given=(CELLS / name / "iptables-save.txt").read_text())
    reading, text = _once(), saved()
    assert reading.tables == text.tables
    assert _packets(reading) == _packets(text)
    assert (reading.backend, reading.natives, reading.warnings) == (r.Backend.NFT, (), ())
    for table in text.tables:
        for chain in text.chains(table):
            for one, other in zip(reading.chains(table)[chain].rules, text.chains(table)[chain].rules, strict=True):
                if not isinstance(one.target, r.Log):  # whose quoted prefix the parser reads word by word
                    assert one.destination is other.destination
                    assert [id(match) for match in one.matches] == [id(match) for match in other.matches]


@in_namespace
def test_ip6tables_reads_as_it_is_saved() -> None:
    """What silk writes to ip6tables, beside nothing of IPv4."""
    _restore((GOLDEN / "ip6tables" / "ip6tables-save.txt").read_text(), r.AddressFamily.IPV6)
    assert _once(r.AddressFamily.IPV6).tables == saved(r.AddressFamily.IPV6).tables
    assert all(not chain.rules for chain in _once().chains("filter").values())


@pytest.mark.parametrize("family", r.AddressFamily)
@in_namespace
def test_every_option_reads_as_it_is_saved(family: r.AddressFamily) -> None:
    """Every match and target with a value of its own; the others are kept, and differ when they differ."""
    _restore(EVERY_OPTION[family].read_text(), family)
    reading, text = _once(family), saved(family)
    for table in ("filter", "nat", "mangle"):
        for name, chain in text.chains(table).items():
            found = reading.chains(table)[name]
            if name != "opaque":
                assert (found.policy, found.rules) == (chain.policy, chain.rules), name
    read, expected = reading.chains("filter")["opaque"].rules, text.chains("filter")["opaque"].rules
    assert [(rule.protocol, _modules(rule)) for rule in read] == [(rule.protocol, _modules(rule)) for rule in expected]
    assert len(set(read)) == len(read)


def _modules(rule: r.Rule) -> list[str]:
    matches = [match.module if isinstance(match, r.OpaqueMatch) else repr(match) for match in rule.matches]
    return [*sorted(matches), rule.target.name if isinstance(rule.target, r.OpaqueTarget) else repr(rule.target)]


@pytest.mark.parametrize("family", r.AddressFamily)
@in_namespace
def test_any_rule_comes_back_as_it_went_in(family: r.AddressFamily) -> None:
    """Whatever the strategy makes: rendered, restored by the real tool, read by one reader that follows."""
    with native() as reader:

        @seed(20261126)
        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(
            filtering=st.lists(rules(family=family), min_size=1, max_size=12),
            mangling=st.lists(rules(MARK_TARGETS, family), min_size=1, max_size=4),
        )
        def check(filtering: list[r.Rule], mangling: list[r.Rule]) -> None:
            chains = {CHAIN: r.Chain(name=CHAIN), "probe": r.Chain(name="probe", rules=tuple(filtering))}
            made = r.Ruleset(
                tables={
                    "filter": r.Table(name="filter", chains=chains),
                    "mangle": r.Table(name="mangle", chains={"probe": r.Chain(name="probe", rules=tuple(mangling))}),
                }
            )
            _restore(render_ruleset(made), family)
            read = reader.read(family)
            assert read.chains("filter")["probe"].rules == tuple(filtering)
            assert read.chains("mangle")["probe"].rules == tuple(mangling)

        check()


@in_namespace
def test_any_table_comes_back_as_iptables_saves_it() -> None:
    """Tables of the proofs of `evaluate` and `paths`: conditions upon conditions, jumps, opaque matches."""
    taken: list[str] = []
    with native() as reader:

        @seed(20261126)
        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(chains=tables(World()))
        def check(chains: dict[str, r.Chain]) -> None:
            made = render_ruleset(r.Ruleset(tables={"filter": r.Table(name="filter", chains=chains)}))
            try:
                _restore(made)
            except subprocess.CalledProcessError:
                return  # this version of iptables refuses the table
            taken.append(made)
            read = reader.read().chains("filter")
            for name, chain in saved().chains("filter").items():
                assert [_known(rule) for rule in read[name].rules] == [_known(rule) for rule in chain.rules]
                assert read[name].policy == chain.policy

        check()
        assert len(taken) > 30


def _known(rule: r.Rule) -> r.Rule:
    """A rule in which of opaque matches and targets the name alone counts: a text has their options, bytes have not."""
    matches = sorted(
        (r.OpaqueMatch(module=match.module) if isinstance(match, r.OpaqueMatch) else match for match in rule.matches),
        key=repr,
    )
    target = r.OpaqueTarget(name=rule.target.name) if isinstance(rule.target, r.OpaqueTarget) else rule.target
    return r.Rule(
        source=rule.source,
        destination=rule.destination,
        in_interface=rule.in_interface,
        out_interface=rule.out_interface,
        protocol=rule.protocol,
        fragment=rule.fragment,
        matches=tuple(matches),
        target=target,
    )


def _nft(script: str) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft (Debian package nftables) is not installed")
    _run("nft", "-f", "-", given=script)


def _shown(ruleset: r.Ruleset) -> list[str]:
    """Warnings, native tables, and iptables' own chains that hang elsewhere, one line each."""
    lines = [f"# {ruleset.family.value}", *(f"# {warning}" for warning in ruleset.warnings)]
    for table in (*ruleset.natives, *ruleset.tables.values()):
        for chain in table.chains.values():
            if table in ruleset.natives or chain.base is not None:
                base = chain.base
                hook = f" {base.kind} {base.hook.value} {base.priority} {chain.policy}" if base is not None else ""
                lines.append(f"{table.name} {chain.name}{hook}")
                lines += [f"    {render_rule(rule)}".rstrip() for rule in chain.rules]
    return lines


def test_native_tables_golden(request: pytest.FixtureRequest) -> None:
    """What nft(8) writes for each statement that it knows and cells may have, in both families' rulesets."""
    _native_tables(update=bool(request.config.getoption("--update-golden")))


@in_namespace
def _native_tables(*, update: bool) -> None:
    _run("ip", "link", "set", "lo", "up")
    _nft((GOLDEN / "native-tables.nft").read_text())
    with native() as reader:
        shown = "\n".join(line for family in r.AddressFamily for line in _shown(reader.read(family))) + "\n"
        for family in r.AddressFamily:
            read = reader.read(family)
            kept = parse_natives(natives_json([read]) or "{}")
            assert with_natives([evolve(read, natives=())], kept) == (read,)
    expected = GOLDEN / "native-tables.txt"
    if update:
        expected.write_text(shown)
    assert shown == expected.read_text()


@in_namespace
def test_a_dormant_table_is_told_and_its_rules_are_not_in_force() -> None:
    """One command of nft takes a whole table out of every packet's way; iptables-nft-save shows it as ever."""
    _restore("*filter\n:FORWARD DROP\n-A FORWARD -j REJECT\nCOMMIT\n")
    with native() as reader:
        assert reader.read().chains("filter")["FORWARD"].rules
        _nft("table ip filter { flags dormant; }")
        read = reader.read()
    assert read.chains("filter")["FORWARD"] == r.Chain(name="FORWARD", policy="ACCEPT")
    assert any("dormant" in warning for warning in read.warnings)


@in_namespace
def test_each_commit_is_counted_for_who_made_it_and_others_are_told() -> None:
    """Silk's swap and a container's rules are silk's; a person's flush is told, with what it took away."""
    _run("iptables-nft-restore", given=(CELLS / "pair-nft" / "iptables-save.txt").read_text())
    iptables = shutil.which("iptables")
    if iptables is None or "nf_tables" not in _run(iptables, "--version"):
        pytest.skip("iptables is not nf_tables' here: silk starts it by its plain name")
    with native() as reader:
        before = len(reader.read().chains("filter")["FORWARD"].rules)
        reader.changes()
        reader.done()
        for command in (
            "-N vpa--99",
            "-I FORWARD 1 -j vpa--99",
            "-A vpa--99 -s 10.255.9.9 -j MARK --set-xmark 0x9",
            "-D FORWARD -j vpa--99",
            "-F vpa--99",
            "-X vpa--99",
            "-N overlay--99",
            "-A FORWARD -j overlay--99",
            "-t nat -A POSTROUTING -s 10.255.9.9/32 ! -d 10.255.0.0/16 ! -o silk-vtep -j MASQUERADE",
            "-D FORWARD -j overlay--99",
            "-X overlay--99",
        ):
            _run(iptables, *command.split())
        reader.read()
        assert dict(reader.changes()) == {"vpa": 6, "cni": 5}
        acts = [(done.change.author, done.change.act) for done in reader.done()]
        assert acts == [
            *[(Author.VPA, Act.POLICY_SWAP)] * 6,
            *[(Author.CNI, Act.CONTAINER_CREATED)] * 3,
            *[(Author.CNI, Act.CONTAINER_DELETED)] * 2,
        ]
        _run(iptables, "-F", "FORWARD")
        reader.read()
        assert dict(reader.changes()) == {"foreign": 1}
        (change,) = (done.change for done in reader.done())
        assert (change.process, change.chains, change.added) == ("iptables", ("filter FORWARD",), ())
        assert len(change.removed) + change.left_out == before
        assert all(line.startswith("-t filter -A FORWARD ") for line in change.removed)


@in_namespace
def test_a_policy_chain_beside_a_new_one_is_a_swap_for_a_few_seconds() -> None:
    """From silk's first commit to its last; one that hangs is judged as it is, and so are chains of others."""
    began = 1_795_679_340.0
    old, new = policy_chain_name(began - 3600), policy_chain_name(began)
    with native() as reader:
        reader.read()
        seen = []
        for command in (f"-N {old}", "-N mine", f"-N {new}", f"-I FORWARD -j {new}", f"-X {old}"):
            _run("iptables-nft", *command.split())
            seen.append(reader.policy_chain(began + 1.0))
        alone = (began - 3600, False)
        assert seen == [alone, alone, (began, True), (began, True), (began, False)]
        _run("iptables-nft", "-N", old)
        assert reader.policy_chain(began + 1.0) == (began, True)
        assert reader.policy_chain(began + 60.0) == (began, False)
        assert {old, new, "mine"} <= reader.read().chains("filter").keys()
