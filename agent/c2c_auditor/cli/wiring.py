"""Makes the parts from the settings: readers of rules, gatherer of facts, and the reader of a live cell."""

from __future__ import annotations

import shutil
import time
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
from c2c_auditor.model.report import NetlinkStatus
from c2c_auditor.model.rule import Backend, Ruleset
from c2c_auditor.sources.facts.answer_texts import KeepText
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.policy_schedule import Pace
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.backends import Reader as RulesReader
from c2c_auditor.sources.rules.command import Limits
from c2c_auditor.sources.rules.committers import Committers
from c2c_auditor.sources.rules.counting import NativeCounting
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from c2c_auditor.sources.rules.tools import Tools
from c2c_auditor.sources.rules.witness import WitnessedReader


@frozen(kw_only=True)
class Netfilter:
    """The netlink sockets, and the reader that uses them.

    In a process that stays there are ``committers`` too, and a ``witness`` where one is asked for.
    """

    sockets: Netlink
    reader: NativeReader
    witness: WitnessedReader | None = None
    committers: Committers | None = None

    def close(self) -> None:
        """Close all sockets; may be called once."""
        self.sockets.close()
        if self.committers is not None:
            self.committers.close()


@frozen(kw_only=True)
class Rules:
    """The reader of rules, and what reads nf_tables over netlink; None where that is not to be had."""

    source: Backends
    netfilter: Netfilter | None

    @property
    def netlink(self) -> Netlink | None:
        """What becomes readable when something is committed."""
        return None if self.netfilter is None else self.netfilter.sockets

    def status(self) -> NetlinkStatus | None:
        """How the announcements of nf_tables are heard."""
        if self.netfilter is None:
            return None
        announcements, witness = self.netfilter.sockets.announcements, self.netfilter.witness
        return NetlinkStatus(
            buffer=announcements.buffer,
            overflows=announcements.overflows,
            listings=self.netfilter.reader.listings,
            witnessed=None if witness is None else witness.witnessed,
        )

    def policy_chain(self) -> tuple[float, bool] | None:
        """`NativeReader.policy_chain`, as far as commits are announced."""
        if self.netfilter is None:
            return None
        with suppress(SourceError):  # the next audit says it
            return self.netfilter.reader.policy_chain(time.time())
        return None

    def close(self) -> None:
        """Close the sockets."""
        if self.netfilter is not None:
            self.netfilter.close()


def _text(config: Config) -> NftReader:
    return NftReader(bin_dir=config.iptables_bin_dir, limits=Limits(seconds=config.read_timeout))


def _nft(config: Config, netfilter: Netfilter | None) -> RulesReader:
    if netfilter is None:
        return _text(config)
    return netfilter.reader if netfilter.witness is None else netfilter.witness


def _legacy(config: Config, netfilter: Netfilter | None) -> RulesReader:
    del netfilter
    return LegacyReader(bin_dir=config.iptables_bin_dir, limits=Limits(seconds=config.read_timeout))


READERS: Mapping[str, Callable[[Config, Netfilter | None], RulesReader]] = {"nft": _nft, "legacy": _legacy}
"""The readers by the name that ``backend`` takes in the settings; ``auto`` tries them in this order.

A further reader is a module of `sources.rules` and a line here.
"""
_ANNOUNCED = frozenset({"auto", "nft"})
"""The settings with which nf_tables is read."""


def open_rules(config: Config, *, witness: bool = False, lasting: bool = False) -> Rules:
    """The readers for ``config.backend`` in the caller's network namespace; nothing is read yet.

    With ``witness`` iptables-nft is heard too, once in a while. For a process that stays (``lasting``) a thread looks
    at each process that commits, and another reads counters once in a minute.
    """
    netfilter = None
    if config.backend in _ANNOUNCED:
        try:
            witnessed = witness and config.witness_interval > 0
            netfilter = _netfilter(config, witness=witnessed, lasting=lasting)
        except SourceError:
            netfilter = None  # iptables-nft reads then, each time as a whole, and says itself what is missing
    names = tuple(READERS) if config.backend == "auto" else (config.backend,)
    return Rules(source=Backends([READERS[name](config, netfilter) for name in names]), netfilter=netfilter)


def _netfilter(config: Config, *, witness: bool, lasting: bool) -> Netfilter:
    sockets = Netlink()
    looking = None
    if lasting:
        with suppress(SourceError):  # then each is looked at when its commit is read
            looking = Committers()
            looking.start()
    reader = NativeReader(sockets, committers=looking, counting=NativeCounting() if lasting else None)
    return Netfilter(
        sockets=sockets,
        reader=reader,
        committers=looking,
        witness=WitnessedReader(reader, _text(config), config.witness_interval) if witness else None,
    )


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
