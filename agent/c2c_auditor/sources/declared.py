"""Rules that silk does not write and that an operator declared, as settings and bundles hold them."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model.cell import DeclaredRule
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.table import TABLES
from c2c_auditor.netfilter.placed import parse_placed
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk.chain_names import family_of


@frozen(kw_only=True)
class DeclaredRuleSettings:
    """A rule that silk does not write and that is meant to be there.

    ``rule`` is ``[-t TABLE] -A CHAIN RULE`` as iptables-save prints it, or as ip6tables-save does with ``ipv6``.
    ``reason`` says who needs it.
    """

    rule: str
    reason: str
    ipv6: bool = False

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for what is no such rule."""
        self.value()

    def value(self) -> DeclaredRule:
        """The rule and its place. Raises ValueError."""
        family = AddressFamily.IPV6 if self.ipv6 else AddressFamily.IPV4
        try:
            placed = parse_placed(self.rule, family)
        except NotUnderstood as error:
            message = f"{self.rule!r} is no rule: write it as {family.tool}-save prints it, -A CHAIN RULE"
            raise ValueError(message) from error
        if placed.table not in {table.name for table in TABLES}:
            message = f"{self.rule!r}: there is no table {placed.table}"
            raise ValueError(message)
        if family_of(placed.chain) is not None:
            message = f"{self.rule!r}: in a chain of silk's own nothing else is accepted"
            raise ValueError(message)
        if not self.reason.strip():
            message = f"{self.rule!r}: say in reason who needs it"
            raise ValueError(message)
        return DeclaredRule(
            family=family, table=placed.table, chain=placed.chain, rule=placed.rule, reason=self.reason.strip()
        )

    @classmethod
    def of(cls, declared: DeclaredRule) -> DeclaredRuleSettings:
        """The settings that say ``declared``."""
        text = f"-t {declared.table} {render_rule(declared.rule, declared.chain)}"
        return cls(rule=text, reason=declared.reason, ipv6=declared.family is AddressFamily.IPV6)
