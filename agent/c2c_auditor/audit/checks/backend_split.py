"""Findings about rules in both backends of iptables.

The kernel applies both to each packet, so correct rules in one of them prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve

from c2c_auditor.audit.checks import describe
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import is_container_chain, policy_chain_time

_TOOLS = {r.Backend.NFT: "iptables-nft", r.Backend.LEGACY: "iptables-legacy", r.Backend.TEXT: "iptables"}


def split(rulesets: Sequence[r.Ruleset]) -> Iterator[Finding]:
    """One finding when silk's chains stand in more than one backend.

    ``rulesets`` come as `sources.rules.backends` gives them, the one with most of silk's chains first.
    """
    if len(rulesets) < 2:  # noqa: PLR2004 - one backend is no split
        return
    main, other = rulesets[0], rulesets[1]
    chains = sorted(
        name
        for table in other.tables.values()
        for name in table.chains
        if is_container_chain(name) or policy_chain_time(name) is not None
    )
    yield describe.finding(
        Kind.BACKEND_SPLIT,
        subject=(),
        summary=(
            f"silk's chains stand in both backends: {main.backend.value} holds the cell's rules, and "
            f"{other.backend.value} another {len(chains)} chains. The kernel applies both; silk and its tools see one."
        ),
        remedy=(
            f"List them with {_TOOLS[other.backend]}-save; remove silk's chains there, or recreate the cell. Check "
            "garden.iptables_bin_dir."
        ),
        details=tuple(chains),
    )


def elsewhere(findings: Iterable[Finding], ruleset: r.Ruleset) -> Iterator[Finding]:
    """Findings about the second backend's rules; subject and summary name the backend.

    Findings about missing rules are left out: silk wrote those rules to the other backend.
    """
    name = ruleset.backend.value
    for finding in findings:
        if finding.found is not None:
            yield evolve(
                finding,
                subject=(*finding.subject, name),
                summary=f"In {name}: {finding.summary}",
                details=(*finding.details, f"backend {name}"),
            )
