"""Recognises that an older iptables-nft read a newer one's rules: it leaves out ports and marks, with exit status 0.

Since 1.8.8 iptables-nft writes ``--dport`` and ``--mark`` as native expressions of nf_tables; versions before do not
know them and print the rule without. Such a text does not show what the kernel does. Measured: rules that 1.8.10
wrote, listed by 1.8.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.silk.chain_names import policy_chain_time

_FIRST_NATIVE = (1, 8, 8)
_NUMBER = re.compile(r" v(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")
_EXPLAINED = (
    "read these rules and is older than the iptables that wrote them: it leaves out the ports and marks that 1.8.8 and "
    "later write, so no finding that depends on them was judged. Set iptables_bin_dir to the directory of the iptables "
    "that silk and garden use on this cell, or of any from 1.8.8 on."
)
# Chains in which each of silk's rules for tcp or udp to one host names a port (silk's cni-wrapper-plugin, netrules).
_PORTS_IN = ("input--", "netin--")
_WITH_PORTS = (r.TCP, r.UDP)


def marked_if_older(ruleset: r.Ruleset) -> r.Ruleset:
    """``ruleset``, with the loss and a warning when its reader left out what silk always writes.

    A reader that is known to be older is suspected when half of the rules in which silk always writes a port or a mark
    have none; one of unknown version only when all have none. If fewer lack them, the rules may be damaged, and the
    checks report that.
    """
    ruleset = _without_old_mark(ruleset)
    number = _version(ruleset.reader)
    if ruleset.backend is r.Backend.LEGACY or ruleset.reader.endswith("(legacy)"):
        return ruleset
    if number is not None and number >= _FIRST_NATIVE:
        return ruleset
    lacks = list(_lacks_port_or_mark(ruleset))
    needed = len(lacks) if number is None else (len(lacks) + 1) // 2
    if not lacks or sum(lacks) < needed:
        return ruleset
    reader = ruleset.reader or "An iptables of unknown version"
    return evolve(
        ruleset,
        lost=ruleset.lost | {r.Loss.NATIVE_EXPRESSIONS},
        warnings=(*ruleset.warnings, f"{reader} {_EXPLAINED}"),
    )


def _without_old_mark(ruleset: r.Ruleset) -> r.Ruleset:
    """``ruleset`` without the loss that an earlier reading of it was given; some chains were read again since."""
    if r.Loss.NATIVE_EXPRESSIONS not in ruleset.lost:
        return ruleset
    others = tuple(warning for warning in ruleset.warnings if not warning.endswith(_EXPLAINED))
    return evolve(ruleset, lost=ruleset.lost - {r.Loss.NATIVE_EXPRESSIONS}, warnings=others)


def _version(reader: str) -> tuple[int, int, int] | None:
    found = _NUMBER.search(reader)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def _lacks_port_or_mark(ruleset: r.Ruleset) -> Iterator[bool]:
    """For each rule in which silk always writes a port or a mark: whether it has none."""
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            if policy_chain_time(chain.name) is not None:
                yield from (not _has(rule, r.MarkMatch) for rule in chain.rules if _accepts_a_policy(rule))
            elif chain.name.startswith(_PORTS_IN):
                yield from (not _has(rule, r.TransportMatch) for rule in chain.rules if _is_for_one_host(rule))
            elif chain.name.startswith("overlay--"):
                yield from (not _has(rule, r.MarkMatch) for rule in chain.rules if _leaves_by_the_vtep(rule))


def _has(rule: r.Rule, kind: type[r.Match]) -> bool:
    return any(isinstance(match, kind) for match in rule.matches)


def _is_for_one_host(rule: r.Rule) -> bool:
    return (
        rule.destination is not None
        and rule.destination.is_host
        and rule.protocol is not None
        and rule.protocol.number in _WITH_PORTS
        and not isinstance(rule.target, r.OpaqueTarget)
    )


def _accepts_a_policy(rule: r.Rule) -> bool:
    """An ACCEPT or LOG for a policy: silk's comment on it names source and destination."""
    return _is_for_one_host(rule) and any(
        isinstance(match, r.CommentMatch) and match.text.startswith("src:") and "_dst:" in match.text
        for match in rule.matches
    )


def _leaves_by_the_vtep(rule: r.Rule) -> bool:
    return rule.source is not None and rule.out_interface is not None and rule.target == r.ACCEPT
