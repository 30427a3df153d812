"""All readers give the same values for the same kernel state, on both backends.

Recorded cells audit clean after a real restore.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.render import render_ruleset
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from c2c_auditor.sources.rules.text import read_text
from support.namespaces import in_namespace
from support.recordings import CELL_NAMES, CELLS, GOLDEN, recording
from support.rules import CHAIN, MARK_TARGETS, rules

pytestmark = pytest.mark.kernel
BACKENDS = ("nft", "legacy")


def _restore(backend: str, text: str, tool: str = "iptables") -> None:
    subprocess.run((f"{tool}-{backend}-restore", "-w"), input=text, text=True, check=True, timeout=30)


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def _auto(netlink: Netlink) -> Backends:
    nft = NativeReader(netlink)
    return Backends([nft, LegacyReader()])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_recorded_cell_audits_clean_after_a_real_restore_by_each_reader(name: str, backend: str) -> None:
    """`auto` finds the backend; save, -S and -L -n -v of the same kernel say the same."""
    _audits_clean(name, backend)


@in_namespace
def _audits_clean(name: str, backend: str) -> None:
    cell = recording(name)
    _restore(backend, (CELLS / name / "iptables-save.txt").read_text())
    expected = {Kind.ENFORCEMENT_DISABLED} if name == "pair-policy-disabled" else set()
    with Netlink() as netlink:
        live = _auto(netlink).read()
    assert [ruleset.backend.value for ruleset in live] == [backend]
    assert {name: live[0].tables[name] for name in cell.ruleset.tables} == cell.ruleset.tables
    texts = [
        _printed(f"iptables-{backend}-save", "-c", "-t", "filter"),
        _printed(f"iptables-{backend}", "-w", "-S"),
        _printed(f"iptables-{backend}", "-w", "-L", "-n", "-v", "--line-numbers"),
    ]
    for ruleset in (live[0], *(read_text(text, where="x") for text in texts)):
        found = {finding.kind for finding in judge(cell.facts, ruleset, None).findings}
        assert found - {Kind.PORT_NOT_EXPOSED} == expected


@in_namespace
def test_an_nft_cell_is_read_without_making_a_legacy_table() -> None:
    """Looking must not create anything: opening a legacy table does."""
    _restore("nft", (CELLS / "pair-nft" / "iptables-save.txt").read_text())
    with Netlink() as netlink:
        _auto(netlink).read()
    assert Path("/proc/thread-self/net/ip_tables_names").read_text() == ""


@in_namespace
def test_rules_in_both_backends_are_both_read() -> None:
    """The fuller one first; the kernel applies both."""
    _restore("legacy", (CELLS / "pair" / "iptables-save.txt").read_text())
    subprocess.run(("iptables-nft", "-N", "overlay--stray"), check=True, timeout=30)
    with Netlink() as netlink:
        live = _auto(netlink).read()
    assert [ruleset.backend.value for ruleset in live] == ["legacy", "nft"]
    found = {
        finding.kind for finding in judge_cell(Reading(facts=recording("pair").facts, rulesets=live)).judgement.findings
    }
    assert found == {Kind.BACKEND_SPLIT}


@in_namespace
def test_an_empty_namespace_is_an_empty_cell() -> None:
    """Neither backend holds a rule, and nothing is made up."""
    with Netlink() as netlink:
        (ruleset,) = _auto(netlink).read()
    assert all(not chain.rules for table in ruleset.tables.values() for chain in table.chains.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", r.AddressFamily)
def test_any_rule_comes_back_from_the_kernel_as_it_went_in(family: r.AddressFamily, backend: str) -> None:
    """Whatever the strategy makes: rendered, restored by the real tool, read by the backend's reader."""
    _comes_back(family, backend)


@in_namespace
def _comes_back(family: r.AddressFamily, backend: str) -> None:
    reader = LegacyReader() if backend == "legacy" else NftReader(bin_dir=None)

    @seed(20261123)
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        filtering=st.lists(rules(family=family), min_size=1, max_size=12),
        mangling=st.lists(rules(MARK_TARGETS, family), min_size=1, max_size=4),
    )
    def check(filtering: list[r.Rule], mangling: list[r.Rule]) -> None:
        made = _ruleset(tuple(filtering), tuple(mangling))
        _restore(backend, render_ruleset(made), family.tool)
        read = reader.read(family)
        assert read.family is family
        assert read.chains("filter")["probe"].rules == tuple(filtering)
        assert read.chains("mangle")["probe"].rules == tuple(mangling)

    check()


@pytest.mark.parametrize("backend", BACKENDS)
@in_namespace
def test_both_families_are_found_where_each_of_them_stands(backend: str) -> None:
    """Rules of IPv4 in one backend and of IPv6 in the other: the families are looked up apart from each other."""
    other = BACKENDS[1 - BACKENDS.index(backend)]
    _restore(backend, (CELLS / "pair" / "iptables-save.txt").read_text())
    _restore(other, (GOLDEN / "ip6tables" / "ip6tables-save.txt").read_text(), "ip6tables")
    with Netlink() as netlink:
        live = _auto(netlink).read(tuple(r.AddressFamily))
        assert [ruleset.backend.value for ruleset in _auto(netlink).read()] == [backend]
    assert [(ruleset.family, ruleset.backend.value) for ruleset in live] == [
        (r.AddressFamily.IPV4, backend),
        (r.AddressFamily.IPV6, other),
    ]
    listed = _printed(f"ip6tables-{other}", "-L", "-n", "-v")
    for text in (listed, _printed(f"ip6tables-{other}", "-S"), _printed(f"ip6tables-{other}-save", "-t", "filter")):
        assert read_text(text, where="x").tables == {"filter": live[1].tables["filter"]}


def _ruleset(filtering: tuple[r.Rule, ...], mangling: tuple[r.Rule, ...]) -> r.Ruleset:
    chains = {CHAIN: r.Chain(name=CHAIN), "probe": r.Chain(name="probe", rules=filtering)}
    return r.Ruleset(
        tables={
            "filter": r.Table(name="filter", chains=chains),
            "mangle": r.Table(name="mangle", chains={"probe": r.Chain(name="probe", rules=mangling)}),
        }
    )
