"""From settings to parts: which readers, which facts, which report."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.config import Config, load_config
from c2c_auditor.cycle import RulesSource
from c2c_auditor.errors import SourceError
from c2c_auditor.sources.rules.backends import AutoBackend, OneBackend
from c2c_auditor.sources.rules.command import Limits
from c2c_auditor.sources.rules.legacy import LegacyReader, tables_in_use
from c2c_auditor.sources.rules.netlink import Nftables
from c2c_auditor.sources.rules.nft import NftReader


@frozen(kw_only=True)
class Rules:
    """The reader of rules, and the netlink sockets behind it; None where netlink is not to be had."""

    source: RulesSource
    netlink: Nftables | None


def rules_of(config: Config) -> Rules:
    """The readers for ``config.backend`` in the caller's network namespace; nothing is read yet."""
    if config.backend == "legacy":
        return Rules(source=OneBackend(LegacyReader()), netlink=None)
    try:
        netlink = Nftables()
    except SourceError:
        netlink = None  # whole readings then, each time; iptables-nft itself says what is missing
    nft = NftReader(bin_dir=config.iptables_bin_dir, generations=netlink, limits=Limits(seconds=config.read_timeout))
    if config.backend == "nft":
        return Rules(source=OneBackend(nft, nft), netlink=netlink)
    return Rules(
        source=AutoBackend(nft=nft, witness=nft, legacy=LegacyReader(), legacy_in_use=tables_in_use), netlink=netlink
    )


def configured(path: Path | None, **overrides: object) -> Config:
    """The agent's settings from ``path`` or the defaults, with what the command line says on top."""
    config = load_config(path) if path is not None else Config()
    given = {name: value for name, value in overrides.items() if value is not None}
    return evolve(config, **given)  # type: ignore[arg-type]  # the command line's options, named and typed as the settings are
