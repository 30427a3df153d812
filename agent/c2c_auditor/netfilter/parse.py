"""Parses rules as iptables-save and ``iptables -S`` print them.

Three ways give the same value. A body (a rule without its ``-A CHAIN``) that was seen before is looked up. A new one is
cut into segments, by splitting or by one regular expression, and each distinct segment is parsed once. A body that
these do not cut completely is parsed word by word. On a cell of 20,000 policy rules the first costs 0.8 µs a line and
the second some 11 µs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from c2c_auditor.errors import NotUnderstood, ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, grammar, keywords, tokens
from c2c_auditor.netfilter.targets import TARGETS

# Options that take a number of words other than one. Everything else takes one word, which may begin with a dash (a
# comment may).
_ARITY = {
    "--syn": 0, "--tcp-flags": 2, "--random": 0, "--random-fully": 0, "--persistent": 0,
    "--limit-iface-in": 0, "--limit-iface-out": 0,
    **dict.fromkeys(keywords.LOG_FLAGS, 0),
}  # fmt: skip
# Options whose one word may be anything, an option's name too.
_FREE_TEXT = {"--comment", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--string", "--hex-string"}
# A rule's entry has at most 65,535 bytes (struct ipt_entry, next_offset), and prints at most some four times as long.
LONGEST_RULE = 1 << 18
_REMEDY = "give the output of iptables-save or iptables -S as it was printed"
_SHORT = {"-s", "-d", "-i", "-o", "-p", "-m", "-j", "-g", "-f", "-c"}
_LONG = {
    "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d",
    "--in-interface": "-i", "--out-interface": "-o",
    "--protocol": "-p", "--match": "-m", "--jump": "-j", "--goto": "-g", "--fragment": "-f", "--set-counters": "-c",
}  # fmt: skip

_VERDICTS = {verdict.name: verdict for verdict in (r.ACCEPT, r.DROP, r.RETURN, r.Verdict(name="QUEUE"))}

Part = tuple[str, Hashable]


def address(text: str, *, family: r.AddressFamily, negated: bool) -> r.AddressMatch | None:
    """``ADDRESS[/LENGTH or MASK]``; None for what matches everything."""
    host, slash, mask = text.partition("/")
    value = grammar.host(family, host)
    if not slash:
        bits = family.all_bits
    elif mask.isdecimal():
        bits = family.prefix_mask(grammar.decimal(mask, most=family.width))
    else:
        bits = grammar.host(family, mask)
    if bits == 0 and not negated:
        return None
    return r.AddressMatch(value=value & bits, family=family, mask=bits, negated=negated)


def _protocol(text: str, *, negated: bool) -> r.ProtocolMatch | None:
    known = keywords.PROTOCOLS.get(text)
    return canonical.protocol(grammar.number(text, most=255) if known is None else known, negated=negated)


def _options(words: Sequence[str]) -> list[grammar.Option]:
    """Words after a module's name as options; a word that is no option where one must stand is an error."""
    found: list[grammar.Option] = []
    at, negated = 0, False
    while at < len(words):
        word = words[at]
        if word == "!":
            negated, at = True, at + 1
            continue
        if not word.startswith("--"):
            raise NotUnderstood(word)
        end = at + 1 + _ARITY.get(word, 1)
        if end > len(words):
            raise NotUnderstood(word)
        found.append((word, negated, tuple(map(tokens.unquote, words[at + 1 : end]))))
        at, negated = end, False
    return found


def _match(words: Sequence[str], family: r.AddressFamily) -> r.Match | None:
    module, rest = tokens.unquote(words[0]), words[1:]
    parser = grammar.MATCHES[family].get(module)
    if parser is not None:
        try:
            return parser(_options(rest))
        except NotUnderstood:
            if module in ("comment", "mark", "tcp", "udp", "state"):
                raise  # silk writes these modules: an option that does not parse is damaged, not new
    return r.OpaqueMatch(module=module, arguments=tuple(map(tokens.unquote, rest)))


def _target(words: Sequence[str], family: r.AddressFamily) -> r.Target:
    name, rest = tokens.unquote(words[0]), words[1:]
    verdict = _VERDICTS.get(name)
    if verdict is not None and not rest:
        return verdict
    parser = TARGETS[family].get(name)
    if parser is not None:
        try:
            return parser(_options(rest))
        except NotUnderstood:
            if name == "MARK":
                raise  # silk's own vocabulary, as above
    if rest or parser is not None or name in keywords.EXTENSION_TARGETS:
        return r.OpaqueTarget(name=name, arguments=tuple(map(tokens.unquote, rest)))
    return r.Jump(chain=name)


def _part(words: Sequence[str], family: r.AddressFamily) -> Part:
    """One segment's contribution to its rule: the field's name and value."""
    negated = words[0] == "!"
    words = words[negated:]
    if not words:
        raise NotUnderstood("!")
    option, value = words[0], words[1:]
    if option == "-f" and not value and family is r.AddressFamily.IPV4:
        return "fragment", not negated
    if option == "-c" and len(value) == 2:  # noqa: PLR2004 - packets and bytes
        return "counters", None
    if not value:
        raise NotUnderstood(option)
    if option == "-m":
        return "match", _match(value, family)
    if option == "-j":
        return "target", _target(value, family)
    if len(value) != 1:
        raise NotUnderstood(" ".join(words))
    return _simple_part(option, value[0], family, negated=negated)


def _simple_part(option: str, text: str, family: r.AddressFamily, *, negated: bool) -> Part:
    """What an option with one value contributes."""
    if option == "-g":
        return "target", r.Goto(chain=tokens.unquote(text))
    if option in ("-s", "-d"):
        return ("source" if option == "-s" else "destination"), address(text, family=family, negated=negated)
    if option in ("-i", "-o"):
        name = "in_interface" if option == "-i" else "out_interface"
        text = tokens.unquote(text)
        return name, None if text == "+" and not negated else r.InterfaceMatch(name=text, negated=negated)
    if option == "-p":
        return "protocol", _protocol(text, negated=negated)
    raise NotUnderstood(option)


def _grouped(words: Sequence[str]) -> list[list[str]]:
    """Words cut before each short option, with the number of values of each long option known.

    Long spellings become short ones.
    """
    groups: list[list[str]] = []
    at, protocol = 0, ""
    while at < len(words):
        word = _LONG.get(words[at], words[at])
        after = _LONG.get(words[at + 1], words[at + 1]) if word == "!" and at + 1 < len(words) else word
        if after in _SHORT:
            taken = {"-f": 0, "-c": 2}.get(after, 1)
            end = at + 1 + (word == "!") + taken
            if end > len(words):
                raise NotUnderstood(after)
            groups.append((["!"] if word == "!" else []) + [after, *words[end - taken : end]])
            protocol = words[end - 1] if after == "-p" else protocol
        else:
            if (not groups or groups[-1][0] not in ("-m", "-j")) and after.startswith("--"):
                if not protocol:
                    raise NotUnderstood(word)
                groups.append(["-m", protocol])  # ``-p tcp --dport 80``: the protocol brings its module along
            elif not groups:
                raise NotUnderstood(word)
            end = at + 1 + (_words_of(word, words[at + 1 : at + 2]) if word.startswith("--") else 0)
            groups[-1].extend(words[at:end])
        at = end
    return groups


def _words_of(option: str, following: Sequence[str]) -> int:
    """How many words ``option`` takes; options of modules without a value class may take none (``--transparent``)."""
    count = _ARITY.get(option)
    if count is not None:
        return count
    return 0 if option not in _FREE_TEXT and following and following[0] in _SHORT else 1


_COMMENT = '-m comment --comment "'


class RuleParser:
    """Parses rule bodies of one address family and remembers them: equal text gives the identical `Rule`.

    `forget` bounds that memory. Where rules that are read besides are ``given``, equal ones are these very objects, and
    no text is remembered: a text that is read once in an hour leaves nothing behind.
    """

    def __init__(
        self, family: r.AddressFamily = r.AddressFamily.IPV4, given: Mapping[r.Rule, r.Rule] | None = None
    ) -> None:
        self.family = family
        self._given = given
        self._bodies: dict[str, r.Rule] = {"": r.Rule()}
        self._parts: dict[str, Part] = {}

    def __len__(self) -> int:
        return len(self._bodies)

    def rule(self, body: str) -> r.Rule:
        """The rule that ``body`` (an ``-A`` line without ``-A CHAIN``) says.

        Raises NotUnderstood for what iptables could not have printed.
        """
        if self._given is not None:
            found = self._build(body) if body else r.Rule()
            return self._given.get(found, found)
        known = self._bodies.get(body)
        if known is None:
            known = self._bodies[body] = self._build(body)
        return known

    def forget(self) -> None:
        """Drop everything remembered; rules in use stay valid."""
        self._bodies = {"": r.Rule()}
        self._parts = {}

    def _build(self, body: str) -> r.Rule:
        if len(body) > LONGEST_RULE:
            raise NotUnderstood(f"a rule of {len(body)} characters")
        for cut in (tokens.simple_segments, tokens.segments):
            try:
                segments = cut(body)
                if segments is not None and "-f " not in body:  # the one short option without a value
                    return _assembled([self._known(segment) for segment in segments])
            except NotUnderstood:
                pass  # a value that looks like an option; the next cut decides
        words = tokens.words(body)
        if words is None:
            raise NotUnderstood(body)
        parts = (_part(group, self.family) for group in _grouped(words))
        return _assembled([(name, canonical.shared(value)) for name, value in parts])

    def _known(self, segment: str) -> Part:
        part = self._parts.get(segment)
        if part is None and segment.startswith(_COMMENT) and segment.count('"') == 2 and "\\" not in segment:  # noqa: PLR2004 - both ends of one string
            part = "match", canonical.comment(segment[len(_COMMENT) : -1])
            if self._given is None:  # most distinct segments of a cell are these
                self._parts[segment] = part
        if part is None:
            words = tokens.words(segment)
            if not words:
                raise NotUnderstood(segment)
            name, value = _part(words, self.family)
            part = self._parts[segment] = name, canonical.shared(value)
        return part


def _assembled(parts: Sequence[Part]) -> r.Rule:
    fields: dict[str, object] = {}
    matches: list[r.Match] = []
    for name, value in parts:
        if name == "match":
            if value is not None:
                matches.append(value)  # type: ignore[arg-type]  # "match" parts carry a Match or None
        elif name != "counters":
            fields[name] = value
    return r.Rule(matches=canonical.matches_in_order(matches), **fields)  # type: ignore[arg-type]  # parts are named after Rule's fields


def parse_error(*, where: str, line: int, text: str, problem: str) -> ParseError:
    """A `ParseError` with the remedy that fits all of iptables' own output."""
    return ParseError(where=where, line=line, text=text, problem=problem, remedy=_REMEDY)
