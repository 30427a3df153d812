"""The demo's small world: one cell with a shop on it, some apps elsewhere, and what the platform knows of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

UNDERLAY_INTERFACE = "eth0"
UNDERLAY_ADDRESS = "10.0.0.101"
OVERLAY = "10.255.0.0/16"
OVERLAY_ADDRESS = "10.255.30.0"
LEASE = "10.255.30.0/24"
VTEP = "silk-vtep"
SILK_DAEMON_PORT = 23954
INGRESS_TAG = "ffff0000"
LINK_LOCAL = "169.254.0.2"
HOST_SERVICE_PORT = 9001

Record = Mapping[str, Any]
"""A JSON object as a program of the platform writes it."""


@frozen(kw_only=True)
class App:
    """An app; ``ports`` are its containers' own, the first is the one that the app listens on."""

    guid: str
    name: str
    space: str
    space_guid: str
    org: str = "acme"
    org_guid: str = "5e9b6b0a-31f5-4b0c-8f0b-0c8d3a2b7f11"
    ports: tuple[int, ...] = (8080, 2222, 61001, 61002)


@frozen(kw_only=True)
class Instance:
    """One container of ``app`` on this cell; its ports are reached through ``host_port`` and the following ones."""

    handle: str
    address: str
    app: App
    host_port: int
    index: int = 0

    def record(self) -> dict[str, Any]:
        """Its entry of the container metadata, as the CNI plugin writes it."""
        app = self.app
        tags = {
            "app_id": app.guid,
            "app_name": app.name,
            "space_name": app.space,
            "organization_name": app.org,
            "source_id": app.guid,
            "instance_id": str(self.index),
        }
        log = {"guid": app.guid, "index": self.index, "source_name": "APP", "tags": tags}
        metadata = {
            "app_id": app.guid,
            "container_workload": "app",
            "log_config": json.dumps(log),
            "org_id": app.org_guid,
            "policy_group_id": app.guid,
            "ports": ", ".join(map(str, app.ports)),
            "space_id": app.space_guid,
        }
        return {"handle": self.handle, "ip": self.address, "metadata": metadata}


@frozen(kw_only=True)
class NetworkPolicy:
    """``source`` may reach ``destination`` (guids) on ports ``first`` to ``last``."""

    source: str
    destination: str
    first: int
    last: int
    protocol: str = "tcp"


@frozen(kw_only=True)
class Group:
    """A security group; ``rules`` as the platform's API has them, ``running_spaces`` are guids."""

    guid: str
    name: str
    rules: tuple[Record, ...]
    running_default: bool = False
    staging_default: bool = False
    running_spaces: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As policy-server-internal answers: the rules are a string of JSON."""
        return {
            "guid": self.guid,
            "name": self.name,
            "rules": json.dumps(self.rules),
            "staging_default": self.staging_default,
            "running_default": self.running_default,
            "staging_space_guids": [],
            "running_space_guids": list(self.running_spaces),
        }


@frozen(kw_only=True)
class World:
    """Everything that exists when the demo starts."""

    instances: Sequence[Instance]
    policies: Sequence[NetworkPolicy]
    groups: Sequence[Group]


_SHOP, _DATA = "0f2c3d84-5f06-4c43-a9f2-71e5a3c7d901", "c4b1f6de-8a27-4d0f-b0c5-2f9f0d6c3e52"
FRONTEND = App(guid="9d3f6a1e-64c0-4c55-9d0e-3b7a5c1f2e01", name="frontend", space="shop", space_guid=_SHOP)
BACKEND = App(guid="1b8e5c72-0a4d-4f6b-8c11-d25e9f7a4b02", name="backend", space="shop", space_guid=_SHOP)
REDIS = App(
    guid="e70a2f95-b3c6-4e18-a2d7-58c4b6e1f903",
    name="redis",
    space="data",
    space_guid=_DATA,
    ports=(6379, 2222, 61001, 61002),
)
PAYMENTS = App(guid="52c7d9b0-7e1f-4a83-b6f4-9c0e3d8a5f04", name="payments", space="shop", space_guid=_SHOP)
REPORTS = App(guid="a6f1e4d8-2c95-4b37-9e60-7d3b1a8c5e05", name="reports", space="data", space_guid=_DATA)

PUBLIC = Group(
    guid="cd613e30-d8f1-4adf-91b7-584a2265b1f5",
    name="public",
    rules=(
        {"protocol": "all", "destination": "0.0.0.0-9.255.255.255"},
        {"protocol": "all", "destination": "11.0.0.0-169.253.255.255"},
    ),
    running_default=True,
    staging_default=True,
)
_SERVICES = Group(
    guid="3f7e9c15-6d2a-4b80-8f4e-1a5c9b7d2e06",
    name="services",
    rules=(
        {"protocol": "tcp", "destination": "10.1.2.0/24", "ports": "443,8000-9000"},
        {"protocol": "udp", "destination": "10.1.2.9", "ports": "53"},
    ),
    running_spaces=(_SHOP,),
)


def _policy(source: App, destination: App, port: int) -> NetworkPolicy:
    return NetworkPolicy(source=source.guid, destination=destination.guid, first=port, last=port)


SHOP = World(
    instances=(
        Instance(handle="4a1d7c30-95be-4f02-8d6a-11f0", address="10.255.30.2", app=FRONTEND, host_port=61000),
        Instance(handle="b82e0f64-3c17-4d9a-a5c8-22e1", address="10.255.30.3", app=FRONTEND, host_port=61004, index=1),
        Instance(handle="6f93a5d1-7b08-4e26-9c4f-33d2", address="10.255.30.4", app=BACKEND, host_port=61008),
        Instance(handle="d05c8e72-1fa9-4b63-8e70-44c3", address="10.255.30.5", app=BACKEND, host_port=61012, index=1),
        Instance(handle="27e4b619-d83c-4a95-b1f2-55b4", address="10.255.30.6", app=REDIS, host_port=61016),
    ),
    policies=(
        _policy(FRONTEND, BACKEND, 8080),
        _policy(FRONTEND, BACKEND, 61001),
        _policy(BACKEND, REDIS, 6379),
        _policy(BACKEND, PAYMENTS, 8443),
        _policy(PAYMENTS, BACKEND, 8080),
        _policy(REPORTS, REDIS, 6379),
    ),
    groups=(PUBLIC, _SERVICES),
)
