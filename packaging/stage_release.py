"""Stages the contents of the BOSH package into bosh-release/src/c2c_auditor.

Staged are this project's wheel, those of its dependencies, and their checksums.

    make stage

The same bytes from any checkout: the wheel is built from a copy with fixed modes and times, by the build tools of the
lock file; the dependencies are those of the lock file, held to its hashes. What is staged runs on CPython 3.10 to 3.14
for Linux on x86-64. Needs the package index, as pip is set up.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("agent", "pyproject.toml", "README.md", "LICENSE")
LOCK = ROOT / "packaging" / "requirements-runtime.txt"
TARGET = ROOT / "bosh-release" / "src" / "c2c_auditor"
# The first moment that a zip archive can tell.
EPOCH = "315532800"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
# The one dependency that is built on the compilation VM; of it the source is staged.
FROM_SOURCE = "python-iptables"


class StagingError(Exception):
    """What could not be staged, and what to do."""


def stage(target: Path = TARGET) -> list[Path]:
    """Stage everything into ``target``, in place of what is there; the files. Nothing is left half done.

    Raises StagingError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".staging-") as made:
        part = Path(made) / target.name
        part.mkdir(mode=0o755)
        build_wheel(part)
        download(part)
        for file in part.iterdir():
            check(file)
            file.chmod(0o644)
        files = sorted(part.iterdir())
        sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
        (part / "SHA256SUMS").write_text(sums, encoding="ascii")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return sorted(target.iterdir())


def build_wheel(into: Path) -> Path:
    """Build the project's wheel, byte for byte the same from equal sources."""
    # Not compressed: what comes out of a compressor depends on the zlib of the build machine. BOSH compresses the
    # package anyway.
    options = (
        "--no-deps",
        "--no-build-isolation",
        "--config-settings=--build-option=--compression=stored",
        "--wheel-dir",
        str(into),
    )
    with _clean_sources() as sources:
        _run(_pip("wheel", *options, str(sources)), SOURCE_DATE_EPOCH=EPOCH)
    (wheel,) = into.glob("c2c_auditor-*.whl")
    return wheel


def build_sdist(into: Path) -> Path:
    """Build the project's source distribution."""
    with _clean_sources() as sources:
        script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
        _run((sys.executable, "-c", script, str(into.resolve())), cwd=sources, SOURCE_DATE_EPOCH=EPOCH)
    (sdist,) = into.glob("c2c_auditor-*.tar.gz")
    return sdist


def download(into: Path) -> None:
    """The dependencies of the lock file, those of every Python version, held to its hashes."""
    wheels, source = _requirements(LOCK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        listed, sources = Path(folder) / "wheels.txt", Path(folder) / "sources.txt"
        listed.write_text(wheels, encoding="utf-8")
        sources.write_text(source, encoding="utf-8")
        common = ("--quiet", "--require-hashes", "--no-deps", "--dest", str(into))
        tags = (
            "--only-binary=:all:",
            "--implementation",
            "cp",
            "--python-version",
            "3.10",
            "--abi",
            "abi3",
            "--abi",
            "none",
        )
        platforms = tuple(option for platform in PLATFORMS for option in ("--platform", platform))
        _run(_pip("download", *common, *tags, *platforms, "--requirement", str(listed)))
        _run(_pip("download", *common, "--no-build-isolation", "--no-binary=:all:", "--requirement", str(sources)))


def _requirements(lock: str) -> tuple[str, str]:
    """The lock file without markers, and apart from it what is staged as source.

    What one Python needs does another no harm.
    """
    entries = re.findall(r"^[a-z0-9](?:[^\n]*\\\n)*[^\n]*", lock, re.MULTILINE)
    plain = [re.sub(r" ; [^\\]*", " ", entry, count=1) for entry in entries]
    source = [entry for entry in plain if entry.startswith(f"{FROM_SOURCE}==")]
    if len(source) != 1:
        raise StagingError(f"{LOCK}: {FROM_SOURCE} is not there once: run `make lock`")
    return "\n".join(entry for entry in plain if entry not in source) + "\n", source[0] + "\n"


def check(file: Path) -> None:
    """Refuse what would not run on every stemcell."""
    if file.suffix == ".whl":
        python, abi, platform = file.stem.split("-")[-3:]
        pure = (abi, platform) == ("none", "any") and "py3" in python.split(".")
        stable = abi == "abi3" and all(
            part.startswith("manylinux") and part.endswith("x86_64") for part in platform.split(".")
        )
        if not (pure or stable):
            raise StagingError(
                f"{file.name} is neither pure Python nor abi3 for Linux: find another version of it, or another library"
            )
    elif not file.name.startswith(f"{FROM_SOURCE.replace('-', '_')}-"):
        raise StagingError(f"{file.name} is no wheel: only {FROM_SOURCE} is built on the compilation VM")


@contextmanager
def _clean_sources() -> Iterator[Path]:
    """A copy of the sources with fixed modes, and without what tools leave beside them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "c2c-auditor"
        copy.mkdir()
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
                )
            else:
                shutil.copy(source, copy / name)
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield copy


def _pip(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)


def _run(command: Sequence[str], cwd: Path | None = None, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, umask=0o022
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise StagingError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{said}")


if __name__ == "__main__":
    try:
        for staged in stage():
            sys.stdout.write(f"{staged.stat().st_size:>9}  {staged.relative_to(ROOT)}\n")
    except StagingError as error:
        sys.exit(f"c2c-auditor: {error}")
