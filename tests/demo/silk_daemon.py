"""silk-daemon, simulated: asked on loopback for the cell's lease, as the CNI wrapper and the agent do.

Source: silk-release silk/daemon/network_info.go (``GET /`` answers with NetworkInfo).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from demo.world import LEASE, SILK_DAEMON_PORT

_MTU = 1450


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"overlay_subnet": LEASE, "mtu": _MTU}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own signature
        """Say nothing: the demo's screen is for findings."""


@contextmanager
def serving() -> Iterator[None]:
    """Answer in a thread of its own, in the caller's network namespace, for as long as the block lasts."""
    with ThreadingHTTPServer(("127.0.0.1", SILK_DAEMON_PORT), _Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="silk-daemon", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
