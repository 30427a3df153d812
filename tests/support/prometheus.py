"""A real Prometheus for as long as a block lasts, asked over its HTTP API.

And exporters that serve what they are given.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import trustme
from attrs import frozen

T = TypeVar("T")
_FAREWELL = 10.0


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float = 60.0) -> T:
    """What ``look`` returns once it is true; the test fails when that does not come within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"never came within {seconds:.0f} s: {what}")


@contextmanager
def program(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the block lasts, and no longer than this process, however that ends.

    What it says goes to ``log``.
    """
    # The parent-death signal is what ends it when the test itself is killed.
    with (
        log.open("wb") as output,
        subprocess.Popen(("setpriv", "--pdeathsig", "KILL", *command), stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_FAREWELL)
            except subprocess.TimeoutExpired:
                process.kill()


class Keys:
    """The scrapes' mutual TLS: one authority, the agents' certificate and the scraper's."""

    name = "c2c-auditor"  # trustme makes no certificate for a name with an underscore, as the release's own is

    def __init__(self, directory: Path) -> None:
        self.ca, self.server, self.server_key, self.client, self.client_key = (
            directory / name for name in ("scrape_ca.crt", "scrape.crt", "scrape.key", "scraper.crt", "scraper.key")
        )
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        for leaf, certificate, key in (
            (authority.issue_cert(self.name), self.server, self.server_key),
            (authority.issue_cert("scraper"), self.client, self.client_key),
        ):
            leaf.cert_chain_pems[0].write_to_path(str(certificate))
            leaf.private_key_pem.write_to_path(str(key))

    def context(self) -> ssl.SSLContext:
        """For somebody who serves as the agent does."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.server, self.server_key)
        return context


@frozen(kw_only=True)
class Prometheus:
    """One that runs at ``url``."""

    url: str

    def get(self, path: str, **parameters: str | Sequence[str]) -> Any:  # noqa: ANN401 - whatever JSON it answers with
        """The ``data`` of an answer.

        The test fails with Prometheus' own words when it refuses, as it does a query that it cannot read.
        """
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters, doseq=True)}", timeout=30) as answer:  # noqa: S310 - loopback
                return json.load(answer)["data"]
        except HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def post(self, path: str) -> Any:  # noqa: ANN401 - whatever JSON it answers with
        """The ``data`` of what a POST is answered with."""
        with urlopen(Request(f"{self.url}/api/v1/{path}", method="POST"), timeout=60) as answer:  # noqa: S310 - loopback
            return json.load(answer)["data"]

    def text(self, path: str) -> str:
        """What stands at ``path``, as its own metrics at ``metrics``."""
        with urlopen(f"{self.url}/{path}", timeout=30) as answer:  # noqa: S310 - loopback
            return str(answer.read().decode())

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that ``expression`` has now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def query_range(self, expression: str, *, since: float, step: float = 1.0) -> list[dict[str, Any]]:
        """The series that ``expression`` had ``since`` then (seconds since the epoch)."""
        bounds = {"start": str(since), "end": str(time.time()), "step": str(step)}
        found: list[dict[str, Any]] = self.get("query_range", query=expression, **bounds)["result"]
        return found

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """The alerts with these labels that are pending or firing; one that is inactive is not listed."""
        return [alert for alert in self.get("alerts")["alerts"] if labels.items() <= alert["labels"].items()]


@contextmanager
def prometheus(
    directory: Path,
    config: Mapping[str, Any],
    *,
    port: int = 9090,
    retention: str = "1h",
    options: Sequence[str] = (),
) -> Iterator[Prometheus]:
    """Prometheus on 127.0.0.1 with everything of it in ``directory``; the test skips where the program is missing."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is missing (Debian package prometheus)")
    (directory / "prometheus.yml").write_text(json.dumps(config))  # YAML takes JSON
    command = (
        binary,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--storage.tsdb.retention.time={retention}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *options,
    )
    log = directory / "prometheus.log"
    running = Prometheus(url=f"http://127.0.0.1:{port}")
    with program(command, log) as process:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                with urlopen(f"{running.url}/-/ready", timeout=5) as answer:  # noqa: S310 - loopback
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_for("a Prometheus that is ready", ready)
        yield running


@contextmanager
def exporter(address: tuple[str, int], text: str, *, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Another exporter, which serves ``text``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own signature
            """Say nothing."""

    with ThreadingHTTPServer(address, Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
