"""What ships is known: docs/dependencies.md and bosh-release/NOTICE say the same as the libraries."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.staging import ROOT, script, staged

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

dependencies = script("dependencies")


def test_the_page_is_what_make_docs_writes() -> None:
    """Every library of the lock file, judged."""
    assert (ROOT / "docs" / "dependencies.md").read_text() == dependencies.markdown()
    assert set(dependencies.JUDGED) == {one.name for one in dependencies.dependencies()}


def test_everything_is_needed_by_something() -> None:
    """No library is in the lock file that nothing wants."""
    known = {one.name for one in dependencies.dependencies()} | {"c2c-auditor"}
    assert [
        one.name for one in dependencies.dependencies() if not one.wanted_by or not set(one.wanted_by) <= known
    ] == []


def test_licences_are_those_that_the_libraries_tell() -> None:
    """Where a library tells its licence in the one form that is free of doubt."""
    told = {}
    for wheel in staged().glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            metadata = email.message_from_bytes(archive.read(name))
        if metadata["License-Expression"]:
            told[re.sub(r"[._]", "-", metadata["Name"]).lower()] = metadata["License-Expression"]
    del told["c2c-auditor"]
    ours = {one.name: one.licence for one in dependencies.dependencies()}
    assert len(told) > 5
    assert {name: ours[name] for name in told} == told


class _Osv(BaseHTTPRequestHandler):
    """Knows one vulnerability, of the library ``known``; breaks where it is asked about ``broken``."""

    known = ""
    broken = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
        affected = [{"package": {"name": self.known, "ecosystem": "PyPI"}, "ranges": ranges}]
        one = {"id": "PYSEC-2026-1", "summary": "made up", "aliases": ["CVE-2026-1"], "affected": affected}
        self.send_response(503 if asked == self.broken else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"vulns": [one]} if asked == self.known else {}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has it so
        del format, args


@contextmanager
def _osv(broken: str, known: str = "urllib3") -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Osv", (_Osv,), {"broken": broken, "known": known}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _vulnerabilities(address: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, ROOT / "packaging" / "vulnerabilities.py", "--osv-url", address, "--timeout", "5")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_known_vulnerability_is_told_with_what_mends_it() -> None:
    """Each library is asked about."""
    with _osv("") as address:
        done = _vulnerabilities(address)
    urllib3 = next(one.version for one in dependencies.dependencies() if one.name == "urllib3")
    count = len(dependencies.dependencies())
    assert done.stdout == (
        f"urllib3 {urllib3}: PYSEC-2026-1 CVE-2026-1, mended by 99.1\n"
        f"{count} libraries were asked about: 1 known vulnerability\n"
    )
    assert done.returncode == 1, done.stderr


def test_nothing_known_is_said() -> None:
    """With how many were asked about."""
    with _osv("", known="") as address:
        done = _vulnerabilities(address)
    count = len(dependencies.dependencies())
    assert done.stdout == f"{count} libraries were asked about: no known vulnerabilities\n"
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("broken", "said"), [("rich", "503|ServiceError"), (None, "refused")])
def test_a_check_that_cannot_look_says_so(broken: str | None, said: str) -> None:
    """Where nobody answers, or not to every question: it never counts as "none is known"."""
    with _osv(broken or "") as address:
        done = _vulnerabilities(address if broken else "http://127.0.0.1:9/v1/query")
    assert (done.returncode, done.stdout) == (3, "")
    assert re.match(rf"c2c-auditor: could not look for known vulnerabilities of what ships: .*(?:{said})", done.stderr)
