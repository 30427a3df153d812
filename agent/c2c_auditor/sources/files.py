"""Reads regular files: bounded in size, without blocking on FIFOs, with errors that say what to do."""

from __future__ import annotations

import os
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from c2c_auditor.errors import Reason, SourceError

_MOST_BYTES = 64 << 20
_CHUNK = 1 << 20
# Without O_NONBLOCK opening a FIFO waits for a writer, without O_NOCTTY a terminal may become the agent's own.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# systemd sets it for each service, which may have a root directory of its own (systemd.exec(5)).
_SERVICE = "INVOCATION_ID"
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class _NotRegularError(Exception):
    """The path is not a regular file; the message says what it is instead."""


def read_text_file(path: Path, *, source: str, most: int = _MOST_BYTES) -> str:
    """The file's text, undecodable bytes kept as surrogates.

    Raises SourceError: missing, unreadable, no regular file, more than ``most`` bytes, no path at all.
    """
    reason, remedy = Reason.FAILED, "check the path and the disk"
    try:
        data = _read(path, most)
    except FileNotFoundError:
        reason, problem = Reason.MISSING, "there is no such file"
        remedy = f"check the path, and whether the job that writes it runs here{shown_by(path)}"
    except PermissionError:
        reason, problem = Reason.PERMISSION, "it may not be read"
        remedy = "run as the file's owner, or give the agent read access"
    except _NotRegularError as error:
        problem, remedy = f"it is {error}, no regular file", "give the path of a file"
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    except ValueError as error:  # a NUL, or a character that no file name can have
        problem, remedy = f"it is no path: {error}", "check the setting that names it"
    else:
        if data is not None:
            if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):  # as editors of Windows save what was pasted there
                return data.decode("utf-16", "replace")
            return data.decode("utf-8", "surrogateescape")
        reason, problem, remedy = Reason.TOO_LARGE, f"it is larger than {most} bytes", "is it the right file?"
    raise SourceError(source=source, reason=reason, where=str(path), problem=problem, remedy=remedy)


def shown_by(path: Path) -> str:
    """What shows the agent's service a missing folder of ``path``, to go on with a sentence; empty outside systemd."""
    if _SERVICE not in os.environ or path.parent.exists():
        return ""
    return f"; if {path.parent} exists, the service hides it: add BindReadOnlyPaths={path.parent} to its unit"


def is_empty_file(path: Path) -> bool:
    """Whether ``path`` is an empty regular file. Its size can be read even if the file itself cannot."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _read(path: Path, most: int) -> bytes | None:
    """The file's bytes; None if there are more than ``most``."""
    _refuse_other_kinds(path.stat())  # before opening: a device may act on that, and a socket cannot be opened
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb", buffering=0) as opened:
        status = os.fstat(descriptor)
        _refuse_other_kinds(status)  # again: something else may stand there by now
        if status.st_size > most:
            return None  # its size alone shows it: reading it at each audit would cost more than the audit
        data = bytearray()
        while len(data) <= most and (chunk := opened.read(min(_CHUNK, most + 1 - len(data)))):
            data += chunk
    return bytes(data) if len(data) <= most else None


def _refuse_other_kinds(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _NotRegularError(next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "something else"))
