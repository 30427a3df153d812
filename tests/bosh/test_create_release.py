"""The real bosh CLI makes a release out of a clean clone, and it is the same release wherever the clone is."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from c2c_auditor import __version__
from support.bosh_cli import bosh, clean_clone
from support.erb import parse_yaml
from support.staging import staged

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release tarball, made in a clone."""
    return _release(tmp_path_factory.mktemp("one"))


def _release(folder: Path) -> Path:
    clone = clean_clone(folder / "clone")
    shutil.copytree(staged(), clone / "bosh-release" / "src" / "c2c_auditor")
    tarball = folder / "release.tgz"
    bosh("create-release", "--force", f"--version={__version__}", f"--dir={clone / 'bosh-release'}", f"--tarball={tarball}")
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
    """Another path, another umask."""
    before = os.umask(0o077)
    try:
        other = _manifest(_release(tmp_path / "somewhere" / "else"))
    finally:
        os.umask(before)
    one = _manifest(released)
    for kind in ("jobs", "packages"):
        assert {entry["name"]: entry["fingerprint"] for entry in one[kind]} == {
            entry["name"]: entry["fingerprint"] for entry in other[kind]
        }


def test_without_staging_the_cli_says_what_is_missing(tmp_path: Path) -> None:
    """And not a release that fails on the first VM."""
    clone = clean_clone(tmp_path / "clone")
    with pytest.raises(Exception, match="returned non-zero") as failed:
        bosh("create-release", "--force", f"--dir={clone / 'bosh-release'}")
    assert re.search(r"c2c_auditor/\*\*/\*", f"{failed.value.stdout}{failed.value.stderr}")  # type: ignore[attr-defined]  # CalledProcessError's
