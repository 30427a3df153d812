"""Reading files: bounded, without following into locks or writes, and with errors that say what to do."""

from __future__ import annotations

from pathlib import Path

from c2c_auditor.errors import Reason, SourceError

_MOST_BYTES = 256 << 20
_CHUNK = 1 << 20


def read_text_file(path: Path, *, source: str, most: int = _MOST_BYTES) -> str:
    """The file's text, undecodable bytes kept as surrogates.

    Raises SourceError: missing, unreadable, a directory, more than ``most`` bytes.
    """
    data = bytearray()
    try:
        with path.open("rb") as opened:
            while len(data) <= most and (chunk := opened.read(_CHUNK)):
                data += chunk
    except FileNotFoundError as error:
        raise _failed(
            source,
            Reason.MISSING,
            path,
            problem="there is no such file",
            remedy="check the path, and whether the job that writes it runs here",
        ) from error
    except PermissionError as error:
        raise _failed(
            source,
            Reason.PERMISSION,
            path,
            problem="it may not be read",
            remedy="run as the file's owner, or give the agent read access",
        ) from error
    except OSError as error:
        raise _failed(
            source,
            Reason.FAILED,
            path,
            problem=f"it cannot be read: {error.strerror}",
            remedy="check the path and the disk",
        ) from error
    if len(data) > most:
        raise _failed(
            source, Reason.TOO_LARGE, path, problem=f"it is larger than {most} bytes", remedy="is it the right file?"
        )
    return data.decode("utf-8", "surrogateescape")


def _failed(source: str, reason: Reason, path: Path, *, problem: str, remedy: str) -> SourceError:
    return SourceError(source=source, reason=reason, where=str(path), problem=problem, remedy=remedy)
