"""Time and memory, as ratios to iptables' own tools in the same run.

`make bench` prints the table; the targets stand beside each figure.

A figure is the best of several runs: the machine's noise only ever adds. Nothing here fails for being slow, for
machines differ; what fails is a reading that is wrong.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.settle import Grace, Memory, settle
from c2c_auditor.audit.traffic.reachability import reachability
from c2c_auditor.collector import Collector
from c2c_auditor.errors import ParseError
from c2c_auditor.export.metrics import ReportCollector
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, PolicySet
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Announcements, Netlink
from c2c_auditor.sources.rules.text import read_text
from support.big_cell import CHAIN, BigCell, big_cell
from support.commits import commits_to
from support.growth import peak_mib
from support.mutations import with_rules
from support.namespaces import in_namespace
from support.reports import flushed_report

pytestmark = pytest.mark.bench
P = ParamSpec("P")
T = TypeVar("T")


def _best(work: Callable[[], object], runs: int = 7) -> float:
    """Seconds of the fastest of ``runs``."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _tool(*command: str) -> Callable[[], object]:
    return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=120)


def _row(what: str, value: str, target: str) -> None:
    print(f"{what:<64} {value:>22}   target {target}", flush=True)


def _load(backend: str, cell: BigCell) -> None:
    subprocess.run((f"iptables-{backend}-restore", "-w"), input=cell.save, text=True, check=True, timeout=300)


def _loaded(backend: str, *, rules: int = 20_000, asg_rules: int = 0) -> CellFacts:
    """The facts of a cell that another process makes and loads: what that takes is not the agent's memory."""
    return _apart(_make_and_load, backend, rules, asg_rules)


def _apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work``, in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, args, kwargs)


def _first_reading() -> float:
    """Seconds: the best of three processes, of which each reads for the first time."""
    return min(_apart(_read_once) for _ in range(3))


def _read_once() -> float:
    Collector()  # as in the agent, which collects nothing until its first audit is done
    with Netlink() as netlink:
        started = time.perf_counter()
        NativeReader(netlink).read()
        return time.perf_counter() - started


def _make_and_load(backend: str, rules: int, asg_rules: int) -> CellFacts:
    cell = big_cell(rules=rules, asg_rules=asg_rules)
    _load(backend, cell)
    return cell.facts


def _memory() -> str:
    """Peak of this process so far; the child of a benchmark is a process of its own."""
    return f"{peak_mib():.0f} MiB peak"


@in_namespace
def test_nft_20000_policy_rules() -> None:
    """250 containers, 20,000 policy rules."""
    facts = _loaded("nft")
    save, chain = ("iptables-nft-save", "-c", "-t", "filter"), ("iptables-nft", "-S", CHAIN)
    first = _first_reading()
    with Netlink() as netlink:
        collector = Collector()
        reader = NativeReader(netlink)
        ruleset = reader.read()
        collector.rest(0.0)
        assert judge(facts, ruleset, None).unmet == frozenset()
        whole = _best(_tool(*save), 3)
        dump = _best(partial(_dumped, netlink, reader), 3)
        _row("nft: first reading of everything", f"{first / whole:.2f} x save", "1 x")
        _row("nft: the kernel's part of it", f"{dump / whole:.2f} x save", "-")
        _row("nft: nothing changed", f"{_best(reader.read) * 1e3:.3f} ms", "0.05 ms")
        changed = min(_changed(reader) for _ in range(9))
        _row("nft: one rule of the policy chain changed", f"{changed * 1e3:.2f} ms", "1 ms")
        alone = _best(_tool(*chain), 5)
        with Announcements(netlink.announcements.buffer) as beside:
            swaps = [_swapped(reader, beside, number) for number in range(3)]
            assert netlink.announcements.overflows == beside.overflows == 0
        swapped, spent, received = map(min, zip(*swaps, strict=True))
        _row("nft: silk's swap of the policy chain, six commits", f"{swapped / alone:.2f} x iptables -S", "0.5 x")
        _row("nft: silk's swap, processor time", f"{spent * 1e3:.0f} ms", "-")
        _row("nft: silk's swap, receiving its announcements and nothing else", f"{received * 1e3:.0f} ms", "-")
    _row("nft: memory, 20,000 rules", _memory(), "100 MiB")


def _dumped(netlink: Netlink, reader: NativeReader) -> None:
    """Ask the kernel for every chain's rules, and do nothing with them."""
    for chain in reader.read().chains("filter"):
        for _ in netlink.requests.rules(r.AddressFamily.IPV4.nfproto, "filter", chain):
            pass


def _changed(reader: NativeReader) -> float:
    subprocess.run(
        ("iptables-nft", "-R", CHAIN, "1", "-s", "10.255.0.10", "-j", "MARK", "--set-xmark", "0x1"),
        check=True,
        timeout=30,
    )
    started = time.perf_counter()
    reader.read()
    return time.perf_counter() - started


def _swapped(reader: NativeReader, beside: Announcements, number: int) -> tuple[float, float, float]:
    """Seconds to digest a new policy chain, and of processor time; and of that if all is received and nothing done.

    Each of silk's six commits is read by itself.
    """
    old, new = CHAIN if number == 0 else f"vpa--{number}", f"vpa--{number + 1}"
    filled = f"iptables-nft -S {old} | sed -n -e '1i *filter' -e '$a COMMIT' -e 's/^-A {old} /-A {new} /p'"
    seconds = spent = received = 0.0
    for command in (
        f"iptables-nft -N {new}",
        f"iptables-nft -I FORWARD 1 -j {new}",
        f"{filled} | iptables-nft-restore -n",
        f"iptables-nft -D FORWARD -j {old}",
        f"iptables-nft -F {old}",
        f"iptables-nft -X {old}",
    ):
        subprocess.run(("sh", "-c", command), check=True, timeout=120)
        started, began = time.perf_counter(), time.thread_time()
        reader.read()
        between, ended = time.thread_time(), time.perf_counter()
        for _ in beside.read():
            pass
        seconds += ended - started
        spent += between - began
        received += time.thread_time() - between
    assert len(reader.read().chains("filter")[new].rules) > _MANY
    return seconds, spent, received


@in_namespace
def test_nft_beside_300000_security_group_rules() -> None:
    """250 containers x 1,200 security group rules, 5,000 policy rules."""
    facts = _loaded("nft", rules=5000, asg_rules=1200)
    whole = _best(_tool("iptables-nft-save", "-t", "filter"), 2)
    first = _first_reading()
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        ruleset = reader.read()
        started = time.perf_counter()
        judge(facts, ruleset, None)
        judged = time.perf_counter() - started
        changed = min(_changed(reader) for _ in range(9))
        _row("nft, 306,000 rules: first reading", f"{first / whole:.2f} x save", "1 x")
        _row("nft, 306,000 rules: first judgement", f"{judged:.2f} s", "-")
        _row("nft, 306,000 rules: one rule of the policy chain changed", f"{changed * 1e3:.2f} ms", "1 ms")
        asg = next(name for name in ruleset.chains("filter") if name.startswith("asg-"))
        subprocess.run(("iptables-nft", "-D", asg, "600"), check=True, timeout=60)
        started = time.perf_counter()
        judge(facts, reader.read(), None)
        _row(
            "nft, 306,000 rules: one ASG chain changed, read and judged",
            f"{(time.perf_counter() - started) / whole:.3f} x save",
            "-",
        )
    _row("nft, 306,000 rules: memory", _memory(), "200 MiB")


_BUSY_SECONDS = 60.0
_BUSY_COMMITS = 200


@in_namespace
def test_nft_while_others_commit() -> None:
    """200 commits a second to another chain for a minute, and silk's swaps of the policy chain back to back.

    Each reading must be one of a generation, with all of one policy chain or of two.
    """
    cell = big_cell()
    _load("nft", cell)
    subprocess.run(("iptables-nft", "-N", "noise"), check=True, timeout=30)
    stop = threading.Event()
    swaps = [0]
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        reader.read()
        swapping = threading.Thread(target=_swap, args=(cell, swaps, stop))
        swapping.start()
        times: list[float] = []
        began, spent = time.monotonic(), time.thread_time()
        try:
            with commits_to("noise", a_second=_BUSY_COMMITS) as commits:
                while time.monotonic() < began + _BUSY_SECONDS:
                    started = time.perf_counter()
                    chains = reader.read().chains("filter")
                    times.append(time.perf_counter() - started)
                    assert any(len(chain.rules) > _MANY for name, chain in chains.items() if name.startswith("vpa--"))
                    time.sleep(0.1)
        finally:
            stop.set()
            swapping.join()
        spent = time.thread_time() - spent
        _row(
            "nft: commits a second to another chain, swaps in a minute", f"{commits[0] / 60:.0f}, {swaps[0]}", "200, -"
        )
        late = sorted(times)[int(len(times) * 0.99)]
        _row(f"nft: readings meanwhile, all {len(times)} whole: p99", f"{late * 1e3:.0f} ms", "1 s")
        _row("nft: processor time of reading meanwhile", f"{100 * spent / _BUSY_SECONDS:.1f} %", "-")
        overflows, listings = netlink.announcements.overflows, reader.listings
        _row("nft: announcements lost, listings meanwhile", f"{overflows}, {listings}", "0, 1")


_MANY = 10_000
"""More rules than any chain but a whole policy chain has."""


def _swap(cell: BigCell, swaps: list[int], stop: threading.Event) -> None:
    """Silk's six commits, again and again."""
    lines = [line for line in cell.save.splitlines() if line.startswith(f"-A {CHAIN} ")]
    while not stop.is_set():
        old, new = CHAIN if not swaps[0] else f"vpa--{swaps[0]}", f"vpa--{swaps[0] + 1}"
        _run(f"-N {new}")
        _run(f"-I FORWARD 1 -j {new}")
        given = "\n".join(("*filter", *(line.replace(CHAIN, new) for line in lines), "COMMIT", ""))
        subprocess.run(("iptables-nft-restore", "-n"), input=given, text=True, check=True, timeout=120)
        for command in (f"-D FORWARD -j {old}", f"-F {old}", f"-X {old}"):
            _run(command)
        swaps[0] += 1


def _run(command: str) -> None:
    subprocess.run(("iptables-nft", *command.split()), check=True, timeout=60)


@in_namespace
def test_legacy_20000_policy_rules() -> None:
    """Steady: every rule is known already."""
    facts = _loaded("legacy")
    reader = LegacyReader()
    assert judge(facts, reader.read(), None).unmet == frozenset()
    save = _best(_tool("iptables-legacy-save", "-c", "-t", "filter"))
    _row("legacy: steady reading", f"{_best(reader.read) / save:.2f} x save", "2.5 x")
    _row("legacy: memory, 20,000 rules", _memory(), "120 MiB")


@in_namespace
def test_judging_20000_policy_rules() -> None:
    """Plan, compare, settle; one policy changed each time."""
    cell = big_cell()
    ruleset = parse_save(cell.save, where="generated", parser=RuleParser())
    assert cell.facts.policies is not None
    policies = list(cell.facts.policies.policies)
    collector = Collector()
    started = time.perf_counter()
    before = judge(cell.facts, ruleset, None)
    _row("plan + compare + reachability: cold", f"{(time.perf_counter() - started) * 1e3:.0f} ms", "-")
    collector.rest(0.0)
    gone = iter(range(len(policies)))

    def one_policy_fewer() -> CellFacts:
        at = next(gone)
        return evolve(cell.facts, policies=PolicySet(policies=tuple(policies[:at] + policies[at + 1 :])))

    def judged() -> float:
        facts = one_policy_fewer()
        started = time.perf_counter()
        judgement = judge(facts, ruleset, None, previous=before)
        settle(Memory(), judgement, 0.0, Grace())
        seconds = time.perf_counter() - started
        assert any(finding.kind.value == "accept_stale" for finding in judgement.findings)
        return seconds

    def reached() -> float:
        inputs = Inputs.of(one_policy_fewer(), ruleset, None)
        started = time.perf_counter()
        reach = reachability(inputs, before.reach)
        seconds = time.perf_counter() - started
        assert reach is not None
        assert sum(1 for _ in reach.differences()) > 0
        return seconds

    whole, reaching = min(judged() for _ in range(9)), min(reached() for _ in range(9))
    _row("plan + compare + settle: one policy changed", f"{(whole - reaching) * 1e3:.0f} ms", "60 ms")
    _row("reachability: one policy changed", f"{reaching * 1e3:.0f} ms", "60 ms")


@in_namespace
def test_reachability_of_250_containers() -> None:
    """Cold, and after one rule has gone: an ACCEPT, and a MARK, which concerns every destination."""
    cell = big_cell()
    ruleset = parse_save(cell.save, where="generated", parser=RuleParser())
    inputs = Inputs.of(cell.facts, ruleset, None)
    collector = Collector()
    started = time.perf_counter()
    whole = reachability(inputs)
    _row("reachability: cold, 250 containers, 20,000 policy rules", f"{time.perf_counter() - started:.2f} s", "1.5 s")
    collector.rest(0.0)
    assert whole is not None
    assert not list(whole.differences())
    for what, at in (("an ACCEPT gone", -5), ("a MARK gone", 3)):
        rules = list(ruleset.chains("filter")[CHAIN].rules)
        del rules[at]
        fewer = with_rules(ruleset, CHAIN, tuple(rules))
        changed = Inputs.of(cell.facts, fewer, None)
        seconds = _best(partial(reachability, changed, whole), 5)
        after = reachability(changed, whole)
        assert after is not None
        assert any(row.blocked for _, row in after.differences())
        _row(f"reachability: {what}", f"{seconds * 1e3:.0f} ms", "60 ms")
    _row("reachability: memory, with the cell and its rules", _memory(), "-")


_LISTED = "Chain F (policy ACCEPT)\ntarget prot opt source destination\nACCEPT all -- anywhere anywhere "


@pytest.mark.parametrize(
    ("what", "head", "repeated"),
    [
        ("a quote never closed", '-A F -m comment --comment "', "x y\n"),
        ("a quote never closed, 4,000 long lines", '-A F -m comment --comment "', f"{'x y ' * 62}\n"),
        ("words", "", "a b "),
        ("words in a listing's column", _LISTED, "a b "),
        ("comments without an end", _LISTED, "/* "),
        ("comments", _LISTED, "/* */ "),
        ("quotes", "-A F ", '" '),
    ],
)
def test_texts_that_no_iptables_prints(what: str, head: str, repeated: str) -> None:
    """1 MB each; the second row of a text eight times as long shows whether its time grows with its square."""

    def read(size: int) -> None:
        with suppress(ParseError):
            read_text(head + repeated * (size // len(repeated)), where="generated")

    one, eight = (_best(partial(read, size), 3) for size in (1 << 20, 8 << 20))
    _row(f"1 MB of {what}", f"{one * 1e3:.0f} ms, 8 MB {eight * 1e3:.0f}", "linear")


@in_namespace
def test_metrics() -> None:
    """Whatever the number of findings."""
    report = flushed_report()
    report = evolve(report, findings=report.findings * 200)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(lambda: report))
    size = len(generate_latest(registry))
    _row("/metrics: time", f"{_best(lambda: generate_latest(registry)) * 1e3:.1f} ms", "5 ms")
    _row("/metrics: size", f"{size / 1024:.0f} KiB", "64 KiB")


def test_the_tools_are_what_they_are() -> None:
    """Which iptables all of this was measured against."""
    print(
        subprocess.run(
            ("iptables-nft", "--version"), capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    )
