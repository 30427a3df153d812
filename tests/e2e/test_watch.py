"""``c2c-auditor watch`` beside real rules: of the running agent, and without one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import in_namespace
from support.recordings import CELLS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("iptables-nft-restore") is None, reason="needs iptables-nft-restore"),
]
PROGRAM = (sys.executable, "-m", "c2c_auditor")
JUMP = ("FORWARD", "-j", "overlay--35bf992d-c9e9-4616-")


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command whose output is read; ended in any case."""
    with subprocess.Popen(
        (*PROGRAM, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _until(process: subprocess.Popen[str], event: str, state: str | None = None) -> list[dict[str, Any]]:
    """The lines up to one of this event and state; pytest's own time limit ends the wait for one that never comes."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["event"] == event and state in (None, lines[-1].get("state")):
            return lines
    raise AssertionError((lines, process.stderr.read() if process.stderr is not None else ""))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30)


def test_findings_and_changes_are_told_as_they_happen(tmp_path: Path) -> None:
    """In a pipe as lines of JSON; from the agent, and by itself where no agent answers."""
    _tells(tmp_path)


@in_namespace
def _tells(folder: Path) -> None:
    saved = (CELLS / "pair-nft" / "iptables-save.txt").read_bytes()
    subprocess.run(("iptables-nft-restore",), input=saved, check=True, timeout=30)
    shutil.copy(CELLS / "pair-nft" / "store.json", folder / "store.json")
    settings = {
        "vpa_config": str(CELLS / "pair-nft" / "vxlan-policy-agent.json"),
        "store": str(folder / "store.json"),
        "policy_server": {"url": "https://127.0.0.1:1", "timeout": 1},
        "interval": 1,
        "grace": 2,
        "server": {"port": 0, "socket": str(folder / "agent.sock")},
    }
    config = folder / "auditor.json"
    config.write_text(json.dumps(settings))
    with _running("watch", "--config", str(config)) as alone:
        assert _until(alone, "result")[-1]["result"] == "blind"  # there is no policy server
        _tells_of_a_lost_jump(alone)
        alone.send_signal(signal.SIGINT)
        assert alone.wait(timeout=30) == 0
        assert alone.stderr is not None
        assert "The agent cannot be asked: " in alone.stderr.read()
    with _running("daemon", "--config", str(config)) as agent:
        assert agent.stdout is not None
        for line in agent.stdout:
            if "source-failed" in line:  # the first audit has ended
                break
        with _running("watch", "--config", str(config)) as watching:
            assert _until(watching, "result")[-1]["result"] == "blind"
            _tells_of_a_lost_jump(watching)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(timeout=30) == 0


def _tells_of_a_lost_jump(watch: subprocess.Popen[str]) -> None:
    _run("iptables-nft", "-w", "-D", *JUMP)
    lines = _until(watch, "finding", "pending")
    (change,) = (line["change"] for line in lines if line["event"] == "change")
    assert (change["author"], change["removed"]) == ("foreign", [f"-t filter -A {' '.join(JUMP)}"])
    assert lines[-1]["finding"]["kind"] == "default_deny_missing"
    assert lines[-1]["finding"]["changed_by"] == change
    _run("iptables-nft", "-w", "-A", *JUMP)
    assert _until(watch, "finding", "resolved")[-1]["finding"]["kind"] == "default_deny_missing"
