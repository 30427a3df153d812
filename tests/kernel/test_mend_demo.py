"""The demo's faults mended by nothing but what is printed, on its own cell, with the real tools and real traffic."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from attrs import define, field

from c2c_auditor.assembly.once import read_agreed
from c2c_auditor.audit.mend.mend import Mend, Request, mend
from c2c_auditor.audit.scene import Scene
from c2c_auditor.cli.wiring import live_reader, load_settings
from c2c_auditor.export.mend_commands import blocks
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter.savefile import parse_save
from demo import agent, silk_daemon
from demo.cell import Cell, Files, write_cni_config, write_vpa_config
from demo.command import run
from demo.fault import Fault
from demo.faults import ALL
from demo.namespace import namespace
from demo.policy_faults import FORWARD_FLUSHED
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.silk import RELEASES, Iptables, Silk
from demo.world import BACKEND, FRONTEND, REDIS, SHOP, App
from support.by_hand import BY_HAND
from support.mending import run_block, strangers
from support.namespaces import enter_network, in_child, unshare_network

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    *(
        pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}")
        for tool in ("ip", "iptables-nft-restore", "iptables-legacy-restore")
    ),
]
BACKENDS = ("nft", "legacy")
# What is not a matter of rules: the first two forbid every command, the others only those for themselves.
BY_NO_COMMAND = {
    Kind.STORE_SHRUNK,
    Kind.CONTAINER_CONFLICT,
    Kind.CONTAINER_UNREADABLE,
    Kind.TAG_CONFLICT,
    Kind.BACKEND_SPLIT,
}


@define
class Place:
    """The demo's cell in this process' network namespace, and a reader of it."""

    cell: Cell
    config: Path

    def judged(self) -> Scene:
        """The cell as it is, read as a single command does."""
        with live_reader(load_settings(self.config)) as reader:
            scene, _ = read_agreed(reader, wait=None)
        return scene

    def mended(self) -> Mend:
        """What is printed for all that is found; rules of others are named."""
        scene = self.judged()
        return mend(scene, Request(findings=scene.judgement.findings, foreign=tuple(strangers(scene))))


@contextmanager
def _place(directory: Path, backend: str) -> Iterator[Place]:
    """In the demo's namespace: its policy server, its silk, its files."""
    certificates = make_certificates(directory)
    truth = Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)
    with ExitStack() as stack:
        server = stack.enter_context(PolicyServer(certificates, truth).serving())
        stack.enter_context(silk_daemon.serving())
        files = Files.below(directory)
        write_vpa_config(files, url=server.url, certificates=certificates, release=RELEASES["new"])
        write_cni_config(files)
        silk = Silk(iptables=Iptables(backend=backend, run=run), groups=SHOP.groups, release=RELEASES["new"])
        other = Iptables(backend="legacy" if backend == "nft" else "nft", run=run)
        cell = Cell(files=files, silk=silk, other=other, server=server)
        for instance in SHOP.instances:
            cell.create(instance)
        config = directory / "c2c-auditor.json"
        config.write_text(json.dumps(agent.configuration(files)))
        yield Place(cell=cell, config=config)


def _inside(backend: str, test: Callable[[Place], None]) -> None:
    """Do ``test`` in a namespace of the demo's own."""

    def steps(name: str, directory: Path) -> None:
        enter_network(Path("/run/netns") / name)
        with _place(directory, backend) as place:
            test(place)

    with namespace() as made:
        in_child(lambda: steps(made.name, made.directory))


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_fault_of_the_demo_is_mended_by_what_is_printed(backend: str) -> None:
    """Afterwards nothing is found; what no command can mend is refused with a reason and the right remedy."""
    _inside(backend, _each_fault)


def _each_fault(place: Place) -> None:
    assert not place.mended().commands
    for fault in ALL:
        before = place.cell.iptables.save()
        fault.inject(place.cell)
        found = place.mended()
        if fault.kinds & BY_NO_COMMAND:
            _is_refused(fault, found)
        else:
            for commands, block in zip(found.commands, blocks(found, undo=False), strict=True):
                run_block(commands, block)
            findings = place.judged().judgement.findings
            assert not findings, f"{fault.name}: {[finding.summary for finding in findings]}"
            assert not place.mended().commands, fault.name
            _differ_only_in_order(fault, before, place.cell.iptables.save())
        fault.mend(place.cell)


def _is_refused(fault: Fault, found: Mend) -> None:
    if found.blocked is not None:
        assert found.blocked.reason, fault.name
        assert found.blocked.remedy, fault.name
        return
    refused = {refusal.finding.kind for refusal in found.refused}
    assert fault.kinds <= refused, fault.name
    assert all(refusal.reason and refusal.remedy for refusal in found.refused), fault.name


def _differ_only_in_order(fault: Fault, before: str, after: str) -> None:
    """The same rules as before the fault; jumps that came back stand at the end of silk's others."""
    if Kind.RULE_LEFTOVER in fault.kinds or fault.kinds & {Kind.POLICY_CHAIN_MISSING, Kind.POLICY_CHAIN_FROM_FUTURE}:
        return  # another container, or a chain of another time
    assert _values(before) == _values(after), fault.name


def _values(text: str) -> dict[str, Counter[tuple[str, r.Rule]]]:
    """Each table's rules with their chains: one kernel state has several spellings."""
    tables = parse_save(text, where="iptables-save").tables
    return {
        name: Counter((chain.name, rule) for chain in table.chains.values() for rule in chain.rules)
        for name, table in tables.items()
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_under_traffic_the_wrong_flow_ends_and_the_right_ones_go_on(backend: str) -> None:
    """FORWARD was flushed, and only silk's next plan came: everybody reaches redis, until the printed text is run.

    It is run as a person would, by a shell, with its own check first; frontend's connections to backend never fail.
    """
    _inside(backend, _under_traffic)


def _under_traffic(place: Place) -> None:
    with _Traffic(place.cell) as traffic:
        FORWARD_FLUSHED.inject(place.cell)
        place.cell.replan()
        assert traffic.connects(FRONTEND, REDIS)
        printed = _printed(place)
        right = traffic.keep_connecting(FRONTEND, BACKEND)
        subprocess.run(("sh", "-c", printed), check=True, timeout=60, env=_environment())
        assert not traffic.connects(FRONTEND, REDIS)
        tries, failures = right()
        assert tries > 2
        assert failures == 0
        assert traffic.connects(BACKEND, REDIS)
    assert not place.judged().judgement.findings
    # The text was made for rules that are others now, and says so.
    again = subprocess.run(
        ("sh", "-c", printed), capture_output=True, text=True, check=False, timeout=60, env=_environment()
    )
    assert again.returncode == 1
    assert "have changed" in again.stderr
    assert not place.judged().judgement.findings


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _printed(place: Place, *options: str) -> str:
    """What the command prints."""
    command = (sys.executable, "-m", "c2c_auditor", "mend", "--config", str(place.config), "--wait", "0.1", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_way_back_leads_back(backend: str) -> None:
    """Printed before the commands are run, it fits only after them; then the rules are as damaged as they were."""
    _inside(backend, _way_back)


def _way_back(place: Place) -> None:
    FORWARD_FLUSHED.inject(place.cell)
    damaged = place.cell.iptables.save()
    there, back = _printed(place), _printed(place, "--undo")
    early = subprocess.run(("sh", "-c", back), capture_output=True, check=False, timeout=60, env=_environment())
    assert early.returncode == 1
    subprocess.run(("sh", "-c", there), check=True, timeout=60, env=_environment())
    assert not place.judged().judgement.findings
    subprocess.run(("sh", "-c", back), check=True, timeout=60, env=_environment())
    assert _lines(place.cell.iptables.save()) == _lines(damaged)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("-A")]


@define
class _Traffic:
    """The demo's containers as network namespaces on the cell, with a server in each."""

    cell: Cell
    _ends: dict[str, int] = field(factory=dict)
    _stop: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def __enter__(self) -> _Traffic:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for app in (FRONTEND, BACKEND, REDIS):
            address = next(one.address for one in self.cell.instances if one.app == app)
            self._ends[app.guid] = _wire(address)
            self._start(self._ends[app.guid], partial(self._serve, app.ports[0]))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for end in self._ends.values():
            os.close(end)

    def _start(self, end: int, work: Callable[[], None]) -> threading.Thread:
        """A thread whose sockets are in the namespace ``end``."""
        ready = threading.Event()

        def inside() -> None:
            enter_network(Path(f"/proc/self/fd/{end}"))
            ready.set()
            work()

        thread = threading.Thread(target=inside)
        thread.start()
        self._threads.append(thread)
        assert ready.wait(60)
        return thread

    def _serve(self, port: int) -> None:
        with socket.create_server(("", port)) as listening:
            listening.settimeout(0.2)
            while not self._stop.is_set():
                try:
                    accepted, _ = listening.accept()
                except TimeoutError:
                    continue
                accepted.close()

    def _connect(self, to: App) -> bool:
        address = next((one.address, one.app.ports[0]) for one in self.cell.instances if one.app == to)
        try:
            socket.create_connection(address, timeout=5).close()
        except OSError:
            return False
        return True

    def connects(self, source: App, destination: App) -> bool:
        """Whether a new connection comes about."""
        found: list[bool] = []
        self._start(self._ends[source.guid], lambda: found.append(self._connect(destination))).join()
        return found[0]

    def keep_connecting(self, source: App, destination: App) -> Callable[[], tuple[int, int]]:
        """Connect again and again from now on; what is returned ends that, and tells tries and failures."""
        done, results = threading.Event(), []

        def work() -> None:
            while not done.is_set():
                results.append(self._connect(destination))
                done.wait(0.005)

        thread = self._start(self._ends[source.guid], work)

        def end() -> tuple[int, int]:
            done.set()
            thread.join()
            return len(results), results.count(False)

        return end


def _wire(address: str) -> int:
    """A container's namespace at ``address``, by a pair of interfaces that is named as silk's are; its descriptor."""
    name = "s-" + "".join(f"{int(octet):03}" for octet in address.split("."))
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        unshare_network()
        end = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _ip("link set lo up")
    finally:
        enter_network(Path(f"/proc/self/fd/{here}"))
        os.close(here)
    _ip(f"link add {name} type veth peer name c0 netns /proc/{os.getpid()}/fd/{end}")
    _ip(
        f"link set {name} up",
        "address replace 169.254.0.1/32 dev lo",
        f"route add {address}/32 dev {name} src 169.254.0.1",
    )
    Path(f"/proc/sys/net/ipv4/conf/{name}/proxy_arp").write_text("1")
    me = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter_network(Path(f"/proc/self/fd/{end}"))
        _ip(
            f"address add {address}/32 dev c0",
            "link set c0 up",
            "route add 169.254.0.1/32 dev c0",
            "route add default via 169.254.0.1",
        )
    finally:
        enter_network(Path(f"/proc/self/fd/{me}"))
        os.close(me)
    return end


def _ip(*lines: str) -> None:
    for line in lines:
        subprocess.run(("ip", *line.split()), check=True, timeout=30)


@pytest.mark.parametrize("page", ["C2CTrafficOpen", "C2CTrafficBlocked"])
def test_each_kind_of_the_runbooks_for_traffic_is_walked_through_with_the_printed_commands(page: str) -> None:
    """By the faults of the demo above and the damages by hand in test_mend, each is mended, or refused with its remedy.

    No change of a rule is known that opens traffic and that no other kind names.
    """
    text = (Path(__file__).parents[2] / "docs" / "runbooks" / f"{page}.md").read_text()
    table = text.partition("## What traffic does")[2].partition("\n## ")[0]
    kinds = {Kind[name.upper()] for name in re.findall(r"`([a-z_]+)`(?=[^|]*\|[^|]*\|\n)", table)}
    assert len(kinds) > 10
    walked = {kind for fault in ALL for kind in fault.kinds} | set(BY_HAND)
    assert kinds - walked <= {Kind.FLOW_OPEN}
    assert "c2c-auditor mend > mend.sh" in text.partition("\n## Mend\n")[2]
