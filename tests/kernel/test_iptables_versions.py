"""Recorded cells that one iptables wrote and another read have the same findings, in any listing's form.

In `make test` both are the machine's own; `make matrix` gives this module the versions of other Debian releases.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from c2c_auditor.audit.judge import judge
from c2c_auditor.errors import SourceError
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from c2c_auditor.sources.rules.text import read_text
from support.namespaces import in_namespace
from support.recordings import CELL_NAMES, CELLS, recording

pytestmark = pytest.mark.kernel

FORMS = ("-S", "-L", "-L -n", "-L -v", "-L -n -v --line-numbers")
# From this version on iptables-nft writes ports and marks as native expressions that older ones do not show, with exit
# status 0 (seen with 1.8.7 reading what 1.8.9, 1.8.11 and 1.8.13 wrote).
NATIVE = (1, 8, 8)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each writer that was named; the reader itself if none was."""
    if "writer" in metafunc.fixturenames:
        given = metafunc.config.getoption("--iptables-writer") or [metafunc.config.getoption("--iptables-dir")]
        metafunc.parametrize("writer", given, ids=lambda place: f"writer-{_name(place)}")


def _name(place: Path | None) -> str:
    return ".".join(map(str, version(_program(place, "iptables-nft")))) or "none"


def _program(place: Path | None, name: str) -> str:
    return shutil.which(name, path=place) or name


@lru_cache(maxsize=16)
def version(program: str) -> tuple[int, ...]:
    """(1, 8, 9) of an iptables that says ``v1.8.9``; empty where there is none."""
    if shutil.which(program) is None:
        return ()
    said = subprocess.run((program, "--version"), capture_output=True, text=True, check=True, timeout=30).stdout
    (found,) = re.findall(r" v([0-9.]+)", said)
    return tuple(map(int, found.split(".")))


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_cell_of_nft_is_what_it_is(name: str, writer: Path | None) -> None:
    """Kinds of findings are those expected, in every form of text and live through `iptables_bin_dir`.

    An older reader shows less than there is: a live reading by it raises no outage and no breach that is not there.
    """
    older = version("iptables-nft") < NATIVE <= version(_program(writer, "iptables-nft"))
    if older:
        _raises_no_false_alarm(name, writer)
    else:
        _audits_as_expected("nft", name, writer)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_cell_of_nft_read_over_netlink_is_what_it_is(name: str, writer: Path | None) -> None:
    """Whoever wrote it: no program reads, so none can be too old."""
    _audits_over_netlink(name, writer)


@in_namespace
def _audits_over_netlink(name: str, writer: Path | None) -> None:
    _write("nft", name, writer)
    expected = {Kind.ENFORCEMENT_DISABLED} if name == "pair-policy-disabled" else set()
    with Netlink() as netlink:
        found = {finding.kind for finding in judge(recording(name).facts, NativeReader(netlink).read(), None).findings}
    assert found - {Kind.PORT_NOT_EXPOSED} == expected


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_cell_of_legacy_is_what_it_is(name: str, writer: Path | None) -> None:
    """The same for the legacy backend, read through the machine's own libiptc."""
    _audits_as_expected("legacy", name, writer)


def _write(backend: str, name: str, writer: Path | None) -> None:
    restore = (_program(writer, f"iptables-{backend}-restore"), "-w")
    saved = (CELLS / name / "iptables-save.txt").read_text()
    subprocess.run(restore, input=saved, text=True, check=True, timeout=60)


@in_namespace
def _raises_no_false_alarm(name: str, writer: Path | None) -> None:
    _write("nft", name, writer)
    try:
        ruleset = _live("nft").read()
    except SourceError:
        return  # refused: blind, which is not clean
    found = judge(recording(name).facts, ruleset, None).findings
    assert {finding.kind for finding in found if finding.effect.harms} <= {Kind.ENFORCEMENT_DISABLED}


@in_namespace
def _audits_as_expected(backend: str, name: str, writer: Path | None) -> None:
    _write(backend, name, writer)
    expected = {Kind.ENFORCEMENT_DISABLED} if name == "pair-policy-disabled" else set()
    wrong = {}
    for form, ruleset in _readings(backend):
        found = {finding.kind for finding in judge(recording(name).facts, ruleset, None).findings}
        if found - {Kind.PORT_NOT_EXPOSED} != expected:
            wrong[form] = sorted(kind.value for kind in found)
    assert wrong == {}


def _live(backend: str) -> LegacyReader | NftReader:
    program = shutil.which(f"iptables-{backend}")
    assert program is not None, f"needs iptables-{backend}"
    return LegacyReader() if backend == "legacy" else NftReader(bin_dir=Path(program).parent)


def _readings(backend: str) -> Iterator[tuple[str, Ruleset]]:
    """Each form in which the rules in force can be seen, and what it says."""
    program = f"iptables-{backend}"
    yield "live", _live(backend).read()
    for command in (
        (f"{program}-save",),
        (f"{program}-save", "-c"),
        *((program, "-w", *form.split()) for form in FORMS),
    ):
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        yield " ".join(command[1:]) or "save", read_text(printed, where="printed")
