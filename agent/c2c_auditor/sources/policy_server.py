"""policy-server-internal over mTLS: read only, bounded in time and size, and gentle, for a thousand cells ask the same two instances.

``PUT`` is never sent: the one that VPA uses to learn the ingress router's tag creates it.
"""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import urllib3
from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import Policy, PolicySet, SecurityGroup
from c2c_auditor.sources.answers import parse_policies, parse_security_groups

_API = "/networking/v1/internal"
_MOST_BYTES = 64 << 20
_CHUNK = 1 << 16
# A request line of some 8 KiB passes every proxy and server; more guids are asked for in several requests.
_GUIDS_PER_REQUEST = 200
_PAGE = 5000
_MOST_PAGES = 1000
_PASSING = (429, 502, 503, 504)


@frozen(kw_only=True)
class Retries:
    """``attempts`` in all; pauses in seconds double from ``first`` and are spread by up to half, so that cells do not come back in step."""

    attempts: int = 3
    first: float = 0.5
    sleep: Callable[[float], None] = time.sleep
    spread: Callable[[], float] = random.random

    def pauses(self) -> Iterator[float]:
        """The pause before each further attempt."""
        for attempt in range(self.attempts - 1):
            yield self.first * 2**attempt * (1 + self.spread() / 2)


class PolicyServer:
    """A client. Certificates are read when it is made; SIGHUP makes a new one. ``timeout`` bounds each request as a whole, in seconds."""

    def __init__(
        self, *, url: str, ca_file: Path, certificate_file: Path, key_file: Path, timeout: float = 10.0, retries: Retries | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries if retries is not None else Retries()
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            ssl_context=_context(ca_file, certificate_file, key_file),
            headers={"Accept": "application/json"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def last_updated(self) -> int:
        """When policies last changed, by the server's clock in ns. Raises SourceError."""
        where = f"{self._url}{_API}/policies_last_updated"
        text = self._get(where)
        try:
            return int(text)
        except ValueError as error:
            raise _failed(
                Reason.MALFORMED, where, f"expected a number, found {text[:40]!r}", "is this the policy server's internal API?"
            ) from error

    def policies(self, guids: Iterable[str]) -> PolicySet:
        """The policies in which one of ``guids`` (apps, spaces) is source or destination; none for no guids, without asking. Raises SourceError."""
        found: dict[Policy, None] = {}
        unreadable = []
        for text in self._policy_pages(guids):
            answer = parse_policies(text, where=f"{self._url}{_API}/policies")
            found.update(dict.fromkeys(answer.policies))
            unreadable += [bad for bad in answer.unreadable if bad not in unreadable]
        return PolicySet(policies=tuple(found), unreadable=tuple(unreadable))

    def policies_text(self, guids: Iterable[str]) -> str:
        """The same as the server's JSON, several answers made into one; each policy once."""
        found: dict[str, object] = {}
        for text in self._policy_pages(guids):
            parse_policies(text, where=f"{self._url}{_API}/policies")  # raises for what is no answer
            found.update((json.dumps(policy), policy) for policy in json.loads(text)["policies"])
        return json.dumps({"total_policies": len(found), "policies": list(found.values())})

    def _policy_pages(self, guids: Iterable[str]) -> Iterator[str]:
        wanted = sorted(guids)
        for start in range(0, len(wanted), _GUIDS_PER_REQUEST):
            yield self._get(f"{self._url}{_API}/policies?id={_joined(wanted[start : start + _GUIDS_PER_REQUEST])}")

    def security_groups(self, spaces: Iterable[str]) -> tuple[SecurityGroup, ...]:
        """The security groups bound to ``spaces``, and the defaults; page by page. Raises SourceError."""
        groups: dict[str, SecurityGroup] = {}
        for text in self._group_pages(spaces):
            groups.update((group.guid, group) for group in parse_security_groups(text, where=f"{self._url}{_API}/security_groups")[0])
        return tuple(groups.values())

    def security_groups_text(self, spaces: Iterable[str]) -> str:
        """The same as the server's JSON, all pages made into one."""
        pages = [json.loads(text)["security_groups"] for text in self._group_pages(spaces)]
        return json.dumps({"next": 0, "security_groups": [group for page in pages for group in page]})

    def _group_pages(self, spaces: Iterable[str]) -> Iterator[str]:
        where = f"{self._url}{_API}/security_groups"
        wanted = _joined(sorted(spaces))
        start = 0
        for _ in range(_MOST_PAGES):
            text = self._get(f"{where}?per_page={_PAGE}&space_guids={wanted}&from={start}")
            yield text
            _, start = parse_security_groups(text, where=where)
            if start == 0:
                return
        raise _failed(Reason.TOO_LARGE, where, f"it has more than {_MOST_PAGES} pages", "look at the server's answers")

    def _get(self, where: str) -> str:
        """The body of a 200. Only what may pass by itself is tried again."""
        pauses = self._retries.pauses()
        while True:
            try:
                return self._once(where)
            except SourceError as error:
                pause = next(pauses, None)
                if pause is None or error.reason in (Reason.TLS, Reason.MALFORMED, Reason.TOO_LARGE) or not _may_pass(error):
                    raise
                self._retries.sleep(pause)

    def _once(self, where: str) -> str:
        shown = where.partition("?")[0]
        deadline = time.monotonic() + self._timeout
        try:
            response = self._pool.request("GET", where, redirect=False, preload_content=False, timeout=urllib3.Timeout(total=self._timeout))
            with response:
                body = _body(response, shown, deadline)
        except urllib3.exceptions.HTTPError as error:
            raise _transport(error, shown, self._timeout) from error
        if response.status != 200:  # noqa: PLR2004 - OK
            raise _failed(
                Reason.STATUS, shown, f"it answered {response.status}{_said(body)}", "see the policy server's log", status=response.status
            )
        return body.decode("utf-8", "replace")


def _joined(guids: Iterable[str]) -> str:
    """Guids as one query value; metadata is not ours, so nothing in it may become more of a URL."""
    return ",".join(quote(guid, safe="") for guid in guids)


def _body(response: urllib3.BaseHTTPResponse, where: str, deadline: float) -> bytes:
    """The whole body, within the deadline: a server that drips bytes must not hold an audit up."""
    chunks, size = [], 0
    while chunk := response.read1(_CHUNK):
        size += len(chunk)
        if size > _MOST_BYTES:
            raise _failed(Reason.TOO_LARGE, where, f"its answer is larger than {_MOST_BYTES >> 20} MiB", "look at the server's answer")
        if time.monotonic() > deadline:
            raise _failed(
                Reason.TIMEOUT, where, "its answer did not end in time", "is the server overloaded? see its log, or raise the timeout"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _context(ca_file: Path, certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what = ca_file
    try:
        context.load_verify_locations(cafile=ca_file)
        what = certificate_file
        certificate_file.read_bytes()
        what = key_file
        context.load_cert_chain(certificate_file, key_file)
    except ssl.SSLError as error:
        raise _failed(Reason.TLS, str(what), f"it is no usable PEM: {error.reason or error}", "render the certificates again") from error
    except OSError as error:
        reason = Reason.MISSING if isinstance(error, FileNotFoundError) else Reason.PERMISSION
        raise _failed(reason, str(what), f"it cannot be read: {error.strerror}", "set policy_server.ca, certificate and key") from error
    return context


def _transport(error: Exception, where: str, timeout: float) -> SourceError:
    causes = [
        error,
        *(cause for cause in (error.__cause__, error.__context__, getattr(error, "reason", None)) if isinstance(cause, Exception)),
    ]
    if any(isinstance(cause, urllib3.exceptions.SSLError | ssl.SSLError) for cause in causes):
        return _failed(Reason.TLS, where, f"TLS failed: {error}", "compare the certificates' CA, names and dates on both sides")
    if any(isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError) for cause in causes):
        return _failed(Reason.TIMEOUT, where, f"no answer within {timeout:g} s", "is the server overloaded, or a firewall between?")
    if isinstance(error, urllib3.exceptions.ProtocolError | urllib3.exceptions.IncompleteRead):
        return _failed(Reason.UNREACHABLE, where, f"the connection broke: {error}", "see the policy server's log")
    return _failed(Reason.UNREACHABLE, where, f"no connection: {error}", "does the name resolve, and does the server run?")


def _said(body: bytes) -> str:
    """The message in silk's JSON error body, if there is one."""
    try:
        given = json.loads(body)
        return f": {given['error']!r:.200}" if isinstance(given, dict) and "error" in given else ""
    except ValueError:
        return ""


class _StatusError(SourceError):
    """An answer other than 200."""

    status: int = 0


def _may_pass(error: SourceError) -> bool:
    return not isinstance(error, _StatusError) or error.status in _PASSING


def _failed(reason: Reason, where: str, problem: str, remedy: str, *, status: int = 0) -> SourceError:
    if not status:
        return SourceError(source="policy_server", reason=reason, where=where, problem=problem, remedy=remedy)
    error = _StatusError(source="policy_server", reason=reason, where=where, problem=problem, remedy=remedy)
    error.status = status
    return error
