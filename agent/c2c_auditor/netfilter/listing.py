"""Parses what ``iptables -L`` and ``ip6tables -L`` print, in all its forms.

With or without ``-n``, ``-v``, ``--line-numbers``, of either backend, whole or a few pasted lines.

A listing shows one table and does not say which, leaves out interfaces without ``-v`` and the names of hash limits
always, and gives names to hosts, networks and ports without ``-n``. What it left out is in `Ruleset.lost`. Source:
iptables/iptables.c, ``print_header`` and ``print_firewall``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import define, evolve, field, frozen

from c2c_auditor.errors import NotUnderstood, ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.model.table import BUILT_IN_CHAINS, FILTER, TABLE_OF_CHAINS
from c2c_auditor.netfilter import keywords, tokens
from c2c_auditor.netfilter.family_of import family_in_listing
from c2c_auditor.netfilter.listing_column import ColumnReader
from c2c_auditor.netfilter.parse import LONGEST_RULE, RuleParser

_CHAIN = re.compile(r"Chain (\S+) \((?:policy (\S+)(?: \S+ packets, \S+ bytes)?|\d+ references)\)\s*")
_HEADER = re.compile(r"\s*(num\s+)?(pkts\s+bytes\s+)?target\s+prot\s+opt\s+(in\s+out\s+)?source\s+destination\s*")
# ip6tables before 1.8.8 leaves the column of fragments empty; there the last word that can be a protocol is it, because
# counters and the names of chains may be numbers, too.
_RULE_WITHOUT_FRAGMENT = re.compile(
    rf"\s*((?:\S+\s+){{0,4}})(!?)({'|'.join(map(re.escape, keywords.PROTOCOLS))}|\d+)()\s{{4,}}(.*)"
)
_RULE = re.compile(r"\s*((?:\S+\s+){0,4}?)(!?)([^\s!]+)\s+([-!][-f])\s+(.*)")
_COUNT = re.compile(r"[0-9]{1,20}[KMGT]?")
_AS_PRINTED = "give the output of iptables -L -n -v as it was printed"
_NUMBERS = "list it again with numbers: iptables -L -n -v"
_SCALES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
# Without -n an address may get its name from /etc/networks or /etc/hosts: those that every Debian and Ubuntu has.
_PLACES = {
    r.AddressFamily.IPV4: {
        "anywhere": "0.0.0.0/0",
        "default": "0.0.0.0",  # noqa: S104 - an address in a rule; nothing is bound to it
        "loopback": "127.0.0.0",
        "link-local": "169.254.0.0",
        "localhost": "127.0.0.1",
    },
    r.AddressFamily.IPV6: {
        "anywhere": "::/0",
        "localhost": "::1",
        "ip6-localhost": "::1",
        "ip6-loopback": "::1",
        "ip6-localnet": "fe00::",
        "ip6-mcastprefix": "ff00::",
        "ip6-allnodes": "ff02::1",
        "ip6-allrouters": "ff02::2",
    },
}
_NUMERIC = {r.AddressFamily.IPV4: r"\d+\.\d+\.\d+\.\d+", r.AddressFamily.IPV6: r"[\da-f]*:[\da-f:.]*"}
_ADDRESS = {
    family: re.compile(rf"(!?)({_NUMERIC[family]}|{'|'.join(_PLACES[family])})(/\S+)?") for family in r.AddressFamily
}
_FRAGMENTS = {"--": None, "-f": True, "!f": False}
_COMMENT, _COMMENT_END = " /* ", " */"
_MOST_COMMENT_LINES = 256


def parse_listing(
    text: str, *, where: str, service_port: Callable[[str], int | None], family: r.AddressFamily | None = None
) -> r.Ruleset:
    """``text`` of one table; lines before any chain's header form a chain without a name.

    ``service_port`` gives a service's port, None if it does not know the name. The rules are of ``family``, if that is
    given, else of the one that their addresses show. Raises ParseError for a line that is none of iptables', and for a
    host by name: its address is known only where the listing was made.
    """
    reading = _Reading(
        where=where, service_port=service_port, family=family if family is not None else family_in_listing(text)
    )
    for number, line in _whole_lines(text.splitlines()):
        reading.take(number, line)
    return reading.finish()


def _whole_lines(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a comment that holds newlines makes one line out of several."""
    at = 0
    while at < len(lines):
        end = at + 1
        if _COMMENT in lines[at] and _COMMENT_END not in lines[at]:
            found = (
                last for last in range(at + 1, min(len(lines), at + _MOST_COMMENT_LINES)) if _COMMENT_END in lines[last]
            )
            end = next(found, at) + 1
        yield at + 1, "\n".join(lines[at:end])
        at = end


@frozen(kw_only=True)
class _Columns:
    """Which columns a header announces."""

    number: bool
    counters: bool
    interfaces: bool


@define
class _Chain:
    policy: str | None = None
    rules: list[r.Rule] = field(factory=list)
    packets: list[int] = field(factory=list)
    headed: bool = False


class _Reading:
    """The chains of one text while it is read."""

    def __init__(self, *, where: str, service_port: Callable[[str], int | None], family: r.AddressFamily) -> None:
        self._where = where
        self._parser = RuleParser(family)
        self._column = ColumnReader(service_port, self._parser)
        self._address, self._places = _ADDRESS[family], _PLACES[family]
        self._chains: dict[str, _Chain] = {}
        self._chain: _Chain | None = None
        self._columns: _Columns | None = None
        self._warnings: list[str] = []
        self._lost = {r.Loss.OTHER_TABLES, r.Loss.HASHLIMIT_NAMES}

    def take(self, number: int, line: str) -> None:
        if not line.strip():
            return
        chain, header = _CHAIN.fullmatch(line), _HEADER.fullmatch(line)
        if line.startswith("# "):
            self._warnings.append(line)
        elif chain is not None:
            if chain[1] in self._chains:
                raise self._error(number, line, "this chain appears twice", "give the listing of one table")
            self._chain = self._chains[chain[1]] = _Chain(policy=chain[2])
        elif header is not None:
            self._columns = _Columns(number=bool(header[1]), counters=bool(header[2]), interfaces=bool(header[3]))
            self._lost |= set() if header[3] else {r.Loss.INTERFACES}
            if self._chain is not None:
                self._chain.headed = True
        else:
            self._rule(number, line)

    def finish(self) -> r.Ruleset:
        if not self._chains:
            raise ParseError(where=self._where, line=1, text="", problem="no chain and no rule", remedy=_AS_PRINTED)
        # A listing does not name its table; its built-in chains do. Any others are taken for filter's.
        table = TABLE_OF_CHAINS.get(frozenset(self._chains) & BUILT_IN_CHAINS, FILTER.name)
        chains = {
            name: r.Chain(
                name=name,
                policy=chain.policy,
                rules=tuple(chain.rules),
                packets=tuple(chain.packets) if chain.packets and len(chain.packets) == len(chain.rules) else None,
                whole=chain.headed,
            )
            for name, chain in self._chains.items()
        }
        return r.Ruleset(
            tables={table: r.Table(name=table, chains=chains)},
            family=self._parser.family,
            origin=self._where,
            lost=frozenset(self._lost),
            warnings=tuple(self._warnings),
        )

    def _rule(self, number: int, line: str) -> None:
        if len(line) > LONGEST_RULE:
            raise self._error(number, line, "longer than any rule that the kernel takes", _AS_PRINTED)
        joined = line.replace("\n", "\0")
        cut = _RULE.fullmatch(joined)
        if cut is None and self._parser.family is r.AddressFamily.IPV6:
            cut = _RULE_WITHOUT_FRAGMENT.fullmatch(joined)
        if cut is None:
            raise self._error(number, line, "not a line that iptables -L prints", _AS_PRINTED)
        if self._chain is None:
            self._chain = self._chains[""] = _Chain()
            self._lost.add(r.Loss.CHAIN_NAMES)
        leading, negated, protocol, fragment, rest = cut.groups()
        packets, target = self._leading(number, line, leading.split())
        conditions, column = self._addresses(number, line, rest)
        if protocol not in ("all", "0") or negated:
            if protocol not in keywords.PROTOCOLS and not protocol.isdecimal():
                raise self._error(number, line, f"unknown protocol {protocol!r}", _NUMBERS)
            conditions.append(f"{'! ' if negated else ''}-p {protocol}")
        matches, value = self._column.read(column.replace("\0", "\n"), target)
        try:
            rule = self._parser.rule(" ".join(conditions))
        except NotUnderstood as error:
            raise self._error(
                number, line, f"conditions that no rule has: {' '.join(conditions)}", _AS_PRINTED
            ) from error
        self._chain.rules.append(evolve(rule, fragment=_FRAGMENTS.get(fragment), matches=matches, target=value))
        if packets is not None:
            self._chain.packets.append(packets)

    def _leading(self, number: int, line: str, words: list[str]) -> tuple[int | None, str]:
        """Packets and target, from what stands before the protocol. A rule without a target leaves its column empty.

        Without a header, numbers are taken for counters, and a line's number, as far as they can be.
        """
        counts = 0
        while counts < min(3, len(words)) and _COUNT.fullmatch(words[counts]):
            counts += 1
        columns = self._columns
        if columns is not None:
            counts = columns.number + 2 * columns.counters
        elif len(words) == 1:
            counts = 0
        if not counts <= len(words) <= counts + 1 or not all(map(_COUNT.fullmatch, words[:counts])):
            raise self._error(number, line, "its columns are not those of its header", _AS_PRINTED)
        packets = words[counts - 2] if counts >= 2 else None  # noqa: PLR2004 - packets and bytes
        scaled = None if packets is None else int(packets.rstrip("KMGT")) * _SCALES.get(packets[-1], 1)
        return scaled, words[counts] if len(words) > counts else ""

    def _addresses(self, number: int, line: str, text: str) -> tuple[list[str], str]:
        """Interfaces and addresses as iptables' options, and the column behind them."""
        shown = self._shows_interfaces(text.split(maxsplit=4)) if self._columns is None else self._columns.interfaces
        words = text.split(maxsplit=4 if shown else 2)
        if len(words) < (4 if shown else 2):
            raise self._error(number, line, "it ends before its addresses", _AS_PRINTED)
        conditions = []
        if shown:
            conditions = [
                _interface(option, word)
                for option, word in zip(("-i", "-o"), words, strict=False)
                if word not in ("*", "any")
            ]
            del words[:2]
        else:
            self._lost.add(r.Loss.INTERFACES)
        for option, word in zip(("-s", "-d"), words, strict=False):
            found = self._address.fullmatch(word)
            if found is None:
                raise self._error(number, line, f"{word!r} is a name and not an address", _NUMBERS)
            conditions.append(
                f"{'! ' if found[1] else ''}{option} {self._places.get(found[2], found[2])}{found[3] or ''}"
            )
        return conditions, "".join(words[2:])

    def _shows_interfaces(self, words: list[str]) -> bool:
        """Without a header: whether addresses stand in the third and fourth place and not in the first."""
        return not any(map(self._address.fullmatch, words[:1])) and any(map(self._address.fullmatch, words[2:4]))

    def _error(self, number: int, line: str, problem: str, remedy: str) -> ParseError:
        return ParseError(where=self._where, line=number, text=line, problem=problem, remedy=remedy)


def _interface(option: str, word: str) -> str:
    name = word.removeprefix("!")
    return f"{'! ' if name != word else ''}{option} {tokens.quote(name)}"
