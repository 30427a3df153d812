"""silk's processes on this cell, and the interfaces that hold the underlay's addresses, both read with psutil."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
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


_NAMES = frozenset(name for names in _PROCESSES.values() for name in names)
# A cell has thousands of processes, and looking at all of them costs 25 ms a thousand. One that was no program of
# silk's can still become one (exec), and its number can be given to another.
_ALL_SECONDS = 60.0


class ProcessTable:
    """Says again and again which of silk's programs run.

    Between two looks at all processes, once in a minute, only new ones are looked at and those that were silk's.
    """

    def __init__(self, pids: Callable[[], Iterable[int]] = psutil.pids) -> None:
        """``pids`` lists the processes that count."""
        self._pids = pids
        self._others: frozenset[int] = frozenset()
        self._all_at = float("-inf")

    def read(self, now: float) -> tuple[ProcessStatus, ...]:
        """Whether each program runs, and since when; ``now`` is seconds of a steady clock.

        A process that ends while it is read does not run. Raises OSError where the system refuses to list processes.
        """
        if now - self._all_at >= _ALL_SECONDS:
            self._others, self._all_at = frozenset(), now
        pids = frozenset(self._pids())
        found = {pid: _started(pid) for pid in pids - self._others}
        self._others = frozenset(pid for pid in pids if found.get(pid) is None)
        started = [one for one in found.values() if one is not None]
        statuses = []
        for reported_name, names in _PROCESSES.items():
            times = [time for name, time in started if name in names]
            statuses.append(ProcessStatus(name=reported_name, up=bool(times), start_time=min(times, default=None)))
        return tuple(statuses)


def _started(pid: int) -> tuple[str, float] | None:
    """The name of a program of silk's that runs as ``pid``, and since when; None for any other."""
    with contextlib.suppress(psutil.NoSuchProcess):
        known = psutil.Process(pid).as_dict(["name", "create_time", "status"])
        name, time = known["name"], known["create_time"]
        if name in _NAMES and time and known["status"] != psutil.STATUS_ZOMBIE:
            return name, time
    return None


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
