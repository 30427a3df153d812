"""Findings about rules in both backends of iptables.

The kernel applies both to each packet, so correct rules in one of them prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve

from c2c_auditor.audit.checks import describe
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import silks

_TOOLS = {r.Backend.NFT: "iptables-nft", r.Backend.LEGACY: "iptables-legacy", r.Backend.TEXT: "iptables"}


def split(main: r.Ruleset, other: r.Ruleset) -> Iterator[Finding]:
    """The finding that silk's chains stand in both backends; ``main`` has most of them."""
    chains = silks(other)
    more = "1 more chain" if len(chains) == 1 else f"{len(chains)} more chains"
    yield describe.finding(
        Kind.BACKEND_SPLIT,
        subject=(),
        summary=(
            f"silk's chains stand in both backends: {main.backend.value} holds the cell's rules, and "
            f"{other.backend.value} {more}. The kernel applies both; silk and its tools see one."
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
