"""Container metadata: who runs on this cell, at which address, as which app.

silk's writers lock ``store.json_lock``, truncate ``store.json``, then write it. This reader takes no lock, so it can meet the file empty or half
written: then it reads again for up to a second. ``store.json_version`` counts the writes; a count that moved during a reading means reading again.
Source: silk-release lib/datastore/datastore.go, lib/serial/serial.go.
"""

from __future__ import annotations

import json
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
_REMEDY = "it is read again with the next audit; if it stays so, look at the disk and at the last container created here"


class StoreReader:
    """Reads one store; ``sleep`` is given so that nobody waits in vain."""

    def __init__(self, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._sleep = sleep

    def read(self) -> Store:
        """The containers. Raises SourceError when the file cannot be read or stays torn."""
        problem: SourceError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(_PAUSE_SECONDS)
            before = self._version()
            try:
                text = read_text_file(self._path, source=_SOURCE)
                store = Store() if not text and before in ("", "0") else parse_store(text, where=str(self._path))
            except SourceError as error:
                if error.reason is not Reason.MALFORMED:
                    raise
                problem = error
                continue
            if self._version() == before:
                return store
            problem = _failed(str(self._path), "it was rewritten during each reading")
        raise problem if problem is not None else _failed(str(self._path), "it could not be read")

    def _version(self) -> str:
        """Silk's count of writes; empty where silk never wrote, which makes an empty store a cell that never had a container."""
        try:
            return read_text_file(self._path.with_name(self._path.name + "_version"), source=_SOURCE, most=4096).strip()
        except SourceError:
            return ""


def parse_store(text: str, *, where: str) -> Store:
    """``text`` as a Store, sorted by handle. Entries that cannot be understood are kept apart. Raises SourceError when the whole cannot."""
    if not text.strip():
        raise _failed(where, "it is empty: truncated, and not written again")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _failed(where, f"it is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise _failed(where, f"expected an object of containers by handle, found {type(given).__name__}")
    containers: list[Container] = []
    unreadable: list[BadRecord] = []
    for handle, entry in sorted(given.items()):
        try:
            containers.append(_container(handle, entry, where, unreadable))
        except ValueError as error:
            address = entry.get("ip") if isinstance(entry, dict) else None
            unreadable.append(
                BadRecord(subject=handle, where=where, problem=str(error), address=address if isinstance(address, str) else "")
            )
    return Store(containers=tuple(containers), unreadable=tuple(unreadable))


def _container(handle: str, entry: object, where: str, unreadable: list[BadRecord]) -> Container:
    if not isinstance(entry, dict):
        message = f"expected an object, found {type(entry).__name__}"
        raise ValueError(message)  # noqa: TRY004 - one error for all that is wrong with an entry
    metadata = entry.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    try:
        names = _names(known.get("log_config"))
    except ValueError as error:
        # One such string makes silk give up its whole plan (planner.go), so it is worth a finding; the container is usable all the same.
        unreadable.append(
            BadRecord(subject=handle, where=where, problem=f"its log_config is not JSON, for which silk drops its plan: {error}")
        )
        names = Names()
    return Container(
        handle=handle,
        address=_address(entry.get("ip")),
        app=_text(known, "policy_group_id"),
        space=_text(known, "space_id"),
        org=_text(known, "org_id"),
        workload=_text(known, "container_workload"),
        ports=_ports(known.get("ports")),
        names=names,
    )


def _address(value: object) -> IPv4Address:
    if not isinstance(value, str) or not value:
        message = "it has no address"
        raise ValueError(message)
    try:
        return IPv4Address(value)
    except AddressValueError as error:
        message = f"its address {value!r} is not IPv4"
        raise ValueError(message) from error


def _text(metadata: Mapping[str, object], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _ports(value: object) -> tuple[int, ...]:
    """``"8080, 2222"``; what is no port is left out, as silk does."""
    parts = value.split(",") if isinstance(value, str) else ()
    return tuple(int(part) for part in map(str.strip, parts) if part.isdecimal() and 0 < int(part) < 65536)  # noqa: PLR2004 - ports


def _names(log_config: object) -> Names:
    """The names in ``log_config``, itself a JSON string. Raises ValueError if it is none."""
    if not isinstance(log_config, str) or not log_config:
        return Names()
    given = json.loads(log_config)
    tags = given.get("tags") if isinstance(given, dict) else None
    known = tags if isinstance(tags, dict) else {}
    return Names(app=_text(known, "app_name"), space=_text(known, "space_name"), org=_text(known, "organization_name"))


def _failed(where: str, problem: str) -> SourceError:
    return SourceError(source=_SOURCE, reason=Reason.MALFORMED, where=where, problem=problem, remedy=_REMEDY)
