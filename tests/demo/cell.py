"""The simulated cell: container metadata, configurations and rules, as silk's programs leave them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from demo.policy_server import Certificates, PolicyServer
from demo.silk import RELEASES, Iptables, Release, Silk
from demo.world import (
    HOST_SERVICE_PORT,
    INGRESS_TAG,
    LINK_LOCAL,
    OVERLAY,
    SILK_DAEMON_PORT,
    UNDERLAY_ADDRESS,
    VTEP,
    Instance,
    Record,
)

_DENY_NETWORKS: Mapping[str, object] = {"always": [], "running": [], "staging": []}
_CONNECTIONS: Mapping[str, object] = {"limit": False, "logging": False, "burst": 1000, "rate_per_sec": 100}


@frozen(kw_only=True)
class Files:
    """The paths of the cell's files: the configurations, and container metadata with its lock and version."""

    vpa_config: Path
    cni_config: Path
    store: Path

    @classmethod
    def below(cls, directory: Path) -> Files:
        """The usual names, in ``directory``."""
        return cls(
            vpa_config=directory / "vxlan-policy-agent.json",
            cni_config=directory / "cni-wrapper-plugin.conflist",
            store=directory / "store.json",
        )


def write_store(path: Path, records: Sequence[Record]) -> None:
    """Write container metadata as silk does: lock, truncate, write, count the version up.

    A reader without the lock can see it empty.

    Source: silk-release lib/datastore/datastore.go (``Add``, ``updateVersion``), lib/serial/serial.go
    (``EncodeAndOverwrite``).
    """
    with path.with_name(f"{path.name}_lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.touch(mode=0o600)
        with path.open("r+") as data:
            data.truncate(0)
            data.flush()
            data.write(
                json.dumps({record["handle"]: record for record in records}, sort_keys=True, separators=(",", ":"))
                + "\n"
            )
        version = path.with_name(f"{path.name}_version")
        version.touch(mode=0o600)
        version.write_text(str(int(version.read_text() or 0) + 1))


def write_vpa_config(
    files: Files, *, url: str, certificates: Certificates, release: Release = RELEASES["2024"]
) -> None:
    """VPA's configuration as its BOSH template renders it, with short poll intervals so that the demo need not wait."""
    settings = dict(_vpa_config(files.store, url=url, certificates=certificates))
    settings["overlay_network"] = [OVERLAY] if release.several_overlays else OVERLAY
    files.vpa_config.write_text(json.dumps(settings, indent=1))


def write_cni_config(files: Files) -> None:
    """The CNI wrapper's configuration list, as the silk-cni job renders it on every cell.

    Source: silk-release jobs/silk-cni/templates/cni-wrapper-plugin.conflist.erb.
    """
    listed = {
        "name": "cni-wrapper",
        "cniVersion": "1.0.0",
        "disableCheck": True,
        "plugins": [_cni_wrapper(files.store)],
    }
    files.cni_config.write_text(json.dumps(listed, indent=1))


def _cni_wrapper(store: Path) -> Mapping[str, object]:
    return {
        "type": "cni-wrapper-plugin",
        "datastore": str(store),
        "iptables_lock_file": str(store.with_name("iptables.lock")),
        "instance_address": UNDERLAY_ADDRESS,
        "no_masquerade_cidr_range": "",
        "temporary_underlay_interface_names": [],
        "underlay_ips": [UNDERLAY_ADDRESS],
        "dns_servers": [LINK_LOCAL],
        "host_tcp_services": [f"{LINK_LOCAL}:{HOST_SERVICE_PORT}"],
        "host_udp_services": [],
        "deny_networks": _DENY_NETWORKS,
        "outbound_connections": {**_CONNECTIONS, "dry_run": False},
        "ingress_tag": INGRESS_TAG,
        "vtep_name": VTEP,
        "policy_agent_force_poll_address": "127.0.0.1:8722",
        "iptables_asg_logging": False,
        "iptables_c2c_logging": False,
        "iptables_denied_logs_per_sec": 1,
        "iptables_accepted_udp_logs_per_sec": 100,
        "delegate": {
            "type": "silk-cni",
            "name": "silk",
            "cniVersion": "1.0.0",
            "daemonPort": SILK_DAEMON_PORT,
            "mtu": 0,
        },
    }


def _vpa_config(store: Path, *, url: str, certificates: Certificates) -> Mapping[str, object]:
    return {
        "log_level": "info",
        "log_prefix": "cfnetworking",
        "iptables_c2c_logging": False,
        "iptables_asg_logging": False,
        "iptables_accepted_udp_logs_per_sec": 100,
        "iptables_denied_logs_per_sec": 1,
        "poll_interval": 1,
        "enable_asg_syncing": True,
        "asg_poll_interval": 1,
        "deny_networks": _DENY_NETWORKS,
        "outbound_connections": _CONNECTIONS,
        "policy_server_url": url,
        "metron_address": "127.0.0.1:3457",
        "underlay_ips": [UNDERLAY_ADDRESS],
        "debug_server_host": "127.0.0.1",
        "debug_server_port": 8721,
        "force_policy_poll_cycle_host": "127.0.0.1",
        "force_policy_poll_cycle_port": 8722,
        "enable_overlay_ingress_rules": False,
        "disable_container_network_policy": False,
        "ca_cert_file": str(certificates.ca),
        "client_cert_file": str(certificates.client),
        "client_key_file": str(certificates.client_key),
        "cni_datastore_path": str(store),
        "iptables_lock_file": str(store.with_name("iptables.lock")),
        "client_timeout_seconds": 5,
        "vni": 1,
        "loggregator": {"loggregator_use_v2_api": False},
    }


class Cell:
    """One cell at work.

    ``instances`` are its containers; ``other`` is the backend of iptables that silk does not use here.

    What silk wrote last is remembered, so that damage done to the rules can be undone without silk taking part.
    """

    def __init__(self, *, files: Files, silk: Silk, other: Iptables, server: PolicyServer) -> None:
        self.files = files
        self.silk = silk
        self.other = other
        self.server = server
        self.instances: list[Instance] = []
        self._written = ""

    @property
    def iptables(self) -> Iptables:
        """The backend that silk writes to."""
        return self.silk.iptables

    @property
    def policy_chain(self) -> str:
        """The name of the policy chain that packets come through first."""
        return self.iptables.policy_chains()[0]

    def create(self, instance: Instance) -> None:
        """A container comes: metadata first, then VPA's plan, then the container's own chains."""
        self.instances.append(instance)
        self.write_store()
        self._plan()
        self.silk.create(instance)
        self._remember()

    def delete(self, instance: Instance) -> None:
        """A container goes: VPA is not told, so its rules in the policy chain stay."""
        self.instances.remove(instance)
        self.write_store()
        self.silk.delete(instance)
        self._remember()

    def replan(self) -> None:
        """VPA plans afresh, as after its restart or a change of policy."""
        self._plan()
        self._remember()

    def write_store(self, records: Sequence[Record] | None = None) -> None:
        """Write container metadata: ``records``, or what is true."""
        write_store(self.files.store, [one.record() for one in self.instances] if records is None else records)

    def put_back(self) -> None:
        """Undo what was done to the rules since silk last wrote them, one commit a table."""
        self.iptables.replace(self._written)

    def edit(self, *lines: str, table: str = "filter") -> None:
        """Change rules behind silk's back, in one commit; lines like ``-D CHAIN 3``."""
        self.iptables.restore(table, *lines)

    def position(self, chain: str, *words: str) -> tuple[int, str]:
        """Where in ``chain`` (from 1) the first rule that contains all ``words`` stands, and its text."""
        found = enumerate(self.iptables.chain(chain), start=1)
        return next((number, rule) for number, rule in found if all(word in rule for word in words))

    def _plan(self) -> None:
        truth = self.server.truth
        self.silk.plan(self.instances, truth.policies, truth.tags)

    def _remember(self) -> None:
        self._written = self.iptables.save()
