"""Makes everything that is handed out into dist/.

    make release

Source distribution, wheel, BOSH release with a snippet for manifests, Debian package, alerts and dashboards as plain
files, software bill of materials, checksums. The same bytes from every checkout of a commit, as long as compiler, gzip
and dpkg are the same; `--check` makes all of it a second time, in a clone elsewhere, and compares.

The version is that of agent/c2c_auditor/__init__.py. The BOSH release takes the bosh CLI
(github.com/cloudfoundry/bosh-cli) on the PATH, or Go 1.25 or newer, with which the version that the tests pin is built;
rules take Ruby, the Debian package dpkg-deb and a C compiler. Where one is missing everything else is made, and the
exit status is 3. What was in dist/ before stays until all is made.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import archives
import bosh_cli
import bosh_release
import debian_package
import monitoring
import sbom
import stage_release

ROOT = stage_release.ROOT
DIST = ROOT / "dist"
SUMS = "SHA256SUMS"
_DIFFERENT, _NOT_ALL = 1, 3


def main(arguments: Sequence[str]) -> int:
    """Make it and list it; the exit status."""
    changed = archives.git(ROOT, "status", "--porcelain")
    if changed:
        sys.stderr.write("c2c-auditor: this checkout has uncommitted changes; they go into the release\n")
    status = make()
    for file in sorted(DIST.iterdir()):
        sys.stdout.write(f"{file.stat().st_size:>9}  {file.relative_to(ROOT)}\n")
    if "--check" in arguments:
        if changed:
            raise stage_release.StagingError("--check compares with a clone, which has no uncommitted changes")
        status = _made_again() or status
    return status


def make() -> int:
    """Make everything into dist/; 3 where a tool was missing."""
    staged = stage_release.stage()
    (wheel,) = (file for file in staged if file.name.startswith("c2c_auditor-"))
    version, repository, epoch = wheel.name.split("-")[1], _repository(), archives.moment(ROOT)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if newest is None or newest[1] != version:
        raise stage_release.StagingError(f"CHANGELOG.md does not begin with the version {version}")
    work = ROOT / "build"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="release-") as folder:
        made = Path(folder) / "dist"
        made.mkdir(mode=0o755)
        shutil.copy(wheel, made)
        sdist = stage_release.build_sdist(made)
        sdist.write_bytes(archives.repack(sdist.read_bytes(), epoch))
        materials = made / f"c2c-auditor-{version}.cdx.json"
        materials.write_text(sbom.sbom(staged, version=version, repository=repository, epoch=epoch), encoding="utf-8")

        def bosh() -> None:
            tarball = bosh_release.make(made, version=version, epoch=epoch, work=Path(folder))
            snippet = bosh_release.snippet(tarball, version=version, repository=repository)
            tarball.with_suffix(".yml").write_text(snippet, encoding="utf-8")

        def debian() -> None:
            debian_package.make(made, staged, materials, epoch=epoch, work=Path(folder))

        complete = [
            _made("BOSH release", bosh),
            _made("alerts and dashboards", lambda: monitoring.write(made)),
            _made("Debian package", debian),
        ]
        (made / SUMS).write_text(
            "".join(f"{_digest(file)}  {file.name}\n" for file in sorted(made.iterdir())), encoding="ascii"
        )
        for file in made.iterdir():
            file.chmod(0o644)
        shutil.rmtree(DIST, ignore_errors=True)
        made.rename(DIST)
    return 0 if all(complete) else _NOT_ALL


def _made(what: str, make_it: Callable[[], object]) -> bool:
    """Whether a part could be made; if not, standard error says what is missing."""
    try:
        make_it()
    except bosh_cli.MissingToolError as error:
        sys.stderr.write(f"c2c-auditor: no {what}: it {error}\n")
        return False
    return True


def _made_again() -> int:
    """Make the release of the same commit in a clone elsewhere: 0 if every byte is the same."""
    with tempfile.TemporaryDirectory(prefix="c2c-auditor-again-") as folder:
        clone = Path(folder) / "clone"
        git = shutil.which("git") or "git"
        subprocess.run(
            (git, "-c", "safe.directory=*", "clone", "--quiet", str(ROOT), str(clone)), check=True, timeout=120
        )
        # Its tools, so that the bosh CLI is not built again.
        (ROOT / ".tools").mkdir(exist_ok=True)
        (clone / ".tools").symlink_to(ROOT / ".tools")
        again = (sys.executable, str(clone / "packaging" / "make_release.py"))
        subprocess.run(again, stdout=subprocess.PIPE, check=False, timeout=900)
        here, there = (
            {file.name: _digest(file) for file in dist.iterdir()} if dist.is_dir() else {}
            for dist in (DIST, clone / "dist")
        )
    different = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    if different:
        sys.stderr.write(f"c2c-auditor: a second run in another clone gave other bytes: {', '.join(different)}\n")
        return _DIFFERENT
    sys.stdout.write(f"a second run in another clone gave the same {len(here)} files, byte for byte\n")
    return 0


def _repository() -> str:
    """The project's address."""
    (found,) = re.findall(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (stage_release.StagingError, subprocess.CalledProcessError, RuntimeError) as error:
        sys.exit(f"c2c-auditor: {error}")
