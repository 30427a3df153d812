"""What should stand in the chains of mapped ports: what nat and mangle say of each other."""

from __future__ import annotations

from collections.abc import Sequence

from c2c_auditor.audit.checks.mapped_ports import wrong_mapping
from c2c_auditor.audit.comparison.compare import compare
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.mend.draft import Draft
from c2c_auditor.audit.mend.wanted import Wanted, entries_of
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.silk.chain_names import netin
from c2c_auditor.silk.netin import Mapping, forwarding_rule, mapping_of, marked_port, marking_rule


def mapped_ports(draft: Draft, inputs: Inputs, container: Container) -> None:
    """Marks for each translation, and the translation of a marked port where only one of the container's is left.

    Which host ports garden chose stands nowhere else: a lost nat chain cannot be made again.
    """
    name, interfaces = netin(container.handle), inputs.wrapper.underlay_interfaces
    nat, mangle = (inputs.ruleset.chains(table).get(name) for table in ("nat", "mangle"))
    if nat is None or "mangle" not in inputs.ruleset.tables or interfaces is None:
        return
    marks = entries_of(mangle, name) if mangle is not None else []
    mappings = _mappings(inputs, container, entries_of(nat, name), marks)
    tag = inputs.wrapper.config.ingress_tag
    forwarding = [forwarding_rule(container, mapping) for mapping in mappings]
    marking = [marking_rule(mapping, interface, tag) for mapping in mappings for interface in interfaces]
    for table, wanted, entries in (("nat", forwarding, entries_of(nat, name)), ("mangle", marking, marks)):
        outcome = compare([Wanted(rule=rule) for rule in wanted], entries, lambda _, __: True)
        kept = [(one.rule, entry) for one, entry in outcome.matched]
        kept += [(pair.planned.rule, pair.entry) for pair in outcome.changed]
        # Each rule is for a port of its own, so their order decides nothing.
        draft.places(table, name).arrange([*(rule for rule, _ in kept), *(one.rule for one in outcome.missing)], kept)


def _mappings(
    inputs: Inputs, container: Container, nat: Sequence[Entry], mangle: Sequence[Entry]
) -> tuple[Mapping, ...]:
    """The mappings in force, without those that cannot be silk's, and the one that is missing."""
    tag = inputs.wrapper.config.ingress_tag
    found = [mapping for entry in nat if (mapping := mapping_of(container, entry.rule)) is not None]
    right = [mapping for mapping in found if not wrong_mapping(inputs, container, mapping)]
    known = {(mapping.host, mapping.host_port) for mapping in right}
    marked = dict.fromkeys(port[:2] for entry in mangle if (port := marked_port(entry.rule, tag)) is not None)
    lost = [port for port in marked if port not in known]
    led = {mapping.port for mapping in right}
    # A translation that was changed still tells where it led to; one that is gone does not.
    ports = dict.fromkeys(to for entry in nat if (to := _leads_to(container, entry.rule)) and to not in led)
    free = tuple(ports) or tuple(port for port in container.ports if port not in led)
    if len(lost) == 1 and len(free) == 1:
        right.append(Mapping(host=lost[0][0], host_port=lost[0][1], port=free[0]))
    return tuple(dict.fromkeys(right))


def _leads_to(container: Container, rule: r.Rule) -> int | None:
    """The port of ``container`` that a translation leads to."""
    target, address = rule.target, int(container.address)
    if not isinstance(target, r.Dnat) or target.addresses != (address, address) or target.ports is None:
        return None
    return target.ports[0]


def silks_port(container: Container, rule: r.Rule, tag: int) -> bool:
    """Whether a rule has the form of silk's for a mapped port of ``container``."""
    return mapping_of(container, rule) is not None or marked_port(rule, tag) is not None
