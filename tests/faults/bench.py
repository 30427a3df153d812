"""A simulated cell with the real daemon beside it, wired so that a fault reaches the agent alone.

silk's own files stay whole: the agent reads them through links in a directory of its own, runs iptables from a
directory of links, and reaches the policy server through a relay.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from c2c_auditor.model.finding import State
from demo.cell import Cell, Files, write_vpa_config
from demo.command import run, search_path
from demo.namespace import namespace
from demo.policy_server import Certificates, PolicyServer, Truth, make_certificates
from demo.silk import Iptables, Silk
from demo.world import SHOP
from faults.daemon import PORT, Daemon
from faults.front import Front
from support.network import entered

OTHER = {"nft": "legacy", "legacy": "nft"}
PROGRAMS = ("iptables", "iptables-save", "iptables-restore")
SILK_PROCESSES = ("vxlan-policy-agent", "silk-daemon", "netmon", "gdn")
INTERVAL, GRACE, READY_MAX_AGE, READ_TIMEOUT, SERVER_TIMEOUT = 0.5, 2.0, 4.0, 2.0, 1.0
_READY_SECONDS = 30.0
_GLANCE = 0.05


class Bench:
    """The cell, the agent, and everything that a row of the table takes hold of."""

    def __init__(self, *, directory: Path, cell: Cell, front: Front, certificates: Certificates) -> None:
        self.directory = directory
        self.cell = cell
        self.front = front
        self.seen = directory / "seen"
        self.programs = directory / "programs"
        self.config = directory / "c2c-auditor.json"
        self.environment: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = 0
        self._link_files(certificates)
        self.link_programs()
        self._configure()
        self.daemon = self.start()

    def path(self, name: str) -> Path:
        """Where the agent looks for one of the cell's files."""
        return self.seen / name

    def start(self, *, output: IO[bytes] | int | None = None, log: Path | None = None) -> Daemon:
        """Another daemon in the place of the one before, which has ended."""
        self._starts += 1
        where = log if log is not None else self.directory / f"agent-{self._starts}.log"
        self.daemon = Daemon(self.config, where, environment=self.environment, output=output)
        return self.daemon

    @contextmanager
    def restarted(self, *, output: IO[bytes] | int | None = None, log: Path | None = None) -> Iterator[None]:
        """A daemon started otherwise, and the usual one again afterwards."""
        self.daemon.end()
        self.start(output=output, log=log)
        try:
            yield
        finally:
            self.daemon.end()
            self.environment = {}
            self.start()

    def settle(self) -> None:
        """Wait until the agent says that the cell is clean, having read everything; start it anew if it does not.

        Raises AssertionError if that does not help.
        """
        words = ""
        for patience in (_READY_SECONDS / 3, _READY_SECONDS):
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and self.daemon.alive():
                if sound(self.daemon.report()):
                    self.daemon.find_listeners()
                    return
                time.sleep(_GLANCE)
            words = self.daemon.last_words()
            self.daemon.end()
            self.start()
        raise AssertionError(f"the cell is not clean without a fault: {self.daemon.report()} {words}")

    def link_programs(self, backend: str | None = None, *, only: tuple[str, ...] = ()) -> None:
        """The programs of iptables for ``backend`` (both when None) where the agent runs them from."""
        shutil.rmtree(self.programs, ignore_errors=True)
        self.programs.mkdir()
        for name in (backend,) if backend is not None else ("nft", "legacy"):
            multi = Path(shutil.which(f"xtables-{name}-multi", path=search_path()) or "")
            for program in PROGRAMS:
                marked = program.replace("iptables", f"iptables-{name}", 1)
                (self.programs / marked).symlink_to(multi)
        if only:
            shutil.rmtree(self.programs)
            self.programs.mkdir()
            for program in only:
                (self.programs / program).symlink_to(shutil.which(f"xtables-{backend}-multi", path=search_path()) or "")

    def start_process(self, name: str) -> None:
        """A process under the name of one of silk's."""
        sleep = Path(shutil.which("sleep") or "/bin/sleep").resolve()
        program = self.directory / name
        if not program.exists():
            shutil.copy(sleep, program)
        self._processes[name] = subprocess.Popen((str(program), "3600"), stdin=subprocess.DEVNULL)

    def end_process(self, name: str) -> None:
        """End it again."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End all that was started."""
        self.daemon.end()
        for name in tuple(self._processes):
            self.end_process(name)

    def _link_files(self, certificates: Certificates) -> None:
        self.seen.mkdir()
        files = self.cell.files
        for name, path in (
            ("store.json", files.store),
            ("store.json_version", files.store.with_name("store.json_version")),
            ("vpa.json", files.vpa_config),
            ("ca.crt", certificates.ca),
            ("client.crt", certificates.client),
            ("client.key", certificates.client_key),
        ):
            self.path(name).symlink_to(path)

    def _configure(self) -> None:
        self.config.write_text(json.dumps(self._settings(), indent=1))

    def _settings(self) -> Mapping[str, Any]:
        return {
            "vpa_config": str(self.path("vpa.json")),
            "store": str(self.path("store.json")),
            "iptables_bin_dir": str(self.programs),
            "interval": INTERVAL,
            "grace": GRACE,
            "read_timeout": READ_TIMEOUT,
            "policy_server": {
                "url": f"https://127.0.0.1:{self.front.port}",
                "ca": str(self.path("ca.crt")),
                "certificate": str(self.path("client.crt")),
                "key": str(self.path("client.key")),
                "timeout": SERVER_TIMEOUT,
            },
            "server": {"port": PORT, "ready_max_age": READY_MAX_AGE},
        }


def sound(report: Mapping[str, Any] | None) -> bool:
    """Whether a report is clean, rests on what every source says now, and has nothing to add."""
    return (
        report is not None
        and report["result"] == "clean"
        and not report["findings"]
        and all(source["up"] for source in report["sources"])
    )


def confirmed(report: Mapping[str, Any] | None) -> frozenset[str]:
    """The kinds of what a report confirms."""
    findings = report["findings"] if report is not None else ()
    return frozenset(finding["kind"] for finding in findings if finding["state"] == State.CONFIRMED.value)


@contextmanager
def bench(backend: str) -> Iterator[Bench]:
    """A bench on one backend, in a network namespace that this thread is in for as long as the block lasts."""
    with ExitStack() as stack:
        made = stack.enter_context(namespace())
        stack.enter_context(entered(made.name))
        certificates = make_certificates(made.directory)
        truth = Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)
        server = stack.enter_context(PolicyServer(certificates, truth).serving())
        front = stack.enter_context(Front(int(server.url.rpartition(":")[2])).serving())
        files = Files.below(made.directory)
        write_vpa_config(files, url=server.url, certificates=certificates)
        silk = Silk(iptables=Iptables(backend=backend, run=run), groups=SHOP.groups)
        cell = Cell(files=files, silk=silk, other=Iptables(backend=OTHER[backend], run=run), server=server)
        for instance in SHOP.instances:
            cell.create(instance)
        made_bench = Bench(directory=made.directory, cell=cell, front=front, certificates=certificates)
        try:
            yield made_bench
        finally:
            made_bench.close()


def missing_tools() -> tuple[str, ...]:
    """The programs that the table needs and this machine lacks."""
    needed = ("ip", "setpriv", "xtables-nft-multi", "xtables-legacy-multi")
    return tuple(name for name in needed if shutil.which(name, path=search_path()) is None)


def root() -> bool:
    """Whether this process may make namespaces."""
    return os.geteuid() == 0
