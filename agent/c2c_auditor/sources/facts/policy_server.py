"""The client of policy-server-internal over mTLS: read only, bounded in time and size.

``PUT`` is never sent: the one that VPA uses to learn the ingress router's tag creates it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

import urllib3
from urllib3.exceptions import LocationParseError, MaxRetryError
from urllib3.util import Retry, parse_url

from c2c_auditor.decoding import DecodeError, parse_json
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import PolicySet, SecurityGroup
from c2c_auditor.sources.facts.last_answer import MOST_POLICIES, LastAnswer
from c2c_auditor.sources.facts.mutual_tls import describe_tls_error, mutual_tls
from c2c_auditor.sources.facts.policy_answers import (
    merged,
    parse_last_updated,
    parse_policies,
    parse_security_groups,
    too_many,
)

_API = "/networking/v1/internal"
_MOST_BYTES = 32 << 20
_CHUNK = 1 << 16
# A request line of some 8 KiB passes every proxy and server; more guids take several requests.
_GUIDS_PER_REQUEST = 200
_PAGE = 5000
_MOST_PAGES = 100
_OK = 200
_NOT_FOUND = 404
_SERVERS_FAULT = 500
# One further attempt, at once: a server that has closed an idle connection takes a new one. More of them from a
# thousand cells would be a load of their own on a server that is in trouble.
_RETRIES = Retry(total=1, allowed_methods=frozenset({"GET"}))


class PolicyServer:
    """A client. Certificates are read when it is made; SIGHUP makes a new one.

    ``timeout`` bounds each answer with all its attempts, in seconds. What stands before an @ in ``url`` is left out: it
    is not used, and would show in errors.
    """

    def __init__(
        self,
        *,
        url: str,
        ca_file: Path,
        certificate_file: Path,
        key_file: Path,
        timeout: float = 10.0,
        retries: Retry = _RETRIES,
    ) -> None:
        self._url = _check_url(url).rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            ssl_context=mutual_tls(ca_file, certificate_file, key_file),
            headers={"Accept": "application/json"},
        )
        self._last: tuple[list[bytes], PolicySet] | None = None
        self._understood = LastAnswer()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def last_updated(self) -> int:
        """When policies last changed, by the server's clock in ns. Raises SourceError."""
        where = f"{self._url}{_API}/policies_last_updated"
        return parse_last_updated(self._get(where), where=where)

    def security_groups_last_updated(self) -> int | None:
        """When security groups last changed, by the server's clock in ns; None from a server without that endpoint.

        Source: cf-networking-release policy-server/handlers/security_groups_last_updated_internal.go, there since 2025;
        older servers answer 404. Raises SourceError.
        """
        where = f"{self._url}{_API}/security_groups_last_updated"
        status, text = self._ask(where)
        return None if status == _NOT_FOUND else parse_last_updated(_body_of(status, text, where), where=where)

    def policies(self, guids: Iterable[str]) -> PolicySet:
        """The policies in which one of ``guids`` (apps, spaces) is source or destination.

        No policies for no guids, without a request. Raises SourceError.

        The identical object when the answer is the last one's, by its digest. What it has in common with the last one
        are the identical policies.
        """
        texts = list(self.policy_texts(guids))
        digests = list(map(_digest, texts))
        if self._last is None or self._last[0] != digests:
            where = f"{self._url}{_API}/policies"
            known = self._understood
            answer = merged((parse_policies(text, where=where, last=known) for text in texts), known)
            if len(answer.policies) > MOST_POLICIES:
                raise too_many(len(answer.policies), where)
            known.renew(answer.policies)
            self._last = digests, answer
        return self._last[1]

    def policy_texts(self, guids: Iterable[str]) -> Iterator[str]:
        """The answers about ``guids`` as the server gave them. Raises SourceError."""
        for some in _chunks(guids):
            yield self._get(f"{self._url}{_API}/policies?id={some}")

    def security_groups(self, spaces: Iterable[str]) -> tuple[SecurityGroup, ...]:
        """The security groups bound to ``spaces``, and the defaults, in the server's order; page by page.

        Raises SourceError.
        """
        groups: dict[str, SecurityGroup] = {}
        for text in self.security_group_texts(spaces):
            for group in parse_security_groups(text, where=f"{self._url}{_API}/security_groups")[0]:
                groups.setdefault(group.guid, group)
        return tuple(groups.values())

    def security_group_texts(self, spaces: Iterable[str]) -> Iterator[str]:
        """The pages about ``spaces`` as the server gave them. Raises SourceError, after a page that is malformed."""
        where = f"{self._url}{_API}/security_groups"
        for some in list(_chunks(spaces)) or [""]:  # without spaces, the default groups
            start = 0
            for _ in range(_MOST_PAGES):
                text = self._get(f"{where}?per_page={_PAGE}&space_guids={some}&from={start}")
                yield text
                _, start = parse_security_groups(text, where=where)
                if start == 0:
                    break
            else:
                raise _failed(
                    Reason.TOO_LARGE, where, f"it has more than {_MOST_PAGES} pages", "look at the server's answers"
                )

    def _get(self, where: str) -> str:
        """The body of a 200. Raises SourceError for any other answer."""
        status, text = self._ask(where)
        return _body_of(status, text, where)

    def _ask(self, where: str) -> tuple[int, str]:
        """The status and body of an answer, after at most one further attempt within the time of one request.

        Only a status of 500 or more and a failed connection are tried again. Raises SourceError.
        """
        until = time.monotonic() + self._timeout
        retries = self._retries
        while True:
            outcome = self._attempt(where, max(0.001, until - time.monotonic()))
            if not isinstance(outcome, SourceError) and outcome[0] < _SERVERS_FAULT:
                return outcome
            try:
                retries = retries.increment("GET", where)
            except MaxRetryError:
                break
            pause = retries.get_backoff_time()
            if time.monotonic() + pause >= until:
                break
            time.sleep(pause)
        if isinstance(outcome, SourceError):
            raise outcome
        return outcome

    def _attempt(self, where: str, seconds: float) -> tuple[int, str] | SourceError:
        """One attempt; an error that may pass by itself is returned, any other is raised."""
        try:
            return self._once(where, seconds)
        except SourceError as error:
            if error.reason not in (Reason.TIMEOUT, Reason.UNREACHABLE):
                raise
            return error

    def _once(self, where: str, seconds: float) -> tuple[int, str]:
        timeout = urllib3.Timeout(total=seconds)
        try:
            response = self._pool.request(
                "GET", where, redirect=False, preload_content=False, decode_content=False, timeout=timeout
            )
            with response:
                body = _body(response, _without_query(where))
        except urllib3.exceptions.HTTPError as error:
            raise _transport(error, _without_query(where), self._timeout) from error
        return response.status, body.decode("utf-8", "replace")


def _digest(text: str) -> bytes:
    """In parts: 20,000 policies are 4 MB, which need not be there twice."""
    digest = blake2b()
    for start in range(0, len(text), _CHUNK):
        digest.update(text[start : start + _CHUNK].encode())
    return digest.digest()


def _check_url(url: str) -> str:
    """``url`` without user and password. Raises SourceError for one without TLS."""
    try:
        parsed = parse_url(url)
    except LocationParseError:  # whose text holds what stands before the @
        raise _failed(Reason.FAILED, "policy server", "its address is no URL", "set policy_server.url") from None
    public_url = parsed._replace(auth=None).url
    if parsed.scheme != "https" or not parsed.host:
        problem = "it is no https address, so the server could not be authenticated"
        raise _failed(Reason.TLS, public_url, problem, "set policy_server.url")
    return public_url


def _chunks(guids: Iterable[str]) -> Iterator[str]:
    """Guids as query values. Guids are foreign text and are quoted, so that none adds to the URL."""
    wanted = [quote(guid, safe="", errors="replace") for guid in sorted(guids)]
    for start in range(0, len(wanted), _GUIDS_PER_REQUEST):
        yield ",".join(wanted[start : start + _GUIDS_PER_REQUEST])


def _without_query(where: str) -> str:
    """The address without the guids."""
    return where.partition("?")[0]


def _body_of(status: int, text: str, where: str) -> str:
    if status != _OK:
        problem = f"it answered {status}{_error_message(text)}"
        raise _failed(Reason.STATUS, _without_query(where), problem, "see the policy server's log")
    return text


def _body(response: urllib3.BaseHTTPResponse, where: str) -> bytearray:
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise _failed(
                Reason.TOO_LARGE,
                where,
                f"its answer is larger than {_MOST_BYTES >> 20} MiB",
                "look at the server's answer",
            )
    return body


def _transport(error: Exception, where: str, timeout: float) -> SourceError:
    """An error below HTTP, described by its innermost cause: urllib3's own texts name objects and addresses."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    why = describe_tls_error(causes[-1])
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return _failed(
            Reason.TLS, where, f"TLS failed: {why}", "compare the certificates' CA, names and dates on both sides"
        )
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # which urllib3 counts among the time-outs
    if not refused and any(isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError) for cause in causes):
        return _failed(
            Reason.TIMEOUT,
            where,
            f"no whole answer within {timeout:g} s",
            "is the server overloaded, or a firewall between?",
        )
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return _failed(Reason.UNREACHABLE, where, f"the connection broke: {why}", "see the policy server's log")
    return _failed(
        Reason.UNREACHABLE, where, f"no connection: {why}", "does the name resolve, and does the server run?"
    )


def _error_message(body: str) -> str:
    """The message in silk's JSON error body, if there is one."""
    try:
        given = parse_json(body)
    except DecodeError:
        return ""
    message = given.get("error") if isinstance(given, dict) else None
    return f": {message!r:.200}" if isinstance(message, str) else ""


def _failed(reason: Reason, where: str, problem: str, remedy: str) -> SourceError:
    return SourceError(source="policy_server", reason=reason, where=where, problem=problem, remedy=remedy)
