"""The part of the CNI wrapper's settings that VPA's configuration repeats.

Both jobs are given the same properties.

Source: silk-release jobs/vxlan-policy-agent/templates/vxlan-policy-agent.json.erb, which takes limits, logging and deny
networks over the link ``cni_config`` from the silk-cni job. ``dry_run`` is not among them.
"""

from __future__ import annotations

from functools import lru_cache

from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.model.cni import CniConfig, DenyNetworks, OutboundConnections


@lru_cache(maxsize=64)
def as_cni(config: VpaConfig) -> CniConfig:
    """The settings of the CNI wrapper as far as VPA's configuration has them too."""
    return CniConfig(
        underlay_addresses=config.underlay_addresses,
        deny_networks=DenyNetworks(
            always=config.deny_networks_always,
            running=config.deny_networks_running,
            staging=config.deny_networks_staging,
        ),
        outbound_connections=OutboundConnections(
            limit=config.connection_limit,
            logging=config.connection_limit_logging,
            burst=config.connection_burst,
            rate_per_second=config.connection_rate_per_second,
        ),
        asg_logging=config.asg_logging,
        c2c_logging=bool(config.c2c_logging),
        denied_logs_per_second=config.denied_logs_per_second,
        accepted_udp_logs_per_second=config.accepted_udp_logs_per_second,
    )
