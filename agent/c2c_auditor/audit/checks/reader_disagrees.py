"""Findings about this agent itself: rules that its two readers read differently."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind

_MOST_RULES = 10
"""So many rules of a chain are shown in both spellings."""


def reader_disagrees(inputs: Inputs) -> Iterator[Finding]:
    """One finding for each chain of which netlink and iptables-nft say different things."""
    for (table, chain), group in groupby(inputs.ruleset.disagreements, key=lambda one: (one.table, one.chain)):
        different = list(group)
        shown = [
            line
            for one in islice(different, _MOST_RULES)
            for line in (
                f"netlink: {one.read or 'nothing'}",
                f"{one.witness}: {one.witnessed or 'nothing'}",
            )
        ]
        rules = "a rule" if len(different) == 1 else f"{len(different)} rules"
        yield describe.finding(
            Kind.READER_DISAGREES,
            subject=(table, chain),
            chain=chain,
            table=table,
            summary=(
                f"Of chain {chain} of table {table} this agent and {different[0].witness} read {rules} differently. "
                "What the agent read was judged."
            ),
            remedy=(
                "Compare both with `nft list ruleset`. If the agent is wrong, report it with `c2c-auditor capture "
                "--redact`; if the program is, it is older than what wrote the rule, or the rule is nft's own."
            ),
            details=tuple(shown),
        )
