"""The client against a real TLS server on loopback, which misbehaves in every way that servers do."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from attrs import frozen
from cryptography.hazmat.primitives import serialization
from urllib3.util import Retry

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.sources.facts.answer_texts import TextKeepingServer
from c2c_auditor.sources.facts.policy_server import PolicyServer

Handler = Callable[[ssl.SSLSocket, str], None]
POLICIES = (
    '{"policies": [{"source": {"id": "a", "tag": "1"}, '
    '"destination": {"id": "b", "tag": "2", "protocol": "tcp", "ports": {"start": 1, "end": 1}}}]}'
)


@frozen(kw_only=True)
class Certificates:
    """A CA and the client's files."""

    ca: trustme.CA
    ca_file: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once: keys cost time."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    client = ca.issue_cert("vpa")
    made = Certificates(ca=ca, ca_file=folder / "ca.crt", certificate=folder / "client.crt", key=folder / "client.key")
    ca.cert_pem.write_to_path(str(made.ca_file))
    client.cert_chain_pems[0].write_to_path(str(made.certificate))
    client.private_key_pem.write_to_path(str(made.key))
    return made


@contextmanager
def _serving(ca: trustme.CA, certificate: trustme.LeafCert, handler: Handler) -> Iterator[str]:
    """A TLS server that demands client certificates and gives each request to ``handler``; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.1)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                plain, _ = listening.accept()
            except TimeoutError:
                continue
            threading.Thread(target=_answer, args=(context, plain, handler), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listening.close()


def _answer(context: ssl.SSLContext, plain: socket.socket, handler: Handler) -> None:
    try:
        plain.settimeout(5)
        with context.wrap_socket(plain, server_side=True) as connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536) or b"\r\n\r\n"
            handler(connection, request.split(b" ")[1].decode())
    except OSError:
        plain.close()


def _says(body: str, status: str = "200 OK") -> Handler:
    def handler(connection: ssl.SSLSocket, _: str) -> None:
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )

    return handler


def _client(url: str, certificates: Certificates, *, attempts: int = 1, timeout: float = 1.0) -> PolicyServer:
    return PolicyServer(
        url=url,
        ca_file=certificates.ca_file,
        certificate_file=certificates.certificate,
        key_file=certificates.key,
        timeout=timeout,
        retries=Retry(total=attempts - 1, backoff_factor=0.01),
    )


def _failure(
    certificates: Certificates, handler: Handler, *, leaf: trustme.LeafCert | None = None, timeout: float = 1.0
) -> SourceError:
    with (
        _serving(certificates.ca, leaf or certificates.ca.issue_cert("127.0.0.1"), handler) as url,
        pytest.raises(SourceError) as caught,
    ):
        _client(url, certificates, timeout=timeout).last_updated()
    assert caught.value.remedy
    assert caught.value.where.endswith("/policies_last_updated")
    return caught.value


def test_what_the_server_says_arrives(certificates: Certificates) -> None:
    """Over mutual TLS."""
    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), _says("1795397987677096000\n")) as url:
        assert _client(url, certificates).last_updated() == 1795397987677096000


def test_many_guids_are_asked_for_in_several_requests(certificates: Certificates) -> None:
    """No request line grows beyond what servers take; each policy is there once."""
    requests: list[str] = []

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        requests.append(path)
        guid = path.partition("id=")[2].split(",")[0]
        ends = {
            "source": {"id": guid, "tag": "1"},
            "destination": {"id": "b", "tag": "2", "protocol": "tcp", "ports": {"start": 1, "end": 1}},
        }
        _says(json.dumps({"policies": [ends, ends]}))(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        answer = _client(url, certificates).policies([f"guid-{n:04}" for n in range(500)])
    assert len(requests) == 3
    assert max(map(len, requests)) < 8000
    assert len(answer.policies) == 3


def test_pages_of_security_groups_are_followed(certificates: Certificates) -> None:
    """Until `next` is 0."""

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        start = int(path.rpartition("from=")[2])
        page = {
            "next": start + 1 if start < 2 else 0,
            "security_groups": [{"guid": f"g{start}", "name": "n", "rules": "[]"}],
        }
        _says(json.dumps(page))(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        assert [group.guid for group in _client(url, certificates).security_groups(["s"])] == ["g0", "g1", "g2"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        ("500 Error", '{"error": "database is down"}', "database is down"),
        ("404 Not Found", "<html>", "404"),
        ("302 Found", "", "302"),
    ],
)
def test_an_answer_other_than_200_is_told_with_what_it_says(
    certificates: Certificates, status: str, body: str, said: str
) -> None:
    """Silk's errors are JSON; a redirect is not followed."""
    error = _failure(certificates, _says(body, status))
    assert error.reason is Reason.STATUS
    assert said in error.problem


def test_html_instead_of_a_number_is_malformed(certificates: Certificates) -> None:
    """A login page of something in between, for example."""
    assert _failure(certificates, _says("<html>log in</html>")).reason is Reason.MALFORMED


def test_half_a_body_is_unreachable(certificates: Certificates) -> None:
    """The connection broke before the announced length."""

    def handler(connection: ssl.SSLSocket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n179")

    assert _failure(certificates, handler).reason is Reason.UNREACHABLE


def test_a_server_that_hangs_is_a_timeout(certificates: Certificates) -> None:
    """It accepts and says nothing."""
    assert _failure(certificates, lambda *_: time.sleep(1.5)).reason is Reason.TIMEOUT


def test_a_server_that_drips_is_a_timeout(certificates: Certificates) -> None:
    """Each byte comes in time, the answer does not."""

    def handler(connection: ssl.SSLSocket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _byte in range(30):
            connection.sendall(b"1")
            time.sleep(0.1)

    assert _failure(certificates, handler).reason is Reason.TIMEOUT


def test_a_server_that_refuses_is_unreachable(certificates: Certificates) -> None:
    """Nothing listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SourceError) as caught:
        _client(f"https://127.0.0.1:{port}", certificates).last_updated()
    assert caught.value.reason is Reason.UNREACHABLE


def test_an_expired_certificate_is_tls(certificates: Certificates) -> None:
    """Dates are checked."""
    expired = certificates.ca.issue_cert("127.0.0.1", not_after=datetime.now(timezone.utc) - timedelta(days=1))
    assert _failure(certificates, _says("1"), leaf=expired).reason is Reason.TLS


def test_another_names_certificate_is_tls(certificates: Certificates) -> None:
    """Names are checked."""
    assert _failure(certificates, _says("1"), leaf=certificates.ca.issue_cert("elsewhere.example")).reason is Reason.TLS


def test_another_cas_certificate_is_tls(certificates: Certificates) -> None:
    """And so is who signed it."""
    assert _failure(certificates, _says("1"), leaf=trustme.CA().issue_cert("127.0.0.1")).reason is Reason.TLS


def test_certificates_that_cannot_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    """Missing, and no PEM."""
    broken = tmp_path / "broken.crt"
    broken.write_text("no certificate")
    for file, reason in ((tmp_path / "absent.crt", Reason.MISSING), (broken, Reason.TLS)):
        with pytest.raises(SourceError) as caught:
            PolicyServer(
                url="https://127.0.0.1:1",
                ca_file=file,
                certificate_file=certificates.certificate,
                key_file=certificates.key,
            )
        assert caught.value.reason is reason
        assert str(file) in str(caught.value)


def test_what_may_pass_is_tried_again(certificates: Certificates) -> None:
    """A server that is busy twice gets three requests."""
    answers = iter(["503 Busy", "500 Internal Server Error", "200 OK"])

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        _says("5", next(answers))(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        assert _client(url, certificates, attempts=3).last_updated() == 5


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "429 Too Many Requests", "302 Found"])
def test_what_is_ours_to_mend_is_asked_once(certificates: Certificates, status: str) -> None:
    """Asking again would only be load."""
    requests: list[str] = []

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        requests.append(path)
        _says("", status)(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url, pytest.raises(SourceError):
        _client(url, certificates, attempts=3).last_updated()
    assert len(requests) == 1


def test_a_server_that_hangs_is_asked_once(certificates: Certificates) -> None:
    """The time of one request is what all attempts have, so an audit waits no longer than that."""
    requests: list[str] = []

    def handler(_: ssl.SSLSocket, path: str) -> None:
        requests.append(path)
        time.sleep(1.5)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url, pytest.raises(SourceError):
        _client(url, certificates, attempts=3).last_updated()
    assert len(requests) == 1


def test_a_server_that_refuses_is_tried_again_and_the_whole_time_is_bounded(certificates: Certificates) -> None:
    """Pauses grow; the attempt that would come after the time of one request is not made."""
    requests: list[str] = []

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        requests.append(path)
        _says("", "503 Busy")(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url, pytest.raises(SourceError):
        PolicyServer(
            url=url,
            ca_file=certificates.ca_file,
            certificate_file=certificates.certificate,
            key_file=certificates.key,
            timeout=1.0,
            retries=Retry(total=10, backoff_factor=1.0),
        ).last_updated()
    assert len(requests) == 2


def test_the_security_groups_clock_is_asked_where_there_is_one(certificates: Certificates) -> None:
    """An older server answers 404, which is no error."""
    answers = iter([("17", "200 OK"), ("", "404 Not Found"), ("<html>", "200 OK"), ("", "401 Unauthorized")])
    requests: list[str] = []

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        requests.append(path)
        _says(*next(answers))(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        client = _client(url, certificates)
        assert client.security_groups_last_updated() == 17
        assert client.security_groups_last_updated() is None
        for reason in (Reason.MALFORMED, Reason.STATUS):
            with pytest.raises(SourceError) as caught:
                client.security_groups_last_updated()
            assert caught.value.reason is reason
    assert set(requests) == {"/networking/v1/internal/security_groups_last_updated"}


@pytest.mark.parametrize(
    "address",
    [
        "https://vpa:s3cret@127.0.0.1:1",
        "http://vpa:s3cret@127.0.0.1:1",
        "https://vpa:s3cret@127.0.0.1:99999",
        "https://vpa:s3cret/x@127.0.0.1",
        "https://s3cret@127.0.0.1:1",
        "//vpa:s3cret@127.0.0.1:1",
    ],
)
def test_a_password_in_the_address_shows_nowhere(certificates: Certificates, address: str) -> None:
    """Errors go to logs, reports and metrics; whatever went wrong, its causes do not hold it either."""
    with pytest.raises(SourceError) as caught:
        _client(address, certificates).last_updated()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)).replace(address, "")
    assert "s3cret" not in repr(vars(caught.value))


def test_what_stands_before_an_at_is_not_needed(certificates: Certificates) -> None:
    """The client certificate is what the server asks for."""
    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), _says("5")) as url:
        assert _client(url.replace("https://", "https://vpa:s3cret@"), certificates).last_updated() == 5


def test_a_key_that_is_a_fifo_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    """OpenSSL would wait for its writer, for ever."""
    os.mkfifo(tmp_path / "client.key")
    with pytest.raises(SourceError, match="a FIFO"):
        PolicyServer(
            url="https://127.0.0.1:1",
            ca_file=certificates.ca_file,
            certificate_file=certificates.certificate,
            key_file=tmp_path / "client.key",
        )


def test_a_server_that_drips_its_headers_is_a_timeout(certificates: Certificates) -> None:
    """The time counts from the request, not from the last byte."""

    def handler(connection: ssl.SSLSocket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(30):
            connection.sendall(f"X-{number}: y\r\n".encode())
            time.sleep(0.1)
        connection.sendall(b"Content-Length: 1\r\n\r\n1")

    assert _failure(certificates, handler).reason is Reason.TIMEOUT


def test_an_answer_without_end_is_too_large(certificates: Certificates) -> None:
    """It is not kept in memory for as long as it comes."""

    def handler(connection: ssl.SSLSocket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _chunk in range(4096):
            connection.sendall(b"1" * 65536)

    assert _failure(certificates, handler, timeout=20.0).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n17"]
)
def test_a_connection_that_breaks_is_unreachable(certificates: Certificates, said: bytes) -> None:
    """Something else listens there, there is no answer, or half of one; the text shows no object of ours."""
    error = _failure(certificates, lambda connection, _: connection.sendall(said))
    assert error.reason is Reason.UNREACHABLE
    assert " at 0x" not in error.problem


def test_a_client_that_the_server_does_not_know_is_told_so(certificates: Certificates) -> None:
    """The server refuses its certificate.

    Whether that is heard as an alert or as a broken connection is the kernel's to decide.
    """
    stranger = trustme.CA()
    with (
        _serving(stranger, certificates.ca.issue_cert("127.0.0.1"), _says("1")) as url,
        pytest.raises(SourceError) as caught,
    ):
        _client(url, certificates).last_updated()
    assert caught.value.reason in (Reason.TLS, Reason.UNREACHABLE)


def test_a_name_that_does_not_resolve_is_unreachable(certificates: Certificates) -> None:
    """RFC 2606 keeps .invalid free of hosts."""
    with pytest.raises(SourceError) as caught:
        _client("https://policy-server.invalid:4003", certificates, timeout=20.0).last_updated()
    assert caught.value.reason is Reason.UNREACHABLE


def test_an_address_without_tls_is_refused(certificates: Certificates) -> None:
    """Anybody could answer there."""
    with pytest.raises(SourceError, match="https") as caught:
        _client("http://127.0.0.1:1", certificates)
    assert caught.value.reason is Reason.TLS


def test_a_key_that_is_not_the_certificates_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    """Both files are named."""
    key = tmp_path / "other.key"
    certificates.ca.issue_cert("other").private_key_pem.write_to_path(str(key))
    with pytest.raises(SourceError) as caught:
        PolicyServer(
            url="https://127.0.0.1:1",
            ca_file=certificates.ca_file,
            certificate_file=certificates.certificate,
            key_file=key,
        )
    assert caught.value.reason is Reason.TLS
    assert str(key) in caught.value.where
    assert str(certificates.certificate) in caught.value.where


def test_an_encrypted_key_is_refused_without_asking_for_its_password(
    certificates: Certificates, tmp_path: Path
) -> None:
    """OpenSSL would ask on the terminal, for ever."""
    key = tmp_path / "encrypted.key"
    plain = serialization.load_pem_private_key(certificates.key.read_bytes(), password=None)
    secret = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(
        plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, secret)
    )
    with pytest.raises(SourceError) as caught:
        PolicyServer(
            url="https://127.0.0.1:1",
            ca_file=certificates.ca_file,
            certificate_file=certificates.certificate,
            key_file=key,
        )
    assert caught.value.reason is Reason.TLS


def test_proxies_of_the_environment_are_ignored(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's own services are reached directly, as VPA does."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), _says("5")) as url:
        assert _client(url, certificates).last_updated() == 5


def test_a_guid_cannot_become_more_of_the_url(certificates: Certificates) -> None:
    """Metadata is not ours."""
    requests: list[str] = []

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        requests.append(path)
        _says('{"policies": []}')(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        _client(url, certificates).policies(["a&b=c #?,\r\n", "\ud800"])
    assert requests == ["/networking/v1/internal/policies?id=a%26b%3Dc%20%23%3F%2C%0D%0A,%3F"]


def test_an_answer_like_the_last_one_is_the_identical_object(certificates: Certificates) -> None:
    """Understanding it again would be for nothing."""
    bodies = iter([POLICIES, POLICIES, '{"policies": []}'])

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        _says(next(bodies))(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        client = _client(url, certificates)
        first, second, third = (client.policies(["a"]) for _ in range(3))
    assert first is second
    assert (len(first.policies), len(third.policies)) == (1, 0)


def test_the_servers_own_texts_are_kept_and_several_become_one(certificates: Certificates) -> None:
    """What a bundle holds: one answer byte for byte, several with each policy and each group once."""
    groups = '{"next": 0, "security_groups": [{"guid": "g", "rules": "[]"}]}'

    def handler(connection: ssl.SSLSocket, path: str) -> None:
        _says(groups if "security_groups" in path else POLICIES)(connection, path)

    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), handler) as url:
        kept: dict[str, str] = {}
        client = TextKeepingServer(_client(url, certificates), kept.__setitem__)
        many = frozenset(f"guid-{number}" for number in range(500))
        assert len(client.policies(frozenset({"a"})).policies) == 1
        assert [group.guid for group in client.security_groups(frozenset({"s"}))] == ["g"]
        assert kept == {"policies.json": POLICIES, "security_groups.json": groups}
        assert len(client.policies(many).policies) == 1
        assert [group.guid for group in client.security_groups(many)] == ["g"]
        assert json.loads(kept["policies.json"]) == {"total_policies": 1, **json.loads(POLICIES)}
        assert json.loads(kept["security_groups.json"]) == json.loads(groups)
        client.policies(frozenset())
        assert json.loads(kept["policies.json"])["policies"] == []


@pytest.mark.parametrize("broken", ['{"policies": 7}', "<html>"])
def test_an_answer_that_cannot_be_parsed_is_kept_too(certificates: Certificates, broken: str) -> None:
    """A capture holds what the server said, above all when it makes no sense."""
    kept: dict[str, str] = {}
    with _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), _says(broken)) as url:
        client = TextKeepingServer(_client(url, certificates), kept.__setitem__)
        for read in (client.policies, client.security_groups):
            with pytest.raises(SourceError):
                read(frozenset({"a"}))
    assert kept == {"policies.json": broken, "security_groups.json": broken}


def test_security_groups_without_spaces_are_the_default_ones(certificates: Certificates) -> None:
    """They are requested all the same; and pages that never end are refused."""
    endless = '{"next": 1, "security_groups": []}'
    with _serving(
        certificates.ca,
        certificates.ca.issue_cert("127.0.0.1"),
        _says('{"next": 0, "security_groups": [{"guid": "g"}]}'),
    ) as url:
        assert [group.guid for group in _client(url, certificates).security_groups([])] == ["g"]
    with (
        _serving(certificates.ca, certificates.ca.issue_cert("127.0.0.1"), _says(endless)) as url,
        pytest.raises(SourceError) as caught,
    ):
        _client(url, certificates).security_groups([])
    assert caught.value.reason is Reason.TOO_LARGE
