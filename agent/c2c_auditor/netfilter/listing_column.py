"""Parses the last column of ``iptables -L`` into matches and target; text without a row becomes an opaque value."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import evolve, frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, keywords, listing_rows
from c2c_auditor.netfilter.parse import RuleParser

_GOTO = "[goto]"
_COMMENT = "/* "
_COMMENT_END_WORD = " */"
_COMMENT_END = re.compile(r" \*/(?= |$)")
_MOST_ENDS = 8
_BLANKS = re.compile(r"\s*")
_VERDICTS = {verdict.name: verdict for verdict in (r.ACCEPT, r.DROP, r.RETURN, r.Verdict(name="QUEUE"))}


@frozen(kw_only=True)
class Reading:
    """Matches and target from one place of the column to its end.

    ``understood`` if no text of it had to be kept as it is.
    """

    matches: tuple[r.Match, ...] = ()
    target: r.Target | None = None
    understood: bool = True


class ColumnReader:
    """Reads columns. ``service_port`` gives the number of a service's name, None if it is unknown."""

    def __init__(self, service_port: Callable[[str], int | None], parser: RuleParser) -> None:
        self._service_port = service_port
        self._last_end = -1
        self._parser = parser

    def read(self, text: str, name: str) -> tuple[tuple[r.Match, ...], r.Target]:
        """Matches in canonical order, and the target.

        ``name`` stands in the rule's target column, which may be empty.
        """
        text = text.rstrip()
        self._last_end = text.rfind(_COMMENT_END_WORD)
        if text == _GOTO or text.startswith(f"{_GOTO} "):
            return canonical.matches_in_order(list(self._from(text, len(_GOTO), "").matches)), r.Goto(chain=name)
        reading = self._from(text, 0, name)
        if reading.target is None:
            reading = _named(reading, name)
        return canonical.matches_in_order(list(reading.matches)), reading.target or r.NO_TARGET

    def _from(self, text: str, at: int, name: str) -> Reading:
        matches: list[r.Match] = []
        unknown: int | None = None
        understood = True
        while True:
            at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            rest = self._rest(text, at, name)
            known = self._match(text, at) if rest is None else None
            if unknown is not None and (rest or known):
                matches.append(_opaque(text[unknown:at]))
                unknown, understood = None, False
            if rest is not None:
                return Reading(
                    matches=(*matches, *rest.matches), target=rest.target, understood=understood and rest.understood
                )
            if known is not None:
                at, found = known
                matches += found
                understood = understood and not any(isinstance(match, r.OpaqueMatch) for match in found)
            else:
                unknown = at if unknown is None else unknown
                at = _word_end(text, at)

    def _rest(self, text: str, at: int, name: str) -> Reading | None:
        """The reading from ``at`` on, if a comment, the target's own text or the end stands there."""
        if text.startswith(_COMMENT, at):
            return self._comment(text, at, name)
        for row in listing_rows.TARGETS.get(name, ()):
            found = row.match(text, at, self._port)
            target = self._rule(found[1]).target if found else r.NO_TARGET
            if found and not isinstance(target, r.NoTarget | r.OpaqueTarget):
                return Reading(target=target)
        return Reading() if at == len(text) else None

    def _comment(self, text: str, at: int, name: str) -> Reading | None:
        """A comment may hold what looks like its own end.

        So each end is tried, and the one after which all is understood is the right one.

        If several are, the text means two things, and it is kept up to the last of them. None if the comment never
        ends.
        """
        start = at + len(_COMMENT)
        if self._last_end < start - 1:
            return None
        ends = [found.span() for found in _COMMENT_END.finditer(text, start)]
        if not ends:
            return None
        readings = [
            (end, after, self._from(text, after, name))
            for end, after in (ends if len(ends) <= _MOST_ENDS else ends[-1:])
        ]
        end, after, rest = next((reading for reading in readings if reading[2].understood), readings[0])
        comment: r.Match = canonical.comment(text[start:end])
        others = [reading for reading in readings if reading[2].understood and reading[0] != end]
        if others or len(ends) > _MOST_ENDS:
            _, after, rest = others[-1] if others else readings[-1]
            comment = _opaque(text[at:after])
        return Reading(
            matches=(comment, *rest.matches),
            target=rest.target,
            understood=rest.understood and not isinstance(comment, r.OpaqueMatch),
        )

    def _match(self, text: str, at: int) -> tuple[int, tuple[r.Match, ...]] | None:
        """The match that stands at ``at`` and where its text ends.

        It is kept as its text if it has options without a word of their own.
        """
        for row in listing_rows.MATCHES:
            found = row.match(text, at, self._port)
            if found is not None:
                end, options = found
                matches = self._rule(options).matches
                opaque = not options or any(isinstance(match, r.OpaqueMatch) for match in matches)
                return end, ((_opaque(text[at:end]),) if opaque else matches)
        return None

    def _rule(self, options: str) -> r.Rule:
        """The rule with these options alone; one with an opaque match if iptables would not take them."""
        try:
            return self._parser.rule(options)
        except NotUnderstood:
            return r.Rule(matches=(_opaque(options),))

    def _port(self, name: str) -> str:
        """A port's number; a name that is unknown stays, and no option takes it."""
        if name.isdecimal():
            return name
        port = self._service_port(name)
        return name if port is None else str(port)


def _named(reading: Reading, name: str) -> Reading:
    """The target by its name alone. Text at the end that was not understood may be that of a target without a row."""
    if not name or name in _VERDICTS:
        return evolve(reading, target=_VERDICTS.get(name, r.NO_TARGET))
    if name not in listing_rows.TARGETS and name not in keywords.EXTENSION_TARGETS:
        return evolve(reading, target=r.Jump(chain=name))
    last = reading.matches[-1] if reading.matches else None
    if isinstance(last, r.OpaqueMatch):
        return evolve(reading, matches=reading.matches[:-1], target=r.OpaqueTarget(name=name, arguments=last.arguments))
    return evolve(reading, target=r.OpaqueTarget(name=name))


def _opaque(text: str) -> r.OpaqueMatch:
    return r.OpaqueMatch(module="listing", arguments=(text.rstrip(),))


def _word_end(text: str, at: int) -> int:
    """The end of the word at ``at``; a word in double quotes may hold spaces."""
    closing = text.find('"', at + 1) if text[at] == '"' else at
    end = text.find(" ", max(at, closing))
    return len(text) if end < 0 else end
