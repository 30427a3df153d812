"""What the README shows is what the commands print: each console block is typed on a terminal of 110 columns."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import evolve

from c2c_auditor.config import ServerSettings
from c2c_auditor.model.report import SourceStatus
from c2c_auditor.server import ServerProcess
from c2c_auditor.server.questions import Answer, refusal
from support.mutations import with_rules
from support.recordings import CELLS, recording
from support.reports import judged_report, with_change
from support.terminals import typed
from support.waiting import turns

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
_STEP = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
# What differs from run to run: times, and how long ago they were.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|\d+ (?:s|min)(?= (?:ago|old))")
WIDTH = 110


def _blocks() -> list[str]:
    return _BLOCK.findall(README.read_text())


def _silent(subject: str, arguments: Mapping[str, str]) -> Answer:
    return refusal(503, f"{subject} {len(arguments)}")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory where the README's commands find their files."""
    (tmp_path / "tests" / "golden").mkdir(parents=True)
    (tmp_path / "tests" / "golden" / "cells").symlink_to(CELLS)
    for listing in (CELLS / "article").glob("iptables-L.*"):
        shutil.copy(listing, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(name="agent")
def _agent(folder: Path) -> Iterator[None]:
    """An agent with a socket here, whose cell lacks the MARK rule of its source app for 12 minutes."""
    cell = recording("pair")
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    report = judged_report(cell, with_rules(cell.ruleset, cell.policy_chain, rules[1:]))
    now = time.time()
    names = ("rules", "vpa_config", "store", "policy_server", "security_groups")
    sources = tuple(SourceStatus(name=name, up=True, last_success=now) for name in names)
    with ServerProcess(ServerSettings(port=0, socket=folder / "agent.sock"), _silent) as server:
        server.publish(
            with_change(evolve(report, time=now, last_conclusive=now, sources=sources, processes=()), ago=750)
        )
        for _ in turns():
            if "mark_missing" in typed(("status", "--socket", "agent.sock"), width=WIDTH)[0]:
                break
        yield


def _typed(command: str, last: int) -> tuple[str, int]:
    """What a shell shows below ``command``, and its exit status; ``last`` is that of the command before."""
    program, *arguments = shlex.split(command, comments=True)
    if program == "echo":
        return f"{last}\n", 0
    if program != "c2c-auditor":
        done = subprocess.run((program, *arguments), capture_output=True, text=True, check=True, timeout=30)
        return done.stdout + done.stderr, 0
    text, result = typed(arguments, width=WIDTH)
    assert result.exception is None, result.exception
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines()), result.return_value


@pytest.mark.usefixtures("agent")
def test_the_readme_shows_what_is_printed(request: pytest.FixtureRequest) -> None:
    """Each line and each exit status; `--update-golden` rewrites what is shown, times apart."""
    blocks = _blocks()
    assert sum(block.count("$ c2c-auditor") for block in blocks) >= 5
    status = 0
    for block in blocks:
        steps = _STEP.findall(block)
        assert "".join(f"$ {command}\n{shown}" for command, shown in steps) == block
        printed = ""
        for command, shown in steps:
            text, status = _typed(command, status)
            printed += f"$ {command}\n{shown if _MOMENT.sub('…', text) == _MOMENT.sub('…', shown) else text}"
        if request.config.getoption("--update-golden"):
            README.write_text(README.read_text().replace(block, printed, 1))
        else:
            assert printed == block


def test_the_readme_names_every_command() -> None:
    """One that no reader learns of is not there."""
    text = README.read_text()
    _, result = typed((), width=WIDTH)
    for name in re.findall(r"^  ([a-z]+)  ", result.output.partition("Commands:")[2], re.MULTILINE):
        assert f"c2c-auditor {name}" in text


def test_the_cause_is_in_the_first_lines_of_the_tutorials_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who has nothing else reads it there."""
    monkeypatch.chdir(CELLS / "article")
    listings = ("--rules", "iptables-L.destination-cell.txt", "--rules", "iptables-L.source-cell.txt")
    for command in (("audit", *listings), ("explain", *listings, "6b817f74", "20e39f68", "61001/tcp")):
        text, _ = typed(command, width=WIDTH)
        assert "0x4" in "".join(text.splitlines()[:5])
