"""A rule with its place, as a person writes it: ``-t mangle -A FORWARD -i docker0 -j ACCEPT``."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.errors import NotUnderstood, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save

_TABLE = "filter"


@frozen(kw_only=True)
class PlacedRule:
    """A rule of ``chain`` in ``table``."""

    table: str
    chain: str
    rule: r.Rule


def parse_placed(text: str, family: r.AddressFamily) -> PlacedRule:
    """``[-t TABLE] [-A] CHAIN RULE``, the rule as iptables-save of ``family`` prints it.

    Raises NotUnderstood for anything else.
    """
    words, table = text.strip(), _TABLE
    if words.startswith("-t "):
        _, table, words = [*words.split(maxsplit=2), "", ""][:3]
    chain, _, body = words.removeprefix("-A ").lstrip().partition(" ")
    if not chain or "\n" in text:
        raise NotUnderstood(text)
    try:
        parsed = parse_save(f"*{_TABLE}\n-A {chain} {body}\nCOMMIT\n", where=text, parser=RuleParser(family))
    except SourceError as error:
        raise NotUnderstood(text) from error
    (rule,) = parsed.chains(_TABLE)[chain].rules
    return PlacedRule(table=table, chain=chain, rule=rule)
