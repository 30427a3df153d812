"""Debian roots to install in: copies that are gone afterwards, and packages in another version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

# A copy-on-write copy of the folder $ROOT at $COPY/root, in memory.
_COPY = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$COPY"
mkdir "$COPY/upper" "$COPY/work" "$COPY/root"
mount -t overlay -o "lowerdir=$ROOT,upperdir=$COPY/upper,workdir=$COPY/work" overlay "$COPY/root"
cd "$COPY/root"
rm -f var/lib/man-db/auto-update
"""
# $INPUT is at /mnt, and nothing runs.
_CHROOT = """
for folder in proc dev run mnt srv tmp; do mkdir -p "$folder"; done
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=0755 tmpfs srv
mount --bind "$INPUT" mnt
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot . "$@"
"""
_BOOT = """
mount -t proc proc /proc
cat >etc/systemd/system/command.service <<UNIT
[Unit]
After=multi-user.target
[Service]
Environment=DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
ExecStart=/bin/sh -c '$* >/mnt/seen 2>&1; echo \\$? >/mnt/status; systemctl poweroff'
UNIT
mkdir -p etc/systemd/system/multi-user.target.wants
ln -s ../command.service etc/systemd/system/multi-user.target.wants/command.service
exec systemd-nspawn --directory=. --register=no --keep-unit --private-network --capability=CAP_NET_ADMIN,CAP_NET_RAW \\
    --bind="$INPUT:/mnt" --boot
"""


def run_in_copy(root: Path, copy: Path, given: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in a copy of the Debian system at ``root``, with processes of its own; ``given`` is its /mnt.

    ``copy`` is an empty folder to mount it at.
    """
    return _run(_COPY + _CHROOT, (root, copy, given), command)


def boot_copy(root: Path, copy: Path, given: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Boot a copy of the system at ``root``, with a network of its own, and have its systemd run ``command``.

    What the command prints is in ``given``/seen, its exit status in ``given``/status.
    """
    return _run(_COPY + _BOOT, (root, copy, given), command)


def _run(script: str, folders: tuple[Path, Path, Path], command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    root, copy, given = folders
    copy.mkdir()
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ROOT": str(root), "COPY": str(copy), "INPUT": str(given)}
    unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts")
    return subprocess.run(
        (*unshare, "sh", "-c", script, "sh", *command),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def in_another_version(package: Path, into: Path, work: Path) -> None:
    """``package`` with a later version, at ``into``; quick to make and to install."""
    subprocess.run(("dpkg-deb", "-R", package, work), check=True, timeout=60)
    control = work / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: (.*)$", r"Version: \1+1", control.read_text(), flags=re.MULTILINE))
    subprocess.run(
        ("dpkg-deb", "--root-owner-group", "-Znone", "-b", work, into),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
