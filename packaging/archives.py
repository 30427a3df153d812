"""Archives that are the same bytes whoever makes them: names in order, fixed owners, modes and times.

The compressor is GNU gzip, whose output has not changed for decades; that of zlib depends on the machine.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

# The first moment that a zip archive can tell.
FIRST = 315532800


@frozen(kw_only=True)
class Content:
    """One file of an archive."""

    data: bytes
    executable: bool = False


def moment(root: Path) -> int:
    """The time, in seconds, that everything bears that is made of ``root``: its last commit's.

    SOURCE_DATE_EPOCH overrides it; without both it is the first moment that a zip archive can tell.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return max(int(given), FIRST)
    return int(git(root, "log", "-1", "--format=%ct") or FIRST)


def git(root: Path, *arguments: str) -> str:
    """What git says of the checkout ``root``; empty without git, or where ``root`` is none."""
    # A checkout may belong to another user: reading it is harmless.
    command = ("git", "-c", "safe.directory=*", *arguments)
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def pack(files: Mapping[str, Content], epoch: int, *, first: str = "") -> bytes:
    """``files``, by path below the root, and their directories as a gzipped tar archive; ``first`` comes first."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    names = sorted({*files, *folders}, key=lambda name: (name != first, name))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.mtime, entry.uname, entry.gname = epoch, "root", "root"
            if name in files:
                entry.size, entry.mode = len(files[name].data), 0o755 if files[name].executable else 0o644
                archive.addfile(entry, io.BytesIO(files[name].data))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
    return gzip(buffer.getvalue())


def unpack(archive: bytes) -> dict[str, Content]:
    """The files of a gzipped tar archive, by path below the root. Links are refused with a ValueError."""
    found: dict[str, Content] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        for entry in opened:
            if entry.isdir():
                continue
            content = opened.extractfile(entry) if entry.isfile() else None
            if content is None:
                raise ValueError(f"{entry.name} is no file")
            found[os.path.normpath(entry.name)] = Content(data=content.read(), executable=bool(entry.mode & 0o100))
    return found


def repack(archive: bytes, epoch: int, change: Callable[[str, bytes], bytes] = lambda _, data: data) -> bytes:
    """``archive`` made again, each file as ``change`` returns it for its path and bytes."""
    files = {
        name: Content(data=change(name, content.data), executable=content.executable)
        for name, content in unpack(archive).items()
    }
    return pack(files, epoch)


def gzip(data: bytes) -> bytes:
    """``data`` compressed."""
    command = (shutil.which("gzip") or "gzip", "-9", "--no-name")
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=120).stdout
