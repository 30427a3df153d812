"""The simulated policy server: mutual TLS on a real socket, the real one's answers, tags recycled as it does."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from c2c_auditor.errors import UsageError
from demo.policy_server import Certificates, PolicyServer, Truth, make_certificates
from demo.world import SHOP, Group, NetworkPolicy

PAIR = Path(__file__).parent.parent / "golden" / "cells" / "pair"


def policy(source: str, destination: str, port: int = 8080) -> NetworkPolicy:
    """A tcp policy for one port."""
    return NetworkPolicy(source=source, destination=destination, first=port, last=port)


@pytest.fixture(name="certificates", scope="module")
def _certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(name="server")
def _server(certificates: Certificates) -> Iterator[PolicyServer]:
    with PolicyServer(certificates, Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)).serving() as server:
        yield server


class Client:
    """Asks over TLS, with or without a certificate."""

    def __init__(self, server: PolicyServer, certificates: Certificates, *, known: bool = True) -> None:
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        if known:
            self.context.load_cert_chain(certificates.client, certificates.client_key)
        self.port = urlsplit(server.url).port

    def ask(self, path: str, method: str = "GET") -> tuple[int, object]:
        """Status and decoded body of ``/networking/v1/internal`` + ``path``."""
        connection = HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=10)
        try:
            connection.request(method, f"/networking/v1/internal{path}")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


def test_a_client_without_a_certificate_gets_no_answer(server: PolicyServer, certificates: Certificates) -> None:
    """The handshake fails before a request is read, and the next client is served."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(server, certificates, known=False).ask("/policies_last_updated")
    assert Client(server, certificates).ask("/policies_last_updated") == (200, server.truth.last_updated)


def test_the_answer_about_policies_is_the_real_ones(server: PolicyServer, certificates: Certificates) -> None:
    """With the recorded pair's policies in the database, the answer holds exactly what the recorded one holds."""
    recorded = json.loads((PAIR / "policies.json").read_text())
    source, destination = recorded["policies"][0]["source"]["id"], recorded["policies"][0]["destination"]["id"]
    server.truth = Truth().adding(
        policy(source, destination, 61001), policy(source, destination, 8080), policy("elsewhere", "unrelated")
    )

    assert Client(server, certificates).ask(f"/policies?id={source},{destination}") == (200, recorded)


def test_policies_are_those_of_the_guids_asked_for(server: PolicyServer, certificates: Certificates) -> None:
    """A guid counts as source and as destination; without ``id`` everything is answered; unknown guids have none."""
    server.truth = Truth().adding(policy("a", "b"), policy("b", "c"), policy("c", "d"))
    client = Client(server, certificates)

    def pairs(query: str) -> list[tuple[str, str]]:
        status, answer = client.ask(f"/policies{query}")
        assert status == 200
        assert isinstance(answer, dict)
        assert answer["total_policies"] == len(answer["policies"])
        return [(found["source"]["id"], found["destination"]["id"]) for found in answer["policies"]]

    assert pairs("?id=b") == [("a", "b"), ("b", "c")]
    assert pairs("?id=a,d") == [("a", "b"), ("c", "d")]
    assert pairs("") == [("a", "b"), ("b", "c"), ("c", "d")]
    assert pairs("?id=nobody") == []


def test_security_groups_come_in_pages(server: PolicyServer, certificates: Certificates) -> None:
    """``next`` leads from page to page and is 0 on the last; groups bound to other spaces only are left out."""
    everywhere = Group(guid="g1", name="everywhere", rules=(), running_default=True)
    mine = Group(
        guid="g3", name="mine", rules=({"protocol": "all", "destination": "10.0.0.1"},), running_spaces=("space",)
    )
    other = Group(guid="g2", name="other", rules=(), running_spaces=("elsewhere",))
    server.truth = Truth(groups=(everywhere, other, mine))
    client = Client(server, certificates)

    status, first = client.ask("/security_groups?per_page=1&space_guids=space&from=0")
    assert (status, first) == (200, {"next": 3, "security_groups": [everywhere.record()]})
    assert client.ask("/security_groups?per_page=1&space_guids=space&from=3") == (
        200,
        {"next": 0, "security_groups": [mine.record()]},
    )
    assert client.ask("/security_groups?per_page=x&space_guids=space")[0] == 400


@pytest.mark.parametrize(("request_", "status"), [("PUT /tags", 404), ("POST /policies", 405), ("GET /nothing", 404)])
def test_it_only_reads(server: PolicyServer, certificates: Certificates, request_: str, status: int) -> None:
    """Whatever would change something is refused, with a JSON body that says so."""
    method, path = request_.split()
    answered, body = Client(server, certificates).ask(path, method)
    assert answered == status
    assert isinstance(body, dict)
    assert body["error"]


def test_tags_are_the_lowest_free_ones_and_recycled() -> None:
    """An app keeps its tag while any policy names it; the next new app takes the lowest tag that was freed."""
    one, two = policy("a", "b"), policy("c", "d")
    truth = Truth().adding(one, two, policy("a", "d"))
    assert truth.tags == {"a": 1, "b": 2, "c": 3, "d": 4}

    without = truth.removing(one).removing(two)
    assert without.tags == {"a": 1, "d": 4}
    assert without.adding(policy("e", "f")).tags == {"a": 1, "d": 4, "e": 2, "f": 3}


def test_every_change_moves_the_clock() -> None:
    """``last_updated`` grows with each change, however fast changes follow.

    It is in ns, in whole microseconds, as the database keeps it.
    """
    truth = Truth()
    for change in (
        truth.adding(policy("a", "b")),
        truth.adding(policy("a", "b")).removing(policy("a", "b")),
        truth.retagging("a", 7),
    ):
        assert change.last_updated > truth.last_updated
        assert change.last_updated % 1000 == 0
    first = truth.adding(policy("a", "b"))
    assert first.adding(policy("c", "d")).last_updated > first.last_updated


def test_without_trustme_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Certificates need the extra ``demo``."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(UsageError, match=r"pip install c2c-auditor\[demo\]"):
        make_certificates(tmp_path)
