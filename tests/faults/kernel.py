"""Faults of reading rules: iptables' programs, the kernel's notifications, concurrent writers."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from c2c_auditor.errors import SourceError
from demo.command import run, search_path
from demo.world import UNDERLAY_ADDRESS, UNDERLAY_INTERFACE, VTEP
from faults.bench import READ_TIMEOUT, Bench
from faults.driver import meanwhile
from faults.files import Inject
from faults.row import BOTH, Row, Sees

_NOISE = 3000
_READERS = ("iptables-nft-save", "iptables-nft")


def program(script: str) -> Inject:
    """A shell script in the place of the programs that the agent reads rules with; ``@REAL@`` in it is the real one."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        real = bench.programs / "real"
        real.mkdir()
        try:
            for name in _READERS:
                path = bench.programs / name
                path.rename(real / name)
                path.write_text(f"#!/bin/sh\n{script.replace('@REAL@', str(real / name))}\n")
                path.chmod(0o755)
            yield
        finally:
            bench.link_programs()

    return inject


def _each(work: Callable[[Path], None]) -> Inject:
    """``work`` on each of the agent's links to programs."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        try:
            for name in _READERS:
                work(bench.programs / name)
            yield
        finally:
            bench.link_programs()

    return inject


def _gone(path: Path) -> None:
    path.unlink()


def _not_executable(path: Path) -> None:
    target = path.resolve()
    path.unlink()
    shutil.copy(target, path)
    path.chmod(0o644)


def _a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _copied(path: Path) -> None:
    """As an upgrade of the package does: a new file under the old name."""
    target = path.resolve()
    path.unlink()
    shutil.copy(target, path)


@contextmanager
def _lost_notifications(bench: Bench) -> Iterator[None]:
    """More commits than the netlink socket holds while the agent does not read it: ENOBUFS."""
    tables = bench.cell.iptables
    bench.daemon.signal(signal.SIGSTOP)
    try:
        tables.restore(
            "filter", ":noise - [0:0]", *(f"-A noise -s 192.0.2.{i % 250 + 1} -j RETURN" for i in range(_NOISE))
        )
    finally:
        bench.daemon.signal(signal.SIGCONT)
    try:
        yield
    finally:
        tables.restore("filter", "-F noise", "-X noise")


@contextmanager
def _swapped(bench: Bench) -> Iterator[None]:
    """VPA swaps the policy chain again and again, six commits each time."""

    def swap() -> None:
        with suppress(SourceError):
            bench.cell.replan()

    with meanwhile(swap, pause=0.3):
        yield
    bench.cell.replan()


@contextmanager
def _both_backends(bench: Bench) -> Iterator[None]:
    """The other backend holds a chain of silk's too."""
    handle = bench.cell.instances[0].handle
    chain = f"overlay--{handle}"[:28]
    bench.cell.other.restore(
        "filter", f":{chain} - [0:0]", f"-A {chain} -d 10.255.30.2 -j REJECT", f"-A FORWARD -j {chain}"
    )
    try:
        yield
    finally:
        bench.cell.other.command("filter", "-F")
        bench.cell.other.command("filter", "-X")


@contextmanager
def _no_interfaces(bench: Bench) -> Iterator[None]:
    """The underlay's interface and silk's VXLAN interface vanish, and come back."""
    del bench
    run(("ip", "link", "delete", VTEP))
    run(("ip", "link", "delete", UNDERLAY_INTERFACE))
    try:
        yield
    finally:
        for line in (
            f"link add {UNDERLAY_INTERFACE} type veth peer name underlay",
            f"address add {UNDERLAY_ADDRESS}/24 dev {UNDERLAY_INTERFACE}",
            f"link set {UNDERLAY_INTERFACE} up",
            f"link add {VTEP} type vxlan id 1 local {UNDERLAY_ADDRESS} dev {UNDERLAY_INTERFACE} dstport 4789 gbp",
            f"link set {VTEP} up",
        ):
            run(("ip", *line.split()))


@contextmanager
def _only_the_plain_name(bench: Bench) -> Iterator[None]:
    """The cell's programs are legacy's and are called iptables and iptables-save, as on an old stemcell."""
    bench.link_programs("legacy")
    for path in tuple(bench.programs.iterdir()):
        path.rename(bench.programs / path.name.replace("-legacy", ""))
    try:
        with bench.restarted():
            yield
            bench.link_programs()
    finally:
        bench.link_programs()


@contextmanager
def _rewriting(bench: Bench) -> Iterator[None]:
    """Somebody who is not silk commits twenty times a second."""
    command = (shutil.which(f"iptables-{bench.cell.iptables.backend}", path=search_path()) or "", "-w", "-t", "filter")

    def commit() -> None:
        for action in ("-A", "-D"):
            subprocess.run((*command, action, "OUTPUT", "-d", "192.0.2.1", "-j", "ACCEPT"), check=False, timeout=10)

    with meanwhile(commit, pause=0.05):
        yield


def _nft() -> Iterator[Row]:
    """The rules are read over netlink: iptables' programs are a witness, heard at the start and every hour."""
    for fault, inject, daily in (
        ("missing", _each(_gone), True),
        ("empty output", program("exit 0"), False),
        ("torn output", program('"@REAL@" "$@" | head -c 120; kill -9 $$'), False),
        ("huge output", program("exec yes '-A FORWARD -j ACCEPT'"), False),
        ("hanging", program("exec sleep 1000"), True),
        ("closes its pipes and lives on", program("exec >&- 2>&-; exec sleep 1000"), False),
        ("wrong shape", program("echo '<html>503</html>'"), False),
        ("fails", program("echo 'Resource temporarily unavailable' >&2; exit 4"), True),
        ("wrong permissions", _each(_not_executable), False),
        ("a directory", _each(_a_directory), False),
    ):
        yield Row(source="rules via nft", fault=fault, inject=inject, daily=daily)
    slow = program('sleep 0.3; exec "@REAL@" "$@"')
    yield Row(source="rules via nft", fault="slow", inject=slow, daily=False)
    flapping = program('[ $(($(date +%s) % 2)) = 0 ] || exit 4; exec "@REAL@" "$@"')
    yield Row(source="rules via nft", fault="flapping", inject=flapping, within=15.0, daily=False)
    yield Row(source="rules via nft", fault="notifications lost (ENOBUFS)", inject=_lost_notifications)
    yield Row(source="rules via nft", fault="iptables replaced while running", inject=_each(_copied))


def rows() -> Iterator[Row]:
    """The rows of the kernel's rules, on both backends."""
    yield from _nft()
    for backend in BOTH:
        source, on = f"rules via {backend}", (backend,)
        yield Row(source=source, fault="chain swapped while read", inject=_swapped, on=on)
        yield Row(source=source, fault="rewritten all the time", inject=_rewriting, on=on, daily=False)
        yield Row(
            source=source,
            fault="both backends hold silk's chains",
            inject=_both_backends,
            sees=Sees(finding="backend_split"),
            on=on,
            expected=frozenset({"backend_split"}),
            daily=False,
        )
    for fault, script, daily in (
        ("iptables-nft hangs", "exec sleep 1000", True),
        ("iptables-nft fails", "exit 4", False),
    ):
        yield Row(
            source="rules via legacy",
            fault=fault,
            inject=program(script),
            daily=daily,
            on=("legacy",),
            within=READ_TIMEOUT + 10,
        )
    yield Row(source="rules via legacy", fault="iptables-nft missing", inject=_each(_gone), daily=False, on=("legacy",))
    yield Row(
        source="rules via legacy",
        fault="only legacy's programs, by their plain names",
        inject=_only_the_plain_name,
        on=("legacy",),
    )
    yield Row(source="interfaces", fault="gone", inject=_no_interfaces)
