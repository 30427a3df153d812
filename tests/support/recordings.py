"""The recorded cells and the film as values, read without the project's own sources.

So the core is tested by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.model.cell import (
    CellFacts,
    Container,
    Names,
    Policy,
    PolicySet,
    SecurityGroup,
    SecurityRule,
    Store,
    VpaConfig,
)
from c2c_auditor.model.cni import CniConfig, DenyNetworks, HostService, Lease, LeaseSource, OutboundConnections
from c2c_auditor.model.family import Address
from c2c_auditor.model.rule import PortRange, Ruleset
from c2c_auditor.netfilter.savefile import parse_save

GOLDEN = Path(__file__).parent.parent / "golden"
CELLS = GOLDEN / "cells"
FILM = GOLDEN / "films" / "life-nft"
CELL_NAMES = tuple(sorted(path.name for path in CELLS.iterdir() if (path / "store.json").exists()))
SMALL_CELLS = tuple(name for name in CELL_NAMES if not name.startswith("fleet"))


@frozen(kw_only=True)
class Recording:
    """One recorded cell."""

    name: str
    facts: CellFacts
    ruleset: Ruleset

    @property
    def policy_chain(self) -> str:
        """The name of its one policy chain."""
        (name,) = (name for name in self.ruleset.chains("filter") if name.startswith("vpa--"))
        return name

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses of its containers."""
        assert self.facts.store is not None
        return tuple(container.address for container in self.facts.store.containers)


@lru_cache(maxsize=32)
def recording(name: str) -> Recording:
    """The recorded cell ``name`` with everything that was recorded of it."""
    folder = CELLS / name
    tag, conflist = folder / "ingress_tag", folder / "cni-wrapper-plugin.conflist"
    facts = CellFacts(
        store=store((folder / "store.json").read_text()),
        policies=policies((folder / "policies.json").read_text()),
        config=config((folder / "vxlan-policy-agent.json").read_text()),
        ingress_tag=int(tag.read_text(), 16) if tag.exists() else None,
        security_groups=security_groups((folder / "security_groups.json").read_text()),
        underlay_interfaces=("eth0",),
        cni=cni(conflist.read_text()) if conflist.exists() else None,
        lease=_lease((folder / "cell.json").read_text()),
    )
    return Recording(name=name, facts=facts, ruleset=parse_save((folder / "iptables-save.txt").read_text(), where=name))


def store(text: str) -> Store:
    """Container metadata; the film's first one is an empty file, of a cell that never had a container."""
    return Store(
        containers=tuple(_container(handle, entry) for handle, entry in sorted(json.loads(text or "{}").items()))
    )


def _container(handle: str, entry: dict[str, Any]) -> Container:
    metadata = entry["metadata"]
    tags = json.loads(metadata.get("log_config", "{}")).get("tags", {})
    return Container(
        handle=handle,
        address=IPv4Address(entry["ip"]),
        app=metadata.get("policy_group_id", ""),
        space=metadata.get("space_id", ""),
        org=metadata.get("org_id", ""),
        workload=metadata.get("container_workload", ""),
        ports=tuple(int(port) for port in metadata.get("ports", "").split(",") if port),
        names=Names(
            app=tags.get("app_name", ""), space=tags.get("space_name", ""), org=tags.get("organization_name", "")
        ),
    )


def policies(text: str) -> PolicySet:
    """The policy server's answer."""
    return PolicySet(
        policies=tuple(
            Policy(
                source=policy["source"]["id"],
                source_tag=int(policy["source"]["tag"], 16),
                destination=policy["destination"]["id"],
                destination_tag=int(policy["destination"]["tag"], 16),
                protocol=policy["destination"]["protocol"],
                ports=PortRange(
                    first=policy["destination"]["ports"]["start"], last=policy["destination"]["ports"]["end"]
                ),
            )
            for policy in json.loads(text)["policies"]
        )
    )


def security_groups(text: str) -> tuple[SecurityGroup, ...]:
    """The policy server's answer about security groups."""
    return tuple(
        SecurityGroup(
            guid=group["guid"],
            name=group["name"],
            rules=tuple(SecurityRule(**rule) for rule in json.loads(group["rules"])),
            staging_default=group["staging_default"],
            running_default=group["running_default"],
            staging_spaces=frozenset(group["staging_space_guids"]),
            running_spaces=frozenset(group["running_space_guids"]),
        )
        for group in json.loads(text)["security_groups"]
    )


def config(text: str) -> VpaConfig:
    """What of VPA's configuration the plan needs."""
    given = json.loads(text)
    denied = {key: tuple(map(IPv4Network, nets)) for key, nets in given["deny_networks"].items()}
    limits = given["outbound_connections"]
    return VpaConfig(
        overlay_networks=_networks(given["overlay_network"]),
        poll_interval=given["poll_interval"],
        asg_poll_interval=given["asg_poll_interval"],
        asg_syncing=given["enable_asg_syncing"],
        c2c_logging=given["iptables_c2c_logging"],
        asg_logging=given["iptables_asg_logging"],
        denied_logs_per_second=given["iptables_denied_logs_per_sec"],
        accepted_udp_logs_per_second=given["iptables_accepted_udp_logs_per_sec"],
        deny_networks_always=denied["always"],
        deny_networks_running=denied["running"],
        deny_networks_staging=denied["staging"],
        connection_limit=limits["limit"],
        connection_limit_logging=limits["logging"],
        connection_burst=limits["burst"],
        connection_rate_per_second=limits["rate_per_sec"],
        underlay_addresses=tuple(map(IPv4Address, given["underlay_ips"])),
        overlay_ingress=given["enable_overlay_ingress_rules"],
        policy_disabled=given["disable_container_network_policy"],
    )


def _networks(given: str | list[str]) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, [given] if isinstance(given, str) else given))


def _lease(text: str) -> Lease | None:
    """The cell's lease, where it was recorded."""
    given = json.loads(text).get("lease")
    return Lease(network=IPv4Network(given["network"]), source=LeaseSource(given["source"])) if given else None


def cni(text: str) -> CniConfig:
    """The CNI wrapper's configuration, as far as the recorded cells use it."""
    (given,) = (plugin for plugin in json.loads(text)["plugins"] if plugin["type"] == "cni-wrapper-plugin")
    dns = [(IPv4Address(one), protocol, 53) for one in given["dns_servers"] for protocol in ("tcp", "udp")]
    tcp, udp = (
        [(IPv4Address(host), protocol, int(port)) for host, _, port in (one.rpartition(":") for one in services)]
        for protocol, services in (("tcp", given["host_tcp_services"]), ("udp", given["host_udp_services"]))
    )
    limits = given["outbound_connections"]
    return CniConfig(
        no_masquerade=IPv4Network(given["no_masquerade_cidr_range"]) if given["no_masquerade_cidr_range"] else None,
        host_services=tuple(
            HostService(address=address, protocol=protocol, port=port) for address, protocol, port in (*dns, *tcp, *udp)
        ),
        underlay_interfaces=tuple(given.get("temporary_underlay_interface_names", ())),
        underlay_addresses=tuple(map(IPv4Address, given["underlay_ips"])),
        instance_address=IPv4Address(given["instance_address"]),
        ingress_tag=int(given["ingress_tag"], 16),
        vtep_name=given["vtep_name"],
        deny_networks=DenyNetworks(
            **{key: tuple(map(IPv4Network, nets)) for key, nets in given["deny_networks"].items()}
        ),
        outbound_connections=OutboundConnections(
            limit=limits["limit"],
            logging=limits["logging"],
            burst=limits["burst"],
            rate_per_second=limits["rate_per_sec"],
            dry_run=limits.get("dry_run", False),
        ),
        asg_logging=given["iptables_asg_logging"],
        c2c_logging=given["iptables_c2c_logging"],
        denied_logs_per_second=given["iptables_denied_logs_per_sec"],
        accepted_udp_logs_per_second=given["iptables_accepted_udp_logs_per_sec"],
    )


@frozen(kw_only=True)
class Frame:
    """One frame of the film: rules in force at ``time``, and the facts that hold."""

    number: int
    time: float
    ruleset: Ruleset
    facts: CellFacts


@lru_cache(maxsize=1)
def film() -> tuple[Frame, ...]:
    """All frames; equal files give identical objects."""
    return tuple(_frames())


def _frames() -> Iterator[Frame]:
    settings = config((FILM / "vxlan-policy-agent.json").read_text())
    rulesets: dict[str, Ruleset] = {}
    known: dict[tuple[str, str, str], CellFacts] = {}
    for line in (FILM / "frames.jsonl").read_text().splitlines():
        frame = json.loads(line)
        after = frame["facts_after"]
        key = after["store"], after["policies"], after["security_groups"]
        if key not in known:
            known[key] = CellFacts(
                store=store((FILM / key[0]).read_text()),
                policies=policies((FILM / key[1]).read_text()),
                security_groups=security_groups((FILM / key[2]).read_text()),
                config=settings,
                underlay_interfaces=("eth0",),
            )
        rules = frame["rules"]
        if rules not in rulesets:
            rulesets[rules] = parse_save((FILM / rules).read_text(), where=rules)
        yield Frame(number=frame["n"], time=frame["t"], ruleset=rulesets[rules], facts=known[key])
