"""The real daemon process: it stops at any time, reads its settings again, and logs a failure once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import trustme

from demo.policy_server import PolicyServer, Truth, make_certificates
from faults.front import Front, Mode
from support.namespaces import in_namespace
from support.recordings import CELLS
from support.waiting import turns

pytestmark = pytest.mark.e2e
PAIR = CELLS / "pair-nft"


def _settings(folder: Path, **more: object) -> Path:
    """A cell's files in ``folder``, with certificates that nobody asks for; the daemon's configuration."""
    ca = trustme.CA()
    leaf = ca.issue_cert("vpa")
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "client.crt"))
    leaf.private_key_pem.write_to_path(str(folder / "client.key"))
    vpa = json.loads((PAIR / "vxlan-policy-agent.json").read_text())
    names = {
        "ca_cert_file": "ca.crt",
        "client_cert_file": "client.crt",
        "client_key_file": "client.key",
        "cni_datastore_path": "store.json",
    }
    vpa.update({key: str(folder / name) for key, name in names.items()})
    (folder / "vpa.json").write_text(json.dumps(vpa))
    shutil.copy(PAIR / "store.json", folder / "store.json")
    vpa_config = str(folder / "vpa.json")
    settings = {"vpa_config": vpa_config, "interval": 0.3, "grace": 4.0, "server": {"port": 0}, **more}
    (folder / "auditor.json").write_text(json.dumps(settings))
    return folder / "auditor.json"


@contextmanager
def _daemon(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The daemon and its log; killed with its listener whatever the test does."""
    log = config.with_suffix(".log")
    with log.open("wb") as output, _running(config, output.fileno()) as process:
        yield process, log


@contextmanager
def _running(config: Path, output: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        (sys.executable, "-m", "c2c_auditor", "daemon", "--config", str(config)),
        stdout=output,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _events(log: Path, message: str, *, at_least: int = 1) -> list[dict[str, Any]]:
    """The log's lines of one kind, once there are enough of them."""
    for _ in turns():
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        found = [line for line in lines if line["message"] == f"c2c-auditor.{message}"]
        if len(found) >= at_least:
            return found
    pytest.fail(f"the log never said {message}: {log.read_text()[-2000:]}")


def _get(address: str, path: str) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _loopback_up() -> None:
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True, timeout=10)


def test_it_stops_at_once_although_the_policy_server_hangs(tmp_path: Path) -> None:
    """A server that accepts and says nothing must not delay the stop: its time-out is a minute."""
    _stops_at_once(tmp_path)


@in_namespace
def _stops_at_once(folder: Path) -> None:
    _loopback_up()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        config = _settings(folder, policy_server={"url": url, "timeout": 60})
        with _daemon(config) as (process, log):
            _events(log, "started")
            silent.accept()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 0
            assert _events(log, "stopped")[0]["data"] == {"status": 0}


def test_a_source_that_fails_is_said_once_and_blindness_is_shown(tmp_path: Path) -> None:
    """Not once per audit; alive, not ready, and no finding of a kind that could not be judged."""
    _says_it_once(tmp_path)


@in_namespace
def _says_it_once(folder: Path) -> None:
    _loopback_up()
    _load_pair()
    config = _settings(folder, policy_server={"url": "https://127.0.0.1:1"})
    with _daemon(config) as (process, log):
        address = _events(log, "started")[0]["data"]["address"]
        failed = _events(log, "source-failed", at_least=2)
        assert {line["data"]["source"] for line in failed} == {"policy_server", "security_groups"}
        for _ in turns():
            if _get(address, "/api/v1/report")[0] == 200:
                break
        time.sleep(1.5)
        assert len(_events(log, "source-failed")) == 2
        assert _get(address, "/healthz")[0] == 200
        assert _get(address, "/readyz")[0] == 503
        metrics = _get(address, "/metrics")[1].decode()
        assert 'c2c_auditor_source_up{source="policy_server"} 0.0' in metrics
        assert 'c2c_auditor_findings{effect="outage",kind="mark_missing"' not in metrics
        assert 'c2c_auditor_findings{effect="breach",kind="default_deny_missing",state="confirmed"} 0.0' in metrics
        process.send_signal(signal.SIGHUP)
        _events(log, "reloaded")
        config.write_text('{"intervall": 1}')
        process.send_signal(signal.SIGHUP)
        assert "intervall" in _events(log, "reload-refused")[0]["data"]["problem"]
        assert process.poll() is None


def test_an_audit_beside_the_agent_says_since_when_and_status_says_the_same(tmp_path: Path) -> None:
    """Over the agent's socket; the default deny of a container is gone since before the audit began."""
    _says_since_when(tmp_path)


@in_namespace
def _says_since_when(folder: Path) -> None:
    _loopback_up()
    _load_pair()
    server = {"port": 0, "socket": str(folder / "agent.sock")}
    config = _settings(folder, policy_server={"url": "https://127.0.0.1:1"}, server=server)
    program = (sys.executable, "-m", "c2c_auditor")
    with _daemon(config) as (_, log):
        _wait_for_audit(_events(log, "started")[0]["data"]["address"], 0.0)
        command = ("iptables-nft", "-w", "-D", "FORWARD", "-j", "overlay--35bf992d-c9e9-4616-")
        subprocess.run(command, check=True, timeout=30)
        status = (*program, "status", "--config", str(config))
        told = subprocess.run(status, capture_output=True, text=True, timeout=60, check=False)
        for _ in turns(pause=0.1):
            if "default_deny_missing" in told.stdout:
                break
            told = subprocess.run(status, capture_output=True, text=True, timeout=60, check=False)
        assert "BREACH default_deny_missing since " in told.stdout
        assert told.returncode == 1
        assert re.search(r"\n  changed .* by pid \d+ \(iptables-nft\)", told.stdout)
        captured = (*program, "capture", str(folder / "captured"), "--config", str(config))
        subprocess.run(captured, capture_output=True, timeout=60, check=False)
        (change,) = json.loads((folder / "captured" / "changes.json").read_text())["changes"]
        assert change["removed"] == ["-t filter -A FORWARD -j overlay--35bf992d-c9e9-4616-"]
        time.sleep(2)  # what has just begun is not said to have begun before
        audit = (*program, "audit", "--wait", "0", "--config", str(config))
        text = subprocess.run(audit, capture_output=True, text=True, timeout=60, check=False).stdout
        assert re.search(r"\n +changed .* by pid \d+ \(iptables-nft\)", text)
        (since,) = re.findall(r"since    (\S+ \S+ UTC) ", text)[:1]
        told = subprocess.run(status, capture_output=True, text=True, timeout=60, check=False)
        (agents,) = re.findall(r"default_deny_missing since (\S+ \S+) UTC", told.stdout)
        seen = [datetime.strptime(text.removesuffix(" UTC"), "%Y-%m-%d %H:%M:%S") for text in (since, agents)]  # noqa: DTZ007 - both are UTC
        assert abs((seen[0] - seen[1]).total_seconds()) <= 1  # one of them was rounded on its way


@pytest.mark.parametrize("mode", ["HANG", "REFUSE", "SLOW", "FLAP"])
def test_each_change_is_audited_at_once_whatever_the_policy_server_does(mode: str, tmp_path: Path) -> None:
    """Policies are fetched beside the audits; only work counts for the rest after one, not waiting."""
    _audits_each_change(tmp_path, mode)


@in_namespace
def _audits_each_change(folder: Path, mode: str) -> None:
    _loopback_up()
    _load_pair()
    certificates = make_certificates(folder)
    with (
        PolicyServer(certificates, Truth(last_updated=1)).serving() as server,
        Front(int(server.url.rpartition(":")[2])).serving() as front,
    ):
        front.become(Mode[mode])
        files = {"ca": certificates.ca, "certificate": certificates.client, "key": certificates.client_key}
        asked = {"url": f"https://127.0.0.1:{front.port}", **{name: str(path) for name, path in files.items()}}
        with _daemon(_settings(folder, policy_server=asked, interval=60)) as (process, log):
            address = _events(log, "started")[0]["data"]["address"]
            _wait_for_audit(address, 0.0)
            _audits_changes(address, judged=True)
            bare = [task for task in Path(f"/proc/{process.pid}/task").iterdir() if not _capabilities(task)]
            assert len(bare) == 4  # those that answer questions, fetch policies, watch the audits, look at committers


def test_each_change_is_audited_at_once_although_the_store_is_torn(tmp_path: Path) -> None:
    """Reading it again for a second is waiting, which needs no rest."""
    _audits_beside_a_torn_store(tmp_path)


@in_namespace
def _audits_beside_a_torn_store(folder: Path) -> None:
    _loopback_up()
    _load_pair()
    config = _settings(folder, policy_server={"url": "https://127.0.0.1:1"}, interval=60)
    (folder / "store.json").write_text('{"torn')
    with _daemon(config) as (_, log):
        address = _events(log, "started")[0]["data"]["address"]
        _wait_for_audit(address, 0.0)
        _audits_changes(address, judged=False)


def _load_pair() -> None:
    subprocess.run(("iptables-nft-restore",), input=(PAIR / "iptables-save.txt").read_bytes(), check=True, timeout=30)


def _audits_changes(address: str, *, judged: bool) -> None:
    """Make and remove a chain that looks like a container's, four times; each is audited within three seconds.

    ``judged``: the chain is a finding while it is there.
    """
    chain = "overlay--ffffffff-0000-4000-"
    for made in (True, False, True, False):
        before = time.time()
        subprocess.run(("iptables-nft", "-N" if made else "-X", chain), check=True, timeout=30)
        _wait_for_audit(address, before, orphans=int(made and judged), seconds=3)


def _wait_for_audit(address: str, moment: float, *, orphans: int = 0, seconds: float = 15) -> None:
    """Wait for the report of an audit that began after ``moment`` and found as many orphaned container chains."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status, body = _get(address, "/api/v1/report")
        if status == 200:
            report = json.loads(body)
            found = sum(finding["kind"] == "container_chain_orphan" for finding in report["findings"])
            if report["time"]["epoch"] >= moment and found == orphans:
                return
        time.sleep(0.02)
    pytest.fail(f"no such audit within {seconds} s")


def _capabilities(task: Path) -> int:
    """The effective capabilities of a thread."""
    (line,) = (line for line in (task / "status").read_text().splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def test_when_its_listener_dies_it_ends_too(tmp_path: Path) -> None:
    """With status 1, so that monit starts both again."""
    _ends_too(tmp_path)


@in_namespace
def _ends_too(folder: Path) -> None:
    _loopback_up()
    with _daemon(_settings(folder, policy_server={"url": "https://127.0.0.1:1"})) as (process, log):
        _events(log, "started")
        (listener,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(listener), signal.SIGKILL)
        assert process.wait(timeout=20) == 1


def test_a_listener_that_was_stopped_does_not_outlive_the_agent(tmp_path: Path) -> None:
    """It reads no end of a pipe: the kernel ends it with its parent, and the port is free for the next start."""
    _ends_with_it(tmp_path)


@in_namespace
def _ends_with_it(folder: Path) -> None:
    _loopback_up()
    with _daemon(_settings(folder, policy_server={"url": "https://127.0.0.1:1"})) as (process, log):
        _events(log, "started")
        (listener,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(listener), signal.SIGSTOP)
        process.kill()
        process.wait(timeout=20)
        for _ in turns():
            status = Path(f"/proc/{listener}/status")
            if not status.exists() or "State:\tZ" in status.read_text():
                return
        os.kill(int(listener), signal.SIGKILL)
        pytest.fail("it was still there after two minutes")


@pytest.mark.parametrize("kind", ["full", "unread"])
def test_a_log_that_cannot_be_written_does_not_stop_it(tmp_path: Path, kind: str) -> None:
    """With a full disk or a full pipe as its log it starts, audits, counts the lines, and stops in time."""
    _goes_on(tmp_path, kind)


@in_namespace
def _goes_on(folder: Path, kind: str) -> None:
    _loopback_up()
    config = _settings(folder, policy_server={"url": "https://127.0.0.1:1"}, server={"port": 9763})
    reading, writing = os.pipe()
    if kind == "full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    else:
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
    with _running(config, writing) as process:
        metrics = ""
        for _ in turns():
            try:
                metrics = _get("127.0.0.1:9763", "/metrics")[1].decode()
            except OSError:
                metrics = ""
            audits = re.search(r'c2c_auditor_audits_total\{result="blind"\} (\d+)', metrics)
            if audits is not None and int(audits[1]) >= 2:
                break
        dropped = re.search(r"c2c_auditor_log_lines_dropped_total (\d+)", metrics)
        assert dropped is not None
        assert (int(dropped[1]) > 0) == (kind == "full")  # the lines that wait for a reader are not lost yet
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    os.close(reading)
    os.close(writing)
