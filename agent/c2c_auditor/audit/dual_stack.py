"""Judgements of both address families as one.

A finding about IPv6 says so: in its sentence, in its place, and in its subject, since the same chain stands in both
families.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from attrs import evolve

from c2c_auditor.audit.judgement import MOST_STATEMENTS, Judgement
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import Finding, Place, in_order
from c2c_auditor.model.report import Passage

_NOT_READ = (
    "IPv6 is on, but no rules of ip6tables were given: nothing of IPv6 was judged. The rules of IPv4 were judged as "
    "usual."
)

ALONE = (
    "Only rules of ip6tables were given: policies, mapped ports and address translation stand in those of iptables "
    "(iptables-save)."
)


def marked(finding: Finding) -> Finding:
    """``finding`` as one about rules of IPv6."""
    place = finding.place if finding.place is not None else Place(table="filter", chain="")
    return evolve(
        finding,
        subject=(*finding.subject, AddressFamily.IPV6.value),
        summary=f"IPv6: {finding.summary}",
        place=evolve(place, family=AddressFamily.IPV6),
    )


def of_ipv6(inputs: Inputs, findings: Iterable[Finding]) -> Judgement:
    """What ``findings`` about rules of IPv6 come to, and what was judged."""
    return Judgement(
        findings=in_order(map(marked, findings)), notes=(*inputs.facts.notes, *inputs.notes, *_judged(inputs))
    )


def _judged(inputs: Inputs) -> Iterable[str]:
    store = inputs.facts.store
    if store is None:
        yield "IPv6: which containers there are is not known, so only the rules of others were judged."
        return
    groups = " and security group" if inputs.config.asg_syncing else ""
    chains = f"input, netout, overlay{groups} chains" if groups else "input, netout and overlay chains"
    count = len(store.containers)
    yield f"IPv6: {chains} of {count} container{'s' * (count != 1)} were judged."


def unread(judgement: Judgement) -> Judgement:
    """The judgement of IPv4 where IPv6 is on and its rules are not part of the reading."""
    return evolve(judgement, notes=(*judgement.notes, _NOT_READ))


def both(ipv4: Judgement, ipv6: Judgement) -> Judgement:
    """One judgement of a cell: policies, counts of rules and who reaches whom by them are IPv4's."""
    tally = ipv4.tally
    if ipv4.reach is not None and ipv6.reach is not None:
        tally = evolve(tally, flows=_added(ipv4.reach.flows, ipv6.reach.flows))
    return evolve(
        ipv4,
        findings=in_order((*ipv4.findings, *ipv6.findings)),
        unknown=ipv4.unknown | ipv6.unknown,
        notes=tuple(dict.fromkeys((*ipv4.notes, *ipv6.notes))),
        statements=(*ipv4.statements, *ipv6.statements)[:MOST_STATEMENTS],
        tally=tally,
    )


def _added(
    one: Mapping[tuple[Passage, Passage], int], other: Mapping[tuple[Passage, Passage], int]
) -> Mapping[tuple[Passage, Passage], int]:
    return Counter(one) + Counter(other)
