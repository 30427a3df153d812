"""What is staged for the release: the same bytes from any checkout, nothing that a stemcell could not run."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from c2c_auditor import __version__
from support.staging import ROOT, staged, staging

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside


def test_everything_of_the_lock_file_is_staged_and_nothing_else() -> None:
    """Each dependency once, this project's wheel, and a checksum for every file."""
    folder = staged()
    locked = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "packaging" / "requirements-runtime.txt").read_text(), re.MULTILINE)
    )
    names = {file.name.split("-")[0].replace("_", "-").lower() for file in folder.iterdir()} - {"sha256sums"}
    assert names == locked | {"c2c-auditor"}
    sums = {
        name: digest
        for digest, _, name in (line.partition("  ") for line in (folder / "SHA256SUMS").read_text().splitlines())
    }
    assert sums == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.name != "SHA256SUMS"
    }


def test_the_wheel_is_the_same_whatever_the_umask_and_holds_the_whole_package(tmp_path: Path) -> None:
    """Built twice; every module is in it, typed, with the version from the one place."""
    wheels = []
    for umask in (0o022, 0o077):
        before = os.umask(umask)
        try:
            wheels.append(staging().build_wheel(tmp_path / str(umask)))
        finally:
            os.umask(before)
    wheel, again = wheels
    assert wheel.name == f"c2c_auditor-{__version__}-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = ROOT / "agent" / "c2c_auditor"
    files = {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= set(names)
    assert not [name for name in names if not name.startswith(("c2c_auditor/", "c2c_auditor-"))]


def test_the_source_distribution_builds(tmp_path: Path) -> None:
    """With the sources and what they need to be built."""
    sdist = staging().build_sdist(tmp_path)
    with tarfile.open(sdist) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "cycle.py"} <= names


def test_the_notice_names_everything_that_is_brought_along() -> None:
    """Each library with a licence, and no library that is not there any more."""
    notice = (ROOT / "bosh-release" / "NOTICE").read_text()
    named = {re.sub(r"[._]", "-", name).lower() for name in re.findall(r"^  (\S+)  +\S", notice, re.MULTILINE)}
    locked = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "packaging" / "requirements-runtime.txt").read_text(), re.MULTILINE)
    )
    assert named == locked


@pytest.mark.parametrize(
    "name",
    [
        "lib-1.0-cp311-cp311-manylinux2014_x86_64.whl",
        "lib-1.0-cp36-abi3-macosx_11_0_arm64.whl",
        "lib-1.0-cp36-abi3-manylinux2014_aarch64.whl",
        "lib-1.0-py2-none-any.whl",
        "lib-1.0.tar.gz",
    ],
)
def test_what_a_stemcell_could_not_run_is_refused(name: str) -> None:
    """Neither pure Python nor abi3 for Linux on x86-64, or source that nobody builds."""
    with pytest.raises(staging().StagingError, match=re.escape(name)):
        staging().check(Path(name))


def test_a_failure_leaves_what_was_staged_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half done, and nothing left beside it."""
    target = tmp_path / "src" / "c2c_auditor"
    target.mkdir(parents=True)
    (target / "before").touch()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/none")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(staging().StagingError, match="pip"):
        staging().stage(target)
    assert [path.name for path in target.parent.iterdir()] == ["c2c_auditor"]
    assert [path.name for path in target.iterdir()] == ["before"]
