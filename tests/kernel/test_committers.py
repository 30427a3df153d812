"""Who committed: each process is looked at while it is there, and silk's work is never somebody else's."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from c2c_auditor.model.change import Act, Author, Change
from c2c_auditor.sources.rules.committers import Committers
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink, Requests
from demo.silk import Iptables, Silk
from demo.world import FRONTEND, PUBLIC, Instance, NetworkPolicy
from support.commits import commits_to
from support.namespaces import in_namespace

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("iptables-nft-restore") is None, reason="needs iptables-nft-restore"),
]
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # Linux include/linux/proc_ns.h (PROC_PID_INIT_INO)
ONE = Instance(handle="79827b7a-caea-4518-bd5e-5ee3", address="10.255.30.4", app=FRONTEND, host_port=61016)
POLICY = NetworkPolicy(source=FRONTEND.guid, destination=FRONTEND.guid, first=8080, last=8080)


@contextmanager
def _watched() -> Iterator[tuple[NativeReader, Committers]]:
    """A reader in this namespace, and what looks at committers for it."""
    committers = Committers()
    committers.start()
    try:
        with Netlink() as netlink:
            yield NativeReader(netlink, committers=committers), committers
    finally:
        committers.close()


def _by_plain_names(folder: Path) -> Path:
    """Where ``iptables`` is nf_tables': silk starts it by that name, which the kernel tells."""
    for name in ("iptables", "iptables-restore", "iptables-save"):
        program = shutil.which(name.replace("iptables", "iptables-nft", 1))
        assert program is not None
        (folder / name).symlink_to(Path(program).resolve())
    return folder


def test_silks_work_is_never_somebody_elses(tmp_path: Path) -> None:
    """A container created and deleted between two policy swaps, by programs that are called as silk calls them."""
    _work(_by_plain_names(tmp_path))


@in_namespace
def _work(programs: Path) -> None:
    def run(arguments: Sequence[str], text: str = "", codes: Sequence[int] = (0,)) -> str:
        argv = [str(programs / arguments[0].replace("-nft", "")), *arguments[1:]]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode in codes, done.stderr
        return done.stdout

    silk = Silk(iptables=Iptables(backend="nft", run=run), groups=(PUBLIC,))
    with _watched() as (reader, _):
        reader.read()
        silk.plan([ONE], [POLICY], {FRONTEND.guid: 1})
        silk.create(ONE)
        silk.plan([ONE], [POLICY], {FRONTEND.guid: 1})
        silk.delete(ONE)
        reader.read()
        changes = [done.change for done in reader.done()]
        assert {change.author for change in changes} == {Author.VPA, Author.CNI}
        assert {change.act for change in changes} == set(Act) - {Act.OTHER}
        assert reader.changes() == Counter(change.author.value for change in changes)


@in_namespace
def test_a_process_is_known_after_it_ended() -> None:
    """How it was called, and who started it; this one stays until it was looked at, on however busy a machine.

    The kernel says the machine's number of a process. In a container with numbers of its own nobody is found by it.
    """
    subprocess.run(("iptables-nft", "-A", "FORWARD", "-j", "DROP"), check=True, timeout=30)
    with _watched() as (reader, committers):
        reader.read()
        generation = reader.generation
        command = ("sh", "-c", "iptables-nft-restore --noflush; true")
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as shell:
            assert shell.stdin is not None
            shell.stdin.write("*filter\n-F FORWARD\nCOMMIT\n")
            shell.stdin.flush()
            with Requests() as requests:
                flushed = requests.generation()
                while flushed == generation:
                    flushed = requests.generation()
            while committers.of_generation(flushed) is None:
                time.sleep(0.01)
        reader.read()
        (change,) = (done.change for done in reader.done())
    assert (change.author, change.process) == (Author.FOREIGN, "iptables-nft-re")
    machines_own = Path("/proc/self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE
    assert change.command == ("iptables-nft-restore --noflush" if machines_own else "")
    assert change.parent == (f"sh ({shell.pid})" if machines_own else "")
    assert change.removed == ("-t filter -A FORWARD -j DROP",)


@in_namespace
def test_what_is_done_while_chains_are_listed_is_known_too() -> None:
    """Rules of a chain that must be dumped again are told by their announcements."""
    subprocess.run(("iptables-nft", "-A", "FORWARD", "-s", "10.0.0.1", "-j", "ACCEPT"), check=True, timeout=30)
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        reader.read()
        (key,) = (key for key in _chains(reader, "FORWARD"))
        reader._replica.stale.add(key)  # noqa: SLF001 - as while it is listed
        subprocess.run(("iptables-nft", "-I", "FORWARD", "-j", "vpa--1"), check=False, timeout=30)
        subprocess.run(("iptables-nft", "-I", "FORWARD", "-s", "10.0.0.2", "-j", "ACCEPT"), check=True, timeout=30)
        subprocess.run(("iptables-nft", "-D", "FORWARD", "-s", "10.0.0.1", "-j", "ACCEPT"), check=True, timeout=30)
        reader.read()
        told = [(done.change.added, done.change.removed) for done in reader.done()]
    assert told == [
        (("-t filter -A FORWARD -s 10.0.0.2/32 -j ACCEPT",), ()),
        ((), ("-t filter -A FORWARD -s 10.0.0.1/32 -j ACCEPT",)),
    ]


def _chains(reader: NativeReader, name: str) -> Iterator[tuple[tuple[int, str], int]]:
    for key, table in reader._replica.tables.items():  # noqa: SLF001 - to play a listing in progress
        if name in table.names:
            yield key, table.names[name]


@in_namespace
def test_a_restore_of_a_whole_table_tells_what_it_took_away() -> None:
    """Chains go with their rules, and a table with both."""
    text = "*filter\n:one -\n-A one -s 10.0.0.1 -j ACCEPT\n-A FORWARD -j one\nCOMMIT\n"
    subprocess.run(("iptables-nft-restore",), input=text, text=True, check=True, timeout=30)
    with Netlink() as netlink:
        reader = NativeReader(netlink)
        reader.read()
        subprocess.run(("iptables-nft-restore",), input="*filter\nCOMMIT\n", text=True, check=True, timeout=30)
        reader.read()
        (change,) = (done.change for done in reader.done())
    assert set(change.removed) == {"-t filter -A one -s 10.0.0.1/32 -j ACCEPT", "-t filter -A FORWARD -j one"}
    assert (change.author, change.added, change.left_out) == (Author.FOREIGN, (), 0)


@in_namespace
def test_a_storm_of_commits_leaves_the_newest_known() -> None:
    """By one process at full speed, of which the thread looks at some only; closing it waits for nothing."""
    subprocess.run(("iptables-nft", "-N", "noise"), check=True, timeout=30)
    with _watched() as (reader, _):
        reader.read()
        with commits_to("noise", a_second=2000) as count:
            while count[0] < 1500:
                time.sleep(0.01)
        reader.read()
        changes: list[Change] = [done.change for done in reader.done()]
    assert len(changes) == 100
    assert all(change.process for change in changes)
    assert all(change.chains == ("filter noise",) for change in changes)
