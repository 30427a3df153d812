"""``c2c-auditor mend`` and its options, on bundles; on live cells it is run in tests/kernel."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from c2c_auditor.assembly.once import read_agreed
from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.audit.mend.mend import Request, mend
from c2c_auditor.cli import cli
from c2c_auditor.cli.wiring import saving_programs
from c2c_auditor.config import Config
from c2c_auditor.errors import UsageError
from c2c_auditor.export.mend_commands import blocks
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import Backend, Ruleset
from support.recordings import CELLS

FOREIGN = "-A FORWARD -d 10.255.2.7/32 -p tcp -m tcp --dport 9 -j DROP"


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Path:
    """The recorded pair without its MARK rule, and with a rule of others in front of FORWARD."""
    bundle = Path(shutil.copytree(CELLS / "pair", tmp_path / "bundle"))
    rules = bundle / "iptables-save.txt"
    lines = [line for line in rules.read_text().splitlines() if "-j MARK --set-xmark 0x1/" not in line]
    at = next(number for number, line in enumerate(lines) if "-A FORWARD" in line)
    counted = "[0:0] " if lines[at].startswith("[") else ""
    rules.write_text("\n".join([*lines[:at], f"{counted}{FOREIGN}", *lines[at:], ""]))
    return bundle


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)


def _mend(bundle: Path, *options: str) -> Result:
    return _run("mend", "--bundle", bundle, *options)


def test_a_reading_that_is_a_minute_old_is_refused(bundle: Path) -> None:
    """With what to do; a bundle that was captured just now is none, and one that is only to be read is said to be."""
    assert isinstance(_mend(bundle).exception, UsageError)
    assert "run c2c-auditor mend on the cell" in str(_mend(bundle).exception)
    cell = json.loads((bundle / "cell.json").read_text())
    (bundle / "cell.json").write_text(json.dumps({**cell, "time": time.time() - 100}))
    assert "100 s old" in str(_mend(bundle).exception)
    (bundle / "cell.json").write_text(json.dumps({**cell, "time": time.time()}))
    assert _mend(bundle).return_value == 1


def test_what_commands_mend_is_printed_and_the_rest_makes_the_exit_status(bundle: Path) -> None:
    """1 with an outage that stays, 0 with nothing left."""
    done = _mend(bundle, "--review")
    assert done.return_value == 1
    assert "--set-xmark 0x1/0xffffffff" in done.output
    assert f"--remove-foreign '{FOREIGN}'" in done.output
    assert "<<" not in done.output  # a recording's commands are for reading
    done = _mend(bundle, "--review", "--remove-foreign", FOREIGN)
    assert (done.return_value, "# Afterwards: clean." in done.output) == (0, True)
    assert "-D FORWARD 1" in done.output.splitlines()


def test_one_finding_or_one_kind_can_be_asked_for(bundle: Path) -> None:
    """By the beginning of its id, as the text and JSON tell it."""
    document = json.loads(_mend(bundle, "--review", "-o", "json").output)
    (cause,) = document["causes"].values()
    for options in (("--finding", cause["id"][:6]), ("--cause", "mark_missing")):
        done = _mend(bundle, "--review", *options)
        assert (done.return_value, "Not mended" in done.output) == (0, False)
    assert "--finding beef: there is no such finding" in str(_mend(bundle, "--review", "--finding", "beef").exception)


def test_what_happened_behind_several_findings_can_be_asked_for(tmp_path: Path) -> None:
    """By the name that the report gives it; a name that nothing has is an error that says which there are."""
    cell = shutil.copytree(CELLS / "pair", tmp_path / "cell")
    rules = cell / "iptables-save.txt"
    rules.write_text("".join(f"{line}\n" for line in rules.read_text().splitlines() if " -A FORWARD " not in line))
    named = json.loads(_run("audit", "--bundle", cell, "-o", "json").output)["causes"][0]["name"]
    assert named == "emptied-filter-FORWARD"
    done = _mend(cell, "--review", "--cause", named)
    assert done.return_value == 0
    assert sum(line.startswith(("-A FORWARD", "-I FORWARD")) for line in done.output.splitlines()) == 5
    assert "; there are: default_deny_missing, emptied-filter-FORWARD, jump_missing" in str(
        _mend(cell, "--review", "--cause", "emptied-nat").exception
    )


def test_the_way_back_is_printed_by_the_same_options(bundle: Path) -> None:
    """It takes out what the commands put in."""
    done = _mend(bundle, "--review", "--undo")
    assert [line.split(" ")[0] for line in done.output.splitlines() if line.startswith("-")] == ["-D"]


def test_an_audit_says_where_the_commands_are_to_be_had(bundle: Path) -> None:
    """As its last line, where commands may help; JSON stays JSON."""
    done = _run("audit", "--bundle", bundle)
    assert done.output.splitlines()[-1] == "c2c-auditor mend prints the commands that mend this, and runs nothing."
    assert "c2c-auditor mend" not in _run("audit", "--bundle", CELLS / "pair").output
    assert json.loads(_run("audit", "--bundle", bundle, "--format", "json").output)["findings"]


def test_the_program_is_the_one_beside_silks_own(tmp_path: Path) -> None:
    """By directory, family and backend, whatever its name there is; without one its usual name has to do."""
    said = {"iptables-save": "nf_tables", "ip6tables-nft-save": "nf_tables", "iptables-legacy-save": "legacy"}
    for name, backend in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{name} v1.8.9 ({backend})'\n")
        (tmp_path / name).chmod(0o755)
    config = Config(iptables_bin_dir=tmp_path)
    for family, backend, name in (
        (AddressFamily.IPV4, Backend.NFT, "iptables-save"),
        (AddressFamily.IPV6, Backend.NFT, "ip6tables-nft-save"),
        (AddressFamily.IPV4, Backend.LEGACY, "iptables-legacy-save"),
    ):
        ruleset = Ruleset(tables={}, family=family, backend=backend)
        assert saving_programs(config, [ruleset]) == {family: str(tmp_path / name)}
    assert saving_programs(config, [Ruleset(tables={}, family=AddressFamily.IPV6, backend=Backend.LEGACY)]) == {}


def test_what_is_printed_names_that_program(bundle: Path) -> None:
    """The one that loads rules stands where the one does that prints them."""
    scene, findings = read_agreed(BundleReader(directory=bundle), wait=None)
    found = mend(scene, Request(findings=findings))
    (usual,) = blocks(found, undo=False)
    (own,) = blocks(found, undo=False, saving={AddressFamily.IPV4: "/opt/sbin/iptables-nft-save"})
    assert (usual.program, own.program) == ("iptables-restore", "/opt/sbin/iptables-nft-restore")
