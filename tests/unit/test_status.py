"""The agent's own socket, `c2c-auditor status` over it, and what a single audit learns there."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from c2c_auditor.assembly.history import with_history
from c2c_auditor.cli import cli
from c2c_auditor.config import ServerSettings
from c2c_auditor.errors import ConfigError, SourceError
from c2c_auditor.export.status import status_lines
from c2c_auditor.export.text import print_report
from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report
from c2c_auditor.server import ServerProcess
from c2c_auditor.server.questions import Answer, refusal
from c2c_auditor.sources.running_agent import ask
from support.reports import NOW, blind_report, clean_report, flushed_report, hostile_report
from support.terminals import printed
from support.waiting import turns


def _silent(subject: str, arguments: Mapping[str, str]) -> Answer:
    return refusal(503, f"{subject} {len(arguments)}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the agent's socket is."""
    return tmp_path / "agent.sock"


@pytest.fixture
def server(path: Path) -> Iterator[ServerProcess]:
    """An agent's listening process with a socket."""
    with ServerProcess(ServerSettings(port=0, socket=path), _silent) as running:
        yield running


def _publish(server: ServerProcess, path: Path, report: Report) -> None:
    """Hand over a report of this moment, and wait until the other side has it."""
    server.publish(evolve(report, time=time.time(), last_conclusive=time.time()))
    for _ in turns():
        with suppress(SourceError):
            ask(path, "/api/v1/report")
            return
    pytest.fail("the report never came")


def _status(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["status", *arguments], standalone_mode=False)


def test_status_needs_one_socket_and_no_certificate(server: ServerProcess, path: Path, tmp_path: Path) -> None:
    """Named by an option, or by the agent's own configuration; the exit status is that of an audit."""
    _publish(server, path, flushed_report())
    done = _status("--socket", str(path))
    assert done.output.splitlines()[0] == "4 breaches (forbidden traffic passes), 1 left-over (no effect on traffic)"
    assert done.return_value == 1
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"server": {"socket": str(path)}}))
    assert _status("--config", str(config)).output.splitlines()[0] == done.output.splitlines()[0]
    document = json.loads(_status("--socket", str(path), "-o", "json").output)
    assert document["result"] == "findings"
    _publish(server, path, blind_report())
    assert _status("--socket", str(path)).return_value in (1, 2)  # the old report may still be there for a moment


def test_only_its_owner_and_root_may_open_the_socket(server: ServerProcess, path: Path) -> None:
    """Whatever the umask was before."""
    assert server.address
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert path.stat().st_uid == os.geteuid()


def test_an_agent_that_was_killed_leaves_nothing_in_the_way(path: Path) -> None:
    """Its socket is replaced; anything else at its path is not."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with ServerProcess(ServerSettings(port=0, socket=path), _silent) as server:
        with (
            pytest.raises(ConfigError, match="another process answers there already"),
            ServerProcess(ServerSettings(port=0, socket=path), _silent),
        ):
            pass
        assert server.address
    path.unlink()
    path.write_text("mine")
    with (
        pytest.raises(ConfigError, match="a file of another type"),
        ServerProcess(ServerSettings(port=0, socket=path), _silent),
    ):
        pass
    assert path.read_text() == "mine"
    with (
        pytest.raises(ConfigError, match=r"No such file or directory \(server.socket\)"),
        ServerProcess(ServerSettings(port=0, socket=path.parent / "none" / "agent.sock"), _silent),
    ):
        pass


def _asked(address: str, host: str) -> bytes:
    at, _, port = address.rpartition(":")
    with socket.create_connection((at, int(port)), timeout=20) as client:
        client.sendall(b"GET /status HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host.encode())
        answer = b""
        while part := client.recv(4096):
            answer += part
    return answer


def test_the_local_port_answers_everything_on_loopback_only() -> None:
    """Without a certificate; and no web site that has led a browser here by a name of its own."""
    with ServerProcess(ServerSettings(address="0.0.0.0", plaintext=True, port=0, local_port=0), _silent) as server:  # noqa: S104
        local = server.local_address
        assert local is not None
        assert local.startswith("127.0.0.1:")
        for host in ("cell", "localhost:9765", "127.0.0.1:9765", "[::1]:9765"):
            assert _asked(local, host).endswith(b"COULD NOT LOOK: no audit has ended yet\n"), host
        for host in ("evil.example:9765", "evil.example.", "127.0.0.1.evil.example"):
            assert _asked(local, host).startswith(b"HTTP/1.1 421 "), host
        main = server.address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert b" 200 " in _asked(main, "diego-cell.cf.internal").partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("made", "said"),
    [("nothing", "there is no such socket"), ("stale", "no agent answers there"), ("young", "no audit yet")],
)
def test_an_agent_that_does_not_answer_is_one_clear_line(path: Path, made: str, said: str) -> None:
    """With what to do, and no traceback."""
    if made == "stale":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    if made != "young":
        with pytest.raises(SourceError, match=said):
            ask(path, "/status")
        return
    with ServerProcess(ServerSettings(port=0, socket=path), _silent), pytest.raises(SourceError, match=said):
        ask(path, "/api/v1/report")


def test_status_without_a_socket_says_which_to_give() -> None:
    """Instead of guessing."""
    done = _status()
    assert "give --config with a file that sets server.socket, or --socket" in str(done.exception)


def test_what_a_taken_over_agent_says_steers_no_terminal(path: Path) -> None:
    """Its text is foreign: escapes are shown, not sent."""
    with socket.socket(socket.AF_UNIX) as evil:
        evil.bind(str(path))
        evil.listen()
        pid = os.fork()
        if pid == 0:
            for body in (b'{"result": "clean", "findings": "no list"}', b"\x1b]0;owned\x07CLEAN\n"):
                client, _ = evil.accept()
                client.recv(4096)
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
                client.sendall(head + body)
                client.close()
            os._exit(0)
        done = _status("--socket", str(path))
        os.waitpid(pid, 0)
    assert "\x1b" not in done.output
    assert "\\x1b]0;owned\\x07CLEAN" in done.output
    assert done.return_value == 0


def test_an_audit_learns_from_the_agent_since_when(server: ServerProcess, path: Path) -> None:
    """What both see carries the agent's time; what only the audit sees begins with it."""
    report = flushed_report()
    seen = tuple(finding.settled(State.CONFIRMED, first_seen=NOW - 750, since=NOW - 700) for finding in report.findings)
    _publish(server, path, evolve(report, findings=seen[1:]))
    audited = with_history(report, path)
    times = {finding.first_seen for finding in audited.findings[1:]}
    assert times == {NOW - 750}
    assert audited.findings[0].first_seen == report.findings[0].first_seen
    text = printed(lambda console: print_report(audited, console))
    assert text.count("UTC (12 min ago)") == len(seen) - 1


def test_an_audit_without_an_agent_says_that_it_does_not_know_since_when(path: Path) -> None:
    """In a note; everything else is as without a socket."""
    audited = with_history(flushed_report(), path)
    assert audited.findings == flushed_report().findings
    assert "Since when is not known" in audited.notes[-1]
    assert "there is no such socket" in audited.notes[-1]


def test_a_broken_cell_fits_one_screen() -> None:
    """Verdict, findings with since and mend, sources with their age, who changed the rules."""
    report = flushed_report()
    counters = evolve(report.counters, ruleset_changes={"vpa": 12, "cni": 0, "foreign": 1})
    seen = tuple(finding.settled(State.CONFIRMED, first_seen=NOW - 7500, since=NOW) for finding in report.findings)
    lines = list(status_lines(evolve(report, findings=seen, counters=counters), NOW + 30))
    assert len(lines) < 50
    assert lines[1] == "The last audit ended 30 s ago, iptables-nft; agent 0.1.0."
    (cause,) = (line for line in lines if line.startswith("BREACH default_deny_missing"))
    assert cause.endswith(" 2 since 2026-11-23 00:08:20 UTC (2 h ago)")
    assert any(line.startswith("  → Recreate the container") for line in lines)
    assert "  rules: 30 s old" in lines
    assert "c2c-auditor mend prints the commands that mend this, and runs nothing." in lines
    assert lines[-1] == "Changes to the rules since the agent started: vpa 12, foreign 1"


def test_the_status_of_a_blind_cell_says_what_is_missing() -> None:
    """And since when it cannot judge."""
    lines = list(status_lines(evolve(blind_report(), last_conclusive=NOW - 600), NOW))
    assert lines[0].startswith("COULD NOT LOOK at everything: rules: exit status 4")
    assert "The last one that could judge everything: 2026-11-23 02:03:20 UTC (10 min ago)." in lines[1]
    assert "  rules: DOWN, never read: iptables-nft-save -t filter: exit status 4" in lines
    assert "    → give it CAP_NET_ADMIN" in lines
    assert next(iter(status_lines(None, NOW))).startswith("COULD NOT LOOK")


def test_foreign_text_in_the_status_is_escaped() -> None:
    """Curl prints it as it comes."""
    text = "\n".join(status_lines(hostile_report(), NOW))
    assert "alert(1)" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_clean_cell_is_told_in_few_lines() -> None:
    """Nothing to do."""
    lines = list(status_lines(clean_report(), NOW))
    assert lines[0] == "CLEAN: 3 policy rules are as they should be"
    assert len(lines) < 10
    assert not any("mend" in line for line in lines)
