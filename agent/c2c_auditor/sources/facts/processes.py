"""silk's programs on this cell, and the interfaces that hold the underlay's addresses: what psutil knows."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

import psutil

from c2c_auditor.model.report import ProcessStatus

# Reported name, and the names that its process may have.
_PROCESSES = {
    "vxlan-policy-agent": ("vxlan-policy-agent",),
    "silk-daemon": ("silk-daemon",),
    "netmon": ("netmon",),
    "garden": ("gdn", "guardian"),
}


def read_processes() -> tuple[ProcessStatus, ...]:
    """Whether each program runs, and since when. A process that ends while it is looked at does not run."""
    started: dict[str, float] = {}
    for process in psutil.process_iter(["name", "create_time", "status"]):
        name, time = process.info["name"], process.info["create_time"]
        dead = process.info["status"] == psutil.STATUS_ZOMBIE
        if name and time and not dead and time < started.get(name, float("inf")):
            started[name] = time
    statuses = []
    for shown, names in _PROCESSES.items():
        times = [started[name] for name in names if name in started]
        statuses.append(ProcessStatus(name=shown, up=bool(times), start_time=min(times, default=None)))
    return tuple(statuses)


def underlay_interfaces(addresses: Iterable[IPv4Address]) -> tuple[str, ...]:
    """The names of the interfaces that hold one of ``addresses``, sorted."""
    wanted = set(map(str, addresses))
    return tuple(
        sorted(name for name, held in psutil.net_if_addrs().items() if any(one.address in wanted for one in held))
    )
