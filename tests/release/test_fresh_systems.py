"""What is handed out, installed and run as its users do, in Debian systems that have nothing but what it asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from c2c_auditor import __version__
from support.debian_roots import boot_copy, in_another_version, run_in_copy
from support.recordings import CELLS
from support.release import dist, handed_out
from support.staging import script, staged

pytestmark = [pytest.mark.packages, pytest.mark.xdist_group("release")]

# What the Debian package asks for, an init, and for the wheel and BOSH a compiler.
PACKAGES = ("adduser", "dbus", "gcc", "iproute2", "iptables", "libc6-dev", "python3", "python3-venv", "systemd")
LIFE = ("/usr/bin/python3", "/mnt/life_of_package.py")


@cache
def _machine(release: str) -> Path:
    """A Debian system; skips where none can be made."""
    debian = script("debian")
    if shutil.which("debootstrap") is None:
        pytest.skip("needs debootstrap (Debian package debootstrap)")
    try:
        made: Path = debian.machine(release, PACKAGES)
    except debian.FetchError as error:
        pytest.skip(f"no Debian {release} can be had here: {error}")
    return made


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What the systems get: the package in two versions, everything else that is handed out, a cell's recording."""
    folder = tmp_path / "given"
    shutil.copytree(dist(), folder / "dist")
    shutil.copytree(staged(), folder / "staged")
    package = handed_out("*.deb")
    shutil.copy(package, folder / "old.deb")
    in_another_version(package, folder / "new.deb", tmp_path / "work")
    shutil.copytree(CELLS / "pair-nft", folder / "cell")
    shutil.copy(Path(__file__).with_name("life_of_package.py"), folder)
    return folder


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_the_package_lives_under_systemd(release: str, given: Path, tmp_path: Path) -> None:
    """With all that the unit says, its list of system calls and its own root included; on Python 3.11 and 3.13."""
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("needs systemd-nspawn (Debian package systemd-container)")
    booted = boot_copy(_machine(release), tmp_path / "copy", given, *LIFE, "systemd", "/mnt")
    assert (given / "status").exists(), booted.stdout + booted.stderr
    seen = (given / "seen").read_text()
    assert (given / "status").read_text() == "0\n", seen
    assert seen.endswith("installed, upgraded, removed, purged\n")


@pytest.mark.parametrize("file", [f"c2c_auditor-{__version__}-py3-none-any.whl", f"c2c_auditor-{__version__}.tar.gz"])
def test_pip_installs_it(file: str, given: Path, tmp_path: Path) -> None:
    """Wheel and source distribution, into a virtual environment; the index is a folder here."""
    download = (
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        given / "staged",
        "setuptools>=80",
    )
    subprocess.run(download, check=True, timeout=120)
    commands = f"""
    python3 -m venv /srv/environment
    /srv/environment/bin/pip install --quiet --no-index --find-links /mnt/staged /mnt/dist/{file}
    /srv/environment/bin/c2c-auditor audit --bundle /mnt/cell
    """
    done = run_in_copy(_machine("bookworm"), tmp_path / "copy", given, "sh", "-ec", commands)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CLEAN" in done.stdout


def test_the_bosh_release_compiles(given: Path, tmp_path: Path) -> None:
    """As on a compilation VM, from the tarball that is handed out."""
    handed_out("*.tgz")
    commands = f"""
    mkdir -p /srv/release /srv/compile /srv/package
    tar -xzf /mnt/dist/c2c-auditor-bosh-{__version__}.tgz -C /srv/release
    tar -xzf /srv/release/packages/c2c_auditor.tgz -C /srv/compile
    cd /srv/compile
    BOSH_COMPILE_TARGET=/srv/compile BOSH_INSTALL_TARGET=/srv/package bash ./packaging
    /srv/package/bin/c2c-auditor audit --bundle /mnt/cell
    """
    done = run_in_copy(_machine("bookworm"), tmp_path / "copy", given, "bash", "-ec", commands)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CLEAN" in done.stdout


def test_lintian_finds_nothing() -> None:
    """Neither error nor warning beyond those that the package overrides with a reason."""
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian (Debian package lintian)")
    package = handed_out("*.deb")
    command = ("lintian", "--allow-root", "--fail-on", "error,warning", package)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
