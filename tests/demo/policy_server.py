"""policy-server-internal, simulated: read-only endpoints over real mutual TLS on loopback.

A database in memory is behind them.

Source: cf-networking-release policy-server/handlers/policies_index_internal.go, security_groups_index_internal.go and
policies_last_updated_internal.go; store/group.go for tags.
"""

from __future__ import annotations

import itertools
import json
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bottle
from attrs import evolve, field, frozen
from cheroot import wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter

from c2c_auditor.errors import UsageError
from demo.world import Group, NetworkPolicy

_PREFIX = "/networking/v1/internal"


@frozen(kw_only=True)
class Truth:
    """The policy server's database at one moment. ``tags`` by guid; ``last_updated`` in ns, every change moves it."""

    policies: tuple[NetworkPolicy, ...] = ()
    tags: Mapping[str, int] = field(factory=dict)
    groups: tuple[Group, ...] = ()
    last_updated: int = 0

    def adding(self, *policies: NetworkPolicy) -> Truth:
        """With ``policies`` too; a guid that is new gets the lowest free tag, its source first."""
        tags = dict(self.tags)
        for guid in (guid for policy in policies for guid in (policy.source, policy.destination)):
            if guid not in tags:
                tags[guid] = next(tag for tag in itertools.count(1) if tag not in tags.values())
        return evolve(self, policies=self.policies + policies, tags=tags, last_updated=self._later())

    def removing(self, *policies: NetworkPolicy) -> Truth:
        """Without ``policies``; a guid that no policy names any more loses its tag."""
        kept = tuple(policy for policy in self.policies if policy not in policies)
        named = {guid for policy in kept for guid in (policy.source, policy.destination)}
        return evolve(
            self,
            policies=kept,
            tags={guid: tag for guid, tag in self.tags.items() if guid in named},
            last_updated=self._later(),
        )

    def retagging(self, guid: str, tag: int) -> Truth:
        """As after damage to the table of tags: ``guid`` stands under ``tag``, perhaps beside others."""
        return evolve(self, tags={**self.tags, guid: tag}, last_updated=self._later())

    def _later(self) -> int:
        return max(self.last_updated + 1000, time.time_ns() // 1000 * 1000)

    def policies_for(self, guids: Collection[str] | None) -> dict[str, Any]:
        """The answer about ``guids`` as source or destination; about everybody for None."""
        asked = [
            policy for policy in self.policies if guids is None or policy.source in guids or policy.destination in guids
        ]
        return {"total_policies": len(asked), "policies": [self._record(policy) for policy in asked]}

    def _record(self, policy: NetworkPolicy) -> dict[str, Any]:
        source, destination = (
            {"id": guid, "tag": f"{self.tags[guid]:04X}"} for guid in (policy.source, policy.destination)
        )
        ports = {"start": policy.first, "end": policy.last}
        return {"source": source, "destination": {**destination, "protocol": policy.protocol, "ports": ports}}

    def groups_for(self, spaces: Collection[str], *, start: int, count: int) -> dict[str, Any]:
        """One page of the default groups and those bound to ``spaces``: ``count`` from row ``start``.

        ``next`` is 0 on the last page.
        """
        rows = [
            (row, group)
            for row, group in enumerate(self.groups, start=1)
            if row >= start
            and (group.running_default or group.staging_default or not set(group.running_spaces).isdisjoint(spaces))
        ]
        following = rows[count][0] if count and len(rows) > count else 0
        return {"next": following, "security_groups": [group.record() for _, group in rows[: count or None]]}


@frozen(kw_only=True)
class Certificates:
    """Paths (PEM) of what both sides need."""

    ca: Path
    server: Path
    client: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """A certificate authority, a server on 127.0.0.1 and a client, made on the spot in ``directory``.

    Raises UsageError without trustme.
    """
    try:
        import trustme  # noqa: PLC0415 - only the demo needs it, so it is an extra
    except ImportError as error:
        msg = "the demo makes its certificates with trustme, which is not installed: pip install c2c-auditor[demo]"
        raise UsageError(msg) from error
    made = Certificates(
        ca=directory / "ca.crt",
        server=directory / "server.pem",
        client=directory / "client.crt",
        client_key=directory / "client.key",
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made.ca)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(made.server)
    client = authority.issue_cert("client.c2c-auditor.internal")
    client.cert_chain_pems[0].write_to_path(made.client)
    client.private_key_pem.write_to_path(made.client_key)
    for path in (made.server, made.client_key):
        path.chmod(0o600)
    return made


class PolicyServer:
    """Answers from ``truth``; assign another one to change what is so."""

    def __init__(self, certificates: Certificates, truth: Truth) -> None:
        self.truth = truth
        adapter = BuiltinSSLAdapter(str(certificates.server), str(certificates.server), str(certificates.ca))
        adapter.context.verify_mode = ssl.CERT_REQUIRED
        self._server = _QuietServer(("127.0.0.1", 0), _application(self), numthreads=2)
        self._server.ssl_adapter = adapter

    @property
    def url(self) -> str:
        """Where it listens while it serves."""
        return f"https://127.0.0.1:{self._server.bind_addr[1]}"

    @contextmanager
    def serving(self) -> Iterator[PolicyServer]:
        """Answer in threads of its own for as long as the block lasts."""
        self._server.prepare()
        thread = threading.Thread(target=self._server.serve, name="policy-server", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.stop()
            thread.join()


class _QuietServer(wsgi.Server):
    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's own signature
        """Log nothing: a client without a certificate fails in the handshake, and reports that itself."""


def _application(server: PolicyServer) -> bottle.Bottle:
    app = bottle.Bottle()

    def last_updated() -> str:
        return _json(server.truth.last_updated)

    def policies() -> str:
        asked = bottle.request.query.get("id")
        return _json(server.truth.policies_for(asked.split(",") if asked is not None else None))

    def security_groups() -> str:
        query = bottle.request.query
        try:
            start, count = int(query.get("from", "0")), int(query.get("per_page", "0"))
        except ValueError as error:
            raise bottle.HTTPError(400, "from and per_page are numbers") from error
        return _json(server.truth.groups_for(query.get("space_guids", "").split(","), start=start, count=count))

    app.get(f"{_PREFIX}/policies_last_updated", callback=last_updated)
    app.get(f"{_PREFIX}/policies", callback=policies)
    app.get(f"{_PREFIX}/security_groups", callback=security_groups)
    app.default_error_handler = _refusal
    return app


def _json(value: int | Mapping[str, Any] | Sequence[Any]) -> str:
    bottle.response.content_type = "application/json"
    return json.dumps(value, separators=(",", ":"))


def _refusal(error: bottle.HTTPError) -> str:
    return _json({"error": str(error.body)})
