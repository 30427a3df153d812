"""The BOSH release as one file, the same bytes from every checkout of a commit."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import archives
import bosh_cli
import stage_release

_MANIFEST = "release.MF"


def make(into: Path, *, version: str, epoch: int, work: Path) -> Path:
    """Make ``c2c-auditor-bosh-VERSION.tgz`` of what is staged, and beside it the snippet for a manifest.

    It is made from a copy of the folder in ``work``: the CLI keeps the releases that it made there, and refuses to make
    one of the same version again.

    Raises bosh_cli.MissingToolError, StagingError.
    """
    program = bosh_cli.find()
    copy = work / "bosh-release"
    made_before = shutil.ignore_patterns("dev_releases", ".dev_builds", ".staging-*")
    shutil.copytree(stage_release.ROOT / "bosh-release", copy, symlinks=True, ignore=made_before)
    tarball = into / f"c2c-auditor-bosh-{version}.tgz"
    options = (f"--dir={copy}", f"--version={version}", f"--tarball={tarball}")
    command = (str(program), "--non-interactive", "create-release", "--force", *options)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise stage_release.StagingError(f"bosh create-release ended with {done.returncode}:\n{done.stdout.strip()}")
    tarball.write_bytes(
        settled(tarball.read_bytes(), epoch, commit=archives.git(stage_release.ROOT, "rev-parse", "HEAD"))
    )
    return tarball


def settled(tarball: bytes, epoch: int, *, commit: str) -> bytes:
    """A release that the CLI made, without what differs from run to run.

    The CLI writes the time and the file system's order into every archive. So those of jobs, package and licence are
    packed again, and their new digests put into the release's manifest; fingerprints, by which the director knows what
    it has, do not depend on any of it. ``commit`` is the whole name of the commit, whose abbreviation depends on the
    clone; empty where there is none.
    """
    files = archives.unpack(tarball)
    manifest = files[_MANIFEST].data.decode()
    for name, content in files.items():
        if not name.endswith(".tgz"):
            continue
        again = archives.repack(content.data, epoch)
        before, after = (hashlib.sha256(data).hexdigest() for data in (content.data, again))
        if manifest.count(before) != 1:
            raise stage_release.StagingError(f"{_MANIFEST} of the release does not name the digest of {name} once")
        manifest = manifest.replace(before, after)
        files[name] = archives.Content(data=again)
    if commit:
        manifest = re.sub(r"^commit_hash: .*$", f"commit_hash: {commit}", manifest, count=1, flags=re.MULTILINE)
    files[_MANIFEST] = archives.Content(data=manifest.encode())
    return archives.pack(files, epoch, first=_MANIFEST)


def snippet(tarball: Path, *, version: str, repository: str) -> str:
    """What a manifest says of the release, for a director that fetches it from the project's page."""
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    return (
        "# For a manifest, or: bosh upload-release --sha1=sha256:… URL (or the file itself)\n"
        "releases:\n"
        "- name: c2c-auditor\n"
        f"  version: {version}\n"
        f"  url: {repository}/releases/download/v{version}/{tarball.name}\n"
        f"  sha1: sha256:{digest}\n"
    )
