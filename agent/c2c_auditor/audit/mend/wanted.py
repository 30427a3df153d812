"""Rules that should stand somewhere, as `audit.comparison` takes them, and those that do."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.model import rule as r


@frozen(kw_only=True)
class Wanted:
    """One rule that should be there."""

    rule: r.Rule


def entries_of(chain: r.Chain, name: str) -> list[Entry]:
    """A chain's rules with their places."""
    return [Entry(chain=name, position=at, rule=rule) for at, rule in enumerate(chain.rules, 1)]
