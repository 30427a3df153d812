"""L5: the agent's own settings: one JSON file, each key once; errors name unknown keys and bad values.

Every setting of the agent is declared here and nowhere else. The settings of silk's programs are in `sources.facts`.

Every key has a default, so an empty object is a valid configuration of a stock cell.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from attrs import Attribute, field, fields, frozen
from attrs.validators import and_, ge, gt, in_, le, lt, optional, or_

from c2c_auditor.decoding import DecodeError, Dialect, decode, parse_tag
from c2c_auditor.errors import ConfigError, SourceError
from c2c_auditor.model.cni import HostService
from c2c_auditor.sources.declared import DeclaredRuleSettings
from c2c_auditor.sources.files import read_text_file

_VPA_CONFIG = Path("/var/vcap/jobs/vxlan-policy-agent/config/vxlan-policy-agent.json")
_CNI_CONFIG = Path("/var/vcap/jobs/silk-cni/config/cni/cni-wrapper-plugin.conflist")
_MOST_BYTES = 1 << 20
BACKENDS = ("auto", "nft", "legacy")
"""The values of ``backend``: each reader of `cli.wiring.READERS`, and ``auto`` for all of them."""


def _seconds(least: float, most: float) -> Any:  # noqa: ANN401 - what attrs calls a validator has no public type
    return and_(ge(least), le(most))


@frozen(kw_only=True)
class TlsSettings:
    """Certificate and key that ``/metrics`` and the API are served with.

    ``client_ca`` (one file, any number of CAs) makes client certificates mandatory.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


def _loopback_unless_allowed(instance: ServerSettings, attribute: Attribute[str], value: str) -> None:
    del attribute
    try:
        address = ip_address(value)
    except ValueError as error:
        message = f"{value!r} is no IP address"
        raise ValueError(message) from error
    if instance.tls is None and not instance.plaintext and not address.is_loopback:
        message = "an address other than loopback needs TLS: set server.tls, or allow plain HTTP with server.plaintext"
        raise ValueError(message)


@frozen(kw_only=True)
class ServerSettings:
    """Where the agent answers. Port 0 lets the system choose.

    ``plaintext`` allows an address other than loopback without TLS.

    ``health_port`` opens a second listener, in plain HTTP, on 127.0.0.1 only, for ``/healthz`` and ``/readyz`` only:
    where client certificates are demanded, what supervises the agent on its own machine has none to show.

    ``local_port`` opens another one on 127.0.0.1 only, in plain HTTP, for everything: whoever is on the machine, or
    forwards the port through SSH, needs no certificate. ``socket`` is the path of a Unix socket for everything, which
    only root and the agent's own user may open; ``c2c-auditor status`` asks there.

    ``user`` is the user as which the listening process runs. Left out, it is ``nobody`` if the agent is started as
    root, and otherwise the agent's own user.
    """

    tls: TlsSettings | None = None
    plaintext: bool = False
    address: str = field(default="127.0.0.1", validator=_loopback_unless_allowed)
    port: int = field(default=9763, validator=and_(ge(0), lt(65536)))
    threads: int = field(default=4, validator=and_(ge(1), le(64)))
    health_port: int | None = field(default=None, validator=optional(and_(ge(0), lt(65536))))
    local_port: int | None = field(default=None, validator=optional(and_(ge(0), lt(65536))))
    socket: Path | None = None
    ready_max_age: float = field(default=120.0, validator=_seconds(1, 86400))
    user: str | None = None


@frozen(kw_only=True)
class PolicyServerSettings:
    """How to reach policy-server-internal where that differs from what VPA's own configuration says.

    ``timeout`` is in seconds per request; without one VPA's own client timeout counts.
    """

    url: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout: float | None = field(default=None, validator=optional(_seconds(0.1, 300)))


@frozen(kw_only=True)
class Config:
    """All settings. Times in seconds.

    ``grace`` overrides what is worked out from VPA's poll intervals; ``max_age`` is how long the last good expectations
    are used while their source is away; ``cni_config`` is the CNI wrapper's configuration (a CNI list) and
    ``host_services`` takes the place of the DNS servers and host services in it; ``ingress_tag`` (hexadecimal) is the
    policy server's tag of the ingress router, otherwise inferred from the rules; ``processes`` is false where the agent
    cannot see silk's processes, being in a PID namespace of its own: it then says nothing about them, and never that
    they are gone; ``declared_rules`` are others' rules that are meant to be there; ``witness_interval`` is how often
    the daemon holds what it reads of nf_tables against what iptables-nft prints, 0 for never.
    """

    vpa_config: Path = _VPA_CONFIG
    cni_config: Path = _CNI_CONFIG
    store: Path | None = None
    policy_server: PolicyServerSettings = PolicyServerSettings()
    backend: str = field(default="auto", validator=in_(BACKENDS))
    iptables_bin_dir: Path | None = None
    underlay_interfaces: tuple[str, ...] | None = None
    ingress_tag: str | None = field(default=None)
    host_services: tuple[str, ...] | None = field(default=None)
    processes: bool = True
    declared_rules: tuple[DeclaredRuleSettings, ...] = ()
    interval: float = field(default=15.0, validator=_seconds(0.2, 3600))
    grace: float | None = field(default=None, validator=optional(and_(gt(0), le(3600))))
    max_age: float = field(default=600.0, validator=_seconds(1, 86400))
    read_timeout: float = field(default=60.0, validator=_seconds(1, 600))
    witness_interval: float = field(default=3600.0, validator=or_(in_((0,)), _seconds(60, 604800)))
    server: ServerSettings = ServerSettings()

    @host_services.validator
    def _services(self, attribute: Attribute[tuple[str, ...] | None], value: tuple[str, ...] | None) -> None:
        del attribute
        for text in value or ():
            host_service(text)

    @ingress_tag.validator
    def _hexadecimal(self, attribute: Attribute[str | None], value: str | None) -> None:
        del attribute
        if value is not None:
            parse_tag(value)


def host_service(text: str) -> HostService:
    """``169.254.0.2:53/udp``. Raises ValueError."""
    found = re.fullmatch(r"([0-9.]+):([0-9]{1,5})/(tcp|udp)", text)
    if found is None or not 0 < int(found[2]) < 65536:  # noqa: PLR2004 - ports
        message = f"{text!r} is no service: write ADDRESS:PORT/tcp or ADDRESS:PORT/udp"
        raise ValueError(message)
    return HostService(address=IPv4Address(found[1]), protocol=found[3], port=int(found[2]))


def load_config(path: Path) -> Config:
    """The configuration in ``path``. Raises ConfigError that names file, key and what is wrong with it."""
    try:
        text = read_text_file(path, source="config", most=_MOST_BYTES)
    except SourceError as error:
        message = f"{path}: {error.problem} (give the agent's own configuration with --config)"
        raise ConfigError(message) from error
    return parse_config(text, where=str(path))


def parse_config(text: str, *, where: str) -> Config:
    """``text`` as a `Config`; ``where`` is named in errors. Raises ConfigError."""
    try:
        return decode(text, Config, Dialect.OWN)
    except DecodeError as error:
        known = ", ".join(name.name for name in fields(Config))
        message = f"{where}: {error} (keys: {known})"
        raise ConfigError(message) from error
