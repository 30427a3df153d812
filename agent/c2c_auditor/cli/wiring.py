"""From settings to parts: which readers, which facts, which report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.config import Config, load_config
from c2c_auditor.errors import SourceError
from c2c_auditor.sources.rules.backends import Backends, Reader
from c2c_auditor.sources.rules.command import Limits
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.netlink import Nftables
from c2c_auditor.sources.rules.nft import NftReader


@frozen(kw_only=True)
class Rules:
    """The reader of rules, and the netlink sockets behind it; None where netlink is not to be had."""

    source: Backends
    netlink: Nftables | None


def _nft(config: Config, netlink: Nftables | None) -> Reader:
    return NftReader(bin_dir=config.iptables_bin_dir, generations=netlink, limits=Limits(seconds=config.read_timeout))


def _legacy(config: Config, netlink: Nftables | None) -> Reader:
    del config, netlink
    return LegacyReader()


READERS: Mapping[str, Callable[[Config, Nftables | None], Reader]] = {"nft": _nft, "legacy": _legacy}
"""The readers by the name that ``backend`` takes in the settings; ``auto`` tries them in this order.

A further reader is a module of `sources.rules` and a line here.
"""
_ANNOUNCED = frozenset({"auto", "nft"})
"""The settings with which nf_tables' notifications are followed."""


def rules_of(config: Config) -> Rules:
    """The readers for ``config.backend`` in the caller's network namespace; nothing is read yet."""
    netlink = None
    if config.backend in _ANNOUNCED:
        try:
            netlink = Nftables()
        except SourceError:
            netlink = None  # whole readings then, each time; iptables-nft itself says what is missing
    names = tuple(READERS) if config.backend == "auto" else (config.backend,)
    return Rules(source=Backends([READERS[name](config, netlink) for name in names]), netlink=netlink)


def configured(path: Path | None, **overrides: object) -> Config:
    """The agent's settings from ``path`` or the defaults, with what the command line says on top."""
    config = load_config(path) if path is not None else Config()
    given = {name: value for name, value in overrides.items() if value is not None}
    return evolve(config, **given)  # type: ignore[arg-type]  # the command line's options, named and typed as the settings are
