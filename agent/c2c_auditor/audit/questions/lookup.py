"""Finds the end that a question names: an app by name or guid, a container by handle, a host by address.

A name that is unknown or ambiguous is refused with the names that this cell knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address

from attrs import frozen

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.errors import UsageError
from c2c_auditor.model.cell import Container
from c2c_auditor.model.family import Address

_SHORTEST_PREFIX = 4
_MOST_CANDIDATES = 12


@frozen(kw_only=True)
class End:
    """One end of a question: its containers on this cell, or the app or address of an end on another cell."""

    app: str = ""
    containers: tuple[Container, ...] = ()
    address: Address | None = None

    @property
    def here(self) -> bool:
        """Whether any of it runs on this cell."""
        return bool(self.containers)


def about(families: Sequence[Inputs], *ends: str) -> Inputs:
    """The family that a question about ``ends`` is about: IPv6 where one of them is such an address, else IPv4.

    Raises UsageError where that family's rules are not known.
    """
    ipv6 = any(isinstance(_address(end), IPv6Address) for end in ends)
    for inputs in families:
        if inputs.ipv6 == ipv6:
            return inputs
    message = (
        f"there are no rules of {'IPv6' if ipv6 else 'IPv4'} to look at: IPv6 is off on this cell, or not part of this "
        "recording"
    )
    raise UsageError(message)


def find(text: str, inputs: Inputs) -> End:
    """The end that ``text`` means. Raises UsageError with the candidates."""
    store, policies = inputs.facts.store, inputs.facts.policies
    containers = store.containers if store is not None else ()
    address = _address(text)
    if address is not None:
        return _end_at(address, containers, inputs)
    whole = [container for container in containers if container.handle == text]
    if whole:
        return End(app=whole[0].app, containers=tuple(whole))
    apps = {container.app for container in containers if container.app}
    known = apps | {
        guid
        for policy in (policies.policies if policies is not None else ())
        for guid in (policy.source, policy.destination)
    }
    found = _matching(text, known, inputs)
    if len(found) == 1:
        return End(app=found[0], containers=tuple(container for container in containers if container.app == found[0]))
    handles = [
        container for container in containers if len(text) >= _SHORTEST_PREFIX and container.handle.startswith(text)
    ]
    if not found and len(handles) == 1:
        return End(app=handles[0].app, containers=(handles[0],))
    if found or handles:
        message = (
            f"{text!r} is ambiguous, it may mean {_listed(found, inputs, handles)}: give a guid, a handle or an address"
        )
        raise UsageError(message)
    message = (
        f"{text!r} is no app, handle or address that this cell knows. It knows {_listed(sorted(known), inputs, ())}"
    )
    raise UsageError(message)


def _matching(text: str, guids: Iterable[str], inputs: Inputs) -> list[str]:
    """The apps that ``text`` may mean: by guid or name (``app``, ``space/app``, ``org/space/app``).

    Where there is none of these, by the beginning of a guid.
    """
    names = inputs.people.names
    every = sorted(guids)
    exact = [guid for guid in every if guid == text]
    if exact:
        return exact
    spelled = [
        guid
        for guid in every
        if guid in names
        and text
        in (
            names[guid].app,
            f"{names[guid].space}/{names[guid].app}",
            f"{names[guid].org}/{names[guid].space}/{names[guid].app}",
        )
    ]
    return spelled or [guid for guid in every if len(text) >= _SHORTEST_PREFIX and guid.startswith(text)]


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _end_at(address: Address, containers: Iterable[Container], inputs: Inputs) -> End:
    here = tuple(container for container in containers if container.address == address)
    if here:
        return End(app=here[0].app, containers=here[:1])
    if inputs.ipv6:
        return End(address=address)
    networks = inputs.networks
    if not any(address in network for network in networks):
        message = (
            f"{address} is not on the overlay network {' or '.join(map(str, networks))}: only traffic between "
            "containers can be explained"
        )
        raise UsageError(message)
    return End(address=address)


def _listed(guids: Iterable[str], inputs: Inputs, handles: Iterable[Container]) -> str:
    """Apps and containers as people know them, the first twelve of them."""
    texts = [f"{inputs.people.display_name(guid)} [{guid}]" if guid in inputs.people.names else guid for guid in guids]
    texts += [f"the container {container.handle} at {container.address}" for container in handles]
    text_of_candidates = ", ".join(texts[:_MOST_CANDIDATES]) or "none"
    return (
        f"{text_of_candidates} and {len(texts) - _MOST_CANDIDATES} more"
        if len(texts) > _MOST_CANDIDATES
        else text_of_candidates
    )
