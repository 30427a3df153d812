"""Reads container metadata: which containers run on this cell, at which address, of which app.

silk's writers lock ``store.json_lock``, truncate ``store.json``, write it, and then count the write in
``store.json_version``. This reader takes no lock, so it can meet the file empty or half written: then it reads again
for up to a second, and again when the count moved during a reading. Source: silk-release lib/datastore/datastore.go,
lib/serial/serial.go; vxlan-policy-agent/planner for what of an entry makes silk give up.

Before a cell's first container VPA, as root, creates these files empty with mode 0600, and the first container's CNI
plugin gives them to vcap. Until then the agent may not read them, but sees their size: nothing in either is a cell that
never had a container.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from hashlib import blake2b
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.decoding import DecodeError, Loose, parse_json, replace_surrogates, shown_value, structure
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import BadRecord, Container, Names, Store
from c2c_auditor.sources.files import is_empty_file, read_text_file

_SOURCE = "store"
_ATTEMPTS = 8
_PAUSE_SECONDS = 0.125
_PORT = re.compile("[0-9]{1,5}")
_LAST_PORT = 65535
# A cell leases 254 addresses unless its operator gives it more; 4,000 containers are judged in 250 MB.
_MOST_CONTAINERS = 4096
_REMEDY = (
    "it is read again with the next audit; if it stays so, look at the disk and at the last container created here"
)


@frozen(kw_only=True)
class _Metadata:
    """The keys of a container's metadata that are used; silk ignores values that are no strings (VPA's planner)."""

    policy_group_id: Loose = Loose("")
    space_id: Loose = Loose("")
    org_id: Loose = Loose("")
    container_workload: Loose = Loose("")
    ports: Loose = Loose("")
    log_config: Loose = Loose("")


@frozen(kw_only=True)
class _Entry:
    ip: Loose = Loose("")
    ipv6: Any = None
    metadata: Any = None


@frozen(kw_only=True)
class _Tags:
    app_name: Loose = Loose("")
    space_name: Loose = Loose("")
    organization_name: Loose = Loose("")


class StoreReader:
    """Reads the store at ``path``, again and again.

    ``keep`` gets each text that was read, before it is parsed; ``sleep`` waits between readings.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path
        self._version_path = path.parent / f"{path.name}_version"
        self._keep = keep
        self._sleep = sleep
        self._last: tuple[bytes, Store] | None = None

    def read(self) -> Store:
        """The containers. Raises SourceError when the file cannot be read or stays torn."""
        problem = _failed(Reason.INCONSISTENT, str(self.path), "it was rewritten during each reading")
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(_PAUSE_SECONDS)
            before = self._version()
            try:
                store = self._read_once(never_written=not before)
            except SourceError as error:
                if error.reason is not Reason.MALFORMED:
                    raise
                problem = error
                continue
            if self._version() == before:
                return store
        raise problem

    def _read_once(self, *, never_written: bool) -> Store:
        """An empty file means a cell without containers only if silk never counted a write."""
        try:
            text = read_text_file(self.path, source=_SOURCE)
        except SourceError as error:
            if error.reason is Reason.PERMISSION and never_written and is_empty_file(self.path):
                return Store()
            raise
        self._keep(text)
        if not text and never_written:
            return Store()
        digest = blake2b(text.encode("utf-8", "surrogateescape")).digest()
        if self._last is None or self._last[0] != digest:  # parsing 250 containers takes 5 ms, and they change seldom
            self._last = digest, parse_store(text, where=str(self.path))
        return self._last[1]

    def _version(self) -> str:
        """The count of silk's writes; empty where it never wrote, ``unknown`` where it cannot be read."""
        try:
            return read_text_file(self._version_path, source=_SOURCE, most=4096).strip()
        except SourceError as error:
            never = error.reason is Reason.MISSING or (
                error.reason is Reason.PERMISSION and is_empty_file(self._version_path)
            )
            return "" if never else "unknown"


def parse_store(text: str, *, where: str) -> Store:
    """``text`` as a Store, sorted by handle. Entries that cannot be understood are kept apart.

    Raises SourceError when the whole cannot.
    """
    if not text.strip():
        raise _failed(Reason.MALFORMED, where, "it is empty: truncated, and not written again")
    try:
        given = parse_json(text)
    except DecodeError as error:
        raise _failed(Reason.MALFORMED, where, str(error)) from error
    if not isinstance(given, dict):
        raise _failed(
            Reason.MALFORMED, where, f"expected an object of containers by handle, found {type(given).__name__}"
        )
    if len(given) > _MOST_CONTAINERS:
        problem = f"it has {len(given)} containers; at most {_MOST_CONTAINERS} can be judged"
        raise _failed(Reason.TOO_LARGE, where, problem)
    containers: list[Container] = []
    unreadable: list[BadRecord] = []
    for handle, value in sorted(given.items()):
        container, bad = _entry(replace_surrogates(handle), value, where)
        containers += [container] if container is not None else []
        unreadable += bad
    return Store(containers=tuple(containers), unreadable=tuple(unreadable))


def _entry(handle: str, value: object, where: str) -> tuple[Container | None, list[BadRecord]]:
    """One entry as a container, None if it has no IPv4 address, and what is wrong with it.

    A problem with anything but the address does not leave the container out, because it runs.
    """
    if not isinstance(value, dict):
        return None, [BadRecord(subject=handle, where=where, problem=f"expected an object, found {shown_value(value)}")]
    entry = structure(value, _Entry)
    metadata = structure(_object(entry.metadata), _Metadata)
    problems: list[str] = []
    address, ipv6 = _address(entry.ip, problems.append), _ipv6(entry.ipv6, problems.append)
    names, ports = _names(metadata.log_config, problems.append), _ports(metadata.ports, problems.append)
    container = (
        None
        if address is None
        else Container(
            handle=handle,
            address=address,
            ipv6=ipv6,
            app=metadata.policy_group_id,
            space=metadata.space_id,
            org=metadata.org_id,
            workload=metadata.container_workload,
            ports=ports,
            names=names,
        )
    )
    guids = (metadata.policy_group_id,) if metadata.policy_group_id else ()
    return container, [
        BadRecord(subject=handle, where=where, problem=problem, guids=guids, address=entry.ip) for problem in problems
    ]


def _address(text: str, add_problem: Callable[[str], None]) -> IPv4Address | None:
    if not text:
        add_problem("it has no address")
        return None
    try:
        return IPv4Address(text)
    except AddressValueError:
        add_problem(f"its address {text!r:.80} is not IPv4")
        return None


def _ipv6(value: object, add_problem: Callable[[str], None]) -> IPv6Address | None:
    """Since 2025 silk writes ``ipv6`` beside ``ip``; absent or empty on a cell without IPv6."""
    if value is None or value == "":
        return None
    try:
        return IPv6Address(value if isinstance(value, str) else "")
    except AddressValueError:
        add_problem(f"its second address {shown_value(value)} is not IPv6")
        return None


def _ports(text: str, add_problem: Callable[[str], None]) -> tuple[int, ...]:
    """``"8080, 2222"``. What is no port is left out, but silk's planner stops at it."""
    parts = [part.strip() for part in text.split(",")] if text else []
    ports = tuple(int(part) for part in parts if _PORT.fullmatch(part) and 0 < int(part) <= _LAST_PORT)
    if len(ports) < len(parts):
        add_problem(
            f"its ports {text!r:.80} are not all ports, for which silk drops its whole plan where overlay ingress is on"
        )
    return ports


def _names(log_config: str, add_problem: Callable[[str], None]) -> Names:
    """What people call the app: in ``log_config``, itself a JSON string. silk's planner stops at one that is none."""
    try:
        given = parse_json(log_config) if log_config else {}
    except DecodeError as error:
        add_problem(f"its log_config cannot be read, for which silk drops its whole plan: {error}")
        given = {}
    tags = structure(_object(_object(given).get("tags")), _Tags)
    return Names(app=tags.app_name, space=tags.space_name, org=tags.organization_name)


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _failed(reason: Reason, where: str, problem: str) -> SourceError:
    return SourceError(source=_SOURCE, reason=reason, where=where, problem=problem, remedy=_REMEDY)
