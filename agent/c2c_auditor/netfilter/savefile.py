"""A whole ``iptables-save`` or ``iptables -S`` text as a `Ruleset`: as many rules out as there are lines of rules in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, field

from c2c_auditor.errors import NotUnderstood, ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import tokens
from c2c_auditor.netfilter.family_of import family_of_save
from c2c_auditor.netfilter.grammar import decimal
from c2c_auditor.netfilter.parse import RuleParser, parse_error

_BLOCK = 1 << 20
_BUILT_IN = frozenset({"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"})


@define
class _Chain:
    policy: str | None = None
    rules: list[r.Rule] = field(factory=list)
    packets: list[int] = field(factory=list)

    def frozen(self, name: str) -> r.Chain:
        counted = len(self.packets) == len(self.rules) and self.packets
        return r.Chain(
            name=name, policy=self.policy, rules=tuple(self.rules), packets=tuple(self.packets) if counted else None
        )


def parse_save(text: str, *, where: str, parser: RuleParser | None = None) -> r.Ruleset:
    """``text`` of one or several tables; lines before any ``*TABLE`` belong to filter, as ``-S`` prints them.

    ``parser`` may be kept by the caller so that unchanged rules are only looked up; the text is of its family then,
    else of the one that its addresses show. Raises ParseError, also for a table without its COMMIT: such a text was cut
    off, and what is missing from it would look deleted.
    """
    reading = _Reading(where=where, parser=parser if parser is not None else RuleParser(family_of_save(text)))
    for number, line in _whole_lines(_lines(text)):
        reading.take(number, line)
    return r.Ruleset(tables=reading.finish(), family=reading.family, origin=where)


def _lines(text: str) -> Iterator[str]:
    """The lines, cut a megabyte at a time: a list of 300,000 of them would double what a reading holds."""
    start = 0
    while start <= len(text):
        end = text.find("\n", start + _BLOCK)
        end = len(text) if end < 0 else end
        yield from text[start:end].split("\n")
        start = end + 1


def _whole_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a comment that holds newlines makes one line out of several.

    Each line is looked at once, so that a quote which is never closed costs no more than its text.
    """
    held: list[str] = []
    start = 0
    for number, line in enumerate(lines, 1):
        if held:
            held.append(line)
            if tokens.closes(line):
                yield start, "\n".join(held)
                held = []
        elif line.count('"') & 1 and tokens.unfinished(line):
            held, start = [line], number
        elif line:
            yield number, line
    if held:
        yield start, "\n".join(held)


class _Reading:
    """The tables of one text while it is read."""

    def __init__(self, *, where: str, parser: RuleParser) -> None:
        self._where = where
        self._parser = parser
        self._tables: dict[str, dict[str, _Chain]] = {}
        self._chains: dict[str, _Chain] = {}
        self._open: tuple[int, str] | None = None

    @property
    def family(self) -> r.AddressFamily:
        """The family whose rules are read."""
        return self._parser.family

    def take(self, number: int, line: str) -> None:
        first = line[0]
        if first == "-":
            self._command(number, line, packets=None)
        elif first == "[":
            self._counted(number, line)
        elif first == ":":
            self._declare(number, line)
        elif first == "*":
            self._begin(number, line)
        elif line.rstrip() == "COMMIT":
            self._open = None
        elif first == "#":
            if "incompatible" in line:
                raise parse_error(
                    where=self._where, line=number, text=line, problem="iptables could not show this table"
                )
        else:
            raise self._error(number, line, "not a line that iptables-save prints")

    def finish(self) -> dict[str, r.Table]:
        if self._open is not None:
            number, line = self._open
            raise self._error(number, line, "the text ends before this table's COMMIT: it was cut off")
        return {
            table: r.Table(name=table, chains={name: chain.frozen(name) for name, chain in chains.items()})
            for table, chains in self._tables.items()
        }

    def _begin(self, number: int, line: str) -> None:
        if self._open is not None:
            raise self._error(*self._open, "another table begins before this table's COMMIT")
        name = line[1:].strip()
        if name in self._tables:
            raise self._error(number, line, "this table appears twice")
        self._chains = self._tables.setdefault(name, {})
        self._open = number, line

    def _declare(self, number: int, line: str) -> None:
        parts = line[1:].split(" ")
        if len(parts) < 2:  # noqa: PLR2004 - name and policy
            raise self._error(number, line, "a chain without its policy")
        self._chain(parts[0]).policy = None if parts[1] == "-" else parts[1]

    def _counted(self, number: int, line: str) -> None:
        counters, space, rest = line.partition("] ")
        packets = counters[1:].partition(":")[0]
        try:
            count = decimal(packets) if space else None
        except NotUnderstood:
            count = None
        if count is None:
            raise self._error(number, line, "counters that are no numbers")
        self._command(number, rest, packets=count)

    def _command(self, number: int, line: str, *, packets: int | None) -> None:
        verb, name, body = (*line.split(" ", 2), "", "")[:3]
        if verb == "-A":
            chain = self._chains.get(name) or self._chain(name)
            try:
                chain.rules.append(self._parser.rule(body))
            except NotUnderstood as error:
                raise self._error(number, line, "a rule that iptables could not have printed") from error
            if packets is not None:
                chain.packets.append(packets)
        elif verb == "-P" and body:
            self._chain(name).policy = body.split(" ")[0]
        elif verb == "-N" and name:
            self._chain(name)
        else:
            raise self._error(number, line, "not a line that iptables-save or iptables -S prints")

    def _chain(self, name: str) -> _Chain:
        if not self._tables:
            self._chains = self._tables.setdefault("filter", {})
        chain = self._chains.get(name)
        if chain is None:
            chain = self._chains[name] = _Chain(policy="ACCEPT" if name in _BUILT_IN else None)
        return chain

    def _error(self, number: int, line: str, problem: str) -> ParseError:
        return parse_error(where=self._where, line=number, text=line, problem=problem)
