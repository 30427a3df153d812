"""`make release` makes everything that is handed out, and the same bytes from every clone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from c2c_auditor import __version__
from support.release import NOT_ALL, clone, dist, handed_out, make
from support.staging import ROOT, script, staged

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

BOSH = {f"c2c-auditor-bosh-{__version__}.tgz", f"c2c-auditor-bosh-{__version__}.yml"}
PLAIN = {"c2c_auditor.alerts.yml", "c2c_auditor_fleet.json", "c2c_auditor_cell.json"}
DEBIAN = {f"c2c-auditor_{__version__}_amd64.deb"}
PYTHON = {f"c2c_auditor-{__version__}-py3-none-any.whl", f"c2c_auditor-{__version__}.tar.gz"}
MATERIALS = {f"c2c-auditor-{__version__}.cdx.json"}


def test_everything_is_made_and_has_a_checksum() -> None:
    """All of one version; the checkout is as clean as before."""
    for pattern in ("*.tgz", "*.deb", "*.alerts.yml"):
        handed_out(pattern)
    names = BOSH | PLAIN | DEBIAN | PYTHON | MATERIALS
    assert {file.name for file in dist().iterdir()} == {*names, "SHA256SUMS"}
    checked = subprocess.run(
        ("sha256sum", "--check", "SHA256SUMS"), cwd=dist(), capture_output=True, text=True, check=True, timeout=60
    )
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == names
    status = subprocess.run(
        ("git", "status", "--porcelain"), cwd=clone(), capture_output=True, text=True, check=True, timeout=60
    )
    assert status.stdout == ""


def test_every_clone_gives_the_same_bytes(tmp_path: Path) -> None:
    """Another path, another umask when it was cloned and when it was made."""
    dist()
    before = os.umask(0o077)
    try:
        other = tmp_path / "somewhere" / "else"
        subprocess.run(("git", "clone", "--quiet", clone(), other), check=True, timeout=60)
        assert (other / "pyproject.toml").stat().st_mode & 0o777 == 0o600
        made = make(other)
    finally:
        os.umask(before)
    assert made.returncode in {0, NOT_ALL}, made.stderr
    assert _digests(other / "dist") == _digests(dist())


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Without bosh CLI, Ruby and compiler everything else is made, and the exit status tells."""
    other = tmp_path / "clone"
    subprocess.run(("git", "clone", "--quiet", clone(), other), check=True, timeout=60)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("git", "gzip"):
        (tools / name).symlink_to(shutil.which(name) or name)
    (tools / "go").write_text("#!/bin/sh\necho go1.20.3\n")
    (tools / "go").chmod(0o755)
    command = (sys.executable, other / "packaging" / "make_release.py")
    done = subprocess.run(
        command, env={**os.environ, "PATH": str(tools)}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == NOT_ALL, done.stderr
    assert "needs Go 1.25 or newer to build the bosh CLI with, and this is go1.20.3" in done.stderr
    assert "no alerts and dashboards: it needs ruby" in done.stderr
    assert "no Debian package: it needs gcc" in done.stderr
    assert {file.name for file in (other / "dist").iterdir()} == {*PYTHON, *MATERIALS, "SHA256SUMS"}


def test_a_version_that_the_changelog_does_not_begin_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What changed is told from one place: nothing is made, and what was made before stays."""
    monkeypatch.syspath_prepend(ROOT / "packaging")
    module = script("make_release")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.0.1 (2020-01-01)\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module.stage_release, "stage", lambda: [*staged().iterdir()])
    with pytest.raises(module.stage_release.StagingError, match=f"does not begin with the version {__version__}"):
        module.make()


def test_rules_and_scrape_job_load_as_they_are(tmp_path: Path) -> None:
    """As any Prometheus takes them, nothing left to render; the scrape job is that of docs/platforms.md."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing (Debian package prometheus)")
    shutil.copy(handed_out("c2c_auditor.alerts.yml"), tmp_path)
    (config,) = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "platforms.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "prometheus.yml").write_text(config)
    for what, file in (("rules", "c2c_auditor.alerts.yml"), ("config", "prometheus.yml")):
        checked = subprocess.run(
            ("promtool", "check", what, tmp_path / file), capture_output=True, text=True, check=False, timeout=60
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", ["c2c_auditor_fleet.json", "c2c_auditor_cell.json"])
def test_the_dashboards_are_the_jobs_own(name: str) -> None:
    """Grafana asks for the data source when it imports them."""
    text = handed_out(name).read_text()
    assert text == (ROOT / "bosh-release" / "jobs" / "c2c_auditor_dashboards" / "templates" / name).read_text()
    assert [one["name"] for one in json.loads(text)["__inputs"]] == ["DS_PROMETHEUS"]


def test_the_bill_of_materials_lists_what_is_staged() -> None:
    """Each library once, with version, licence, the digest of its file, and what needs it."""
    bill = json.loads(next(dist().glob("*.cdx.json")).read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    components = [bill["metadata"]["component"], *bill["components"]]
    files = {file.name.split("-")[0].replace("_", "-").lower(): file for file in staged().iterdir()}
    del files["sha256sums"]
    assert {one["name"]: one["hashes"] for one in components} == {
        name: [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]
        for name, file in files.items()
    }
    assert all(one["licenses"] for one in components)
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    reached, pending = set(), [bill["metadata"]["component"]["bom-ref"]]
    while pending:
        reference = pending.pop()
        if reference not in reached:
            reached.add(reference)
            pending += needs[reference]
    assert reached == {one["bom-ref"] for one in components}


def test_the_source_distribution_has_one_time_and_one_owner() -> None:
    """The commit's time, and root."""
    epoch = script("archives").moment(clone())
    with tarfile.open(dist() / f"c2c_auditor-{__version__}.tar.gz") as archive:
        entries = archive.getmembers()
    assert {(entry.mtime, entry.uname, entry.uid) for entry in entries} == {(epoch, "root", 0)}
    assert {Path(entry.name).name for entry in entries} >= {"pyproject.toml", "README.md", "LICENSE", "cycle.py"}
