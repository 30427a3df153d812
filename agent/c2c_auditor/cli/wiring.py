"""Makes the parts from the settings: readers of rules, gatherer of facts, and the reader of a live cell."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.assembly.live import LiveReader
from c2c_auditor.assembly.once import Reader
from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.config import Config, load_config
from c2c_auditor.errors import SourceError, UsageError
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.rule import Backend, Ruleset
from c2c_auditor.sources.facts.answer_texts import KeepText
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.policy_schedule import Pace
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.backends import Reader as RulesReader
from c2c_auditor.sources.rules.command import Limits
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from c2c_auditor.sources.rules.tools import Tools


@frozen(kw_only=True)
class Rules:
    """The reader of rules, and its netlink sockets; None where netlink is not available."""

    source: Backends
    netlink: Netlink | None

    def close(self) -> None:
        """Close the sockets."""
        if self.netlink is not None:
            self.netlink.close()


def _nft(config: Config, netlink: Netlink | None) -> RulesReader:
    if netlink is not None:
        return NativeReader(netlink)
    return NftReader(bin_dir=config.iptables_bin_dir, limits=Limits(seconds=config.read_timeout))


def _legacy(config: Config, netlink: Netlink | None) -> RulesReader:
    del config, netlink
    return LegacyReader()


READERS: Mapping[str, Callable[[Config, Netlink | None], RulesReader]] = {"nft": _nft, "legacy": _legacy}
"""The readers by the name that ``backend`` takes in the settings; ``auto`` tries them in this order.

A further reader is a module of `sources.rules` and a line here.
"""
_ANNOUNCED = frozenset({"auto", "nft"})
"""The settings with which nf_tables is read."""


def open_rules(config: Config) -> Rules:
    """The readers for ``config.backend`` in the caller's network namespace; nothing is read yet."""
    netlink = None
    if config.backend in _ANNOUNCED:
        try:
            netlink = Netlink()
        except SourceError:
            netlink = None  # iptables-nft reads then, each time as a whole, and says itself what is missing
    names = tuple(READERS) if config.backend == "auto" else (config.backend,)
    return Rules(source=Backends([READERS[name](config, netlink) for name in names]), netlink=netlink)


def saving_programs(config: Config, rulesets: Iterable[Ruleset]) -> Mapping[AddressFamily, str]:
    """Where silk's own iptables is, by the program that prints the rules of each family of its backend.

    Without it where it cannot be found: then its usual name has to do.
    """
    tools = Tools(config.iptables_bin_dir, config.read_timeout)
    path = str(config.iptables_bin_dir) if config.iptables_bin_dir is not None else None
    found: dict[AddressFamily, str] = {}
    for ruleset in rulesets:
        tool = ruleset.family.tool
        if ruleset.backend is Backend.NFT:
            with suppress(SourceError):
                found.setdefault(ruleset.family, tools.find_nft(f"{tool}-nft-save", f"{tool}-save").path)
        elif (legacy := shutil.which(f"{tool}-legacy-save", path=path)) is not None:
            found.setdefault(ruleset.family, legacy)
    return found


def policy_pace(config: Config) -> Pace:
    """How often the daemon asks the policy server: faster than usual only where the grace is shorter than usual.

    A policy must be known well before a rule without it counts as a finding that has lasted.
    """
    usual = Pace()
    if config.grace is None:
        return usual
    quarter = config.grace / 4
    return evolve(
        usual, rest=min(usual.rest, quarter), least=min(usual.least, quarter), start=min(usual.start, quarter)
    )


@contextmanager
def live_reader(config: Config, keep: KeepText | None = None) -> Iterator[LiveReader]:
    """The reader of this cell as it is, for a single audit: each reading waits for all sources.

    ``keep`` gets the sources' own texts (`CellReader`).
    """
    rules = open_rules(config)
    try:
        yield LiveReader(rules.source, CellReader(config, keep=keep))
    finally:
        rules.close()


@contextmanager
def cell_reader(bundle: Path | None, config_file: Path | None, **overrides: Path | None) -> Iterator[Reader]:
    """The reader of a bundle, or without one of this cell as it is. Raises UsageError, ConfigError."""
    if bundle is None:
        with live_reader(load_settings(config_file, **overrides)) as reader:
            yield reader
    elif config_file or any(overrides.values()):
        message = "--bundle contains rules and facts: leave out --config, --vpa-config and --cni-config"
        raise UsageError(message)
    else:
        yield BundleReader(directory=bundle)


def load_settings(path: Path | None, **overrides: object) -> Config:
    """The agent's settings from ``path`` or the defaults, with what the command line says on top."""
    config = load_config(path) if path is not None else Config()
    given = {name: value for name, value in overrides.items() if value is not None}
    return evolve(config, **given)  # type: ignore[arg-type]  # the options have the settings' names and types
