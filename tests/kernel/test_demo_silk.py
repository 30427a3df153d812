"""The demo's silk writes what the real silk wrote: compared with recordings of the real programs, on both backends."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest

from demo import rules, silk_daemon
from demo.cell import Files, write_cni_config
from demo.command import run
from demo.namespace import Namespace, namespace
from demo.silk import RELEASES, TABLES, Iptables, Silk
from demo.world import PUBLIC, SILK_DAEMON_PORT, App, Instance, NetworkPolicy
from support.namespaces import in_namespace

CELLS = Path(__file__).parent.parent / "golden" / "cells"
FILM = Path(__file__).parent.parent / "golden" / "films" / "life-nft"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)"),
]

Chains = dict[tuple[str, str], list[str]]


@pytest.fixture(name="cell", scope="module")
def _cell() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def instances(cell: Path, created: list[str]) -> list[Instance]:
    """The containers of a recorded cell in the order in which they were created, as the demo's own values."""
    store = json.loads((cell / "store.json").read_text())
    found = []
    for handle in created:
        metadata = store[handle]["metadata"]
        ports = tuple(int(port) for port in metadata["ports"].split(","))
        app = App(guid=metadata["app_id"], name="", space="", space_guid=metadata["space_id"], ports=ports)
        found.append(Instance(handle=handle, address=store[handle]["ip"], app=app, host_port=61016))
    return found


def policies(answer: Path) -> tuple[list[NetworkPolicy], dict[str, int]]:
    """The policies of a recorded answer, and the tags in it."""
    found: list[NetworkPolicy] = []
    tags: dict[str, int] = {}
    for entry in json.loads(answer.read_text())["policies"]:
        source, destination = entry["source"], entry["destination"]
        ports = {"first": destination["ports"]["start"], "last": destination["ports"]["end"]}
        found.append(
            NetworkPolicy(source=source["id"], destination=destination["id"], protocol=destination["protocol"], **ports)
        )
        tags |= {side["id"]: int(side["tag"], 16) for side in (source, destination)}
    return found, tags


def chains(saved: str) -> Chains:
    """Rules by table and chain.

    Counters, host ports and the time in a policy chain's name are evened out, those say nothing.
    """
    found: Chains = {}
    table = ""
    text = re.sub(r"^\[\d+:\d+\] ", "", re.sub(r"vpa--\d+", "vpa--T", saved), flags=re.MULTILINE)
    for line in re.sub(r"--dport 610(1[6-9]|[23]\d)(?=\D)", "--dport HOST", text).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found[table, line[1:].split()[0]] = []
        elif line.startswith("-A "):
            found[table, line.split()[1]].append(line)
    return found


def test_rules_of_the_pair_are_as_recorded(cell: Namespace, backend: str) -> None:
    """The article's two apps, created one after the other, give every chain of the recorded cell, rule by rule."""
    recorded = CELLS / ("pair-nft" if backend == "nft" else "pair")
    saved = (recorded / "iptables-save.txt").read_text()
    handles = re.findall(r"-A INPUT .* -j input--(\S+)", saved)
    created = [
        handle
        for short in handles
        for handle in json.loads((recorded / "store.json").read_text())
        if handle.startswith(short)
    ]
    iptables = Iptables(backend=backend, run=cell.run)
    silk = Silk(iptables=iptables, groups=(PUBLIC,))
    pair = instances(recorded, created)
    known, tags = policies(recorded / "policies.json")
    for count, instance in enumerate(pair, start=1):
        silk.plan(pair[:count], known, tags)
        silk.create(instance)

    assert chains(iptables.save()) == chains(saved)

    for instance in pair:
        silk.delete(instance)
    silk.plan([], known, tags)
    left = {
        name: content
        for name, content in chains(iptables.save()).items()
        if content or name[1].islower() or "--" in name[1]
    }
    assert left == {("filter", "FORWARD"): ["-A FORWARD -j vpa--T"], ("filter", "vpa--T"): []}


def test_policy_chain_of_a_fleet_is_as_recorded(cell: Namespace, backend: str) -> None:
    """Many containers, remote apps, port ranges, both protocols: marks and accepts stand in silk's order.

    Logs and ingress rules are tested apart.
    """
    recorded = CELLS / "fleet-40"
    store = json.loads((recorded / "store.json").read_text())
    handles = [handle for handle, entry in store.items() if entry["metadata"].get("policy_group_id")]
    known, tags = policies(recorded / "policies.json")
    iptables = Iptables(backend=backend, run=cell.run)
    Silk(iptables=iptables).plan(instances(recorded, handles), known, tags)

    wanted = [
        rule for rule in chains((recorded / "iptables-save.txt").read_text())["filter", "vpa--T"] if "src:" in rule
    ]
    assert chains(iptables.save("filter"))["filter", "vpa--T"] == wanted


def steps(commands: list[list[str]]) -> list[str]:
    """Commands without handles, addresses and times."""
    text = "\n".join(" ".join(command) for command in commands)
    for pattern, word in (
        (r"vpa--\d+", "vpa--T"),
        (r"--wait --wait", "--wait"),
        (r"(-restore --noflush) --wait", r"\1"),  # silk locks around this program, the demo lets it wait
        (r"(input|netout|overlay|netin)--[0-9a-f-]+?(?=(--log)?\s)", r"\1--H"),
        (r"asg-[0-9a-f]{20}", "asg-H"),
        (r"\b10\.255\.\d+\.\d+(?!/)", "IP"),
    ):
        text = re.sub(pattern, word, text)
    return text.splitlines()


@pytest.mark.parametrize(("release", "left_out"), [("2024", "10.255.0.0/16"), ("new", "10.255.30.0/24")])
def test_what_is_masqueraded_depends_on_silks_release(
    cell: Namespace, backend: str, release: str, left_out: str
) -> None:
    """Old silk leaves the overlay out, today's the cell's lease; a deleted container's rule goes as it came."""
    iptables = Iptables(backend=backend, run=cell.run)
    silk = Silk(iptables=iptables, release=RELEASES[release])
    app = App(guid="6b817f74-98d2-4602-a695-7fe5290ffb61", name="", space="", space_guid="")
    one = Instance(handle="79827b7a-caea-4518-bd5e-5ee3", address="10.255.30.4", app=app, host_port=61016)
    silk.create(one)
    assert iptables.chain("POSTROUTING", "nat") == [f"-s 10.255.30.4/32 ! -d {left_out} ! -o silk-vtep -j MASQUERADE"]
    silk.delete(one)
    assert iptables.chain("POSTROUTING", "nat") == []


@in_namespace
def test_silk_daemon_says_the_lease() -> None:
    """Its answer is the one that the CNI wrapper's configuration leads to, on loopback."""
    run(("ip", "link", "set", "lo", "up"))
    with silk_daemon.serving(), urlopen(f"http://127.0.0.1:{SILK_DAEMON_PORT}/", timeout=5) as answer:
        assert json.load(answer) == {"overlay_subnet": "10.255.30.0/24", "mtu": 1450}


def test_the_cni_wrappers_configuration_says_what_silk_writes(tmp_path: Path) -> None:
    """Ports, mark and interface in the demo's configuration are those of its rules."""
    files = Files.below(tmp_path)
    write_cni_config(files)
    (plugin,) = json.loads(files.cni_config.read_text())["plugins"]
    assert plugin["delegate"]["daemonPort"] == SILK_DAEMON_PORT
    assert any(f"--mark 0x{plugin['ingress_tag']} " in rule for rule in rules.overlay_rules("10.255.30.4"))
    assert any(f"-o {plugin['vtep_name']} " in rule for rule in rules.overlay_rules("10.255.30.4"))
    opened = [rule for rule in rules.input_rules() if "--destination-port" in rule]
    services = [f"{address}:53" for address in plugin["dns_servers"]] * 2 + plugin["host_tcp_services"]
    assert [re.sub(r".*-d (\S+) .*--destination-port (\d+) .*", r"\1:\2", rule) for rule in opened] == services


@pytest.mark.parametrize(
    "act", ["container of source-app created", "first instance of dest-app deleted", "policy for 8080 removed"]
)
def test_commands_come_in_silks_order(cell: Namespace, act: str) -> None:
    """A policy swap, a container created and one deleted take the commands of the recorded film, one by one."""
    frames = [json.loads(line) for line in (FILM / "frames.jsonl").read_text().splitlines()]
    recorded = [frame["command"] for frame in frames if frame["act"] == act and frame["command"]]
    ran: list[list[str]] = []

    def run(arguments: Sequence[str], text: str = "", codes: Sequence[int] = (0,)) -> str:
        if "save" not in arguments[0]:
            ran.append([arguments[0].replace("-nft", ""), *arguments[1:]])
        return cell.run(arguments, text, codes)

    cell.run(("iptables-nft-restore",), "".join(f"*{table}\nCOMMIT\n" for table in TABLES))
    silk = Silk(iptables=Iptables(backend="nft", run=run), groups=(PUBLIC,))
    app = App(guid="6b817f74-98d2-4602-a695-7fe5290ffb61", name="", space="", space_guid="")
    one = Instance(handle="79827b7a-caea-4518-bd5e-5ee3", address="10.255.1.4", app=app, host_port=61016)
    silk.plan([one], [], {})
    ran.clear()
    if "removed" not in act:
        silk.plan([one], [], {})
        silk.create(one)
    if "deleted" in act:
        ran.clear()
        silk.delete(one)
    if "removed" in act:
        silk.plan([one], [], {})

    assert steps(ran) == steps(recorded)


@pytest.fixture(name="backend", params=["nft", "legacy"])
def _backend(request: pytest.FixtureRequest, cell: Namespace) -> Iterator[str]:
    backend = str(request.param)
    if shutil.which(f"iptables-{backend}-save") is None:
        pytest.skip(f"needs iptables-{backend}-save")
    yield backend
    cell.run((f"iptables-{backend}-restore", "--wait"), "".join(f"*{table}\nCOMMIT\n" for table in TABLES))
