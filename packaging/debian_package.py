"""The Debian package: an environment of its own below /opt, a systemd unit, configuration, man page and completion.

It holds the staged files, as the BOSH package does, and python-iptables' C library built here. One package serves
CPython 3.10 to 3.14, since everything is pure Python or abi3: ``lib/python3.N`` are links to one folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import archives
import debian_documents
import stage_release
from bosh_cli import MissingToolError

_FILES = stage_release.ROOT / "packaging" / "debian"
_HOME = "opt/c2c-auditor"
_PYTHONS = range(10, 15)
# The unit's root directory: links as in every Debian system, and the places that systemd mounts something at.
_LINKS = ("bin", "lib", "lib64", "sbin")
_MOUNT_POINTS = ("dev", "etc", "home", _HOME, "proc", "root", "run", "sys", "tmp", "usr", "var/tmp", "var/vcap")
# Where the wheel has it, and where Debian's shells look, both below share.
_COMPLETION = (
    ("bash-completion/completions/c2c-auditor", "bash-completion/completions/c2c-auditor"),
    ("zsh/site-functions/_c2c-auditor", "zsh/vendor-completions/_c2c-auditor"),
    ("fish/vendor_completions.d/c2c-auditor.fish", "fish/vendor_completions.d/c2c-auditor.fish"),
)


def make(into: Path, staged: Sequence[Path], materials: Path, *, epoch: int, work: Path) -> Path:
    """Make ``c2c-auditor_VERSION_amd64.deb`` of the files ``staged`` and the bill ``materials``; ``work`` is scratch.

    Raises MissingToolError.
    """
    compiler = _tool("gcc", "cc", package="gcc")
    dpkg = _tool("dpkg-deb", package="dpkg")
    if platform.machine() != "x86_64":
        raise MissingToolError(f"needs a machine of x86-64, as the staged wheels do, and this is {platform.machine()}")
    root = work / "debian"
    version = _environment(root / _HOME, staged, compiler=compiler, work=work)
    _around(root, materials, version=version, epoch=epoch)
    _control(root, version)
    _settle(root, epoch)
    package = into / f"c2c-auditor_{version}_amd64.deb"
    command = (dpkg, "--root-owner-group", "-Zxz", "-z2", "--build", str(root), str(package))
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=300)
    return package


def _tool(*names: str, package: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise MissingToolError(f"needs {names[0]} (Debian package {package})")


def _environment(home: Path, staged: Sequence[Path], *, compiler: str, work: Path) -> str:
    """The virtual environment at ``home``, which will stand at the same path on the machine; the project's version.

    Without bytecode: that is made where it is installed, for the Python that is there.
    """
    library = home / "lib" / "python3" / "site-packages"
    library.mkdir(parents=True)
    version = ""
    for file in staged:
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel:
                wheel.extractall(library)
            if file.name.startswith("c2c_auditor-"):
                version = file.name.split("-")[1]
        elif file.name.startswith(stage_release.FROM_SOURCE.replace("-", "_")):
            _build(file, library, compiler, work)
    for minor in _PYTHONS:
        (home / "lib" / f"python3.{minor}").symlink_to("python3")
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to("/usr/bin/python3")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", encoding="ascii")
    for place in _MOUNT_POINTS:
        (home / "root" / place).mkdir(parents=True)
    for link in _LINKS:
        (home / "root" / link).symlink_to(f"usr/{link}")
    return version


def _build(source: Path, library: Path, compiler: str, work: Path) -> None:
    """python-iptables: its modules, and a C library that includes nothing of Python's."""
    for name, content in archives.unpack(source.read_bytes()).items():
        file = work / "python-iptables" / name.partition("/")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.data)
    unpacked = work / "python-iptables"
    shutil.copytree(unpacked / "iptc", library / "iptc")
    shutil.copy(unpacked / "NOTICE", library / "iptc" / "NOTICE")
    flags = ("-shared", "-fPIC", "-O2", "-w", "-s", "-fstack-protector-strong", "-Wl,-z,relro,-z,now")
    output = library / "libxtwrapper.so"
    # From where its source lies, so that no path of this machine gets into it.
    subprocess.run(
        (compiler, *flags, "-o", str(output.resolve()), "wrapper.c"),
        cwd=unpacked / "libxtwrapper",
        check=True,
        timeout=120,
    )


def _around(root: Path, materials: Path, *, version: str, epoch: int) -> None:
    """What stands outside the environment."""
    library = root / _HOME / "lib" / "python3" / "site-packages"
    share = library / f"c2c_auditor-{version}.data" / "data" / "share"
    documents = root / "usr" / "share" / "doc" / "c2c-auditor"
    for source, target in (
        (_FILES / "c2c-auditor.service", root / "lib" / "systemd" / "system" / "c2c-auditor.service"),
        (_FILES / "config.json", root / "etc" / "c2c-auditor" / "config.json"),
        (_FILES / "command", root / "usr" / "bin" / "c2c-auditor"),
        (_FILES / "lintian-overrides", root / "usr" / "share" / "lintian" / "overrides" / "c2c-auditor"),
        (materials, documents / materials.name),
        *((share / here, root / "usr" / "share" / there) for here, there in _COMPLETION),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    manual = root / "usr" / "share" / "man" / "man1" / "c2c-auditor.1.gz"
    manual.parent.mkdir(parents=True)
    manual.write_bytes(archives.gzip((share / "man" / "man1" / "c2c-auditor.1").read_bytes()))
    shutil.rmtree(share.parent.parent)
    (documents / "copyright").write_text(debian_documents.rights(library), encoding="utf-8")
    changes = (stage_release.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (documents / "changelog.gz").write_bytes(archives.gzip(debian_documents.changelog(changes, epoch).encode()))


def _control(root: Path, version: str) -> None:
    control = root / "DEBIAN"
    control.mkdir()
    files = sorted(path for path in root.rglob("*") if path.is_file() and control not in path.parents)
    size = sum(path.stat().st_size for path in files if not path.is_symlink())
    template = (_FILES / "control").read_text(encoding="utf-8")
    values = {
        "VERSION": version,
        "MAINTAINER": debian_documents.MAINTAINER,
        "SIZE": str(-(-size // 1024)),
        "NEWEST": str(_PYTHONS.stop),
        "GLIBC": _glibc(root),
    }
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    (control / "control").write_text(template, encoding="utf-8")
    (control / "conffiles").write_text("/etc/c2c-auditor/config.json\n", encoding="ascii")
    for script in ("postinst", "prerm", "postrm", "triggers"):
        shutil.copy(_FILES / script, control / script)
    sums = {
        path.relative_to(root): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in files
        if not path.is_symlink()
    }
    (control / "md5sums").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")


def _glibc(root: Path) -> str:
    """The oldest glibc that has every function which the libraries below ``root`` name."""
    named = b"".join(library.read_bytes() for library in root.rglob("*.so"))
    versions = re.findall(rb"GLIBC_(\d+)\.(\d+)", named)
    return ".".join(map(str, max((int(major), int(minor)) for major, minor in versions)))


def _settle(root: Path, epoch: int) -> None:
    """Fixed modes and times."""
    programs = {root / "usr/bin/c2c-auditor", *(root / "DEBIAN" / script for script in ("postinst", "prerm", "postrm"))}
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
