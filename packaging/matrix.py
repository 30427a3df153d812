"""Tries the project with every iptables and every Python that can be had here, and writes docs/compatibility.md.

    make matrix

Needs root, and a machine whose apt has a mirror of Debian; `debian.py` fetches what the machine itself lacks. What
every run printed stays in .tools/matrix. Ends with 1 if anything failed.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import debian
import stage_release
from trial import SECONDS, WORK, run_tests

ROOT = debian.ROOT
PAGE = ROOT / "docs" / "compatibility.md"
# Debian's releases with an iptables that cells run (1.8.7 is ubuntu-jammy's) or are going to; sid has the newest.
IPTABLES_RELEASES = ("bullseye", "bookworm", "trixie", "sid")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PYTHON_RELEASE = "sid"
READER_TESTS = tuple(
    f"tests/kernel/test_{name}.py"
    for name in (
        *("iptables_versions", "nft_reader", "native_reader", "native_follower", "legacy_reader", "readers_agree"),
        "listing",
    )
)
SILKS = {"2024": "3.53 (October 2024)", "new": "3.116 (2026)"}
_HEAD = """\
# Compatibility

Written by `make matrix`: what was tried, with which versions, and what came out. A part alone: `make matrix
MATRIX_ARGS=Python` (or `iptables`, `silk`).

"""
_IPTABLES = """\
The kernel tests of the readers (nft and legacy, text, listings), and every recorded cell, loaded by one version and
audited through another: live with `iptables_bin_dir`, and as `-save`, `-save -c`, `-S`, and `-L` with its options.
Legacy rules are read live through the machine's own libiptc.
"""
_LIMITS = """\
The agent itself reads nf_tables over netlink, and sees the same rules whichever version wrote them. Where netlink is
not to be had, and in texts, an iptables-nft older than 1.8.8 does not show `--dport` and `--mark` of what a newer one
wrote, with exit status 0, or refuses the table. What passed there is that the agent raises no alarm that is not there:
it says which version read, judges nothing that depends on ports and marks, and asks for the iptables that garden uses
(`iptables_bin_dir`).

1.8.10 (ubuntu-noble) is in no release of Debian and was not run; where its texts were compared by hand, save and `-S`
equalled those of 1.8.9 to the byte.
"""
_PYTHON = """\
The unit and property tests with the wheel installed and the libraries of the lock file; and the BOSH package's
`packaging` script, with what it made loading libiptc and auditing a recorded cell, every warning an error.
"""
_SILK = """\
The recorded cells (above) are of silk 3.53's own programs. What newer silk writes is known from its sources only: the
demo writes either into the kernel, and the agent audits that cell through the whole tour.
"""


def main(wanted: Sequence[str]) -> int:
    """Try ``wanted`` of the parts, all if none is named; the others stay on the page as they are. The exit status."""
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"c2c-auditor: no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    WORK.mkdir(parents=True, exist_ok=True)
    page = dict.fromkeys(PARTS, "")
    if PAGE.exists():
        sections = re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        page |= {section.split()[1]: section for section in sections}
    failed = False
    for part in wanted or PARTS:
        started = time.monotonic()
        lines = PARTS[part]()
        page[part] = "\n".join((f"## {part}", "", _when(time.monotonic() - started), *lines, ""))
        failed = failed or "FAILED" in page[part] or "nothing ran" in page[part]
        PAGE.write_text(_HEAD + "".join(page.values()), encoding="utf-8")
        sys.stdout.write(page[part])
    return 1 if failed else 0


def _when(seconds: float) -> str:
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    system = f"Linux {os.uname().release.partition('-')[0]} ({os.uname().machine})"
    return (
        f"Tried on {today:%d %B %Y} with the kernel {system}, in {seconds / 60:.0f} minutes on {os.cpu_count()} "
        "cores.\n"
    )


def _iptables_section() -> list[str]:
    folders = _iptables()
    writers = tuple(f"--iptables-writer={folder}" for _, folder in folders.values())
    runs = {
        version: run_tests(
            f"iptables-{version}", Path(sys.executable), (*READER_TESTS, f"--iptables-dir={folder}", *writers)
        )
        for version, (_, folder) in folders.items()
    }
    head = ("read by", *(f"written by {version}" for version in folders))
    matrix = [(version, *(str(run.counts(f"writer-{writer}-")) for writer in folders)) for version, run in runs.items()]
    tests = [(version, folders[version][0], str(run.counts()), f"{run.seconds:.0f} s") for version, run in runs.items()]
    return [
        _IPTABLES,
        *_table(("iptables", "from", "all reader tests", "time"), tests),
        "",
        "Recorded cells by writer and reader, both backends:",
        "",
        *_table(head, matrix),
        "",
        _LIMITS,
        "",
    ]


def _iptables() -> dict[str, tuple[str, Path]]:
    """By version: whose it is, and the folder with its programs; the machine's own for what it has itself."""
    own = shutil.which("iptables-nft")
    if own is None:
        raise debian.FetchError("iptables-nft is not installed: run `make kernel` as root")
    said = subprocess.run((own, "--version"), capture_output=True, text=True, check=True, timeout=30).stdout
    found = {said.split()[1].removeprefix("v"): ("this machine", Path(own).parent)}
    for release in IPTABLES_RELEASES:
        version, folder = debian.fetch_iptables(release)
        found.setdefault(version, (f"Debian {release}", folder))
    return dict(sorted(found.items(), key=lambda item: tuple(map(int, item[0].split(".")))))


def _python_section() -> list[str]:
    staged = WORK / "staged"
    stage_release.stage(staged)
    rows = [row for minor in PYTHONS for row in _python_rows(minor, staged)]
    return [
        _PYTHON,
        *_table(("CPython", "from", "unit and property tests", "time", "BOSH package"), rows),
        "",
    ]


def _python_rows(minor: str, staged: Path) -> Iterator[tuple[str, ...]]:
    """One row for a version of Python, or none where it is not to be had."""
    python, origin = _python(minor), "this machine"
    if python is None:
        try:
            python, origin = debian.fetch_python(PYTHON_RELEASE, minor), f"Debian {PYTHON_RELEASE}"
        except debian.FetchError:
            yield (minor, "not to be had here", "not tried", "", "not tried")
            return
    version = subprocess.run((python, "--version"), capture_output=True, text=True, check=True, timeout=30).stdout
    installed = _install(minor, python, staged)
    run = run_tests(f"python-{minor}", installed, ("tests/unit", "tests/property"))
    yield (version.split()[1], origin, str(run.counts()), f"{run.seconds:.0f} s", _package(minor, python, staged))


def _python(minor: str) -> Path | None:
    """A Python of this version that the machine has, with pyenv or without; a shim may stand for nothing."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [
        *sorted(pyenv.glob(f"{minor}.*/bin/python{minor}")),
        Path(shutil.which(f"python{minor}") or "/nonexistent"),
    ]
    works = (sys.executable, "-c", "")
    return next(
        (
            place
            for place in places
            if place.exists() and not subprocess.run((place, *works[1:]), check=False).returncode
        ),
        None,
    )


def _install(minor: str, python: Path, staged: Path) -> Path:
    """A virtual environment with the libraries of the lock files and the project's wheel; its Python."""
    folder = WORK / f"venv-{minor}"
    installed = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(installed), "install", "--quiet")
    (wheel,) = staged.glob("c2c_auditor-*.whl")
    for command in (
        (str(python), "-m", "venv", "--clear", "--without-pip", str(folder)),
        (*pip, "--require-hashes", "-r", "packaging/requirements-build.txt"),
        (*pip, "--require-hashes", "--no-build-isolation", "-r", "packaging/requirements-dev.txt"),
        (*pip, "--no-deps", str(wheel)),
    ):
        subprocess.run(command, cwd=ROOT, check=True, timeout=SECONDS)
    return installed


def _package(minor: str, python: Path, staged: Path) -> str:
    """Compile the BOSH package with ``python`` as one that was brought along, and audit a recorded cell with it."""
    work = WORK / f"package-{minor}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(staged, work / "compile" / "c2c_auditor")
    vendored = work / "packages" / f"python-{minor}" / "bin" / "python3"
    vendored.parent.mkdir(parents=True)
    vendored.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    vendored.chmod(0o755)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "BOSH_COMPILE_TARGET": str(work / "compile"),
        "BOSH_INSTALL_TARGET": str(work / "install"),
        "BOSH_PACKAGES_DIR": str(work / "packages"),
    }
    script = str(ROOT / "bosh-release" / "packages" / "c2c_auditor" / "packaging")
    cell = str(ROOT / "tests" / "golden" / "cells" / "pair-nft")
    strict = (str(python), "-I", "-B", "-W", "error", "-c", _AUDIT, str(work / "install" / "lib"), cell)
    with (WORK / f"package-{minor}.log").open("w", encoding="utf-8") as log:
        for command in (("bash", script), strict):
            done = subprocess.run(
                command, cwd=work / "compile", env=environment, stdout=log, stderr=log, check=False, timeout=SECONDS
            )
            if done.returncode:
                return "**FAILED**"
    return "compiled, runs" if "Warning" not in Path(log.name).read_text(encoding="utf-8") else "**FAILED**: it warns"


_AUDIT = """
import sys
sys.path.insert(0, sys.argv[1])
from c2c_auditor.sources.rules import libiptc
libiptc.load()
from c2c_auditor.cli import main
sys.argv[1:] = ["audit", "--bundle", sys.argv[2]]
main()
"""


def _silk_section() -> list[str]:
    rows = []
    for silk, version in SILKS.items():
        run = run_tests(f"silk-{silk}", Path(sys.executable), ("tests/e2e/test_demo.py", "-k", f"tour and {silk}"))
        rows.append((version, f"`make demo DEMO_ARGS='--silk {silk}'`", str(run.counts())))
    return [
        _SILK,
        *_table(("silk", "how", "result"), rows),
        "",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


PARTS: Mapping[str, Callable[[], list[str]]] = {
    "iptables": _iptables_section,
    "Python": _python_section,
    "silk": _silk_section,
}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (debian.FetchError, stage_release.StagingError, subprocess.CalledProcessError) as error:
        sys.exit(f"c2c-auditor: {error}")
