"""The Debian package: what systemd thinks of its unit, and its life on a copy of this machine with the real dpkg."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.debian_roots import in_another_version, run_in_copy
from support.namespaces import in_namespace
from support.recordings import CELLS
from support.release import handed_out
from support.staging import ROOT, script

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

UNIT = ROOT / "packaging" / "debian" / "c2c-auditor.service"
# In tenths. What is left: the host's network and its users, CAP_NET_ADMIN, netlink and IP sockets, and capset, with
# which the listener gives the capability up.
MOST_EXPOSED = 15


def test_systemd_thinks_well_of_the_unit() -> None:
    """Its own measure, from 0 (none) to 100 (all)."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (Debian package systemd)")
    command = ("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSED}", UNIT)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze security --offline needs systemd 250")
    assert done.returncode == 0, done.stdout


@pytest.mark.kernel
def test_the_package_lives_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Installed, started, reading both backends, upgraded, removed, purged."""
    for program in ("dpkg", "adduser", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"needs Debian's {program}, to install in a copy of this machine")
    package = handed_out("*.deb")
    given = tmp_path / "given"
    given.mkdir()
    shutil.copy(package, given / "old.deb")
    in_another_version(package, given / "new.deb", tmp_path / "work")
    shutil.copytree(CELLS / "pair-nft", given / "cell")
    shutil.copy(Path(__file__).with_name("life_of_package.py"), given)
    _lives(given, tmp_path / "copy")


@in_namespace
def _lives(given: Path, copy: Path) -> None:
    done = run_in_copy(Path("/"), copy, given, "/usr/bin/python3", "/mnt/life_of_package.py", "unit", "/mnt")
    if "overlay" in done.stderr and done.returncode == 32:
        pytest.skip(f"needs overlayfs, for a copy of this machine: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^reads nft$.*^reads legacy$.*^installed, upgraded, removed, purged$", done.stdout, re.MULTILINE | re.DOTALL
    )


def test_the_changelog_is_the_projects_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every point of CHANGELOG.md, in Debian's form; a version without a date gets the commit's."""
    monkeypatch.syspath_prepend(ROOT / "packaging")
    documents = script("debian_documents")
    changes = (
        "# Changelog\n\n## 0.2.0 (unreleased)\n\n- One\n  and two.\n- Three.\n\n## 0.1.0 (2026-12-24)\n\n- Four.\n"
    )
    signed = f" -- {documents.MAINTAINER}"
    assert documents.changelog(changes, 1798000000) == (
        "c2c-auditor (0.2.0) stable; urgency=medium\n\n  * One and two.\n  * Three.\n\n"
        f"{signed}  Wed, 23 Dec 2026 04:26:40 +0000\n\n"
        "c2c-auditor (0.1.0) stable; urgency=medium\n\n  * Four.\n\n"
        f"{signed}  Thu, 24 Dec 2026 00:00:00 +0000\n"
    )


def test_the_package_asks_for_what_its_libraries_need() -> None:
    """A glibc that has every function; Debian 12's is enough. Each Python that there is a folder for."""
    package = handed_out("*.deb")
    told = subprocess.run(
        ("dpkg-deb", "--field", package, "Depends"), capture_output=True, text=True, check=True, timeout=60
    ).stdout
    (glibc,) = re.findall(r"libc6 \(>= 2\.(\d+)\)", told)
    assert 7 <= int(glibc) <= 36
    assert "python3 (>= 3.10), python3 (<< 3.15)" in told
