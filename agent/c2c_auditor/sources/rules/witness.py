"""A second witness of the rules: iptables-nft, which has the version that wrote them.

After the first audit, and then once in a while, all rules are read through it too, by a thread of its own, and held
against what netlink said of the same generation. Beside the first audit it would leave holes in the memory that this
fills for good. While somebody commits all the time no such reading is possible: it is tried again
later, a few times, and then at the next turn.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice

from attrs import evolve, field, frozen

from c2c_auditor.errors import SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Done
from c2c_auditor.model.rule import Loss
from c2c_auditor.netfilter.witness import disagreements
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Requests
from c2c_auditor.sources.rules.nft import NftReader

_AGAIN, _TRIES = 60.0, 5
"""Seconds until a reading that was interrupted is tried again, and how often that is done."""
_MOST = 200


@frozen(kw_only=True)
class _Heard:
    """What came of one reading through iptables: what was different, in which chains, or why there is nothing."""

    different: tuple[r.Disagreement, ...] = ()
    chains: Mapping[tuple[str, str], r.Chain | None] = field(factory=dict)
    interrupted: bool = False
    refused: str = ""


class WitnessedReader:
    """`NativeReader`, with what a witness says of its rules. ``interval`` is in seconds.

    ``witnessed`` is when both were last compared, in seconds since the epoch; None if they never were.
    """

    def __init__(self, native: NativeReader, text: NftReader, interval: float, clocks: Clocks | None = None) -> None:
        self._native = native
        self._begun: set[r.AddressFamily] = set()
        self._text = text
        self._interval = interval
        self._clocks = clocks if clocks is not None else Clocks()
        self._due: dict[r.AddressFamily, float] = {}
        self._tries: dict[r.AddressFamily, int] = {}
        self._heard: dict[r.AddressFamily, _Heard] = {}
        self._shown: dict[r.AddressFamily, tuple[r.Ruleset, _Heard, r.Ruleset]] = {}
        self._thread: threading.Thread | None = None
        self._answer: tuple[r.AddressFamily, _Heard] | None = None
        self.witnessed: float | None = None

    def in_use(self, family: r.AddressFamily) -> bool | None:
        """As `NativeReader.in_use`."""
        return self._native.in_use(family)

    def changes(self) -> Mapping[str, int]:
        """As `NativeReader.changes`."""
        return self._native.changes()

    def done(self) -> tuple[Done, ...]:
        """As `NativeReader.done`."""
        return self._native.done()

    def packets(self) -> Mapping[str, int] | None:
        """As `NativeReader.packets`."""
        return self._native.packets()

    def read(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
        """The rules in force, with what the witness said of chains that are unchanged since. Raises SourceError."""
        ruleset = self._native.read(family)
        self._collect()
        due = family in self._begun and self._clocks.steady() >= self._due.get(family, float("-inf"))
        self._begun.add(family)
        if self._thread is None and due:
            self._ask(family, ruleset)
        return self._with_what_was_heard(family, ruleset)

    def wait(self) -> None:
        """Until the witness has answered, if it was asked."""
        if self._thread is not None:
            self._thread.join()

    def _ask(self, family: r.AddressFamily, ruleset: r.Ruleset) -> None:
        generation = self._native.generation

        def ask() -> None:
            self._answer = family, self._witness(family, ruleset, generation)

        self._thread = threading.Thread(target=ask, name="witness", daemon=True)
        self._thread.start()

    def _witness(self, family: r.AddressFamily, ruleset: r.Ruleset, generation: int | None) -> _Heard:
        try:
            chains = (chain for table in ruleset.tables.values() for chain in table.chains.values())
            witnessed = self._text.read_once(family, (rule for chain in chains for rule in chain.rules))
            with Requests() as requests:
                if requests.generation() != generation:
                    return _Heard(interrupted=True)
        except SourceError as error:
            return _Heard(refused=f"{error.where}: {error.problem}")
        if Loss.NATIVE_EXPRESSIONS in witnessed.lost:
            return _Heard(refused=f"{witnessed.reader} is older than what wrote the rules")
        different = tuple(islice(disagreements(ruleset, witnessed), _MOST))
        named = {(one.table, one.chain) for one in different}
        return _Heard(different=different, chains={name: ruleset.chains(name[0]).get(name[1]) for name in named})

    def _collect(self) -> None:
        """Take an answer that came."""
        if self._thread is None or self._thread.is_alive() or self._answer is None:
            return
        family, heard = self._answer
        self._thread = self._answer = None
        tries = self._tries[family] = self._tries.get(family, 0) + 1 if heard.interrupted else 0
        again = 0 < tries < _TRIES
        self._due[family] = self._clocks.steady() + (min(_AGAIN, self._interval) if again else self._interval)
        if not heard.interrupted:
            self._heard[family] = heard
            self.witnessed = self.witnessed if heard.refused else self._clocks.wall()

    def _with_what_was_heard(self, family: r.AddressFamily, ruleset: r.Ruleset) -> r.Ruleset:
        """``ruleset`` with the differences in chains that are the same objects as then; identical while both are."""
        heard = self._heard.get(family)
        if heard is None or not (heard.different or heard.refused):
            return ruleset
        shown = self._shown.get(family)
        if shown is None or shown[0] is not ruleset or shown[1] is not heard:
            different = tuple(
                one
                for one in heard.different
                if ruleset.chains(one.table).get(one.chain) is heard.chains[one.table, one.chain]
            )
            note = (f"iptables-nft could not be heard as a second witness: {heard.refused}.",) if heard.refused else ()
            made = evolve(ruleset, disagreements=different, warnings=(*ruleset.warnings, *note))
            shown = self._shown[family] = ruleset, heard, made
        return shown[2]
