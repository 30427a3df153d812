"""The agent that runs on this machine, asked over its socket (``server.socket``). It answers to root and to itself."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from c2c_auditor.errors import Reason, SourceError

# Longer than the agent takes to answer a question, at most.
_SECONDS = 30.0
# Several times the largest report.
_MOST_BYTES = 64 << 20
_Failure = tuple[Reason, str, str]
_REASONS: Mapping[type[Exception], _Failure] = {
    FileNotFoundError: (Reason.MISSING, "there is no such socket", "start the agent with this server.socket"),
    ConnectionRefusedError: (
        Reason.UNREACHABLE,
        "no agent answers there",
        "start it; its log says why it ended",
    ),
    PermissionError: (Reason.PERMISSION, "permission denied", "run this as root or as the agent's user"),
    TimeoutError: (Reason.TIMEOUT, f"no answer within {_SECONDS:g} s", "see what holds up the agent"),
}


class _Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, target: str) -> str:
    """The answer of the agent behind the socket ``path`` to ``GET target``.

    The process that answers has no privileges and parses what others send, so a caller takes the text as foreign.
    Raises SourceError, also for any other status than 200.
    """
    connection = _Connection(path)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read(_MOST_BYTES + 1)
    except (OSError, HTTPException) as error:
        reason, problem, remedy = _REASONS.get(type(error), (Reason.FAILED, str(error), "see the agent's log"))
        raise _failed(path, reason, problem, remedy) from error
    finally:
        connection.close()
    if len(body) > _MOST_BYTES:
        raise _failed(path, Reason.TOO_LARGE, f"the answer is longer than {_MOST_BYTES} bytes", "see the agent's log")
    text = body.decode("utf-8", "replace")
    if response.status != 200:  # noqa: PLR2004 - HTTP's own
        raise _failed(path, Reason.STATUS, f"status {response.status}: {text.strip()[:200]}", "ask again in a moment")
    return text


def _failed(path: Path, reason: Reason, problem: str, remedy: str) -> SourceError:
    return SourceError(source="agent", reason=reason, where=str(path), problem=problem, remedy=remedy)
