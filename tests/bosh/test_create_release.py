"""The real bosh CLI makes a release out of a clean clone."""

from __future__ import annotations

import hashlib
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from c2c_auditor import __version__
from support.bosh_cli import bosh, clean_clone
from support.erb import parse_yaml
from support.release import clone, handed_out
from support.staging import ROOT, script, staged

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

NAME = f"c2c-auditor-bosh-{__version__}"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release, unpacked."""
    folder = tmp_path_factory.mktemp("release")
    tarball = handed_out(f"{NAME}.tgz")
    with tarfile.open(tarball) as archive:
        assert archive.getnames()[0] == "release.MF"
    for name, content in script("archives").unpack(tarball.read_bytes()).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.data)
    return folder


def _manifest(released: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = parse_yaml((released / "release.MF").read_text())
    return loaded


def test_jobs_and_package_are_in_the_release(released: Path) -> None:
    """Three jobs, one package, the licence; name and version from the one place; the commit that it was made of."""
    manifest = _manifest(released)
    assert (manifest["name"], manifest["version"]) == ("c2c-auditor", __version__)
    assert {job["name"] for job in manifest["jobs"]} == {"c2c_auditor", "c2c_auditor_alerts", "c2c_auditor_dashboards"}
    assert [package["name"] for package in manifest["packages"]] == ["c2c_auditor"]
    assert re.fullmatch(r"[0-9a-f]{40}", manifest["commit_hash"])


def test_every_part_has_the_digest_that_the_manifest_tells(released: Path) -> None:
    """The director refuses others."""
    manifest = _manifest(released)
    parts = {
        f"{kind}/{entry['name']}.tgz": entry["sha1"] for kind in ("jobs", "packages") for entry in manifest[kind]
    } | {"license.tgz": manifest["license"]["sha1"]}
    found = {name: f"sha256:{hashlib.sha256((released / name).read_bytes()).hexdigest()}" for name in parts}
    assert found == parts


def test_the_package_holds_what_was_staged_and_its_packaging_script(released: Path) -> None:
    """No link, nothing missing, nothing else; the script can be executed."""
    with tarfile.open(released / "packages" / "c2c_auditor.tgz") as package:
        members = [member for member in package.getmembers() if not member.isdir()]
    assert not [member.name for member in members if not member.isfile()]
    modes = {member.name.removeprefix("./"): member.mode for member in members}
    assert set(modes) == {"packaging", *(f"c2c_auditor/{file.name}" for file in staged().iterdir())}
    assert modes["packaging"] == 0o755


def test_the_snippet_names_the_release_and_its_digest() -> None:
    """As a manifest takes it: version, address at the project, SHA-256."""
    (release,) = parse_yaml(handed_out(f"{NAME}.yml").read_text())["releases"]
    digest = hashlib.sha256(handed_out(f"{NAME}.tgz").read_bytes()).hexdigest()
    assert (release["name"], release["version"]) == ("c2c-auditor", __version__)
    assert release["sha1"] == f"sha256:{digest}"
    (repository,) = re.findall(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release["url"] == f"{repository}/releases/download/v{__version__}/{NAME}.tgz"


def test_without_staging_the_cli_says_what_is_missing(tmp_path: Path) -> None:
    """And not a release that fails on the first VM."""
    bare = clean_clone(tmp_path / "clone")
    with pytest.raises(Exception, match="returned non-zero") as failed:
        bosh("create-release", "--force", f"--dir={bare / 'bosh-release'}")
    assert re.search(r"c2c_auditor/\*\*/\*", f"{failed.value.stdout}{failed.value.stderr}")  # type: ignore[attr-defined]  # CalledProcessError's


def test_an_operator_makes_a_release_of_what_is_staged(tmp_path: Path) -> None:
    """Without `make release`: the same fingerprints, by which a director knows what it has."""
    made = handed_out(f"{NAME}.tgz")
    tarball = tmp_path / "release.tgz"
    bosh(
        "create-release",
        "--force",
        f"--version={__version__}",
        f"--dir={clone() / 'bosh-release'}",
        f"--tarball={tarball}",
    )
    by_hand, by_make = (_fingerprints(path) for path in (tarball, made))
    assert by_hand == by_make


def _fingerprints(tarball: Path) -> dict[str, str]:
    with tarfile.open(tarball) as archive:
        member = next(name for name in archive.getnames() if name.endswith("release.MF"))
        content = archive.extractfile(member)
        assert content is not None
        manifest: dict[str, list[dict[str, str]]] = parse_yaml(content.read().decode())
    return {
        f"{kind}/{entry['name']}": entry["fingerprint"] for kind in ("jobs", "packages") for entry in manifest[kind]
    }
