"""A whole dashboard: panels laid out row by row, the variables in front, and what Grafana wants to know of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import field, frozen
from dashboards.labels import Scope
from dashboards.panels import DATASOURCE, Json, Panel

_COLUMNS = 24
_LABEL_VALUES = 1  # what the editor of Grafana's Prometheus source calls such a query
_INPUT = {
    "name": "DS_PROMETHEUS",
    "label": "Prometheus",
    "description": "",
    "type": "datasource",
    "pluginId": "prometheus",
    "pluginName": "Prometheus",
}
_NAMES = {
    "stat": "Stat",
    "timeseries": "Time series",
    "state-timeline": "State timeline",
    "table": "Table",
}


@frozen
class Row:
    """Panels side by side, ``height`` in grid units; a ``title`` puts a heading above by which they fold away."""

    panels: Sequence[Panel]
    height: int = field(default=8, kw_only=True)
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
    links: Sequence[Json] = ()
    annotations: Sequence[Json] = ()

    def json(self) -> Json:
        """The file's content.

        What bosh's and Grafana's importers put in place of `${DS_PROMETHEUS}` is the one thing open.
        """
        panels = list(_laid_out(self.rows))
        kinds = sorted({panel["type"] for panel in panels} & _NAMES.keys())
        return {
            "__inputs": [_INPUT],
            "__requires": [
                {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
                {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
                *({"type": "panel", "id": kind, "name": _NAMES[kind], "version": ""} for kind in kinds),
            ],
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["c2c-auditor", "cf", "bosh"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "1m",
            "time": {"from": "now-6h", "to": "now"},
            "timepicker": {},
            "timezone": "",
            "links": list(self.links),
            "annotations": {"list": list(self.annotations)},
            "templating": {"list": [self._variable(label) for label in self.scope.labels]},
            "panels": panels,
        }

    def _variable(self, label: str) -> Json:
        query = self.scope.values(label)
        variable = {
            "name": label,
            "label": label,
            "type": "query",
            "datasource": DATASOURCE,
            "definition": query,
            "query": {"qryType": _LABEL_VALUES, "query": query, "refId": label},
            "regex": "",
            "refresh": 2,
            "sort": 1,
            "hide": 0,
            "multi": self.several,
            "includeAll": self.several,
            "options": [],
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if self.several else {},
        }
        return {**variable, "allValue": ".*"} if self.several else variable


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    """The panels with their places; a row that is wider than the grid raises ValueError."""
    number, y = 0, 0
    for row in rows:
        if row.title:
            number += 1
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": _place(0, y, _COLUMNS, 1),
            }
            y += 1
        x = 0
        for panel in row.panels:
            number += 1
            if x + panel.width > _COLUMNS:
                raise ValueError(f"{panel.title}: a row has {_COLUMNS} columns")
            place = _place(x, y, panel.width, row.height)
            yield {"id": number, "title": panel.title, "description": panel.about, "gridPos": place, **panel.json}
            x += panel.width
        y += row.height


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}
