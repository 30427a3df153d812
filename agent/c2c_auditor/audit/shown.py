"""What a text that is only a part of a cell's rules proves, and what it does not.

Only what is shown is judged: a rule or chain that such a text does not show may be there all the same. And rules with
nothing of silk's in them prove nothing at all unless it is known what should be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from c2c_auditor.audit.checks.extra_rules import comment_guids
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Family, Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_OF_OTHERS = frozenset({Kind.FOREIGN_ACCEPT, Kind.FOREIGN_DROP, Kind.FOREIGN_RULE})
_OF_JUMPS = frozenset(
    {
        Kind.JUMP_MISSING,
        Kind.JUMP_MISPLACED,
        Kind.JUMP_DUPLICATE,
        Kind.POLICY_CHAIN_MISSING,
        Kind.POLICY_CHAIN_REPEATED,
        Kind.POLICY_CHAIN_ORPHAN,
    }
)
_OF_CONTAINERS = frozenset({Family.CONTAINER, Family.SECURITY_GROUP, Family.NAT})
# What a rule alone does not prove: it may be the same line of another table, or silk's rules may stand before it.
_OF_NEIGHBOURS = _OF_OTHERS | {Kind.RULE_DUPLICATE, Kind.JUMP_DUPLICATE}


def is_part(ruleset: r.Ruleset) -> bool:
    """Whether ``ruleset`` was read from a text that shows a part of a table."""
    return r.Loss.OTHER_CHAINS in ruleset.lost


def proved(inputs: Inputs, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Those of ``findings`` about a part of the rules that hold whatever stands in the rest."""
    return (finding for finding in findings if _proved(inputs, finding))


def _proved(inputs: Inputs, finding: Finding) -> bool:
    """Whether the chain is shown whole; a finding about facts, or about a rule of the policy chain, needs no more.

    A container's mapped ports are those of two chains, one in nat and one in mangle.
    """
    if finding.place is None or finding.kind is Kind.CONTAINER_CHAIN_ORPHAN:
        return True
    kind, chain = finding.kind, finding.place.chain
    if kind.family is Family.NAT:
        tables = ("nat", "mangle") if family_of(chain) is ChainFamily.NETIN else (finding.place.table,)
        return all(_whole(inputs.ruleset, table, chain) for table in tables)
    if finding.found is not None and kind.family not in _OF_CONTAINERS and kind not in _OF_NEIGHBOURS:
        return True
    if finding.kind is Kind.POLICY_CHAIN_ORPHAN:
        return _whole(inputs.ruleset, "filter", "FORWARD")
    if finding.kind is Kind.POLICY_CHAIN_MISSING:
        forward = inputs.ruleset.chains("filter").get("FORWARD", r.Chain(name="FORWARD", whole=False))
        return forward.whole and all(family_of(jumped_chain(rule)) is not ChainFamily.POLICY for rule in forward.rules)
    return _whole(inputs.ruleset, finding.place.table, finding.place.chain)


def _whole(ruleset: r.Ruleset, table: str, name: str) -> bool:
    chain = ruleset.chains(table).get(name)
    return chain is not None and chain.whole


def unproved_kinds(inputs: Inputs) -> frozenset[Kind]:
    """Kinds that a part of the rules cannot prove to be absent."""
    chains = inputs.ruleset.chains("filter")
    silent = {kind for kind in Kind if kind.family in _OF_CONTAINERS}
    if not any(family_of(name) is ChainFamily.POLICY and chain.whole for name, chain in chains.items()):
        silent |= {kind for kind in Kind if kind.family is Family.POLICY}
    if not _whole(inputs.ruleset, "filter", "FORWARD"):
        silent |= _OF_JUMPS | _OF_OTHERS
    if not _whole(inputs.ruleset, "filter", "INPUT"):
        silent |= _OF_OTHERS | {Kind.JUMP_MISSING}
    return frozenset(silent)


def holds_silks(ruleset: r.Ruleset) -> bool:
    """Whether anything in ``ruleset`` is silk's, by the names of its chains or by silk's comments."""
    return any(
        family_of(name) is not None
        or any(family_of(jumped_chain(rule)) is not None or comment_guids(rule)[0] for rule in chain.rules)
        for table in ruleset.tables.values()
        for name, chain in table.chains.items()
    )
