"""iptables-nft as a second witness of what was read over netlink: it agrees, contradicts, or cannot be heard."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define

from c2c_auditor.audit.settle import Grace
from c2c_auditor.cycle import Cycle
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from c2c_auditor.sources.rules.witness import WitnessedReader
from support.namespaces import in_namespace
from support.recordings import CELL_NAMES, CELLS, recording

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("iptables-nft-restore") is None, reason="needs iptables-nft-restore"),
]
NOW = 1_800_000_000.0


@define
class _Time:
    now: float = 0.0

    def clocks(self) -> Clocks:
        return Clocks(steady=lambda: self.now, wall=lambda: NOW + self.now)


@contextmanager
def witnessed(time: _Time, bin_dir: Path | None = None, interval: float = 3600.0) -> Iterator[WitnessedReader]:
    """A reader in this namespace, whose witness is the iptables of ``bin_dir``."""
    with Netlink() as netlink:
        yield WitnessedReader(NativeReader(netlink), NftReader(bin_dir=bin_dir), interval, time.clocks())


def _heard(reader: WitnessedReader, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
    """The ruleset after the witness that the second reading asks has answered."""
    reader.read(family)
    reader.read(family)
    reader.wait()
    return reader.read(family)


def _restore(name: str) -> None:
    saved = (CELLS / name / "iptables-save.txt").read_bytes()
    subprocess.run(("iptables-nft-restore",), input=saved, check=True, timeout=60)


def _iptables(*words: str) -> None:
    subprocess.run(("iptables-nft", *words), check=True, timeout=30)


def _saying(directory: Path, script: str) -> Path:
    """An iptables-nft-save in ``directory`` whose output goes through ``script``."""
    program = directory / "iptables-nft-save"
    program.write_text(f'#!/bin/sh\n{shutil.which("iptables-nft-save")} "$@" | {script}\n')
    program.chmod(0o755)
    return directory


@pytest.mark.parametrize("name", CELL_NAMES)
@in_namespace
def test_a_witness_of_a_recorded_cell_agrees(name: str) -> None:
    """After the start, without having been asked to; and what is read stays the identical object."""
    _restore(name)
    time = _Time()
    with witnessed(time) as reader:
        reader.read()
        reader.wait()
        first = reader.read()
        assert reader.witnessed is None
        reader.wait()
        assert reader.read() is first
        assert not first.disagreements
        assert reader.witnessed == NOW


@in_namespace
def test_a_witness_that_leaves_a_rule_out_is_a_finding_with_both_spellings(tmp_path: Path) -> None:
    """It lasts while the chain is as it was; the first chain that changes needs a new witness."""
    _restore("pair-nft")
    chain = recording("pair-nft").policy_chain
    time = _Time()

    class _Facts:
        def read(self) -> FactsReading:
            return FactsReading(facts=recording("pair-nft").facts)

    lost = _saying(tmp_path, f"sed 's/ -m mark --mark 0x1 / /' | grep -v 'A {chain} .*MARK'")
    with witnessed(time, lost) as reader:
        grace = Grace(policy=10, security_group=10, hint=10)
        cycle = Cycle(rules=Backends([reader]), facts=_Facts(), version="t", grace=grace, clocks=time.clocks())
        assert not [*cycle.run().findings, *cycle.run().findings]
        reader.wait()
        (finding,) = cycle.run().findings
        assert (finding.kind, finding.effect) == (Kind.READER_DISAGREES, Effect.ADVICE)
        assert finding.subject == ("filter", chain)
        assert any(line.startswith(f"netlink: -A {chain} ") and "MARK" in line for line in finding.details)
        assert any(line.startswith("iptables-nft-save v") for line in finding.details)
        time.now += 10
        assert [one.kind for one in cycle.run().confirmed] == [Kind.READER_DISAGREES]
        _iptables("-A", chain, "-s", "192.0.2.1")
        assert Kind.READER_DISAGREES in {one.kind for one in cycle.run().resolved}


@in_namespace
def test_a_native_rule_that_iptables_prints_too_wide_is_told() -> None:
    """``ip saddr @set accept`` comes back from iptables-nft-save as an ACCEPT of everything, or refuses the table."""
    if shutil.which("nft") is None:
        pytest.skip("nft (Debian package nftables) is not installed")
    _restore("pair-nft")
    script = "add set ip filter friends { type ipv4_addr; }\nadd rule ip filter FORWARD ip saddr @friends accept\n"
    subprocess.run(("nft", "-f", "-"), input=script, text=True, check=True, timeout=30)
    with witnessed(_Time()) as reader:
        read = _heard(reader)
    told = [*(one.read for one in read.disagreements), *read.warnings]
    assert any("@friends" in text or "could not be heard" in text for text in told)


@in_namespace
def test_a_witness_is_heard_again_after_the_interval(tmp_path: Path) -> None:
    """Of each family by itself; a witness that agrees takes back what one before said."""
    _restore("pair-nft")
    time = _Time()
    with witnessed(time, _saying(tmp_path, "grep -v MARK")) as reader:
        assert _heard(reader).disagreements
        _saying(tmp_path, "cat")
        time.now += 3599
        assert _heard(reader).disagreements
        time.now += 1
        assert not _heard(reader).disagreements
        assert reader.witnessed == NOW + time.now


@in_namespace
def test_a_witness_that_was_interrupted_is_heard_again_soon(tmp_path: Path) -> None:
    """A commit during its reading: nothing is said, and a minute later it is tried again."""
    _restore("pair-nft")
    time = _Time()
    busy = _saying(tmp_path, "(cat; iptables-nft -A INPUT -s 192.0.2.1; iptables-nft -D INPUT -s 192.0.2.1)")
    with witnessed(time, busy) as reader:
        assert not _heard(reader).disagreements
        assert reader.witnessed is None
        _saying(tmp_path, "cat")
        time.now += 60
        _heard(reader)
        assert reader.witnessed == NOW + 60


@in_namespace
def test_a_witness_that_cannot_be_heard_is_a_note(tmp_path: Path) -> None:
    """No program: what netlink says counts all the same."""
    _restore("pair-nft")
    with witnessed(_Time(), tmp_path) as reader:
        read = _heard(reader)
        assert read.chains("filter") == recording("pair-nft").ruleset.chains("filter")
        assert any("could not be heard as a second witness" in warning for warning in read.warnings)
        assert reader.witnessed is None
        assert reader.read() is read
