"""A simulated cell at work for as long as asked, on both backends at once, with true faults among its daily changes.

`python packaging/soak_cell.py --seconds 3600 --seed 7`: containers come and go, policies and security groups are
swapped, VPA restarts, the policy server is slow; now and then something is really broken, at random, seed given. Prints
what was injected and found and how fast, and what the agent's two processes hold. Status 1 if anything false was
confirmed, a fault was missed, or memory or descriptors grew. Needs root: it makes network namespaces.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
from attrs import define, field

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from c2c_auditor.model.kind import Kind
from demo import faults as demo_faults
from demo import rules
from demo.fault import Fault, first
from demo.world import BACKEND, FRONTEND, REDIS, SHOP, Instance, NetworkPolicy
from faults.bench import Bench, bench, sound
from faults.front import Mode

_PATIENCE = 90.0
_GLANCE = 0.1
_SAMPLE_SECONDS = 1.0
# What the processes hold settles in the first third; from then on it may grow by so much, and no more. A third of a
# short run is less than what the bounded memories of rules and plans need to fill. Of descriptors the fewest of each
# third count: programs that are run open some for a moment, and a leak is what stays. Connections that are kept to
# silk-daemon and to the policy server come and go with what these answer.
_GROWTH_BYTES, _SHORT_GROWTH_BYTES, _GROWTH_DESCRIPTORS = 2 << 20, 12 << 20, 2
_SHORT = 1200.0
_COMERS = 6
# Residue of silk's own (rules of a container that has just gone) is no alarm, and neither is advice.
_HARMS = ("breach", "outage")
FAULTS = tuple(fault for fault in demo_faults.ALL if any(kind.effect.value in _HARMS for kind in fault.kinds))


@define
class Tally:
    """What was injected, and what came of it."""

    injected: Counter[str] = field(factory=Counter)
    latencies: dict[str, list[float]] = field(factory=lambda: defaultdict(list))
    steps: Counter[str] = field(factory=Counter)
    missed: list[str] = field(factory=list)
    lasting: list[str] = field(factory=list)
    false: dict[str, None] = field(factory=dict)

    def table(self) -> Iterator[str]:
        """Lines for people."""
        yield f"{'fault':28} injected  found  seconds: median, most"
        for name, injected in sorted(self.injected.items()):
            found = self.latencies[name]
            times = f"{statistics.median(found):.1f}, {max(found):.1f}" if found else "-"
            yield f"{name:28} {injected:8}  {len(found):5}  {times}"
        yield "daily changes: " + ", ".join(f"{count} {name}" for name, count in sorted(self.steps.items()))


class Watch(threading.Thread):
    """Reads report and metrics all the time; notes what is confirmed although ``allowed`` does not hold it."""

    def __init__(self, made: Bench, tally: Tally) -> None:
        super().__init__(name="watch", daemon=True)
        self._bench = made
        self._tally = tally
        self.allowed: frozenset[str] = frozenset()
        self.confirmed: frozenset[str] = frozenset()
        self.clean = False
        self.why = ""
        self.samples: list[tuple[tuple[int, int], ...]] = []
        self._over = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        due = 0.0
        while not self._over.wait(_GLANCE):
            self._look()
            if time.monotonic() >= due:
                due = time.monotonic() + _SAMPLE_SECONDS
                self._bench.daemon.get("/metrics")
                self._sample()

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        allowed = self.allowed
        report = self._bench.daemon.report()
        if report is None:
            return
        self.clean = sound(report)
        down = [source["problem"]["problem"] for source in report["sources"] if not source["up"]]
        self.why = "; ".join(
            [*down, *(f"{one['state']} {one['kind']}: {one['summary']}" for one in report["findings"])]
        )
        found = [finding for finding in report["findings"] if finding["state"] == "confirmed"]
        self.confirmed = frozenset(finding["kind"] for finding in found)
        for finding in found:
            if finding["effect"] in _HARMS and finding["kind"] not in allowed | self.allowed:
                self._tally.false.setdefault(f"{finding['kind']}: {finding['summary']}")

    def _sample(self) -> None:
        pids = (self._bench.daemon.pid, *self._bench.daemon.find_listeners())
        with suppress(psutil.Error):
            self.samples.append(tuple(_held(psutil.Process(pid)) for pid in pids))


def _held(process: psutil.Process) -> tuple[int, int]:
    """Bytes (proportional set size, so that what the two share counts once) and descriptors."""
    return process.memory_full_info().pss, process.num_fds()


class Soak:
    """One cell, its daily life, and its faults."""

    def __init__(self, made: Bench, random: Random) -> None:
        self.bench = made
        self.cell = made.cell
        self.random = random
        self.tally = Tally()
        self.watch = Watch(made, self.tally)
        self._comers: list[Instance] = []
        self._policies: list[NetworkPolicy] = []
        self._number = 0
        self._steps: dict[str, Callable[[], None]] = {
            "containers created": self._create,
            "containers deleted": self._delete,
            "policies added": self._add_policy,
            "policies removed": self._remove_policy,
            "security groups swapped": self._swap_groups,
            "VPA restarts": self.cell.replan,
            "slow answers": self._slow,
            "no answers": self._away,
        }

    def run(self, seconds: float) -> None:
        """Daily life for ``seconds``, a fault after every few steps."""
        self.bench.settle()
        self.watch.start()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and self.bench.daemon.alive():
            for _ in range(self.random.randint(2, 5)):
                self._step()
            if self.random.random() < 0.5:  # noqa: PLR2004 - one fault in two meets daily life while it lasts
                self._fault_amid()
            else:
                self._fault(self.random.choice(FAULTS))
        self.watch.stop()

    def _step(self) -> None:
        name = self.random.choice(sorted(self._steps))
        self._steps[name]()
        self.tally.steps[name] += 1
        time.sleep(self.random.uniform(0.0, 0.4))

    def _create(self) -> None:
        if len(self._comers) >= _COMERS:
            self._delete()
        self._number += 1
        number = self._number
        comer = Instance(
            handle=f"{number:08x}-50a4-4f5c-9e62-{number % 10000:04d}",
            address=f"10.255.30.{20 + number % 200}",
            app=self.random.choice((FRONTEND, BACKEND, REDIS)),
            host_port=61100 + 4 * (number % 200),
        )
        self._comers.append(comer)
        self.cell.create(comer)

    def _delete(self) -> None:
        if self._comers:
            self.cell.delete(self._comers.pop(self.random.randrange(len(self._comers))))

    def _add_policy(self) -> None:
        source, destination = self.random.sample((FRONTEND, BACKEND, REDIS), 2)
        if (source, destination) == (FRONTEND, REDIS):
            return  # the fault accept-stale is one only as long as no policy allows this
        port = self.random.choice(destination.ports)
        policy = NetworkPolicy(source=source.guid, destination=destination.guid, first=port, last=port)
        if policy in self.cell.server.truth.policies:
            return
        self._policies.append(policy)
        self.cell.server.truth = self.cell.server.truth.adding(policy)
        self._polled()

    def _remove_policy(self) -> None:
        if self._policies:
            policy = self._policies.pop(self.random.randrange(len(self._policies)))
            self.cell.server.truth = self.cell.server.truth.removing(policy)
            self._polled()

    def _polled(self) -> None:
        """VPA hears of a change only with its next poll."""
        time.sleep(self.random.uniform(0.0, 1.0))
        self.cell.replan()

    def _swap_groups(self) -> None:
        """VPA replaces a container's security group chain: a new one is filled and takes the old one's name."""
        instance = self.random.choice(self.cell.instances)
        tables, netout = self.cell.iptables, rules.chain("netout", instance.handle)
        chain = rules.asg_chain(instance.handle)
        tables.command("filter", "-N", f"c{chain}")
        content = rules.asg_rules(SHOP.groups, instance.app.space_guid)
        tables.restore("filter", *(f"-A c{chain} {rule}" for rule in content))
        tables.restore("filter", f"-I {netout} 1 -j c{chain}")
        tables.command("filter", "-D", netout, "-j", chain)
        tables.command("filter", "-F", chain)
        tables.command("filter", "-X", chain)
        tables.command("filter", "-E", f"c{chain}", chain)
        self.cell.replan()

    def _slow(self) -> None:
        with self.bench.front.being(Mode.SLOW):
            time.sleep(self.random.uniform(0.5, 2.0))

    def _away(self) -> None:
        with self.bench.front.being(Mode.REFUSE):
            time.sleep(self.random.uniform(0.5, 2.0))

    def _fault(self, fault: Fault) -> None:
        """One of the demo's faults, on a cell whose rules nothing else changes meanwhile."""
        self.cell.replan()
        self._until(lambda: self.watch.clean, _PATIENCE)
        self._follow(fault.name, fault.kinds, fault.kinds | fault.also, lambda: fault.inject(self.cell))
        fault.mend(self.cell)
        self._mended(fault.name)

    def _fault_amid(self) -> None:
        """Somebody's rule in FORWARD, while containers, policies and groups go on changing."""
        target, kind = self.random.choice((("ACCEPT", Kind.FOREIGN_ACCEPT), ("DROP", Kind.FOREIGN_DROP)))
        address = first(self.cell, REDIS).address
        rule = f"-d {address} -p udp -m udp --dport {self.random.randint(1024, 65535)} -j {target}"
        name = f"{kind.value} amid changes"
        self._follow(
            name,
            frozenset({kind}),
            frozenset({kind, Kind.FLOW_OPEN, Kind.FLOW_BLOCKED}),
            lambda: self.cell.edit(f"-I FORWARD 1 {rule}"),
            meanwhile=self._step,
        )
        self.cell.edit(f"-D FORWARD {rule}")
        self._mended(name)

    def _follow(
        self,
        name: str,
        kinds: frozenset[Kind],
        also: frozenset[Kind],
        inject: Callable[[], None],
        *,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        wanted = frozenset(kind.value for kind in kinds)
        self.watch.allowed = frozenset(kind.value for kind in kinds | also)
        began = time.monotonic()
        inject()
        self.tally.injected[name] += 1
        while time.monotonic() - began < _PATIENCE:
            if wanted <= self.watch.confirmed:
                self.tally.latencies[name].append(time.monotonic() - began)
                return
            if meanwhile is not None:
                meanwhile()
            time.sleep(_GLANCE)
        self.tally.missed.append(f"{name} ({self.watch.why})")

    def _mended(self, name: str) -> None:
        self.cell.replan()
        if not self._until(lambda: self.watch.clean, _PATIENCE):
            self.tally.lasting.append(f"{name} ({self.watch.why})")
        self.watch.allowed = frozenset()

    @staticmethod
    def _until(holds: Callable[[], bool], seconds: float) -> bool:
        ends = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > ends:
                return False
            time.sleep(_GLANCE)
        return True


def growth(samples: list[tuple[tuple[int, int], ...]], seconds: float) -> Iterator[tuple[str, str, bool]]:
    """For each process: its name, what it held in the second third and in the last, and whether that is flat.

    ``samples`` were taken over ``seconds``.
    """
    most = _GROWTH_BYTES if seconds >= _SHORT else _SHORT_GROWTH_BYTES
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    for index, name in enumerate(("auditing process", "listening process")):
        before, after = ([sample[index] for sample in part if index < len(sample)] for part in (middle, last))
        if not before or not after:
            yield name, "never measured", False
            continue
        held = [statistics.median(memory for memory, _ in part) for part in (before, after)]
        descriptors = [min(number for _, number in part) for part in (before, after)]
        grown = held[1] - held[0]
        flat = grown <= most and descriptors[1] - descriptors[0] <= _GROWTH_DESCRIPTORS
        text = (
            f"{held[0] / 2**20:.1f} MiB then {held[1] / 2**20:.1f}, {descriptors[0]} descriptors then {descriptors[1]}"
        )
        yield name, text, flat


def soak(backend: str, *, seconds: float, seed: int) -> int:
    """One backend; 0 if nothing false was said, nothing missed, and all is flat."""
    with bench(backend) as made:
        soaking = Soak(made, Random(seed))  # noqa: S311 - chooses what happens
        soaking.run(seconds)
        alive = made.daemon.alive()
        words = made.daemon.last_words()
    tally = soaking.tally
    _say(backend, f"seed {seed}, {seconds:.0f} s")
    for line in tally.table():
        _say(backend, line)
    failed = not alive
    if not alive:
        _say(backend, f"the agent ended: {words}")
    for name, text, flat in growth(soaking.watch.samples, seconds):
        _say(backend, f"{name}: {text}: {'flat' if flat else 'GREW'}")
        failed |= not flat
    for what, found in (("false", tally.false), ("missed", tally.missed), ("not resolved", tally.lasting)):
        _say(backend, f"{what} {len(found)}" + (": " + "; ".join(found) if found else ""))
        failed |= bool(found)
    return 1 if failed else 0


def _say(backend: str, line: str) -> None:
    sys.stdout.write(f"{backend:6} {line}\n")
    sys.stdout.flush()


def main() -> int:
    """Both backends at once, each in a process of its own, or the one that is named."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS") or 3600))
    options.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time()))
    options.add_argument("--backend", choices=("nft", "legacy"))
    given = options.parse_args()
    if given.backend:
        return soak(given.backend, seconds=given.seconds, seed=given.seed)
    common = (sys.executable, __file__, "--seconds", str(given.seconds), "--seed", str(given.seed))
    running = [subprocess.Popen((*common, "--backend", backend)) for backend in ("nft", "legacy")]
    return max(process.wait() for process in running)


if __name__ == "__main__":
    sys.exit(main())
