"""Reads rules of the nf_tables backend with the cell's own iptables-nft, which has the version that wrote them.

It is the second witness beside `native`, which reads the kernel itself, and the reader where netlink is not to be had.
Each reading is a whole one, for a program's output says nothing of what was committed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from c2c_auditor.errors import Reason
from c2c_auditor.model import rule as r
from c2c_auditor.model.change import Done
from c2c_auditor.model.table import READ_TABLES, TableSpec
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.sources.rules.command import Limits
from c2c_auditor.sources.rules.counting import PolledCounting
from c2c_auditor.sources.rules.journal import Journal
from c2c_auditor.sources.rules.older_reader import marked_if_older
from c2c_auditor.sources.rules.saved import failed, read_table
from c2c_auditor.sources.rules.tools import Tools

_ATTEMPTS = 4
_FORGET_BEYOND = 200_000


class NftReader:
    """Reads the tables; what `read` returns was read twice in a row with nothing different but counters.

    The last reading of the call before counts as the first of the two, so while nothing changes each call reads once.
    """

    def __init__(
        self, *, bin_dir: Path | None, limits: Limits | None = None, tables: Sequence[TableSpec] = READ_TABLES
    ) -> None:
        self._limits = limits if limits is not None else Limits()
        self._tools = Tools(bin_dir, self._limits.seconds)
        self._names = tuple(table.name for table in tables)
        self._parsers: dict[r.AddressFamily, RuleParser] = {}
        self._last: dict[r.AddressFamily, r.Ruleset] = {}
        self._journal = Journal()
        self._counting = PolledCounting()

    def in_use(self, family: r.AddressFamily) -> bool | None:
        """None: only reading shows whether nf_tables holds rules of iptables."""
        del family
        return None

    def changes(self) -> Mapping[str, int]:
        """Nothing: programs do not tell who committed."""
        return {}

    def done(self) -> tuple[Done, ...]:
        """What is different from the reading before, since the last call; nobody is known to have done it."""
        return self._journal.take()

    def packets(self) -> Mapping[str, int] | None:
        """Packets by verdict since the first reading, as of the last minute; None before that."""
        return self._counting.sums()

    def read(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.Ruleset:
        """The rules in force.

        Raises SourceError when iptables fails, prints no table, or the rules keep changing.
        """
        first = self._last.get(family)
        for _ in range(_ATTEMPTS):
            before = self._last.get(family)
            again = self._last[family] = self.read_once(family)
            if again == before:
                if first is not None and before is not first:
                    self._journal.note_difference(first, again)
                if family is r.AddressFamily.IPV4:
                    self._counting.note(again)
                return again
        raise failed(
            Reason.INCONSISTENT,
            f"{family.tool}-save",
            f"no two of {_ATTEMPTS} readings in a row agree",
            "somebody rewrites the rules all the time: see commits with `nft monitor`",
        )

    def read_once(self, family: r.AddressFamily, given: Iterable[r.Rule] | None = None) -> r.Ruleset:
        """One reading, which may be of several states. Raises SourceError.

        Rules that equal those ``given`` are these very objects, and nothing is remembered then.
        """
        if given is not None:
            parser = RuleParser(family, {rule: rule for rule in given})
        else:
            parser = self._parsers.setdefault(family, RuleParser(family))
        if len(parser) > _FORGET_BEYOND:
            parser.forget()
        tool = self._tools.find_nft(f"{family.tool}-nft-save", f"{family.tool}-save")
        tables: dict[str, r.Table] = {}
        warnings: dict[str, None] = {}
        for name in self._names:
            table, said = read_table(tool, name, parser, self._limits)
            tables.update(table)
            warnings.update(dict.fromkeys(said))
        ruleset = r.Ruleset(
            tables=tables,
            family=family,
            backend=r.Backend.NFT,
            origin=tool.path,
            reader=tool.version,
            warnings=tuple(warnings),
        )
        return marked_if_older(ruleset)
