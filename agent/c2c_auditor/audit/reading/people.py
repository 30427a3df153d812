"""Who is who on this cell: from guids, addresses and tags to the apps that people know."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from attrs import field, frozen

from c2c_auditor.model.cell import Container, Names, Policy, PolicySet, Store
from c2c_auditor.model.finding import App

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)


@frozen(kw_only=True)
class People:
    """Lookups over one reading of the facts; several containers at one address are all kept, in order of handle."""

    by_address: Mapping[int, tuple[Container, ...]] = field(factory=dict)
    names: Mapping[str, Names] = field(factory=dict)
    tag_owners: Mapping[int, frozenset[str]] = field(factory=dict)
    app_tags: Mapping[str, frozenset[int]] = field(factory=dict)

    @classmethod
    def of(cls, store: Store | None, policies: PolicySet | None) -> People:
        """The lookups for what is known; an absent source leaves its part empty."""
        containers = store.containers if store is not None else ()
        addresses: dict[int, tuple[Container, ...]] = {}
        for container in containers:
            key = int(container.address)
            addresses[key] = (*addresses.get(key, ()), container)
        pairs = set(_tags(policies.policies if policies is not None else ()))
        return cls(
            by_address=addresses,
            names={container.app: container.names for container in containers if container.app and container.names.app},
            tag_owners=_grouped((tag, app) for app, tag in pairs),
            app_tags=_grouped(pairs),
        )

    def app(self, guid: str) -> App:
        """The app with the names that people gave it, as far as this cell knows them."""
        return App(guid=guid, names=self.names.get(guid, Names()))

    def called(self, guid: str) -> str:
        """``frontend (acme/dev)``, or the guid where the cell knows no name."""
        names = self.names.get(guid)
        if names is None:
            return f"app {guid}" if guid else "an app without a guid"
        return f"{names.app} ({names.org}/{names.space})" if names.org or names.space else names.app

    def holders(self, tag: int) -> str:
        """Who carries this mark: names, or that nobody known does."""
        owners = sorted(self.tag_owners.get(tag, ()))
        return " and ".join(map(self.called, owners)) if owners else "an app unknown on this cell"


def _tags(policies: Iterable[Policy]) -> Iterable[tuple[str, int]]:
    for policy in policies:
        yield policy.source, policy.source_tag
        if policy.destination_tag:
            yield policy.destination, policy.destination_tag


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, frozenset[V]]:
    found: dict[K, set[V]] = {}
    for key, value in pairs:
        found.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in found.items()}
