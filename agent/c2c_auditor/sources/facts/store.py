"""Container metadata: who runs on this cell, at which address, as which app.

silk's writers lock ``store.json_lock``, truncate ``store.json``, write it, and then count the write in
``store.json_version``. This reader takes no lock, so it can meet the file empty or half written: then it reads again
for up to a second, and again when the count moved during a reading. Source: silk-release lib/datastore/datastore.go,
lib/serial/serial.go; vxlan-policy-agent/planner for what of an entry makes silk give up.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import BadRecord, Container, Names, Store
from c2c_auditor.sources.files import read_text_file

_SOURCE = "store"
_ATTEMPTS = 8
_PAUSE_SECONDS = 0.125
_PORT = re.compile("[0-9]{1,5}")
_REMEDY = (
    "it is read again with the next audit; if it stays so, look at the disk and at the last container created here"
)


class StoreReader:
    """Reads one store; ``keep`` gets each text that was read, before it is parsed; ``sleep`` waits between readings."""

    def __init__(
        self,
        path: Path,
        *,
        keep: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._keep = keep
        self._sleep = sleep

    def read(self) -> Store:
        """The containers. Raises SourceError when the file cannot be read or stays torn."""
        problem = _failed(Reason.INCONSISTENT, str(self._path), "it was rewritten during each reading")
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(_PAUSE_SECONDS)
            before = self._version()
            try:
                text = read_text_file(self._path, source=_SOURCE)
                self._keep(text)
                # silk makes both files when it first looks and counts only what it writes: nothing in either is a cell
                # that never had a container.
                store = Store() if not text and not before else parse_store(text, where=str(self._path))
            except SourceError as error:
                if error.reason is not Reason.MALFORMED:
                    raise
                problem = error
                continue
            if self._version() == before:
                return store
        raise problem

    def _version(self) -> str:
        """The count of silk's writes; empty where it never wrote."""
        try:
            return read_text_file(self._path.with_name(self._path.name + "_version"), source=_SOURCE, most=4096).strip()
        except SourceError as error:
            return "" if error.reason is Reason.MISSING else "unknown"


def parse_store(text: str, *, where: str) -> Store:
    """``text`` as a Store, sorted by handle. Entries that cannot be understood are kept apart.

    Raises SourceError when the whole cannot.
    """
    if not text.strip():
        raise _failed(Reason.MALFORMED, where, "it is empty: truncated, and not written again")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _failed(Reason.MALFORMED, where, f"it is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise _failed(
            Reason.MALFORMED, where, f"expected an object of containers by handle, found {type(given).__name__}"
        )
    containers: list[Container] = []
    unreadable: list[BadRecord] = []
    for handle, entry in sorted(given.items()):
        metadata = _object(_object(entry).get("metadata"))
        problems: list[str] = []
        container = _container(handle, entry, metadata, problems.append)
        containers += [container] if container is not None else []
        app = _text(metadata, "policy_group_id")
        for problem in problems:
            bad = BadRecord(
                subject=handle,
                where=where,
                problem=problem,
                guids=(app,) if app else (),
                address=_text(_object(entry), "ip"),
            )
            unreadable.append(bad)
    return Store(containers=tuple(containers), unreadable=tuple(unreadable))


def _container(
    handle: str, entry: object, metadata: Mapping[str, object], complain: Callable[[str], None]
) -> Container | None:
    """None for what is no container.

    A complaint about metadata alone is no reason to leave the container out: it runs.
    """
    names, ports = _names(metadata, complain), _ports(metadata, complain)
    if not isinstance(entry, dict):
        complain(f"expected an object, found {type(entry).__name__}")
        return None
    address = _address(entry.get("ip"), complain)
    if address is None:
        return None
    return Container(
        handle=handle,
        address=address,
        app=_text(metadata, "policy_group_id"),
        space=_text(metadata, "space_id"),
        org=_text(metadata, "org_id"),
        workload=_text(metadata, "container_workload"),
        ports=ports,
        names=names,
    )


def _address(value: object, complain: Callable[[str], None]) -> IPv4Address | None:
    if not isinstance(value, str) or not value:
        complain("it has no address")
        return None
    try:
        return IPv4Address(value)
    except AddressValueError:
        complain(f"its address {value!r:.80} is not IPv4")
        return None


def _ports(metadata: Mapping[str, object], complain: Callable[[str], None]) -> tuple[int, ...]:
    """``"8080, 2222"``. What is no port is left out, but silk's planner stops at it."""
    text = _text(metadata, "ports")
    parts = [part.strip() for part in text.split(",")] if text else []
    ports = tuple(int(part) for part in parts if _PORT.fullmatch(part) and 0 < int(part) < 65536)  # noqa: PLR2004 - ports
    if len(ports) < len(parts):
        complain(
            f"its ports {text!r:.80} are not all ports, for which silk drops its whole plan where overlay ingress is on"
        )
    return ports


def _names(metadata: Mapping[str, object], complain: Callable[[str], None]) -> Names:
    """What people call the app: in ``log_config``, itself a JSON string. silk's planner stops at one that is none."""
    text = _text(metadata, "log_config")
    try:
        tags = _object(_object(json.loads(text)).get("tags")) if text else {}
    except (ValueError, RecursionError) as error:
        complain(f"its log_config is not JSON, for which silk drops its whole plan: {error}")
        tags = {}
    return Names(app=_text(tags, "app_name"), space=_text(tags, "space_name"), org=_text(tags, "organization_name"))


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(given: Mapping[str, object], key: str) -> str:
    value = given.get(key)
    return value if isinstance(value, str) else ""


def _failed(reason: Reason, where: str, problem: str) -> SourceError:
    return SourceError(source=_SOURCE, reason=reason, where=where, problem=problem, remedy=_REMEDY)
