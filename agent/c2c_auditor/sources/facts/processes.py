"""silk's processes on this cell, and the interfaces that hold the underlay's addresses, both read with psutil."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

import psutil

from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.model.cni import CniConfig
from c2c_auditor.model.report import ProcessStatus

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Reported name, and the names that its process may have.
_PROCESSES = {
    "vxlan-policy-agent": ("vxlan-policy-agent",),
    "silk-daemon": ("silk-daemon",),
    "netmon": ("netmon",),
    "garden": ("gdn", "guardian"),
}


def read_processes(among: Iterable[psutil.Process] | None = None) -> tuple[ProcessStatus, ...]:
    """Whether each of silk's programs runs, and since when; only ``among`` these processes if given.

    A process that ends while it is read does not run. Raises OSError where the system refuses to list processes.
    """
    started: dict[str, float] = {}
    for process in psutil.process_iter() if among is None else among:
        with contextlib.suppress(psutil.NoSuchProcess):
            known = process.as_dict(["name", "create_time", "status"])
            name, time = known["name"], known["create_time"]
            dead = known["status"] == psutil.STATUS_ZOMBIE
            if name and time and not dead and time < started.get(name, float("inf")):
                started[name] = time
    statuses = []
    for reported_name, names in _PROCESSES.items():
        times = [started[name] for name in names if name in started]
        statuses.append(ProcessStatus(name=reported_name, up=bool(times), start_time=min(times, default=None)))
    return tuple(statuses)


def underlay_interfaces(addresses: Iterable[IPv4Address | IPv6Address]) -> tuple[str, ...]:
    """The names of the interfaces that hold one of ``addresses``, sorted; none if the system does not list them."""
    wanted = set(addresses)
    try:
        interfaces = psutil.net_if_addrs()
    except OSError:  # no descriptor is left, for one; the rules are still judged without the names
        return ()
    return tuple(
        sorted(
            name
            for name, interface_addresses in interfaces.items()
            if any(_address(one.address) in wanted for one in interface_addresses if one.family in _FAMILIES)
        )
    )


def find_underlay(cni: CniConfig | None, vpa: VpaConfig | None) -> tuple[str, ...] | None:
    """The underlay's interfaces as silk's CNI wrapper finds them: by name, else by the machine's addresses.

    VPA's configuration has the same addresses. None where neither has them or no interface holds one. Source:
    silk-release cni-wrapper-plugin/main.go, lib/interfacelookup.
    """
    if cni is not None and cni.underlay_interfaces:
        return cni.underlay_interfaces
    addresses = (cni.underlay_addresses if cni is not None else ()) or (vpa.underlay_addresses if vpa else ())
    return underlay_interfaces(addresses) or None


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as psutil shows it: a link-local IPv6 one with its interface, like ``fe80::1%eth0``."""
    return ip_address(text.partition("%")[0])
