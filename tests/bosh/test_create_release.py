"""The real bosh CLI makes a release out of a clean clone, and it is the same release wherever the clone is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from c2c_auditor import __version__
from support.bosh_cli import bosh, bosh_cli, clean_clone
from support.erb import parse_yaml
from support.staging import staged

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release tarball, made in a clone."""
    return _release(tmp_path_factory.mktemp("one"))


def _release(folder: Path) -> Path:
    return _release_of(clean_clone(folder / "clone"), folder)


def _release_of(clone: Path, folder: Path) -> Path:
    """Staged by the clone's own script."""
    subprocess.run(
        (sys.executable, clone / "packaging" / "stage_release.py"), capture_output=True, check=True, timeout=300
    )
    tarball = folder / "release.tgz"
    bosh(
        "create-release",
        "--force",
        f"--version={__version__}",
        f"--dir={clone / 'bosh-release'}",
        f"--tarball={tarball}",
    )
    return tarball


def _manifest(tarball: Path) -> dict[str, Any]:
    with tarfile.open(tarball) as archive:
        member = next(name for name in archive.getnames() if name.endswith("release.MF"))
        content = archive.extractfile(member)
        assert content is not None
        loaded: dict[str, Any] = parse_yaml(content.read().decode())
        return loaded


def test_jobs_and_package_are_in_the_release(released: Path) -> None:
    """Three jobs, one package, the licence; name and version from the one place."""
    manifest = _manifest(released)
    assert (manifest["name"], manifest["version"]) == ("c2c-auditor", __version__)
    assert {job["name"] for job in manifest["jobs"]} == {"c2c_auditor", "c2c_auditor_alerts", "c2c_auditor_dashboards"}
    assert [package["name"] for package in manifest["packages"]] == ["c2c_auditor"]
    assert manifest["license"]


def test_the_package_holds_what_was_staged_and_its_packaging_script(released: Path, tmp_path: Path) -> None:
    """No link, nothing missing, nothing else."""
    with tarfile.open(released) as archive:
        archive.extractall(tmp_path, filter="data")
    with tarfile.open(tmp_path / "packages" / "c2c_auditor.tgz") as package:
        members = [member for member in package.getmembers() if not member.isdir()]
    assert not [member.name for member in members if not member.isfile()]
    names = {member.name.removeprefix("./") for member in members}
    assert names == {"packaging", *(f"c2c_auditor/{file.name}" for file in staged().iterdir())}


def test_every_checkout_gives_the_same_fingerprints(released: Path, tmp_path: Path) -> None:
    """Another path, another umask when it was cloned and when it was staged."""
    before = os.umask(0o077)
    try:
        other_clone = tmp_path / "somewhere" / "else"
        subprocess.run(("git", "clone", "--quiet", released.parent / "clone", other_clone), check=True, timeout=60)
        assert (other_clone / "pyproject.toml").stat().st_mode & 0o777 == 0o600
        other = _manifest(_release_of(other_clone, tmp_path))
    finally:
        os.umask(before)
    assert _fingerprints(other) == _fingerprints(_manifest(released))


def _fingerprints(manifest: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {
        f"{kind}/{entry['name']}": entry["fingerprint"] for kind in ("jobs", "packages") for entry in manifest[kind]
    }


def test_without_staging_the_cli_says_what_is_missing(tmp_path: Path) -> None:
    """And not a release that fails on the first VM."""
    clone = clean_clone(tmp_path / "clone")
    with pytest.raises(Exception, match="returned non-zero") as failed:
        bosh("create-release", "--force", f"--dir={clone / 'bosh-release'}")
    assert re.search(r"c2c_auditor/\*\*/\*", f"{failed.value.stdout}{failed.value.stderr}")  # type: ignore[attr-defined]  # CalledProcessError's


def test_make_release_makes_everything_as_often_as_it_is_asked(released: Path, tmp_path: Path) -> None:
    """Source distribution, wheel, BOSH release, checksums, all of one version; the checkout is as clean as before."""
    clone = released.parent / "clone"
    (tmp_path / "bosh").symlink_to(bosh_cli())
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run(
            (sys.executable, clone / "packaging" / "make_release.py"),
            env=environment,
            capture_output=True,
            check=True,
            timeout=300,
        )
    dist = clone / "dist"
    names = {
        f"c2c-auditor-bosh-{__version__}.tgz",
        f"c2c_auditor-{__version__}-py3-none-any.whl",
        f"c2c_auditor-{__version__}.tar.gz",
    }
    assert {file.name for file in dist.iterdir()} == {*names, "SHA256SUMS"}
    checked = subprocess.run(
        ("sha256sum", "--check", "SHA256SUMS"), cwd=dist, capture_output=True, text=True, check=True, timeout=60
    )
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == names
    assert _fingerprints(_manifest(dist / f"c2c-auditor-bosh-{__version__}.tgz")) == _fingerprints(_manifest(released))
    status = subprocess.run(
        ("git", "status", "--porcelain"), cwd=clone, capture_output=True, text=True, check=True, timeout=60
    )
    assert status.stdout == ""


def test_make_release_without_a_bosh_cli_says_so(released: Path, tmp_path: Path) -> None:
    """Nor a Go that could build one: everything else is made, and the exit status tells."""
    clone = tmp_path / "clone"
    subprocess.run(("git", "clone", "--quiet", released.parent / "clone", clone), check=True, timeout=60)
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.20.3\n")
    old.chmod(0o755)
    command = (sys.executable, clone / "packaging" / "make_release.py")
    done = subprocess.run(
        command, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 3
    assert "needs Go 1.25 or newer to build the bosh CLI with, and this is go1.20.3" in done.stderr
    assert {file.suffix for file in (clone / "dist").iterdir()} == {".whl", ".gz", ""}
