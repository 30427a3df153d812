"""A dashboard as a picture: every panel's queries asked of a real Prometheus and drawn where the panel lies."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.dates as mdates
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from support.dashboards import substituted
from support.prometheus import Prometheus

_COLUMN, _ROW = 0.72, 0.36  # inches of a unit of Grafana's grid
_NAMED = {"text": "#dddddd", "dark-green": "#37872d", "green": "#73bf69", "purple": "#b877d9", "orange": "#ff9830"}
_NAMED |= {"red": "#f2495c", "blue": "#5794f2", "yellow": "#fade2a", "transparent": "#22252b"}
_INK, _PAPER, _GRID = "#d0d0d0", "#181b1f", "#33363d"
_STEPS = 240
_DAY = 86400.0  # matplotlib counts time in days
_LARGE = 9  # characters that fit in large type
_UNITS: Mapping[str, Callable[[float], str]] = {
    "s": lambda value: f"{value:.3g} s" if value < 120 else f"{value / 60:.1f} min",
    "bytes": lambda value: f"{value / (1 << 20):.0f} MiB",
    "percentunit": lambda value: f"{100 * value:.2g} %",
    "dateTimeFromNow": lambda value: f"{(time.time() - value / 1000) / 60:.1f} min ago",
}


class Drawing:
    """Draws dashboards over the last ``seconds`` before ``end``; ``values`` are what the variables stand for."""

    def __init__(self, prometheus: Prometheus, values: Mapping[str, str], *, since: float, end: float) -> None:
        self._prometheus = prometheus
        self._values = values
        self._since, self._end = since, end

    def draw(self, dashboard: Path, picture: Path) -> list[str]:
        """Write ``picture``; the titles of panels without any data."""
        panels = json.loads(dashboard.read_text())["panels"]
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        figure = plt.figure(figsize=(24 * _COLUMN, height * _ROW), facecolor="#111217")
        empty = [panel["title"] for panel in panels if not self._draw_panel(panel, figure, height)]
        figure.savefig(picture, dpi=72, facecolor=figure.get_facecolor())
        plt.close(figure)
        return empty

    def _draw_panel(self, panel: Mapping[str, Any], figure: Figure, height: int) -> bool:
        """Whether there was anything to draw; a row's heading is."""
        place, line = panel["gridPos"], 1 / (height * _ROW)  # an inch
        wide, high = place["w"] / 24, place["h"] / height
        left, bottom = place["x"] / 24, 1 - (place["y"] + place["h"]) / height
        if panel["type"] == "row":
            figure.text(left + 0.004, bottom + high / 2, panel["title"], color=_INK, fontsize=13, va="center")
            return True
        frame = (left + 0.002, bottom + 0.001), wide - 0.004, high - 0.002
        figure.add_artist(Rectangle(*frame, facecolor=_PAPER, edgecolor=_GRID, zorder=-1))
        figure.text(left + 0.007, bottom + high - 0.15 * line, panel["title"], color=_INK, fontsize=10, va="top")
        found = self._found(panel)
        share = 0.6 if panel["type"] == "timeseries" else 1.0  # the rest is the legend's
        inner = left + 0.025, bottom + 0.3 * line, (wide - 0.04) * share, high - 0.75 * line
        axes = figure.add_axes(inner, facecolor=_PAPER)
        axes.tick_params(colors=_INK, labelsize=7)
        for side in axes.spines.values():
            side.set_color(_GRID)
        draw = {"stat": self._figures, "timeseries": self._lines, "state-timeline": self._bars, "table": self._table}
        draw[panel["type"]](panel, found, axes)
        return any(found)

    def _found(self, panel: Mapping[str, Any]) -> list[list[tuple[str, dict[str, Any]]]]:
        """For each query its series with their legends."""
        found = []
        for target in panel["targets"]:
            asked = substituted(target["expr"], {**self._values, "__rate_interval": "4m"})
            if target["instant"]:
                series = self._prometheus.query(asked)
            else:
                series = self._prometheus.query_range(asked, since=self._since, step=(self._end - self._since) / _STEPS)
            found.append([(_legend(target["legendFormat"], one["metric"]), one) for one in series])
        return found

    def _figures(self, panel: Mapping[str, Any], found: list[Any], axes: Axes) -> None:
        axes.axis("off")
        defaults = panel["fieldConfig"]["defaults"]
        shown: list[tuple[str, float | None]] = [
            (legend, float(one["value"][1])) for query in found for legend, one in query
        ] or [("", None)]
        for number, (legend, value) in enumerate(shown):
            text, colour = _said(defaults, value)
            at = 0.85 - number * 0.9 / len(shown) - 0.3 * (len(shown) == 1)
            size = 22 if len(shown) == 1 and len(text) < _LARGE else 13
            axes.text(0.5, at, f"{legend}  {text}".strip(), color=colour, ha="center", fontsize=size)

    def _lines(self, panel: Mapping[str, Any], found: list[Any], axes: Axes) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        unit = _unit(defaults.get("unit", "short"))
        right = axes.twinx() if "axisPlacement" in json.dumps(panel["fieldConfig"]["overrides"]) else None
        drawn: list[Line2D] = []
        for legend, one in (pair for query in found for pair in query):
            properties = _overridden(panel, legend)
            target = right if right is not None and properties.get("custom.axisPlacement") == "right" else axes
            colour = _colour(properties.get("color", {}).get("fixedColor", "")) or f"C{len(drawn) % 10}"
            values = [float(value) for _, value in one["values"]]
            name = f"{legend or 'value'}: {unit(values[-1])}"
            moments = [moment / _DAY for moment, _ in one["values"]]
            drawn += target.plot(moments, values, color=colour, lw=1.4, drawstyle="steps-post", label=name)
        if not drawn:
            where = axes.transAxes
            axes.text(0.5, 0.5, defaults.get("noValue", ""), color=_INK, ha="center", transform=where)
        self._time_axis(axes)
        axes.grid(color=_GRID, lw=0.5)
        for one in (axes, right) if right is not None else (axes,):
            one.set_ylim(bottom=0)
            one.tick_params(colors=_INK, labelsize=7)
            one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: unit(value)))
        place = (1.12 if right is not None else 1.01, 1.05)
        look = {"fontsize": 6.5, "labelcolor": _INK, "facecolor": _PAPER, "edgecolor": _PAPER}
        (right or axes).legend(handles=drawn[:13], loc="upper left", bbox_to_anchor=place, **look)

    def _time_axis(self, axes: Axes) -> None:
        axes.xaxis_date()
        axes.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
        axes.set_xlim(self._since / _DAY, self._end / _DAY)
        axes.set_xticks([(self._since + (self._end - self._since) * part / 4) / _DAY for part in range(5)])

    def _bars(self, panel: Mapping[str, Any], found: list[Any], axes: Axes) -> None:
        step = (self._end - self._since) / _STEPS / _DAY
        series = [pair for query in found for pair in query]
        for number, (legend, one) in enumerate(series):
            mappings = _overridden(panel, legend).get("mappings", panel["fieldConfig"]["defaults"]["mappings"])
            for moment, value in one["values"]:
                _, colour = _said({"mappings": mappings}, float(value))
                axes.broken_barh([(moment / _DAY, step)], (number - 0.4, 0.8), facecolors=colour)
            axes.text(self._since / _DAY, number, f" {legend}", color="white", fontsize=8, va="center")
        axes.set_yticks([])
        axes.set_ylim(len(series) - 0.4, -0.6)
        self._time_axis(axes)

    def _table(self, panel: Mapping[str, Any], found: list[Any], axes: Axes) -> None:
        axes.axis("off")
        shape = panel["transformations"][1]["options"]
        columns = [name for name in shape["indexByName"] if not shape["excludeByName"].get(name)]
        merged: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        for target, query in zip(panel["targets"], found, strict=True):
            figure = "Value" if len(found) == 1 else f"Value #{target['refId']}"
            for _, one in query:
                labels = {name: one["metric"].get(name, "") for name in columns if not name.startswith("Value")}
                key = tuple(sorted((name, value) for name, value in labels.items() if name != "vm"))
                row = merged.setdefault(key, {})
                row.update({name: value for name, value in labels.items() if value})
                properties = _overridden(panel, shape["renameByName"].get(figure, figure))
                unit = properties.get("unit", "short")
                text, _ = _said({"mappings": properties.get("mappings", []), "unit": unit}, float(one["value"][1]))
                row[figure] = text
        cells = [[row.get(name, "") for name in columns] for row in merged.values()]
        figures = [number for number, name in enumerate(columns) if name.startswith("Value")][:2]
        cells.sort(key=lambda row: [float(row[at]) if row[at].isdigit() else 0.0 for at in figures], reverse=True)
        if panel["options"]["sortBy"] and not panel["options"]["sortBy"][0]["desc"]:
            heading = panel["options"]["sortBy"][0]["displayName"]
            at = [shape["renameByName"].get(name, name) for name in columns].index(heading)
            cells.sort(key=lambda row: row[at])
        shown = cells[: max(int(panel["gridPos"]["h"] * 1.8), 2)]
        if not shown:
            axes.text(0.5, 0.5, panel["fieldConfig"]["defaults"].get("noValue", ""), color=_INK, ha="center")
            return
        headings = [shape["renameByName"].get(name, name) for name in columns]
        table = axes.table(shown, colLabels=headings, loc="upper center", cellLoc="left")
        table.auto_set_font_size(False)  # noqa: FBT003 - matplotlib takes its switches so
        table.set_fontsize(8)
        for cell in table.get_celld().values():
            cell.set_facecolor(_PAPER)
            cell.set_edgecolor(_GRID)
            cell.get_text().set_color(_INK)


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    if pattern == "__auto":
        return ""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern)


def _overridden(panel: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The field options for the series or column ``name``."""
    properties: dict[str, Any] = {}
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), name):
            properties |= {one["id"]: one["value"] for one in override["properties"]}
    return properties


def _said(defaults: Mapping[str, Any], value: float | None) -> tuple[str, str]:
    """The text for a value, and its colour."""
    if value is None:
        return defaults.get("noValue", "unknown"), _INK
    for mapping in defaults.get("mappings", []):
        option = mapping["options"].get(f"{value:g}")
        if option is not None:
            return option["text"], _colour(option["color"]) or _INK
    colour = _INK
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = _colour(step["color"]) or _INK
    return _unit(defaults.get("unit", "short"))(value), colour


def _unit(name: str) -> Callable[[float], str]:
    return _UNITS.get(name, lambda value: f"{value:.4g}")


def _colour(name: str) -> str:
    return _NAMED.get(name, name)
