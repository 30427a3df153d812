"""Makes everything that is handed out into dist/: source distribution, wheel, BOSH release, and their checksums.

    make release

The version is that of agent/c2c_auditor/__init__.py. The BOSH release takes the bosh CLI
(github.com/cloudfoundry/bosh-cli) on the PATH, or Go 1.25 or newer, with which the version that the tests pin is built;
where there is neither, everything else is made, and the exit status is 3. What was in dist/ before stays until all is
made.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bosh_cli
import stage_release

ROOT = stage_release.ROOT
DIST = ROOT / "dist"
_WITHOUT_BOSH = 3


def main() -> int:
    """Make it and list it; the exit status."""
    _warn_of_changes()
    staged = stage_release.stage()
    work = ROOT / "build"
    work.mkdir(exist_ok=True)
    status = 0
    with tempfile.TemporaryDirectory(dir=work, prefix="release-") as folder:
        made = Path(folder) / "dist"
        made.mkdir(mode=0o755)
        (wheel,) = (file for file in staged if file.name.startswith("c2c_auditor-"))
        shutil.copy(wheel, made)
        stage_release.build_sdist(made)
        try:
            _bosh_release(made, version=wheel.name.split("-")[1], work=Path(folder))
        except bosh_cli.MissingToolError as error:
            sys.stderr.write(f"c2c-auditor: no BOSH release is made: it {error}\n")
            status = _WITHOUT_BOSH
        files = sorted(made.iterdir())
        (made / "SHA256SUMS").write_text(
            "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
        )
        shutil.rmtree(DIST, ignore_errors=True)
        made.rename(DIST)
    for file in sorted(DIST.iterdir()):
        sys.stdout.write(f"{file.stat().st_size:>9}  {file.relative_to(ROOT)}\n")
    return status


def _warn_of_changes() -> None:
    """A release of uncommitted files could not be made again."""
    git = shutil.which("git")
    if (
        git is not None
        and subprocess.run(
            (git, "status", "--porcelain"), cwd=ROOT, capture_output=True, check=False, timeout=60
        ).stdout
    ):
        sys.stderr.write("c2c-auditor: this checkout has uncommitted changes; they go into the release\n")


def _bosh_release(into: Path, *, version: str, work: Path) -> None:
    """Make the release from a copy of the folder.

    The CLI keeps the releases that it made there, and refuses to make one of the same version again.
    """
    program = bosh_cli.find()
    copy = work / "bosh-release"
    made_before = shutil.ignore_patterns("dev_releases", ".dev_builds", ".staging-*")
    shutil.copytree(ROOT / "bosh-release", copy, symlinks=True, ignore=made_before)
    tarball = into / f"c2c-auditor-bosh-{version}.tgz"
    options = (f"--dir={copy}", f"--version={version}", f"--tarball={tarball}")
    command = (str(program), "--non-interactive", "create-release", "--force", *options)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise stage_release.StagingError(f"bosh create-release ended with {done.returncode}:\n{done.stdout.strip()}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (stage_release.StagingError, subprocess.CalledProcessError) as error:
        sys.exit(f"c2c-auditor: {error}")
