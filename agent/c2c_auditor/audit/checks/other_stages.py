"""Rules of others in the chains that packets meet beside FORWARD's filter: other hooks, tables and backends.

What such a chain accepts still has to pass silk's rules, so only what it stops, leads elsewhere or marks can matter.
Who reaches whom decides what it does (`audit.effects`).
"""

from __future__ import annotations

from collections.abc import Iterator

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.foreign_rules import FOREIGN_REMEDY, is_silks, touches
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.actions import MARKING, Action, action, leads_elsewhere
from c2c_auditor.netfilter.stages import Stage, behind


def other_stages(inputs: Inputs) -> Iterator[Finding]:
    """Each rule there that is no jump into silk's chains and that overlay traffic can meet; policies that refuse."""
    for stage in inputs.stages:
        if stage.main:
            continue
        for at, rule in enumerate(stage.chains[stage.start].rules, 1):
            declared = inputs.declared.covers(stage.table, stage.start, rule, stage.chains)
            if not declared and not is_silks(rule) and _concerns(inputs, stage, rule):
                yield from _found(stage, Entry(chain=stage.start, position=at, rule=rule, table=stage.table))
        if stage.policy not in (None, "ACCEPT"):
            rule = r.Rule(target=r.Policy(chain=stage.start, table=stage.table))
            yield describe.finding(
                Kind.FOREIGN_DROP,
                subject=(stage.table, stage.start, "policy"),
                summary=(
                    f"The policy of {stage.start} in {stage.table} is DROP: it stops {_packets(inputs)} that no rule "
                    "there accepts, whatever silk's rules say."
                ),
                remedy=FOREIGN_REMEDY,
                entry=Entry(chain=stage.start, position=0, rule=rule, table=stage.table),
            )


def _concerns(inputs: Inputs, stage: Stage, rule: r.Rule) -> bool:
    """Whether overlay traffic can meet ``rule``; of nat, only what rewrites destinations is judged here."""
    if stage.translates and stage.hook is Hook.POSTROUTING:
        return False
    if stage.redirects:
        return touches(r.Rule(source=rule.destination), inputs.networks, source_only=True)
    return touches(rule, inputs.networks, source_only=False)


def _found(stage: Stage, entry: Entry) -> Iterator[Finding]:
    does = {action(rule.target, (), redirects=stage.redirects) for rule in behind(entry.rule, stage.chains)}
    if does & {Action.REFUSE, Action.DOUBT}:
        led = stage.redirects and leads_elsewhere(entry.rule.target)
        what = "leads packets elsewhere" if led else "can stop packets"
        kind, effect = Kind.FOREIGN_DROP, Effect.OUTAGE
    elif does & MARKING:
        what, kind, effect = "changes the mark that silk's rules go by", Kind.FOREIGN_ACCEPT, Effect.BREACH
    elif Action.GO_ON in does:
        what, kind, effect = "neither stops nor marks what it takes", Kind.FOREIGN_RULE, Effect.ADVICE
    else:
        return  # it hands packets on to silk's rules
    yield describe.finding(
        kind,
        subject=(stage.table, stage.start, describe.text(entry.rule)),
        summary=f"{entry.name[:1].upper()}{entry.name[1:]}, which silk did not write, {what}.",
        remedy=FOREIGN_REMEDY,
        effect=effect,
        entry=entry,
    )


def _packets(inputs: Inputs) -> str:
    return "containers' IPv6 packets" if inputs.ipv6 else "packets between containers"
