"""Measures what the agent costs and how fast it is, and writes docs/performance.md with its plots: `make performance`.

The rows of `make bench`, how cost grows with the rules and with the commits of others, and the daemon itself on a cell
of 250 containers and 20,000 policy rules. Some ten minutes on two cores; needs root and an otherwise idle machine.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from performance_page import Daemon, Growth, Rate, page, plot_growth, plot_rates

from c2c_auditor.collector import Collector
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from demo.cell import Cell, Files, write_vpa_config
from demo.command import run
from demo.namespace import namespace
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.silk import Iptables, Silk
from demo.world import SHOP, App, Instance, NetworkPolicy
from faults.daemon import PORT
from support.big_cell import CHAIN, big_cell
from support.commits import commits_to
from support.namespaces import in_child, unshare_network
from support.network import entered

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES = ROOT / "docs" / "performance.md", ROOT / "docs" / "pictures"
_ROW = re.compile(r"^(?P<what>\S.{10,70}?) {2,}(?P<value>\S.*?) {3}target (?P<target>.+)$", re.MULTILINE)
_RULES = (100, 1_000, 10_000, 100_000, 300_000)
_COMMITS = (1, 10, 50, 100, 200, 500)
_SECONDS_A_RATE = 10.0
_ACTS, _ACT_SECONDS = 16, 5.0
_FEW_ACTS = 4  # for which the agent's allowance suffices, also on a large cell
_READY_SECONDS = 120.0
_QUIET_SECONDS = 12.0


def _json_of(work: Callable[[], object]) -> Any:  # noqa: ANN401 - JSON
    """What ``work`` returns, worked out in a process with a network namespace of its own."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as result:

        def worked_out() -> None:
            Path(result.name).write_text(json.dumps(work()))

        in_child(unshare_network, worked_out)
        return json.loads(result.read())


def _seconds(work: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _iptables(*command: str, given: str | None = None) -> None:
    subprocess.run(command, input=given, stdout=subprocess.DEVNULL, text=True, check=True, timeout=300)


def _growth(count: int) -> dict[str, float]:
    """A cell of ``count`` rules; beyond 20,000 they are of security groups, as on real cells."""
    containers = 250 if count > 10 * 250 else max(2, count // 50)
    policies = min(count, 20_000) // 2
    cell = big_cell(containers=containers, rules=policies, asg_rules=max(0, count - policies) // containers)
    _iptables("iptables-nft-restore", given=cell.save)
    collector = Collector()
    with Netlink() as netlink:
        started = time.perf_counter()
        reader = NativeReader(netlink)
        ruleset = reader.read()
        first = time.perf_counter() - started
        collector.rest(0.0)

        def change() -> float:
            _iptables("iptables-nft", "-R", CHAIN, "1", "-s", "10.255.0.10", "-j", "MARK", "--set-xmark", "0x1")
            return _seconds(reader.read, 1)

        changed = min(change() for _ in range(5))
    rules = sum(len(chain.rules) for chain in ruleset.chains("filter").values())
    save = _seconds(lambda: _iptables("iptables-nft-save", "-c", "-t", "filter"))
    listed = _seconds(lambda: _iptables("iptables-nft", "-S", CHAIN))
    return {"rules": rules, "first": first, "changed": changed, "save": save, "listed": listed}


def _rate(commits: int) -> dict[str, float]:
    """Ten readings a second while another program commits."""
    _iptables("iptables-nft-restore", given=big_cell().save)
    _iptables("iptables-nft", "-N", "noise")
    times: list[float] = []
    collector = Collector()
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        reader.read()
        collector.rest(0.0)
        began, spent = time.monotonic(), time.thread_time()
        with commits_to("noise", a_second=commits) as done:
            while time.monotonic() < began + _SECONDS_A_RATE:
                started = time.perf_counter()
                reader.read()
                times.append(time.perf_counter() - started)
                time.sleep(0.1)
        share = (time.thread_time() - spent) / _SECONDS_A_RATE
    times.sort()
    return {"commits": done[0] / _SECONDS_A_RATE, "late": times[int(len(times) * 0.99)], "share": share}


def _world(containers: int, rules: int) -> tuple[list[Instance], list[NetworkPolicy]]:
    """As `support.big_cell`, in the words of the demo: two containers of each app, and ``rules`` ACCEPTs for them."""
    random = Random(7)  # noqa: S311 - the same each time
    apps = [
        App(
            guid=f"{number:08x}-64c0-4c55-9d0e-3b7a5c1f2e01",
            name=f"app-{number}",
            space="shop",
            space_guid=SHOP.instances[0].app.space_guid,
        )
        for number in range(containers // 2)
    ]
    instances = [
        Instance(
            handle=f"{number:08x}-50a4-4f5c-9e62-{number:04d}",
            address=f"10.255.30.{number + 2}",
            app=apps[number % len(apps)],
            host_port=40000 + 4 * number,
        )
        for number in range(containers)
    ]
    policies: dict[NetworkPolicy, None] = {}
    while len(policies) < rules // 2:
        source, destination = random.choice(apps), random.choice(apps)
        port = random.choice(destination.ports)
        policies[NetworkPolicy(source=source.guid, destination=destination.guid, first=port, last=port)] = None
    return instances, list(policies)


@contextmanager
def _cell(containers: int, rules: int) -> Iterator[tuple[Cell, Path]]:
    """A cell on the nft backend in a namespace that this thread is in meanwhile, and where the agent's settings are."""
    with ExitStack() as stack:
        made = stack.enter_context(namespace())
        stack.enter_context(entered(made.name))
        certificates = make_certificates(made.directory)
        instances, policies = _world(containers, rules)
        server = stack.enter_context(PolicyServer(certificates, _truth(policies)).serving())
        files = Files.below(made.directory)
        write_vpa_config(files, url=server.url, certificates=certificates)
        polls = json.loads(files.vpa_config.read_text()) | {"poll_interval": 5, "asg_poll_interval": 60}  # VPA's own
        files.vpa_config.write_text(json.dumps(polls))
        silk = Silk(iptables=Iptables(backend="nft", run=run), groups=SHOP.groups)
        cell = Cell(files=files, silk=silk, other=Iptables(backend="legacy", run=run), server=server)
        cell.instances.extend(instances)
        cell.write_store()
        for instance in instances:
            silk.create(instance)
        cell.replan()
        config = made.directory / "c2c-auditor.json"
        settings = {"vpa_config": str(files.vpa_config), "cni_config": str(files.cni_config), "server": {"port": PORT}}
        config.write_text(json.dumps(settings))
        yield cell, config


def _truth(policies: Sequence[NetworkPolicy]) -> Truth:
    guids = dict.fromkeys(guid for policy in policies for guid in (policy.source, policy.destination))
    return Truth(
        groups=tuple(SHOP.groups),
        policies=tuple(policies),
        tags={guid: tag for tag, guid in enumerate(guids, 1)},
        last_updated=time.time_ns(),
    )


def _report() -> dict[str, Any] | None:
    connection = HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", "/api/v1/report")
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    found: dict[str, Any] = json.loads(text) if answer.status == 200 else {}  # noqa: PLR2004 - HTTP's
    return found or None


def _until(holds: Callable[[dict[str, Any]], bool], seconds: float = _READY_SECONDS) -> float:
    """Seconds until a report is as wanted. Raises AssertionError if none is."""
    started = time.monotonic()
    report = None
    while time.monotonic() < started + seconds:
        report = _report()
        if report is not None and holds(report):
            return time.monotonic() - started
        time.sleep(0.01)
    raise AssertionError(report and (report["result"], [one["summary"] for one in report["findings"][:5]]))


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _ran_programs(process: psutil.Process) -> int:
    """Page faults of children that have ended: none as long as it started no program (proc(5), ``cminflt``)."""
    return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[8])


def _daemon(containers: int, rules: int) -> Daemon:
    with _cell(containers, rules) as (cell, config):
        command = (sys.executable, "-m", "c2c_auditor", "daemon", "--config", str(config))
        log = config.with_name("agent.log").open("wb")
        with log, subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as started:
            try:
                return _measured(cell, psutil.Process(started.pid))
            finally:
                started.terminate()
                started.wait(30)


def _measured(cell: Cell, process: psutil.Process) -> Daemon:
    _until(lambda report: report["result"] == "clean")
    time.sleep(30)  # the first readings of every source, and the witness
    before, programs = _spent(process), _ran_programs(process)
    time.sleep(30)
    rest = (_spent(process) - before) / 30
    pending, resolved = [], []
    for _ in range(3):
        time.sleep(_QUIET_SECONDS)
        position, _ = cell.position(cell.policy_chain, "-j ACCEPT")
        cell.edit(f"-D {cell.policy_chain} {position}")
        pending.append(_until(lambda report: bool(report["findings"])))
        time.sleep(_QUIET_SECONDS)
        cell.put_back()
        resolved.append(_until(lambda report: report["result"] == "clean"))
    act = _acts(cell, process, _FEW_ACTS) * _ACT_SECONDS
    churn = _acts(cell, process, _ACTS)
    memory = sum(one.memory_full_info().pss for one in (process, *process.children()))
    return Daemon(
        pending=statistics.median(pending),
        resolved=statistics.median(resolved),
        rest=rest,
        act=act,
        churn=churn,
        memory=memory,
        started=_ran_programs(process) != programs,
    )


def _acts(cell: Cell, process: psutil.Process, acts: int) -> float:
    """The part of a core that ``process`` takes during so many acts: a policy that goes and comes."""
    before, began = _spent(process), time.monotonic()
    policy = cell.server.truth.policies[-1]
    for number in range(acts):
        truth = cell.server.truth
        cell.server.truth = truth.adding(policy) if number % 2 else truth.removing(policy)
        cell.replan()
        time.sleep(max(0.0, began + (number + 1) * _ACT_SECONDS - time.monotonic()))
    return (_spent(process) - before) / (time.monotonic() - began)


def _benchmarks() -> list[tuple[str, str, str]]:
    """The rows of `make bench`."""
    command = (sys.executable, "-m", "pytest", "-q", "-rsP", str(ROOT / "tests" / "bench" / "test_bench.py"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=900)
    return [(found["what"], found["value"], found["target"]) for found in _ROW.finditer(done.stdout)]


def main() -> None:
    """Measure everything, draw, and write the page."""
    small, large = _daemon(6, 20), _daemon(250, 20_000)
    grown = [Growth(**_json_of(partial(_growth, count))) for count in _RULES]
    rates = [Rate(**_json_of(partial(_rate, rate))) for rate in _COMMITS]
    PICTURES.mkdir(exist_ok=True)
    plot_growth(grown, PICTURES)
    plot_rates(rates, PICTURES)
    version = run(("iptables-nft", "--version")).strip()
    PAGE.write_text(page(_benchmarks(), grown, rates, (large, small), iptables=version))


if __name__ == "__main__":
    main()
