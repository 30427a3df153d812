"""The labels that distinguish the series of cells on BOSH.

This is the one place that names these labels, the variables after them, and the queries' selectors.

They are the labels that bosh_exporter gives its own series and that the release's scrape config
(manifests/operators/monitor-c2c-auditor.yml) gives ours.
"""

from __future__ import annotations

from attrs import frozen

ENVIRONMENT = "environment"
DEPLOYMENT = "bosh_deployment"
CELL = "bosh_job_ip"
SCRAPE_JOB = 'job="c2c_auditor"'
"""Tells our targets' ``up`` and ``process_…`` from everybody else's."""

RUNBOOKS = "https://github.com/cloudfoundry-community/c2c-auditor/blob/main/docs/runbooks"
"""Where the alerts' pages are published (pyproject.toml, the job c2c_auditor_alerts)."""

VM = "vm"
"""What people call a cell, as diego-cell/7: made by `vm`."""

EVERY_CELL = "cell:c2c_auditor_absent:bool"
"""A series for each cell that has an agent or should have one: what the variables choose from."""


@frozen
class Scope:
    """A dashboard's selection: variables named as their labels.

    Each offers the values that the variables before it leave.
    """

    labels: tuple[str, ...]

    def series(self, name: str, *matchers: str) -> str:
        """The series ``name`` that the variables select, and that fit ``matchers`` too."""
        chosen = [*(f'{label}=~"${label}"' for label in self.labels), *matchers]
        return f"{name}{{{','.join(chosen)}}}" if chosen else name

    def values(self, label: str) -> str:
        """Grafana's query for what the variable ``label`` may be."""
        before = Scope(self.labels[: self.labels.index(label)])
        return f"label_values({before.series(EVERY_CELL)}, {label})"


FLEET = Scope((ENVIRONMENT, DEPLOYMENT))
ONE_CELL = Scope((ENVIRONMENT, DEPLOYMENT, CELL))


def vm(scope: Scope) -> str:
    """A series for each cell of ``scope`` that bosh_exporter knows, with the label `VM`."""
    known = scope.series("bosh_job_process_healthy", 'bosh_job_process_name="vxlan-policy-agent"')
    return f'label_join({known}, "{VM}", "/", "bosh_job_name", "bosh_job_index")'


def total(labels: str, series: str) -> str:
    """The sum for each combination of ``labels``."""
    return f"sum by ({labels}) ({series})"


def age(series: str, labels: str = "") -> str:
    """Seconds since the latest of timestamps."""
    latest = f"max by ({labels}) ({series})" if labels else f"max({series})"
    return f"time() - {latest}"
