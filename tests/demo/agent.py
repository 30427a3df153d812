"""The real agent as a process of its own, audited from outside like any operator does: through its API."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.config import Config
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Kind
from demo.cell import Files

ADDRESS, PORT = "127.0.0.1", 9763
_SECONDS = 5.0
_LAST_WORDS = 2000


@frozen(kw_only=True)
class Seen:
    """One finding of a report: what the tour needs of it.

    ``about`` are the guids of its source and destination, and container handles.
    """

    kind: Kind
    effect: Effect
    state: State
    summary: str
    about: frozenset[str] = frozenset()


@frozen(kw_only=True)
class Answer:
    """One report. ``clean`` says that everything was judged and nothing found."""

    clean: bool
    findings: tuple[Seen, ...] = ()

    def kinds(self, *states: State) -> frozenset[Kind]:
        """The kinds of the findings in one of ``states``."""
        return frozenset(seen.kind for seen in self.findings if seen.state in states)


def configuration_of(directory: Path) -> Path:
    """Where the settings of the agent in ``directory`` are."""
    return directory / "c2c-auditor.json"


def socket_of(files: Files) -> Path:
    """Where the agent answers to `c2c-auditor status`, also from outside the namespace."""
    return files.vpa_config.with_name("agent.sock")


def configuration(files: Files) -> Mapping[str, Any]:
    """The agent's settings: the demo's cell, and times shorter than silk needs on a real one."""
    cni_config = {"cni_config": str(files.cni_config)} if hasattr(Config, "cni_config") else {}
    return {
        "vpa_config": str(files.vpa_config),
        **cni_config,
        "backend": "auto",
        "interval": 0.5,
        "grace": 2.0,
        "server": {"address": ADDRESS, "port": PORT, "socket": str(socket_of(files))},
    }


@frozen(kw_only=True)
class Agent:
    """A running agent; ``log`` holds what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def answer(self) -> Answer | None:
        """Its current report; None while it does not answer yet.

        Raises SourceError with its last words if it has ended.
        """
        if self.process.poll() is not None:
            raise SourceError(
                source="demo",
                reason=Reason.FAILED,
                where="c2c-auditor daemon",
                problem=f"ended with status {self.process.returncode}",
                remedy=self.log.read_text(errors="replace")[-_LAST_WORDS:].strip() or "it said nothing",
            )
        connection = HTTPConnection(ADDRESS, PORT, timeout=_SECONDS)
        try:
            connection.request("GET", "/api/v1/report")
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
        return _answer(json.loads(text)) if answer.status == 200 else None


@contextmanager
def running(directory: Path, files: Files) -> Iterator[Agent]:
    """An agent for as long as the block lasts; its configuration and its log are in ``directory``."""
    config, log = configuration_of(directory), directory / "c2c-auditor.log"
    config.write_text(json.dumps(configuration(files)))
    command = (sys.executable, "-m", "c2c_auditor", "daemon", "--config", str(config))
    with log.open("wb") as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process:
        try:
            yield Agent(process=process, log=log)
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _answer(report: Mapping[str, Any]) -> Answer:
    return Answer(clean=report["result"] == "clean", findings=tuple(map(_seen, report["findings"])))


def _seen(finding: Mapping[str, Any]) -> Seen:
    apps = [app["guid"] for app in (finding["source"], finding["destination"]) if app]
    return Seen(
        kind=Kind[finding["kind"].upper()],
        effect=Effect(finding["effect"]),
        state=State(finding["state"]),
        summary=finding["summary"],
        about=frozenset([*apps, *finding["handles"]]),
    )
