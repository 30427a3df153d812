"""Findings about mapped ports: nat and mangle must agree, and translate to the container and its ports only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.silk import chain_names
from c2c_auditor.silk.netin import Mapping, forwarding_rule, mapping_of, marked_port, marking_rule

_MarkedPort = tuple[int, int, str]
_REMEDY = (
    "Recreate the container (cf restart-app-instance, or cf restart): its ports are mapped once, when it is created."
)


def mapped_ports(inputs: Inputs) -> Iterator[Finding]:
    """Compare each container's ``netin--`` chains in nat and mangle, its exposed ports and the cell's addresses."""
    store = inputs.facts.store
    if store is None or not {"nat", "mangle"} <= set(inputs.ruleset.tables):
        return
    taken: dict[tuple[int, int], str] = {}
    for container in store.containers:
        name = chain_names.netin(container.handle)
        if chain_names.overlay(container.handle) not in inputs.ruleset.chains("filter"):
            continue  # the container is not there; `container_chains` says so
        absent = [table for table in ("nat", "mangle") if name not in inputs.ruleset.chains(table)]
        for table in absent:
            yield _finding(
                inputs,
                container,
                table,
                f"has lost its chain {name} in {table}: its mapped ports do not lead to it",
                lost=True,
            )
        if not absent:
            yield from _container(inputs, container, name, taken)


def _container(inputs: Inputs, container: Container, name: str, taken: dict[tuple[int, int], str]) -> Iterator[Finding]:
    chains = tuple(inputs.ruleset.chains(table)[name] for table in ("nat", "mangle"))
    nat, mangle = (
        [Entry(chain=name, position=at, rule=rule) for at, rule in enumerate(chain.rules, 1)] for chain in chains
    )
    for table, entries in (("nat", nat), ("mangle", mangle)):
        yield from _repeated(inputs, container, table, entries)
    mapped: dict[tuple[int, int], Entry] = {}
    for entry, mapping in zip(nat, _mappings(container, chains[0]), strict=True):
        wrong = wrong_mapping(inputs, container, mapping)
        if mapping is None or wrong:
            yield _finding(
                inputs, container, "nat", f"rule {entry.position} of {name} {wrong}", lost=False, entry=entry
            )
        if mapping is None:
            continue
        port = mapping.host, mapping.host_port
        mapped.setdefault(port, entry)
        if taken.setdefault(port, container.handle) != container.handle:
            yield _finding(
                inputs,
                container,
                "nat",
                f"port {port[1]} of the cell is mapped to another container too",
                lost=False,
                entry=entry,
            )
    ports = _marked_ports(chains[1], inputs.wrapper.config.ingress_tag)
    yield from _marks(inputs, container, mapped, tuple(zip(mangle, ports, strict=True)))


@derived
def _mappings(container: Container, chain: r.Chain) -> tuple[Mapping | None, ...]:
    return tuple(mapping_of(container, rule) for rule in chain.rules)


@derived
def _marked_ports(chain: r.Chain, tag: int) -> tuple[_MarkedPort | None, ...]:
    return tuple(marked_port(rule, tag) for rule in chain.rules)


def wrong_mapping(inputs: Inputs, container: Container, mapping: Mapping | None) -> str:
    """What is wrong with a translation; empty if nothing is."""
    if mapping is None:
        return "is no translation to this container"
    if container.ports and mapping.port not in container.ports:
        return f"leads to port {mapping.port}, which the container does not have"
    cni = inputs.wrapper.config
    underlay = cni.underlay_addresses if cni.instance_address is None else (cni.instance_address,)
    if underlay and IPv4Address(mapping.host) not in underlay:
        return f"takes packets for {IPv4Address(mapping.host)}, which is no address of this cell"
    return ""


def _marks(
    inputs: Inputs,
    container: Container,
    mapped: dict[tuple[int, int], Entry],
    mangle: Iterable[tuple[Entry, _MarkedPort | None]],
) -> Iterator[Finding]:
    """Each mapped port is marked on each underlay interface, and no other port is."""
    interfaces, tag = inputs.wrapper.underlay_interfaces, inputs.wrapper.config.ingress_tag
    marked: dict[tuple[int, int], set[str]] = {}
    for entry, port in mangle:
        known = interfaces is None or (port is not None and port[2] in interfaces)
        if port is not None and known:
            marked.setdefault(port[:2], set()).add(port[2])
        if port is None or not known:
            yield _finding(
                inputs,
                container,
                "mangle",
                f"rule {entry.position} of {entry.chain} is no mark for a mapped port",
                lost=False,
                entry=entry,
            )
        elif port[:2] not in mapped:
            yield _leads_nowhere(inputs, container, entry, mapped)
    for (host, host_port), entry in mapped.items():
        found = marked.get((host, host_port), set())
        for interface in interfaces if interfaces is not None else ():
            if interface not in found:
                expected = marking_rule(Mapping(host=host, host_port=host_port, port=0), interface, tag)
                what = (
                    f"port {host_port} of the cell leads to it but is not marked on {interface}: its default deny "
                    "rejects the packets"
                )
                yield describe.finding(
                    Kind.NAT_RULE_MISSING,
                    subject=(container.handle, "mangle", describe.text(expected)),
                    summary=f"{inputs.people.display_name(container.app)} at {container.address}: {what}.",
                    remedy=_REMEDY,
                    entry=entry,
                    expected=expected,
                    differences=(),  # the two stand in different tables
                    table="nat",
                    addresses=(str(container.address),),
                    handles=(container.handle,),
                    destination=inputs.people.app(container.app),
                )
        if interfaces is None and not found:
            yield _finding(
                inputs,
                container,
                "mangle",
                f"port {host_port} of the cell leads to it but is not marked",
                lost=True,
                entry=entry,
            )


def _leads_nowhere(inputs: Inputs, container: Container, entry: Entry, mapped: dict[tuple[int, int], Entry]) -> Finding:
    """A port that is marked and not translated.

    To which of the container's ports it led is known when only one of them is not mapped.
    """
    port = marked_port(entry.rule, inputs.wrapper.config.ingress_tag) or (0, 0, "")
    led = {mapping.port for one in mapped.values() if (mapping := mapping_of(container, one.rule)) is not None}
    candidates = [number for number in container.ports if number not in led]
    expected = (
        forwarding_rule(container, Mapping(host=port[0], host_port=port[1], port=candidates[0]))
        if len(candidates) == 1
        else None
    )
    return describe.finding(
        Kind.NAT_RULE_MISSING,
        subject=(container.handle, "nat", str(port[1])),
        summary=(
            f"{inputs.people.display_name(container.app)} at {container.address}: port {port[1]} of the cell is marked "
            "for it but leads nowhere."
        ),
        remedy=_REMEDY,
        entry=entry,
        expected=expected,
        differences=(),  # the two stand in different tables
        table="mangle",
        addresses=(str(container.address),),
        handles=(container.handle,),
        destination=inputs.people.app(container.app),
    )


def _repeated(inputs: Inputs, container: Container, table: str, entries: list[Entry]) -> Iterator[Finding]:
    seen = set()
    for entry in entries:
        if entry.rule in seen:
            yield describe.finding(
                Kind.RULE_DUPLICATE,
                subject=(container.handle, table, describe.text(entry.rule)),
                summary=(
                    f"The same rule stands more than once in {entry.chain} of "
                    f"{inputs.people.display_name(container.app)}; only the first copy has an effect."
                ),
                remedy=_REMEDY,
                entry=entry,
                table=table,
            )
        seen.add(entry.rule)


def _finding(
    inputs: Inputs, container: Container, table: str, what: str, *, lost: bool, entry: Entry | None = None
) -> Finding:
    kind = Kind.NAT_RULE_MISSING if lost else Kind.NAT_RULE_STALE
    return describe.finding(
        kind,
        subject=(container.handle, table, describe.text(entry.rule) if entry is not None else what),
        summary=f"{inputs.people.display_name(container.app)} at {container.address}: {what}.",
        remedy=_REMEDY,
        effect=Effect.OUTAGE if lost else Effect.BREACH,
        entry=entry,
        chain=chain_names.netin(container.handle),
        table=table,
        addresses=(str(container.address),),
        handles=(container.handle,),
        destination=inputs.people.app(container.app),
    )
