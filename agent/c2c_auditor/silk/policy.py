"""The policy chain ``vpa--…``: one constructor per rule shape, and the plan that puts them in silk's order.

Source: silk-release src/code.cloudfoundry.org/vxlan-policy-agent/planner/planner_linux.go (``GetPolicyRulesAndChain``),
lib/rules/rules.go (``NewMarkSetRule``, ``NewMarkAllowRule``, ``NewMarkLogRule``, ``NewOverlayAllowEgress``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Network

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy, PolicySet, Store, VpaConfig
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.derived import derived
from c2c_auditor.silk.remembered import remembered
from c2c_auditor.silk.shapes import NEW_CONNECTIONS, limited, logged

_PROTOCOLS = {"tcp": r.TCP, "udp": r.UDP}


class Purpose(str, Enum):
    """What a rule of the policy chain is for; also the order of the groups."""

    OPEN = "open"
    MARK = "mark"
    LOG = "log"
    ACCEPT = "accept"
    INGRESS = "ingress"


@frozen(kw_only=True)
class Planned:
    """One rule that should be there, the container that it serves, and the policy behind it.

    ``policy`` is None for marks, ingress and the open rule.
    """

    rule: r.Rule
    purpose: Purpose
    container: Container | None = None
    policy: Policy | None = None

    def adopt(self, rule: r.Rule) -> None:
        """Hold ``rule``, which is equal to this one's, in its place: that of the reader.

        As values they are the same. As objects 20,000 of them are 4 MB, and to compare them takes as long as to plan.
        """
        object.__setattr__(self, "rule", rule)


def open_rules(networks: Sequence[IPv4Network]) -> tuple[r.Rule, ...]:
    """Everything on the overlay passes (``disable_container_network_policy``): from each of its networks to each.

    Source: vxlan-policy-agent/enforcer/enforcer.go (``enforce``; several networks since 0a8b534b). In which order silk
    writes the pairs was not seen; they all accept, so it decides nothing.
    """
    ends = [canonical.network(network) for network in networks]
    return tuple(
        r.Rule(source=source, destination=destination, target=r.ACCEPT) for source in ends for destination in ends
    )


def mark_rule(container: Container, tag: int) -> r.Rule:
    """Packets from ``container`` get the mark that stands for its app."""
    return r.Rule(
        source=canonical.host(container.address),
        matches=(canonical.comment(spaceless(f"src:{container.app}")),),
        target=canonical.set_mark(tag),
    )


def accept_rule(container: Container, policy: Policy) -> r.Rule:
    """Packets that carry the source's mark reach ``container`` on the policy's ports."""
    names = spaceless(f"src:{policy.source}_dst:{policy.destination}")
    return r.Rule(
        destination=canonical.host(container.address),
        protocol=canonical.protocol(_PROTOCOLS[policy.protocol]),
        matches=(_ports(policy), canonical.mark(policy.source_tag), canonical.comment(names)),
        target=r.ACCEPT,
    )


def log_rule(container: Container, policy: Policy, config: VpaConfig) -> r.Rule:
    """Logs traffic that `accept_rule` accepts: each new tcp connection, udp by rate (``iptables_c2c_logging``)."""
    when: r.Match = NEW_CONNECTIONS
    if policy.protocol == "udp":
        when = limited(config.accepted_udp_logs_per_second)
    prefix = logged(f"OK_{policy.source_tag:04X}_", policy.destination)
    return r.Rule(
        destination=canonical.host(container.address),
        protocol=canonical.protocol(_PROTOCOLS[policy.protocol]),
        matches=canonical.matches_in_order([_ports(policy), canonical.mark(policy.source_tag), when]),
        target=r.Log(prefix=prefix),
    )


def ingress_rule(container: Container, port: int, tag: int) -> r.Rule:
    """The ingress router reaches ``container`` on one of its own ports (``enable_overlay_ingress_rules``)."""
    return r.Rule(
        destination=canonical.host(container.address),
        protocol=canonical.protocol(r.TCP),
        matches=(canonical.transport(r.TCP, port, port), canonical.mark(tag)),
        target=r.ACCEPT,
    )


def spaceless(comment: str) -> str:
    """Silk writes ``_`` for each space of a comment (lib/rules/rules.go, ``AppendComment``)."""
    return comment.replace(" ", "_")


def _ports(policy: Policy) -> r.TransportMatch:
    return canonical.transport(_PROTOCOLS[policy.protocol], policy.ports.first, policy.ports.last)


@derived
def plan_policy_chain(
    store: Store, policies: PolicySet, config: VpaConfig, ingress_tag: int | None
) -> tuple[Planned, ...]:
    """The policy chain's rules in silk's order; empty when nothing on this cell takes part in a policy.

    Without ``ingress_tag`` the ingress group is left out, because its mark is not known.
    """
    containers = [container for container in store.containers if container.app]
    as_source, as_destination = _by_app(policies.policies)
    opened = open_rules(config.overlay_networks) if config.policy_disabled else ()
    planned = [Planned(rule=rule, purpose=Purpose.OPEN) for rule in opened]
    planned += _marks(containers, as_source)
    logged = config if config.c2c_logging else None
    accepts = [_accepts(container, as_destination.get(container.app, ()), logged) for container in containers]
    planned += [rule for group in sorted(accepts, key=_first_address) for rule in group]
    if config.overlay_ingress and ingress_tag is not None:
        planned += _ingress(containers, ingress_tag)
    return tuple(planned)


def _first_address(group: Sequence[Planned]) -> str:
    return str(group[0].container.address) if group and group[0].container else ""


def _by_app(policies: Iterable[Policy]) -> tuple[Mapping[str, int], Mapping[str, tuple[Policy, ...]]]:
    """Each source app's tag, and each destination app's policies."""
    tags: dict[str, int] = {}
    targets: dict[str, list[Policy]] = {}
    for policy in policies:
        tags[policy.source] = policy.source_tag
        targets.setdefault(policy.destination, []).append(policy)
    return tags, {app: tuple(found) for app, found in targets.items()}


def _marks(containers: Sequence[Container], tags: Mapping[str, int]) -> list[Planned]:
    """One mark per address.

    Two containers that claim one address: silk goes through handles downwards and the first one wins.
    """
    marked: dict[str, Planned] = {}
    for container in reversed(containers):
        tag = tags.get(container.app)
        address = str(container.address)
        if tag is not None and address not in marked:
            marked[address] = Planned(rule=mark_rule(container, tag), purpose=Purpose.MARK, container=container)
    return [planned for _, planned in sorted(marked.items())]


@remembered
def _accepts(container: Container, policies: tuple[Policy, ...], logged: VpaConfig | None) -> tuple[Planned, ...]:
    """One container's accepts.

    Remembered, because one policy's change concerns few of the hundreds of containers of a cell.
    """
    planned: list[Planned] = []
    for policy in sorted(policies, key=_text_order):
        if logged is not None:
            planned.append(
                Planned(
                    rule=log_rule(container, policy, logged),
                    purpose=Purpose.LOG,
                    container=container,
                    policy=policy,
                )
            )
        planned.append(
            Planned(
                rule=accept_rule(container, policy),
                purpose=Purpose.ACCEPT,
                container=container,
                policy=policy,
            )
        )
    return tuple(planned)


def _text_order(policy: Policy) -> tuple[str, str, str]:
    """Silk sorts by the text of address, ports, source and protocol."""
    return f"{policy.ports.first}:{policy.ports.last}", policy.source, policy.protocol


def _ingress(containers: Sequence[Container], tag: int) -> list[Planned]:
    planned = [
        (
            str(container.address),
            str(port),
            Planned(rule=ingress_rule(container, port, tag), purpose=Purpose.INGRESS, container=container),
        )
        for container in containers
        for port in container.ports
    ]
    return [rule for _, _, rule in sorted(planned, key=lambda entry: entry[:2])]


def infer_ingress_tag(rules: Iterable[r.Rule]) -> int | None:
    """The one mark that rules of the ingress shape share; None if there are none or they disagree.

    VPA learns this tag with ``PUT …/tags``, which creates one: nothing that only reads can ask for it.
    """
    tags = {tag for tag in map(ingress_tag_of, rules) if tag is not None}
    return tags.pop() if len(tags) == 1 else None


def ingress_tag_of(rule: r.Rule) -> int | None:
    """The mark of a rule that has exactly the ingress shape, else None."""
    if rule.target != r.ACCEPT or rule.destination is None or len(rule.matches) != 2:  # noqa: PLR2004 - ports and mark
        return None
    ports, mark = rule.matches
    if (
        not (isinstance(ports, r.TransportMatch) and isinstance(mark, r.MarkMatch))
        or mark.negated
        or mark.mask != r.ALL_BITS
    ):
        return None
    port = ports.destination.first if ports.destination is not None else 0
    shape = r.Rule(
        destination=rule.destination,
        protocol=rule.protocol,
        matches=(canonical.transport(r.TCP, port, port), mark),
        target=r.ACCEPT,
    )
    return mark.value if rule == shape and rule.destination.host is not None else None
