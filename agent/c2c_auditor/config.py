"""L5: the agent's own settings: one JSON file, each key once, unknown keys and bad values refused by name.

Every key has a default, so an empty object is a valid configuration of a stock cell.
"""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from attrs import Attribute, field, fields, frozen
from attrs.validators import and_, ge, gt, in_, le, lt, optional
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

from c2c_auditor.errors import ConfigError
from c2c_auditor.model.cni import HostService

_VPA_CONFIG = Path("/var/vcap/jobs/vxlan-policy-agent/config/vxlan-policy-agent.json")


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
        message = "serving without TLS beyond 127.0.0.1 must be asked for: set server.tls, or server.plaintext to true"
        raise ValueError(message)


@frozen(kw_only=True)
class ServerSettings:
    """Where the agent answers. Port 0 lets the system choose.

    ``plaintext`` allows an address other than loopback without TLS.

    ``health_port`` opens a second listener, in plain HTTP, on 127.0.0.1 only, for ``/healthz`` and ``/readyz`` only:
    where client certificates are demanded, whoever supervises the agent on its own machine has none to show.
    """

    tls: TlsSettings | None = None
    plaintext: bool = False
    address: str = field(default="127.0.0.1", validator=_loopback_unless_allowed)
    port: int = field(default=9763, validator=and_(ge(0), lt(65536)))
    threads: int = field(default=4, validator=and_(ge(1), le(64)))
    health_port: int | None = field(default=None, validator=optional(and_(ge(0), lt(65536))))
    ready_max_age: float = field(default=120.0, validator=_seconds(1, 86400))


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
    are used while their source is away; ``ingress_tag`` (hexadecimal) is the policy server's tag of the ingress router,
    otherwise inferred from the rules; ``host_services`` are the silk-cni job's DNS servers and host services, otherwise
    taken from what most containers have in common; ``processes`` is false where the agent cannot see silk's processes,
    being in a PID namespace of its own: it then says nothing about them, and never that they are gone.
    """

    vpa_config: Path = _VPA_CONFIG
    store: Path | None = None
    policy_server: PolicyServerSettings = PolicyServerSettings()
    backend: str = field(default="auto", validator=in_(("auto", "nft", "legacy")))
    iptables_bin_dir: Path | None = None
    underlay_interfaces: tuple[str, ...] | None = None
    ingress_tag: str | None = field(default=None)
    host_services: tuple[str, ...] | None = field(default=None)
    processes: bool = True
    interval: float = field(default=15.0, validator=_seconds(0.2, 3600))
    grace: float | None = field(default=None, validator=optional(and_(gt(0), le(3600))))
    max_age: float = field(default=600.0, validator=_seconds(1, 86400))
    read_timeout: float = field(default=60.0, validator=_seconds(1, 600))
    server: ServerSettings = ServerSettings()

    @host_services.validator
    def _services(self, attribute: Attribute[tuple[str, ...] | None], value: tuple[str, ...] | None) -> None:
        del attribute
        for text in value or ():
            host_service(text)

    @ingress_tag.validator
    def _hexadecimal(self, attribute: Attribute[str | None], value: str | None) -> None:
        del attribute
        if value is not None and not 0 < int(value, 16) <= 0xFFFFFFFF:  # noqa: PLR2004 - marks have 32 bits
            message = f"{value!r} is no tag"
            raise ValueError(message)


def host_service(text: str) -> HostService:
    """``169.254.0.2:53/udp``. Raises ValueError."""
    found = re.fullmatch(r"([\d.]+):(\d{1,5})/(tcp|udp)", text)
    if found is None or not 0 < int(found[2]) < 65536:  # noqa: PLR2004 - ports
        message = f"{text!r} is no service: write ADDRESS:PORT/tcp or ADDRESS:PORT/udp"
        raise ValueError(message)
    return HostService(address=IPv4Address(found[1]), protocol=found[3], port=int(found[2]))


def load_config(path: Path) -> Config:
    """The configuration in ``path``. Raises ConfigError that names file, key and what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror} (give the agent's own configuration with --config)"
        raise ConfigError(message) from error
    return parse_config(text, where=str(path))


def parse_config(text: str, *, where: str) -> Config:
    """``text`` as a `Config`; ``where`` is named in errors."""
    try:
        given = json.loads(text)
    except ValueError as error:
        message = f"{where}: not valid JSON: {error}"
        raise ConfigError(message) from error
    try:
        return _converter().structure(given, Config)
    except Exception as error:
        known = ", ".join(name.name for name in fields(Config))
        details = "; ".join(transform_error(error, path="config", format_exception=_said))
        message = f"{where}: {details} (keys: {known})"
        raise ConfigError(message) from error


def _said(error: BaseException, kind: type | None) -> str:
    """What is wrong with one value, in the words of whoever refused it."""
    if isinstance(error, ValueError | TypeError) and error.args:
        return str(error.args[0])
    return format_exception(error, kind)


def _converter() -> Converter:
    """Strict: unknown keys are refused, and a value must have its JSON type; ``"15"`` is no number and 1 no truth."""
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Path, lambda value, _: Path(_typed(value, str)))
    converter.register_structure_hook(str, lambda value, _: _typed(value, str))
    converter.register_structure_hook(bool, lambda value, _: _typed(value, bool))
    converter.register_structure_hook(int, lambda value, _: _number(value, int))
    converter.register_structure_hook(float, lambda value, _: float(_number(value, (int, float))))
    for cls in (
        TlsSettings,
        PolicyServerSettings,
        ServerSettings,
        Config,
    ):  # inner ones first: the outer ones' hooks call them
        converter.register_structure_hook(cls, _object(cls, converter))
    return converter


def _object(cls: type, converter: Converter) -> Any:  # noqa: ANN401 - cattrs' hooks have no public type
    structure: Any = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)

    def hook(value: object, to: type) -> object:
        if not isinstance(value, dict):
            message = f"expected an object, found {value!r}"
            raise ValueError(message)  # noqa: TRY004 - cattrs reports ValueErrors by their field
        return structure(value, to)

    return hook


def _typed(value: object, kind: type) -> Any:  # noqa: ANN401 - the value, of the kind asked for
    if not isinstance(value, kind):
        message = f"expected {kind.__name__}, found {value!r}"
        raise ValueError(message)  # noqa: TRY004 - cattrs reports ValueErrors by their field
    return value


def _number(value: object, kinds: type | tuple[type, ...]) -> Any:  # noqa: ANN401 - the value, of the kind asked for
    if isinstance(value, bool) or not isinstance(value, kinds):
        message = f"expected a number, found {value!r}"
        raise ValueError(message)  # noqa: TRY004 - as above
    return value
