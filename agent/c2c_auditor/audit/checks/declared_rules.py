"""Rules that the operator declared and that do not stand where they should."""

from __future__ import annotations

from collections.abc import Iterator

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.reading.declared import HIDES_DECLARED
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter.render import render_rule


def declared_rules(inputs: Inputs) -> Iterator[Finding]:
    """One finding for each that stands in no backend, as far as what was read tells."""
    lost = inputs.ruleset.lost
    for one in inputs.declared.absent:
        if lost & HIDES_DECLARED or (r.Loss.OTHER_TABLES in lost and one.table not in inputs.ruleset.tables):
            continue
        yield describe.finding(
            Kind.DECLARED_RULE_MISSING,
            subject=(one.table, render_rule(one.rule, one.chain)),
            summary=(
                f"{one.chain} of {one.table} lacks a rule that the configuration declares ({one.reason}): what it "
                "should do to traffic is not done."
            ),
            remedy=(
                "Find out why its owner no longer adds it, or adds it spelled otherwise; if it is not meant to be "
                "there, take it out of declared_rules."
            ),
            expected=one.rule,
            chain=one.chain,
            table=one.table,
        )
