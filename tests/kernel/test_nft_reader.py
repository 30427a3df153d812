"""The reader through iptables-nft against real kernel rules, and beside it the one that reads nf_tables itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.command import Limits
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from c2c_auditor.sources.rules.text import read_text
from c2c_auditor.sources.rules.tools import Tools
from support.namespaces import in_namespace
from support.recordings import CELL_NAMES, CELLS, GOLDEN

pytestmark = pytest.mark.kernel
IPV6 = r.AddressFamily.IPV6


def _run(*argv: str, stdin: Path | None = None) -> None:
    with (stdin or Path("/dev/null")).open("rb") as given:
        subprocess.run(argv, check=True, stdin=given, timeout=30)


def _whole() -> r.Ruleset:
    return NftReader(bin_dir=None).read()


@in_namespace
def test_each_commit_is_followed() -> None:
    """After every command of a policy swap what was followed equals what iptables-nft-save says."""
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        reader.read()
        _run("iptables-nft-restore", stdin=CELLS / "pair-nft" / "iptables-save.txt")
        assert reader.read() == _whole()
        for command in (
            "-N vpa--77",
            "-I FORWARD 1 -j vpa--77",
            "-A vpa--77 -s 10.255.1.4 -j MARK --set-xmark 0x9",
            "-t nat -A POSTROUTING -s 10.255.9.9 -j MASQUERADE",
            "-D FORWARD 1",
            "-F vpa--77",
            "-X vpa--77",
        ):
            _run("iptables-nft", *command.split())
            assert reader.read() == _whole(), command


@in_namespace
def test_nothing_committed_gives_the_identical_ruleset() -> None:
    """Identity is what lets a cycle skip everything."""
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        assert reader.read() is reader.read()


@in_namespace
def test_another_familys_commit_changes_nothing() -> None:
    """IPv6 rules move the generation too."""
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        before = reader.read()
        _run("ip6tables-nft", "-A", "FORWARD", "-j", "ACCEPT")
        assert reader.read() is before


@in_namespace
def test_what_silk_writes_to_ip6tables_comes_back() -> None:
    """Every rule, and who read it."""
    _run("ip6tables-nft-restore", stdin=GOLDEN / "ip6tables" / "ip6tables-save.txt")
    expected = read_text((GOLDEN / "ip6tables" / "ip6tables-save.txt").read_text(), where="x")
    reading = NftReader(bin_dir=None).read(IPV6)
    assert reading.chains("filter") == expected.chains("filter")
    assert re.fullmatch(r"ip6tables-nft-save v\d.* \(nf_tables\)", reading.reader)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_recorded_cell_reads_back_as_its_own_text(name: str) -> None:
    """Loaded by the real iptables-nft-restore, every rule of every table comes back equal."""
    _reads_back(name)


@in_namespace
def _reads_back(name: str) -> None:
    from c2c_auditor.netfilter.savefile import parse_save  # noqa: PLC0415 - runs in a forked child

    _run("iptables-nft-restore", stdin=CELLS / name / "iptables-save.txt")
    expected = parse_save((CELLS / name / "iptables-save.txt").read_text(), where=name)
    tables = NftReader(bin_dir=None).read().tables
    assert {name: tables[name] for name in expected.tables} == expected.tables
    others = [tables[name] for name in tables.keys() - expected.tables.keys()]  # which iptables-nft-save makes up
    assert not any(chain.rules for table in others for chain in table.chains.values())


@in_namespace
def test_native_nftables_rules_that_iptables_cannot_show_are_a_failed_reading() -> None:
    """Iptables says `incompatible` and exits 0 or 1; both are blindness, not an empty table."""
    if subprocess.run(["nft", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("nft (Debian package nftables) is not installed")
    _run("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
    _run("nft", "add rule ip filter FORWARD meta mark set numgen inc mod 2")
    with pytest.raises(SourceError) as caught:
        NftReader(bin_dir=None).read()
    assert caught.value.reason is Reason.INCOMPATIBLE


def _fake(directory: Path, script: str) -> Path:
    for name in ("iptables-nft-save", "iptables-nft"):
        program = directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", Reason.MALFORMED),
        ("printf '*filter\\n:FORWARD ACCEPT [0:0]\\n'", Reason.MALFORMED),
        ("echo '# Table `filter'\\'' is incompatible, use '\\''nft'\\'' tool.'", Reason.INCOMPATIBLE),
        ("echo 'Permission denied (you must be root)' >&2; exit 4", Reason.PERMISSION),
        ("echo 'iptables: broken' >&2; exit 2", Reason.FAILED),
        ("exec sleep 60", Reason.TIMEOUT),
        ("exec yes -- '-A FORWARD -j ACCEPT'", Reason.TOO_LARGE),
    ],
)
def test_an_iptables_that_fails_in_any_way_is_a_clear_error(tmp_path: Path, script: str, reason: Reason) -> None:
    """Prints nothing, is cut off, says incompatible, has no permission, fails, hangs, prints without end."""
    reader = NftReader(bin_dir=_fake(tmp_path, script), limits=Limits(seconds=1.0, bytes=1 << 20))
    with pytest.raises(SourceError) as caught:
        reader.read()
    assert caught.value.reason is reason
    assert str(tmp_path) in caught.value.where
    assert caught.value.remedy


def test_an_iptables_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path that was looked at is part of the message."""
    with pytest.raises(SourceError, match="no such program"):
        NftReader(bin_dir=tmp_path).read()


_LEGACY = 'case "$1" in --version) echo "iptables-save v1.8.9 (legacy)";; *) exec iptables-legacy-save "$@";; esac'


def test_a_program_is_what_it_says_and_not_what_it_is_called(tmp_path: Path) -> None:
    """A legacy iptables-save under nf_tables' names is no reader of nf_tables; the message says what was found."""
    reader = NftReader(bin_dir=_fake(tmp_path, _LEGACY))
    with pytest.raises(SourceError, match=r"iptables-nft-save is iptables-save v1\.8\.9 \(legacy\)") as caught:
        reader.read()
    assert caught.value.reason is Reason.MISSING


@in_namespace
def test_a_legacy_cell_with_legacy_programs_alone_is_read_once(tmp_path: Path) -> None:
    """iptables_bin_dir holds nothing but a legacy iptables-save; its rules are not read as nf_tables' too."""
    _run("iptables-legacy-restore", "-w", stdin=CELLS / "pair" / "iptables-save.txt")
    program = tmp_path / "iptables-save"
    program.write_text(f"#!/bin/sh\n{_LEGACY}\n")
    program.chmod(0o755)
    cell = Backends((NftReader(bin_dir=tmp_path), LegacyReader()))
    assert [ruleset.backend for ruleset in cell.read()] == [r.Backend.LEGACY]


def test_a_program_is_asked_again_only_when_it_was_replaced(tmp_path: Path) -> None:
    """By its inode and the time at which it was written."""
    calls = tmp_path / "calls"
    program = tmp_path / "iptables-nft"
    tools = Tools(tmp_path, 5.0)
    for version in ("1.8.7", "1.8.13"):
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\necho $1 >> {calls}\necho 'iptables v{version} (nf_tables)'\n")
        new.chmod(0o755)
        new.replace(program)
        assert {tools.find_nft("iptables-nft").version for _ in range(3)} == {f"iptables v{version} (nf_tables)"}
    assert calls.read_text().split() == ["--version"] * 2
