"""The client of a running agent's API, for questions that need what several cells know.

It asks with GET only. What an agent answers is foreign text: JSON, bounded in size, and whoever shows it escapes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from attrs import frozen
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from c2c_auditor.decoding import DecodeError, parse_json
from c2c_auditor.errors import Reason, SourceError, UsageError
from c2c_auditor.sources.facts.mutual_tls import describe_tls_error, mutual_tls

_MOST_BYTES = 8 << 20
_SECONDS = 25.0  # an agent gives a question 20
_OK, _NOT_ASKED_RIGHT, _NOT_FOUND, _BUSY = 200, 400, 404, 503
_ATTEMPTS, _PAUSE = 5, 1.0


@frozen(kw_only=True)
class Certificates:
    """What an agent's listener demands: the CA of its certificate, and a client's certificate and key."""

    ca: Path
    certificate: Path
    key: Path


class AgentApi:
    """One agent. Raises UsageError for an address that is none, SourceError for certificates that cannot be used."""

    def __init__(
        self, url: str, certificates: Certificates | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        try:
            parsed = parse_url(url)
        except LocationParseError:
            raise UsageError("--agent: this is no URL: give https://ADDRESS:9763") from None
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.auth:
            raise UsageError(f"--agent {parsed._replace(auth=None).url}: give https://ADDRESS:9763")
        if parsed.scheme == "https" and certificates is None:
            raise UsageError("--agent with https needs --agent-ca, --agent-certificate and --agent-key")
        self.url = url.rstrip("/")
        self._sleep = sleep
        context = mutual_tls(certificates.ca, certificates.certificate, certificates.key) if certificates else None
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False, ssl_context=context)

    def ask(self, subject: str, arguments: Mapping[str, str]) -> dict[str, Any]:
        """The answer to ``/api/v1/SUBJECT``.

        Raises UsageError with the agent's words if it cannot be answered as it was asked, SourceError if the agent does
        not answer.
        """
        for _ in range(_ATTEMPTS - 1):
            status, answer = self._once(subject, arguments)
            if status != _BUSY:
                break
            self._sleep(_PAUSE)  # it answers one question at a time, and rests after each
        else:
            status, answer = self._once(subject, arguments)
        if status == _OK:
            return answer
        said = answer.get("error")
        words = said if isinstance(said, str) else f"it answered {status}"
        if status == _NOT_ASKED_RIGHT:
            raise UsageError(words)
        remedy = "this agent is too old for the question" if status == _NOT_FOUND else "see c2c-auditor's log there"
        raise self._failed(Reason.STATUS, words, remedy)

    def _once(self, subject: str, arguments: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            response = self._pool.request(
                "GET",
                f"{self.url}/api/v1/{subject}?{urlencode(arguments)}",
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(total=_SECONDS),
            )
            with response:
                body = response.read(_MOST_BYTES + 1)
        except urllib3.exceptions.HTTPError as error:
            remedy = "is this the agent's address, and does it run?"
            raise self._failed(Reason.UNREACHABLE, _cause(error), remedy) from error
        if len(body) > _MOST_BYTES:
            raise self._failed(Reason.TOO_LARGE, f"its answer is larger than {_MOST_BYTES >> 20} MiB", "ask for less")
        try:
            given = parse_json(body.decode("utf-8", "replace"))
        except DecodeError:
            given = None
        if not isinstance(given, dict):
            if response.status == _OK:
                raise self._failed(Reason.MALFORMED, "its answer is no JSON object", "is this c2c-auditor?")
            given = {}
        return response.status, given

    def _failed(self, reason: Reason, problem: str, remedy: str) -> SourceError:
        return SourceError(source="agent", reason=reason, where=self.url, problem=problem, remedy=remedy)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _cause(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"no answer: {describe_tls_error(error)}"
