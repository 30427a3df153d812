"""A whole dashboard: rows of panels, the variables in front, and what Grafana wants to know of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen
from dashboards.labels import Scope
from dashboards.panels import DATASOURCE, Panel, plain
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

_INPUT = {
    "name": "DS_PROMETHEUS",
    "label": "Prometheus",
    "description": "",
    "type": "datasource",
    "pluginId": "prometheus",
    "pluginName": "Prometheus",
}
_REQUIRED = {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"}
_LABEL_VALUES = 1  # what the editor of Grafana's Prometheus source calls such a query


@frozen
class Row:
    """Panels side by side; a ``title`` puts a heading above by which they fold away."""

    panels: Sequence[Panel]
    title: str = field(default="", kw_only=True)


@frozen(kw_only=True)
class Dashboard:
    """``uid`` is what links and bookmarks hold: it never changes.

    With ``several`` a variable may stand for several values, or all.
    """

    uid: str
    title: str
    description: str
    scope: Scope
    several: bool
    rows: Sequence[Row]
    link: builders.DashboardLink | None = None
    alerts: str = ""

    def json(self) -> dict[str, Any]:
        """The file's content.

        What bosh's and Grafana's importers put in place of `${DS_PROMETHEUS}` is the one thing open.
        """
        built = (
            builders.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags(["c2c-auditor", "cf", "bosh"])
            .refresh("1m")
            .time("now-6h", "now")
            .timezone("browser")
            .editable()
            .version(1)
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
        )
        for label in self.scope.labels:
            built = built.with_variable(self._variable(label))
        if self.link is not None:
            built = built.link(self.link)
        if self.alerts:
            alerts = builders.AnnotationQuery().name("Alerts").datasource(DATASOURCE).enable(True)
            built = built.annotation(alerts.icon_color("red").expr(self.alerts))
        for row in self.rows:
            if row.title:
                built = built.with_row(builders.Row(row.title))
            for panel in row.panels:
                built = built.with_panel(panel)
        document: dict[str, Any] = plain(built.build())
        for number, panel in enumerate(document["panels"], start=1):
            panel["id"] = number
        document["annotations"].setdefault("list", [])
        return {"__inputs": [_INPUT], "__requires": [_REQUIRED], **document, "id": None}

    def _variable(self, label: str) -> builders.QueryVariable:
        asked: dict[str, object] = {"qryType": _LABEL_VALUES, "query": self.scope.values(label), "refId": label}
        variable = (
            builders.QueryVariable(label)
            .label(label)
            .datasource(DATASOURCE)
            .query(asked)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(self.several)
            .include_all(self.several)
        )
        return variable.all_value(".*") if self.several else variable
