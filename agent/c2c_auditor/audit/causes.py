"""Groups findings under the one thing that happened: a chain emptied, a table wiped, old rules restored, two backends.

``iptables -F FORWARD`` on a cell of 250 containers makes some 500 findings, and one of them would do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from attrs import evolve

from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cause import Cause
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of

Group = tuple[Cause, Sequence[Finding]]

_POLICY = "restart vxlan-policy-agent (monit restart vxlan-policy-agent), which writes the policy chain afresh"
_CONTAINERS = "recreate the containers or the cell, for silk writes a container's rules once"
_WHO = "The agent's log lines rules-changed-by-others say who changed rules, and when."
_OF_EARLIER_RULES = frozenset(
    {
        Kind.CONTAINER_CHAIN_MISSING,
        Kind.CONTAINER_CHAIN_ORPHAN,
        Kind.ACCEPT_MISSING,
        Kind.ACCEPT_STALE,
        Kind.MARK_MISSING,
        Kind.MARK_STALE,
        Kind.MARK_WRONG_TAG,
        Kind.INGRESS_MISSING,
        Kind.INGRESS_STALE,
        Kind.RULE_LEFTOVER,
        Kind.FLOW_BLOCKED,
        Kind.FLOW_OPEN,
        Kind.JUMP_MISSING,
        Kind.NAT_RULE_MISSING,
        Kind.NAT_RULE_STALE,
        Kind.ASG_MISSING,
        Kind.ASG_STALE,
    }
)


def with_causes(
    findings: Sequence[Finding], rulesets: Sequence[r.Ruleset]
) -> tuple[tuple[Finding, ...], tuple[Cause, ...]]:
    """``findings``, in the same order, with the names of their causes, and these causes.

    ``rulesets`` are those that were judged, the main one of each family first. A finding by itself is its own cause.
    """
    names: dict[tuple[str, ...], str] = {}
    causes: list[Cause] = []
    for cause, members in _groups(findings, rulesets):
        free = [finding for finding in members if finding.key not in names]
        if len(free) > 1:
            names.update(dict.fromkeys((finding.key for finding in free), cause.name))
            counts = Counter((finding.kind, finding.effect) for finding in free)
            causes.append(evolve(cause, counts=dict(counts)))
    if not causes:
        return tuple(findings), ()
    return tuple(
        evolve(finding, cause=names[finding.key]) if finding.key in names else finding for finding in findings
    ), tuple(causes)


def _groups(findings: Sequence[Finding], rulesets: Sequence[r.Ruleset]) -> Iterator[Group]:
    """What happened, the widest first: a finding belongs to the first group that it is in."""
    yield from _two_backends(findings)
    mains: dict[AddressFamily, r.Ruleset] = {}
    for ruleset in rulesets:
        mains.setdefault(ruleset.family, ruleset)
    for family, ruleset in mains.items():
        of_family = [finding for finding in findings if finding.ipv6 is (family is AddressFamily.IPV6)]
        yield from _earlier_rules(of_family, ruleset)
        absent = [finding for finding in of_family if finding.place is not None and finding.found is None]
        yield from _emptied_tables(absent, ruleset)
        yield from _emptied_chains(absent, ruleset)


def _two_backends(findings: Sequence[Finding]) -> Iterator[Group]:
    """Silk's chains in the second backend, and what is wrong with them."""
    split = next((finding for finding in findings if finding.kind is Kind.BACKEND_SPLIT), None)
    if split is not None:
        there = [finding for finding in findings if finding.details and finding.details[-1].startswith("backend ")]
        yield Cause(name="two-backends", summary=split.summary, remedy=split.remedy), [split, *there]


def _earlier_rules(findings: Sequence[Finding], ruleset: r.Ruleset) -> Iterator[Group]:
    """Containers that run have no chains, and others have some: the rules are of a time before.

    Each for itself happens when silk fails at one container. Both together are what ``iptables-restore`` of a saved
    file leaves.
    """
    without = sum(map(_has_no_chain, findings))
    gone = sum(finding.kind is Kind.CONTAINER_CHAIN_ORPHAN for finding in findings)
    if not without or not gone:
        return
    yield (
        Cause(
            name=_name(ruleset, "earlier-rules"),
            summary=(
                f"The rules{_of(ruleset)} are those of an earlier time: {_count(without, 'container')} that should "
                f"have chains {'has' if without == 1 else 'have'} none, and {gone} that "
                f"{'is' if gone == 1 else 'are'} gone still {'has' if gone == 1 else 'have'} chains. A saved ruleset "
                "was restored, or silk could not write for a while."
            ),
            remedy=_remedy(_CONTAINERS),
        ),
        [finding for finding in findings if finding.kind in _OF_EARLIER_RULES],
    )


def _has_no_chain(finding: Finding) -> bool:
    """Whether it is about a container without any chain."""
    about = finding.subject[:-1] if finding.ipv6 else finding.subject
    return finding.kind is Kind.CONTAINER_CHAIN_MISSING and about == finding.handles


def _emptied_tables(absent: Sequence[Finding], ruleset: r.Ruleset) -> Iterator[Group]:
    """Tables in which nothing of silk's is left, although more than one chain should hold something."""
    by_table: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in absent:
        assert finding.place is not None  # noqa: S101 - `_groups` gives no others
        by_table[finding.place.table].append(finding)
    for table, members in by_table.items():
        chains = ruleset.chains(table)
        present = any(family_of(name) is not None for name in chains) or any(
            family_of(jumped_chain(rule)) is not None for chain in chains.values() for rule in chain.rules
        )
        if not present and len({_chain(finding) for finding in members}) > 1:
            yield (
                Cause(
                    name=_name(ruleset, "emptied", table),
                    summary=f"The {table} table{_of(ruleset)} holds nothing of silk's: it was emptied.",
                    remedy=_remedy(*((_POLICY, _CONTAINERS) if table == "filter" else (_CONTAINERS,))),
                ),
                members,
            )


def _emptied_chains(absent: Sequence[Finding], ruleset: r.Ruleset) -> Iterator[Group]:
    """Chains from which all rules of a form are gone: jumps to containers' chains, MASQUERADE; or simply all."""
    by_chain: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in absent:
        if finding.place is not None:
            by_chain[finding.place.table, finding.place.chain].append(finding)
    for (table, name), members in by_chain.items():
        chain = ruleset.chains(table).get(name)
        if chain is None:
            continue
        wanted = [finding.expected for finding in members if finding.expected is not None]
        forms = set(map(_form, wanted))
        if chain.policy is None and not chain.rules:
            summary = f"{name} is empty: all of its {_count(len(wanted), 'rule')} are gone."
        elif chain.policy is not None and forms and forms.isdisjoint(map(_form, chain.rules)):
            summary = f"{name}{_of(ruleset)} lost {_lost(forms)}."
        else:
            continue
        steps = {_POLICY: family_of(name) is ChainFamily.POLICY or ChainFamily.POLICY in forms}
        steps[_CONTAINERS] = family_of(name) is not ChainFamily.POLICY
        how = [step for step, needed in steps.items() if needed]
        yield Cause(name=_name(ruleset, "emptied", table, name), summary=summary, remedy=_remedy(*how)), members


def _form(rule: r.Rule) -> ChainFamily | type:
    """What makes two of silk's rules of a built-in chain alike: where they jump to, or what they do."""
    return family_of(jumped_chain(rule)) or type(rule.target)


def _lost(forms: AbstractSet[ChainFamily | type]) -> str:
    """What a built-in chain lost, when no rule of these forms is left."""
    if ChainFamily.POLICY in forms:
        return "all of silk's jumps"
    if any(isinstance(form, ChainFamily) for form in forms):
        return "all of its jumps to containers' chains"
    return "the MASQUERADE rules of all containers" if forms == {r.Masquerade} else "the rules of all containers"


def _remedy(*how: str) -> str:
    """``how`` silk itself can be made to write the rules again."""
    steps = ", and ".join(how)
    return f"c2c-auditor mend prints the commands that put back what commands can. Without them, {steps}. {_WHO}"


def _chain(finding: Finding) -> str:
    return finding.place.chain if finding.place is not None else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _of(ruleset: r.Ruleset) -> str:
    return " of ip6tables" if ruleset.family is AddressFamily.IPV6 else ""


def _name(ruleset: r.Ruleset, *what: str) -> str:
    return "-".join((*what, *(("ipv6",) if ruleset.family is AddressFamily.IPV6 else ())))
