"""Random damage to a cell's rules in every table that decides about packets: what is gone, changed, or added."""

from __future__ import annotations

from random import Random

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.parse import RuleParser
from support.mutations import with_rules

# Rules of others, by table and chain.
_FOREIGN = (
    ("filter", "FORWARD", "-i eth0 -j DROP"),
    ("filter", "FORWARD", "-d 198.51.100.0/24 -p tcp -m tcp --dport 443 -j ACCEPT"),
    ("filter", "FORWARD", "-s 10.255.0.0/16 -o eth0 -j REJECT"),
    ("filter", "FORWARD", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    ("filter", "FORWARD", "-m mark --mark 0xffff0000 -j DROP"),
    ("filter", "FORWARD", "-p tcp -m tcp --dport 8080 -j ACCEPT"),
    ("filter", "INPUT", "-p udp -m udp --dport 53 -j DROP"),
    ("filter", "INPUT", "-s 10.255.0.0/16 -j ACCEPT"),
    ("filter", "INPUT", "-i eth0 -p tcp -m tcp --dport 22 -j DROP"),
    ("filter", "OUTPUT", "-d 10.255.0.0/16 -p tcp -j DROP"),
    ("mangle", "PREROUTING", "-i eth0 -p tcp -j MARK --set-xmark 0xffff0000/0xffffffff"),
    ("mangle", "PREROUTING", "-s 10.255.0.0/16 -d 198.51.100.0/24 -p udp -j DROP"),
    ("mangle", "FORWARD", "-o eth0 -p tcp -m tcp --dport 443 -j DROP"),
    ("mangle", "POSTROUTING", "-s 10.255.0.0/16 -p udp -j DROP"),
    ("nat", "PREROUTING", "-d 10.0.0.101/32 -p tcp -m tcp --dport 22 -j DNAT --to-destination 10.255.1.4:8080"),
    ("nat", "PREROUTING", "-p udp -m udp --dport 53 -j DNAT --to-destination 169.254.0.2:53"),
    ("nat", "POSTROUTING", "-o eth0 -j ACCEPT"),
    ("nat", "POSTROUTING", "-o eth0 -j MASQUERADE"),
)
_TURNED = {r.ACCEPT: r.DROP, r.DROP: r.ACCEPT, r.REJECT: r.ACCEPT}
_MOST = 4


def damaged(ruleset: r.Ruleset, chance: Random) -> r.Ruleset:
    """``ruleset`` with up to four damages."""
    for _ in range(chance.randint(0, _MOST)):
        ruleset = chance.choice((_lost, _changed, _added, _emptied))(ruleset, chance)
    return ruleset


def _some_chain(ruleset: r.Ruleset, chance: Random) -> tuple[str, r.Chain]:
    table = chance.choice(("filter", "filter", "nat", "mangle"))
    return table, chance.choice([chain for chain in ruleset.chains(table).values() if chain.rules])


def _lost(ruleset: r.Ruleset, chance: Random) -> r.Ruleset:
    table, chain = _some_chain(ruleset, chance)
    at = chance.randrange(len(chain.rules))
    return with_rules(ruleset, chain.name, (*chain.rules[:at], *chain.rules[at + 1 :]), table)


def _emptied(ruleset: r.Ruleset, chance: Random) -> r.Ruleset:
    if chance.random() < 0.7:  # more often would leave little to ask about
        return ruleset
    table, chain = _some_chain(ruleset, chance)
    return with_rules(ruleset, chain.name, (), table)


def _added(ruleset: r.Ruleset, chance: Random) -> r.Ruleset:
    table, name, text = chance.choice(_FOREIGN)
    rules = ruleset.chains(table)[name].rules
    at = chance.randint(0, len(rules))
    return with_rules(ruleset, name, (*rules[:at], RuleParser(ruleset.family).rule(text), *rules[at:]), table)


def _changed(ruleset: r.Ruleset, chance: Random) -> r.Ruleset:
    table, chain = _some_chain(ruleset, chance)
    at = chance.randrange(len(chain.rules))
    rule, target = chain.rules[at], chain.rules[at].target
    if isinstance(target, r.SetMark):
        rule = evolve(rule, target=evolve(target, value=chance.choice((0, 2, 0xFFFF0000))))
    elif isinstance(target, r.Dnat):
        rule = evolve(rule, target=evolve(target, ports=(9999, 9999)))
    elif target in _TURNED and table == "filter":
        rule = evolve(rule, target=_TURNED[target])
    return with_rules(ruleset, chain.name, (*chain.rules[:at], rule, *chain.rules[at + 1 :]), table)
