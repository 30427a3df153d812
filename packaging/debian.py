"""Packages of other Debian releases beside the machine's own, unpacked below .tools/debian and run from there.

And whole systems of other releases, to install in.

apt gets a state of its own (sources, lists, cache, an empty list of installed packages), so that nothing of the machine
changes and a package comes with all that it depends on, libc included. The packages come from the mirror and through
the settings (proxy, keys) that the machine's own apt has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / ".tools" / "debian"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SECONDS = 600


class FetchError(Exception):
    """What could not be fetched, in apt's own words."""


@frozen(kw_only=True)
class Unpacked:
    """Packages of one release and all that they depend on, below ``root``; ``version`` is that of the first package."""

    version: str
    root: Path

    def wrap(self, program: str, at: Path, **environment: str) -> Path:
        """Write a script ``at`` that runs ``program`` with the release's own loader and libraries.

        ``program`` is a path below ``root``.

        A program that is started through its loader is known to the kernel by the loader's file name, cut at 15 bytes,
        and nf_tables announces writers by it. So the loader is started through a link that bears the script's name.
        argv[0] is the script itself where the loader can say so (glibc 2.33 and newer): Python finds itself by it.
        """
        loader = next(self.root.glob("**/*-linux-gnu/ld-linux*.so.?"))
        libraries = ":".join(map(str, sorted(path for path in self.root.glob("**/*-linux-gnu*") if path.is_dir())))
        named = self.root.parent / "loader" / at.name
        for folder in (named.parent, at.parent):
            folder.mkdir(parents=True, exist_ok=True)
        named.unlink(missing_ok=True)
        named.symlink_to(loader)
        options = subprocess.run((loader, "--help"), capture_output=True, text=True, check=False, timeout=30).stdout
        argv0 = '--argv0 "$0" ' if "--argv0" in options else ""
        settings = "".join(f"{name}='{value}' " for name, value in environment.items())
        command = f"'{named}' --library-path '{libraries}' {argv0}'{self.root / program}'"
        at.write_text(f'#!/bin/sh\n{settings}exec {command} "$@"\n')
        at.chmod(0o755)
        return at


def fetch_iptables(release: str) -> tuple[str, Path]:
    """The version of ``release``'s iptables, and a folder with both backends' programs of both address families.

    Raises FetchError.
    """
    unpacked = fetch(release, ("iptables",))
    folder = unpacked.root.parent / "bin"
    extensions = str(next(unpacked.root.glob("**/xtables")))
    for family in ("iptables", "ip6tables"):
        for purpose in ("", "-save", "-restore"):
            for name, backend in ((family, "-nft"), (f"{family}-nft", ""), (f"{family}-legacy", "")):
                program = f"usr/sbin/{name}{backend}{purpose}"
                unpacked.wrap(program, folder / f"{name}{purpose}", XTABLES_LIBDIR=extensions)
    return unpacked.version.partition("-")[0], folder


def fetch_python(release: str, minor: str) -> Path:
    """``release``'s CPython of version ``minor`` (3.14), to make virtual environments with.

    They need --without-pip: Debian's ensurepip looks for its wheels below the machine's own /usr/share.

    Raises FetchError.
    """
    unpacked = fetch(release, (f"python{minor}", f"python{minor}-venv"))
    # Below the same prefix as its library, which Python looks for upwards from where it was started.
    return unpacked.wrap(f"usr/bin/python{minor}", unpacked.root / "usr" / "local" / "bin" / f"python{minor}")


def machine(release: str, packages: Sequence[str]) -> Path:
    """A Debian system of ``release`` with nothing but the essential packages and ``packages``, at a path of its own.

    It is made once by debootstrap, and made again where ``packages`` are others. Work on copies of it.

    Raises FetchError.
    """
    root = DEBIAN / release / "machine"
    made_of = root.with_suffix(".packages")
    wanted = " ".join(packages)
    if not made_of.exists() or made_of.read_text() != wanted:
        made_of.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        keys = (f"--keyring={_KEYS}",) if _KEYS.exists() else ()
        options = ("--variant=minbase", f"--include={','.join(packages)}", *keys)
        _run(("debootstrap", *options, release, str(root), _mirror()))
        made_of.write_text(wanted)
    return root


def fetch(release: str, packages: Sequence[str]) -> Unpacked:
    """``packages`` of ``release``, with all that they depend on.

    What is unpacked already in the newest version is left as it is.

    Raises FetchError.
    """
    folder = DEBIAN / release
    apt = _apt(release, folder / "apt")
    version = _candidate(apt, packages[0])
    root = folder / f"{packages[0]}-{version.replace(':', '+')}" / "root"
    if not root.is_dir():
        part = root.with_name("root.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _run((*apt, "install", "--download-only", "--no-install-recommends", "-qq", "-y", *packages))
        for archive in sorted((folder / "apt" / "cache" / "archives").glob("*.deb")):
            _run(("dpkg-deb", "--extract", str(archive), str(part)))
            archive.unlink()
        part.rename(root)
    return Unpacked(version=version, root=root)


def _apt(release: str, folder: Path) -> tuple[str, ...]:
    """``apt-get`` with a state of its own in ``folder`` that knows ``release`` alone, its lists up to date."""
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    signed = f"[signed-by={_KEYS}] " if _KEYS.exists() else ""
    (folder / "sources.list").write_text(f"deb {signed}{_mirror()} {release} main\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::Etc::preferencesparts": folder / "parts",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Get::List-Cleanup": "false",
        "APT::Sandbox::User": "root",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Languages": "none",
    }
    apt = ("apt-get", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")))
    _run((*apt, "update", "-qq", "--error-on=any"))
    return apt


def _mirror() -> str:
    """The address of the mirror from which the machine's apt gets Debian."""
    query = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian")
    mirrors = _run(query).split()
    if not mirrors:
        _run(("apt-get", "update", "-qq"))
        mirrors = _run(query).split()
    if not mirrors:
        raise FetchError("apt of this machine gets packages from no mirror of Debian: only the machine's own are tried")
    return mirrors[0]


def _candidate(apt: Sequence[str], package: str) -> str:
    shown = _run(("apt-cache", *apt[1:], "show", "--no-all-versions", package))
    return next(line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))


def _run(command: Sequence[str]) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env=environment,
    )
    if done.returncode:
        raise FetchError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
