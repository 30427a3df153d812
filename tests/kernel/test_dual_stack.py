"""A cell with IPv6 on, on a real kernel: clean as silk writes it, and each lost rule of ip6tables is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from c2c_auditor.assembly.live import LiveReader
from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.sources.rules.backends import Backends, Reader
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from support.namespaces import in_namespace
from support.recordings import GOLDEN

pytestmark = pytest.mark.kernel
PAIR = GOLDEN / "reports" / "pair-dual-stack"
BACKENDS = ("nft", "legacy")


class _Facts:
    """What the recording knows."""

    def __init__(self, facts: CellFacts) -> None:
        self._facts = facts

    def read(self) -> FactsReading:
        return FactsReading(facts=self._facts)


def _restore(backend: str, tool: str) -> None:
    text = (PAIR / f"{tool}-save.txt").read_text()
    subprocess.run((f"{tool}-{backend}-restore", "-w"), input=text, text=True, check=True, timeout=30)


def _reader(netlink: Netlink, facts: CellFacts) -> LiveReader:
    readers: tuple[Reader, ...] = (NativeReader(netlink), LegacyReader())
    return LiveReader(Backends(readers), _Facts(facts))


class _Cell:
    """The recording's rules in this network namespace, and a reader of them."""

    def __init__(self, backend: str, netlink: Netlink) -> None:
        self._backend = backend
        self._reader = _reader(netlink, BundleReader(directory=PAIR).read().facts)
        for tool in ("iptables", "ip6tables"):
            _restore(backend, tool)

    def ip6tables(self, *arguments: str) -> None:
        subprocess.run((f"ip6tables-{self._backend}", "-w", *arguments), check=True, timeout=30)

    def judged(self) -> Scene:
        return judge_cell(self._reader.read())

    def rules(self) -> dict[str, r.Chain]:
        scene = self.judged()
        assert scene.ipv6 is not None
        return dict(scene.ipv6.inputs.ruleset.chains("filter"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_lost_rule_of_ip6tables_is_found_and_named(backend: str) -> None:
    """Every rule of every chain of both containers, one after the other; what is put back is clean again."""
    _each_lost_rule(backend)


@in_namespace
def _each_lost_rule(backend: str) -> None:
    with Netlink() as netlink:
        cell = _Cell(backend, netlink)
        scene = cell.judged()
        assert [ruleset.backend.value for ruleset in scene.reading.rulesets] == [backend, backend]
        assert (scene.judgement.findings, scene.judgement.unknown) == ((), frozenset())
        saved = (PAIR / "ip6tables-save.txt").read_text().splitlines()
        written = [line.partition(" -A ")[2] for line in saved if " -A " in line]
        for chain, found in cell.rules().items():
            own = [text.partition(" ")[2] for text in written if text.startswith(f"{chain} ")]
            for at, rule in enumerate(found.rules, 1):
                cell.ip6tables("-D", chain, str(at))
                findings = cell.judged().judgement.findings
                assert rule in {finding.expected for finding in findings}, f"{chain} {at}"
                assert all(finding.ipv6 for finding in findings)
                text = own[at - 1].replace('"', "").split(" ")
                prefix = [text.index("--log-prefix") + 1] if "--log-prefix" in text else []
                for index in prefix:
                    text[index : index + 2] = [f"{text[index]} "]
                cell.ip6tables("-I", chain, str(at), *text)
        assert not cell.judged().judgement.findings


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_flushed_forward_of_ip6tables_is_a_breach(backend: str) -> None:
    """The rules of IPv4 stay as they are."""
    _flushed(backend)


@in_namespace
def _flushed(backend: str) -> None:
    with Netlink() as netlink:
        cell = _Cell(backend, netlink)
        cell.ip6tables("-F", "FORWARD")
        findings = cell.judged().judgement.findings
        denied = [finding for finding in findings if finding.kind is Kind.DEFAULT_DENY_MISSING]
        assert [(finding.effect, finding.ipv6) for finding in denied] == [(Effect.BREACH, True)] * 2
        cell.ip6tables("-I", "FORWARD", "1", "-j", "ACCEPT")
        kinds = {finding.kind for finding in cell.judged().judgement.findings}
        assert Kind.DEFAULT_DENY_MISSING in kinds


@in_namespace
def test_a_cell_without_ipv6_has_no_table_of_it_made() -> None:
    """Opening a legacy table makes it, so a cell where IPv6 is off is not looked at for it."""
    _restore("legacy", "iptables")
    reading = BundleReader(directory=PAIR).read()
    store, config = reading.facts.store, reading.facts.config
    assert store is not None
    assert config is not None
    off = evolve(
        reading.facts,
        store=evolve(store, containers=tuple(evolve(container, ipv6=None) for container in store.containers)),
        config=evolve(config, ipv6=False),
    )
    with Netlink() as netlink:
        live = _reader(netlink, off).read()
    assert [ruleset.family for ruleset in live.rulesets] == [r.AddressFamily.IPV4]
    assert not judge_cell(live).judgement.findings
    assert Path("/proc/thread-self/net/ip6_tables_names").read_text() == ""
