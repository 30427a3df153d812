"""Grafana's panels, as far as the two dashboards need them.

Types, options and transformations are those that Grafana 10, 11 and 12 have in common.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from c2c_auditor.model.kind import Effect

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}

GOOD, UNKNOWN, ABSENT, NEUTRAL = "green", "purple", "#808080", "text"
COLOURS: Mapping[Effect, str] = {
    Effect.BREACH: "red",
    Effect.OUTAGE: "orange",
    Effect.RESIDUE: "blue",
    Effect.ADVICE: "yellow",
}


@frozen
class Query:
    """One PromQL expression; ``legend`` names its series."""

    expr: str
    legend: str = field(default="__auto", kw_only=True)


@frozen
class Panel:
    """One panel: ``about`` explains it, ``width`` is in columns, ``json`` holds Grafana's further fields."""

    title: str
    about: str
    width: int
    json: Json = field(kw_only=True)


def rate(series: str) -> str:
    """What a counter gains per second, over what Grafana takes for one step of a graph."""
    return f"rate({series}[$__rate_interval])"


def gained(labels: str, series: str) -> str:
    """How many a counter gained in such a step, for each combination of ``labels``.

    Prometheus' estimate is no whole number.
    """
    return f"round(sum by ({labels}) (increase({series}[$__rate_interval])))"


def steps(colour: str, *limits: tuple[float, str]) -> Json:
    """Thresholds: ``colour`` below the first limit, then that of the last limit reached."""
    return {
        "mode": "absolute",
        "steps": [{"color": colour, "value": None}, *({"color": one, "value": limit} for limit, one in limits)],
    }


def override(names: str, properties: Json) -> Json:
    """Field options for the series and columns whose name matches the regular expression ``names``."""
    return {
        "matcher": {"id": "byRegexp", "options": f"/{names}/"},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def colour(names: str, name: str) -> Json:
    """The colour ``name`` for the series whose name matches ``names``."""
    return override(names, {"color": {"mode": "fixed", "fixedColor": name}})


def words(texts: Mapping[int, tuple[str, str]]) -> list[Json]:
    """Value mappings: for each value the word that is shown, and its colour."""
    return [
        {
            "type": "value",
            "options": {
                str(value): {"text": text, "color": name, "index": value} for value, (text, name) in texts.items()
            },
        }
    ]


BY_EFFECT = tuple(colour(f"^{effect.value}\\b", name) for effect, name in COLOURS.items())
"""Series whose legend begins with an effect have its colour."""

BY_FLOW = (
    colour("^allow → allow$", GOOD),
    colour("^deny → deny$", "dark-green"),
    colour("^allow → deny$", COLOURS[Effect.OUTAGE]),
    colour("^deny → allow$", COLOURS[Effect.BREACH]),
    colour("→ may$", UNKNOWN),
)
"""What should happen to a flow → what does: right is green, wrong has the colour of its effect."""


def stat(
    title: str,
    about: str,
    width: int,
    *queries: Query,
    thresholds: Json,
    unit: str = "short",
    overrides: Sequence[Json] = (),
) -> Panel:
    """Large figures of now; without a series it says "unknown", never 0."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
    }
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds, "noValue": "unknown"}
    return Panel(
        title,
        about,
        width,
        json={"type": "stat", "options": options, **_fields(defaults, overrides), **_targets(queries, "instant")},
    )


def graph(
    title: str,
    about: str,
    width: int,
    *queries: Query,
    unit: str = "short",
    overrides: Sequence[Json] = (),
    nothing: str = "No data",
) -> Panel:
    """Lines over time, numbers of things as steps. ``nothing`` is said where there is no series."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter" if unit == "short" else "linear",
        "lineWidth": 1,
        "fillOpacity": 10,
        "showPoints": "auto",
        "spanNulls": False,
    }
    options = {
        "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic"}, "noValue": nothing, "custom": custom}
    return Panel(
        title,
        about,
        width,
        json={"type": "timeseries", "options": options, **_fields(defaults, overrides), **_targets(queries)},
    )


def timeline(
    title: str, about: str, width: int, *queries: Query, mappings: Sequence[Json], overrides: Sequence[Json] = ()
) -> Panel:
    """A bar for each series that shows when it was what; ``mappings`` as `words` makes them."""
    defaults = {
        "mappings": list(mappings),
        "color": {"mode": "thresholds"},
        "thresholds": steps(NEUTRAL),
        "noValue": "unknown",
        "custom": {"lineWidth": 0, "fillOpacity": 80},
    }
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return Panel(
        title,
        about,
        width,
        json={"type": "state-timeline", "options": options, **_fields(defaults, overrides), **_targets(queries)},
    )


def table(
    title: str,
    about: str,
    width: int,
    *queries: Query,
    columns: Mapping[str, str],
    overrides: Sequence[Json] = (),
    nothing: str = "No data",
) -> Panel:
    """Figures of now, a row for each combination of labels.

    ``columns`` are labels, and ``Value #A`` and so on for the queries (``Value`` for an only one), with their headings,
    in order; sorted by the first two queries, largest first.
    """
    order = {name: index for index, name in enumerate(columns)}
    figures = [heading for name, heading in columns.items() if name.startswith("Value")]
    options = {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": heading, "desc": True} for heading in figures[:2]],
    }
    defaults = {
        "unit": "short",
        "noValue": nothing,
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
    }
    shape = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": dict(columns)}
    json = {
        "type": "table",
        "options": options,
        **_fields(defaults, overrides),
        **_targets(queries, "instant", "table"),
    }
    return Panel(
        title,
        about,
        width,
        json={**json, "transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": shape}]},
    )


def _fields(defaults: Json, overrides: Sequence[Json]) -> Json:
    return {"fieldConfig": {"defaults": defaults, "overrides": list(overrides)}}


def _targets(queries: Sequence[Query], kind: str = "range", shape: str = "time_series") -> Json:
    """The queries; those of ``kind`` instant ask for now only."""
    targets = [
        {
            "refId": letter,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "format": shape,
            "instant": kind == "instant",
            "range": kind == "range",
            "legendFormat": query.legend,
        }
        for letter, query in zip(string.ascii_uppercase, queries, strict=False)
    ]
    return {"datasource": DATASOURCE, "targets": targets}
