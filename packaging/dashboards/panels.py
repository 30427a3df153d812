"""The two dashboards' kinds of panels, made with Grafana's own builders.

Types, options and transformations are those that Grafana 10, 11 and 12 have in common.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from attrs import field, frozen
from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from c2c_auditor.model.kind import Effect

Panel = stat.Panel | timeseries.Panel | statetimeline.Panel | table.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, statetimeline.Panel, table.Panel)

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${DS_PROMETHEUS}")
# The least step of a query. Grafana makes $__rate_interval four times as long, which holds for scrapes once a minute,
# as prometheus-boshrelease scrapes unless told otherwise.
LEAST_STEP = "1m"

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
class Override:
    """Field options for the series and columns whose name matches the regular expression ``names``."""

    names: str
    properties: Mapping[str, object]


@frozen
class About:
    """What a panel is called, the sentence that explains it, and its width of 24 columns and height."""

    title: str
    sentence: str
    width: int
    height: int = field(default=8, kw_only=True)


def rate(series: str) -> str:
    """What a counter gains per second, over what Grafana takes for one step of a graph."""
    return f"rate({series}[$__rate_interval])"


def gained(labels: str, series: str) -> str:
    """How many a counter gained in such a step, for each combination of ``labels``.

    Prometheus' estimate is no whole number.
    """
    return f"round(sum by ({labels}) (increase({series}[$__rate_interval])))"


def steps(colour: str, *limits: tuple[float, str]) -> builders.ThresholdsConfig:
    """Thresholds: ``colour`` below the first limit, then that of the last limit reached."""
    marks = [models.Threshold(color=colour, value=None), *(models.Threshold(value=at, color=one) for at, one in limits)]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(marks)


def colour(names: str, name: str) -> Override:
    """The colour ``name`` for the series whose name matches ``names``."""
    return Override(names, {"color": {"mode": "fixed", "fixedColor": name}})


def words(texts: Mapping[int, tuple[str, str]]) -> list[models.ValueMap]:
    """Value mappings: for each value the word that is shown, and its colour."""
    options = {
        str(value): models.ValueMappingResult(text=text, color=name, index=value)
        for value, (text, name) in texts.items()
    }
    return [models.ValueMap(options=options)]


def link(title: str, url: str) -> dict[str, object]:
    """A link of a field."""
    return {"title": title, "url": url}


BY_EFFECT = tuple(colour(f"^{effect.value}\\b", name) for effect, name in COLOURS.items())
"""Series whose legend begins with an effect have its colour."""

BY_FLOW = (
    colour("^allow → allow$", GOOD),
    colour("^deny → deny$", "dark-green"),
    colour("^allow → deny$", COLOURS[Effect.OUTAGE]),
    colour("^deny → allow$", COLOURS[Effect.BREACH]),
    colour("→ may$", UNKNOWN),
    Override("^(allow → allow|deny → deny)$", {"custom.axisPlacement": "right", "custom.axisLabel": "as intended"}),
)
"""What should happen to a flow → what does: right is green and has an axis of its own, so that few wrong ones show."""


def figures(
    about: About,
    *queries: Query,
    thresholds: builders.ThresholdsConfig,
    unit: str = "short",
    overrides: Sequence[Override] = (),
    mappings: Sequence[models.ValueMap] = (),
) -> stat.Panel:
    """Large figures of now; without a series it says "unknown", never 0."""
    panel = (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .color_mode(shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds)
        .mappings(list(mappings))
        .no_value("unknown")
        .unit(unit)
    )
    return _finished(panel, about, queries, overrides, now=True)


def graph(
    about: About, *queries: Query, unit: str = "short", overrides: Sequence[Override] = (), nothing: str = "No data"
) -> timeseries.Panel:
    """Lines over time, numbers of things as steps. ``nothing`` is said where there is no series."""
    steps_or_lines = shapes.LineInterpolation.STEP_AFTER if unit == "short" else shapes.LineInterpolation.LINEAR
    legend = (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.RIGHT)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    panel = (
        timeseries.Panel()
        .draw_style(shapes.GraphDrawStyle.LINE)
        .line_interpolation(steps_or_lines)
        .fill_opacity(10)
        .span_nulls(False)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .min(0)
        .no_value(nothing)
        .unit(unit)
    )
    return _finished(panel, about, queries, overrides)


def timeline(
    about: About, *queries: Query, mappings: Sequence[models.ValueMap], overrides: Sequence[Override] = ()
) -> statetimeline.Panel:
    """A bar for each series that shows when it was what; ``mappings`` as `words` makes them."""
    panel = (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(shapes.VisibilityMode.AUTO)
        .row_height(0.9)
        .fill_opacity(80)
        .line_width(0)
        .legend(common.VizLegendOptions().show_legend(False))
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(steps(NEUTRAL))
        .mappings(list(mappings))
        .no_value("unknown")
        .unit("short")
    )
    return _finished(panel, about, queries, overrides)


def rows(
    about: About,
    *queries: Query,
    columns: Mapping[str, str],
    first: str = "",
    overrides: Sequence[Override] = (),
    nothing: str = "No data",
) -> table.Panel:
    """Figures of now, a row for each combination of labels.

    ``columns`` are labels, and ``Value #A`` and so on for the queries (``Value`` for an only one), with their headings,
    in order. A column with an empty heading is hidden. Sorted by the column ``first`` or, without one, by the first two
    queries, largest first.
    """
    headings = [heading for name, heading in columns.items() if name.startswith("Value") and heading]
    order = [(first, False)] if first else [(heading, True) for heading in headings[:2]]
    shape = {
        "excludeByName": {"Time": True, **{name: True for name, heading in columns.items() if not heading}},
        "indexByName": {name: index for index, name in enumerate(columns)},
        "renameByName": {name: heading for name, heading in columns.items() if heading},
    }
    panel = (
        table.Panel()
        .show_header(True)
        .sort_by([common.TableSortByFieldState().display_name(name).desc(down) for name, down in order])
        .transformations(
            [
                models.DataTransformerConfig(id_val="merge", options={}),
                models.DataTransformerConfig(id_val="organize", options=shape),
            ]
        )
        .no_value(nothing)
        .unit("short")
    )
    return _finished(panel, about, queries, overrides, now=True, shape=PromQueryFormat.TABLE)


def _finished(
    panel: P,
    about: About,
    queries: Sequence[Query],
    overrides: Sequence[Override],
    *,
    now: bool = False,
    shape: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> P:
    """``panel`` with what all have; ``now``: its queries ask for this moment only."""
    panel = panel.title(about.title).description(about.sentence).span(about.width).height(about.height)
    panel = panel.datasource(DATASOURCE)
    for one in overrides:
        values = [models.DynamicConfigValue(id_val=name, value=value) for name, value in one.properties.items()]
        panel = panel.override_by_regexp(f"/{one.names}/", values)
    for letter, query in zip(string.ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).datasource(DATASOURCE).expr(query.expr)
        target = target.editor_mode(QueryEditorMode.CODE).format(shape).legend_format(query.legend)
        target = target.instant() if now else target.range().interval(LEAST_STEP)
        panel = panel.with_target(target)
    return panel


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Models as the values that JSON has."""
    to_json = getattr(value, "to_json", None)
    if to_json is not None:
        return plain(to_json())
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if one is not None or key == "value"}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return getattr(value, "value", value)
