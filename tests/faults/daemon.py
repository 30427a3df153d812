"""The daemon under test as a process: started, queried, signalled; nothing of it is imported."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

PORT = 9763
_SECONDS = 2.0
# Root reads and writes whatever it likes; the agent on a cell does not, so it runs without that right.
_CONFINED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


class Daemon:
    """One running daemon; ``log`` holds its lines unless ``output`` takes them."""

    def __init__(
        self, config: Path, log: Path, *, environment: Mapping[str, str], output: IO[bytes] | int | None = None
    ) -> None:
        self.log = log
        command = (*_CONFINED, sys.executable, "-m", "c2c_auditor", "daemon", "--config", str(config))
        with log.open("wb") as own, log.with_suffix(".err").open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=own if output is None else output,
                stderr=errors,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.listeners: tuple[int, ...] = ()

    @property
    def pid(self) -> int:
        """The process that audits."""
        return self.process.pid

    def find_listeners(self) -> tuple[int, ...]:
        """The processes that listen, by what the kernel says are the daemon's children; kept for when it is gone."""
        with suppress(OSError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            named = [int(pid) for pid in children if _command(int(pid)) == _command(self.pid)]
            if named:
                self.listeners = tuple(named)
        return self.listeners

    def alive(self) -> bool:
        """Whether the auditing process runs."""
        return self.process.poll() is None

    def get(self, path: str, *, seconds: float = _SECONDS) -> tuple[int, str]:
        """Status and body; status 0 when it does not answer in time."""
        connection = HTTPConnection("127.0.0.1", PORT, timeout=seconds)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def report(self) -> dict[str, Any] | None:
        """The last report; None while there is none, or no answer."""
        status, text = self.get("/api/v1/report")
        if status != 200:
            return None
        report: dict[str, Any] = json.loads(text)
        return report

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample of ``/metrics`` by its name without prefix; None where there is none."""
        selectors = "".join(f'(?=.*{key}="{value}")' for key, value in labels.items())
        found = re.search(rf"^c2c_auditor_{name}(?:\{{{selectors}.*\}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The data of the log's whole lines of one kind."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if event["message"] == f"c2c-auditor.{message}":
                    found.append(event["data"])
        return found

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        lines = self.log.with_suffix(".err").read_text(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the auditing process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self) -> None:
        """End it and its listener, whatever state they are in."""
        self.find_listeners()
        self.signal(signal.SIGKILL)
        self.process.wait()
        for pid in self.listeners:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _SECONDS
        while any(_runs(pid) for pid in self.listeners) and time.monotonic() < deadline:
            time.sleep(0.02)

    def gone(self) -> bool:
        """Whether neither process runs."""
        return not self.alive() and not any(_runs(pid) for pid in self.listeners)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False
