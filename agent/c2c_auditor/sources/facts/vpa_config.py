"""The vxlan-policy-agent's own configuration: reading it means that an operator has nothing to configure.

Source: silk-release jobs/vxlan-policy-agent/templates/vxlan-policy-agent.json.erb, vxlan-policy-agent/config/config.go.
Keys that later versions add are ignored; a key of the wrong type is named. Since 2025 ``overlay_network`` is a list,
and it and ``underlay_ips`` may hold IPv6, which is not audited. VPA's file has no nulls; in one that was made for the
agent, where VPA's cannot be read, null stands for a switch that nobody told it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import TypeVar

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.sources.files import read_text_file

DEFAULT_PATH = Path("/var/vcap/jobs/vxlan-policy-agent/config/vxlan-policy-agent.json")
T = TypeVar("T")


def read_vpa_config(path: Path) -> VpaConfig:
    """The configuration in ``path``. Raises SourceError that names file and key."""
    return parse_vpa_config(read_text_file(path, source="vpa_config", most=16 << 20), where=str(path))


def parse_vpa_config(text: str, *, where: str) -> VpaConfig:
    """``text`` as a VpaConfig; absent keys have the value that VPA gives them."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _failed(where, f"not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise _failed(where, f"expected an object, found {type(given).__name__}")
    keys = _Keys(given, where)
    denied, limits = keys.object("deny_networks"), keys.object("outbound_connections")
    usual = VpaConfig()
    return VpaConfig(
        overlay_network=keys.value("overlay_network", usual.overlay_network, _overlay),
        poll_interval=keys.value("poll_interval", usual.poll_interval, _positive),
        asg_poll_interval=keys.value("asg_poll_interval", usual.asg_poll_interval, _positive),
        asg_syncing=keys.flag("enable_asg_syncing"),
        c2c_logging=keys.switch("iptables_c2c_logging"),
        asg_logging=keys.flag("iptables_asg_logging"),
        denied_logs_per_second=keys.value("iptables_denied_logs_per_sec", usual.denied_logs_per_second, _count),
        accepted_udp_logs_per_second=keys.value(
            "iptables_accepted_udp_logs_per_sec", usual.accepted_udp_logs_per_second, _count
        ),
        deny_networks_always=denied.value("always", (), _list_of(_network)),
        deny_networks_running=denied.value("running", (), _list_of(_network)),
        deny_networks_staging=denied.value("staging", (), _list_of(_network)),
        connection_limit=limits.flag("limit"),
        connection_limit_logging=limits.flag("logging"),
        connection_burst=limits.value("burst", usual.connection_burst, _count),
        connection_rate_per_second=limits.value("rate_per_sec", usual.connection_rate_per_second, _count),
        underlay_addresses=keys.value("underlay_ips", (), _ipv4_addresses),
        overlay_ingress=keys.switch("enable_overlay_ingress_rules"),
        policy_disabled=keys.flag("disable_container_network_policy"),
        policy_server_url=keys.value("policy_server_url", "", _string),
        ca_file=keys.value("ca_cert_file", "", _string),
        certificate_file=keys.value("client_cert_file", "", _string),
        key_file=keys.value("client_key_file", "", _string),
        client_timeout=keys.value("client_timeout_seconds", usual.client_timeout, _positive),
        store_file=keys.value("cni_datastore_path", usual.store_file, _string),
    )


class _Keys:
    """One JSON object whose values are asked for by key."""

    def __init__(self, given: Mapping[str, object], where: str, prefix: str = "") -> None:
        self._given = given
        self._where = where
        self._prefix = prefix

    def value(self, key: str, usual: T, convert: Callable[[object], T]) -> T:
        """The converted value, ``usual`` if the key is absent or null."""
        given = self._given.get(key)
        if given is None:
            return usual
        try:
            return convert(given)
        except (ValueError, TypeError) as error:
            raise _failed(self._where, f"{self._prefix}{key}: {error}") from error

    def flag(self, key: str) -> bool:
        """A boolean; absent is false."""
        return self.value(key, False, _boolean)  # noqa: FBT003 - the value of an absent switch

    def switch(self, key: str) -> bool | None:
        """A boolean that may be null, not known; absent is false."""
        return None if key in self._given and self._given[key] is None else self.flag(key)

    def object(self, key: str) -> _Keys:
        """A nested object; absent is empty."""
        return _Keys(self.value(key, {}, _mapping), self._where, f"{key}.")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise _unlike("a string", value)
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _unlike("true or false", value)
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _unlike("a whole number above 0", value)
    return value


def _positive(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _unlike("a number above 0", value)
    return float(value)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _unlike("an object", value)
    return value


def _network(value: object) -> IPv4Network:
    return IPv4Network(_string(value), strict=False)


def _overlay(value: object) -> IPv4Network:
    """The one IPv4 network: a string, or since silk knows IPv6 a list."""
    networks = [ip_network(_string(item), strict=False) for item in (value if isinstance(value, list) else [value])]
    found = [network for network in networks if isinstance(network, IPv4Network)]
    if len(found) != 1:
        raise _unlike("one IPv4 network", value)
    return found[0]


def _ipv4_addresses(value: object) -> tuple[IPv4Address, ...]:
    addresses = map(ip_address, _list_of(_string)(value))
    return tuple(address for address in addresses if isinstance(address, IPv4Address))


def _list_of(convert: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    def converted(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _unlike("a list", value)
        return tuple(map(convert, value))

    return converted


def _unlike(expected: str, value: object) -> ValueError:
    return ValueError(f"expected {expected}, found {value!r:.80}")


def _failed(where: str, problem: str) -> SourceError:
    remedy = "it is rendered by BOSH from silk-release; give another one with --vpa-config"
    return SourceError(source="vpa_config", reason=Reason.MALFORMED, where=where, problem=problem, remedy=remedy)
