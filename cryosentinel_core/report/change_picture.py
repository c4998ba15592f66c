"""`change.png`: one page to put on a slide. Both years in true colour with their outlines, and the largest changes close up.

Images are read strip by strip and reduced while reading, so memory is bounded by the picture, never by the area.
matplotlib's object API draws without a screen and without touching global state; the same tables and pixels give the same
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from cryosentinel_core.change.change_table import ChangeTables
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.io.year_results import TrueColour
from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.report.change_panels import (
    DPI,
    HEIGHT_IN,
    N_CLOSE_UPS,
    WIDTH_IN,
    close_up_grid,
    extent_of_rows,
    map_boxes,
    zone_of_rows,
)
from cryosentinel_core.report.maps import (
    DARK,
    QUIET,
    Limits,
    add_fills,
    add_outlines,
    add_scale_bar,
    frame_map,
    in_zone,
    limit_to,
    read_image,
    shore_style,
    show_ground,
    stretch_limits,
)
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2

GAINED, LOST = "#1f9ede", "#e8590c"
"""Blue and vermilion: told apart by all common kinds of colour blindness (after Okabe and Ito 2008)."""
_UNSEEN = "#ff9de2"
BEFORE, AFTER = "#ffe14d", "#ffffff"
_PAPER, _INK = "#ffffff", "#1c2430"


def draw_change(
    path: Path,
    found: ChangeTables,
    tables: Mapping[int, gpd.GeoDataFrame],
    sources: Mapping[int, TrueColour],
    *,
    min_observed: float,
    title: str = "",
) -> None:
    """Draw the first and the last year and save the picture, whole or not at all.

    Args:
        path: Path of the PNG.
        found: Tables of the comparison.
        tables: Year -> outlines, EPSG:4326, ascending.
        sources: Year -> true colour; a year without one is drawn on a plain ground.
        min_observed: Share of a lake's ground below which it counts as not seen in a year.
        title: First words of the heading, as the area's name.

    Raises:
        OutputWrite: If the disk refuses.
    """
    year_from, *_, year_to = tables
    rows = found.change[found.change["pair"] == f"{year_from}-{year_to}"].reset_index(drop=True)
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    _write_heading(figure, rows, title, year_from, year_to)
    epsg = zone_of_rows(rows)
    extent = extent_of_rows(rows, epsg)
    if extent is None:
        figure.text(0.5, 0.5, "No lake in either year", ha="center", va="center", fontsize=22, color=QUIET)
    else:
        content = _content_of(found, tables, rows, sources, epsg)
        limits = _draw_maps(figure, content, extent, min_observed)
        _draw_close(figure, content, limits)
    _write_foot(figure, (year_from, year_to), bool(sources), bool((rows["status"] == Status.UNOBSERVED).any()))
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "cryosentinel"})


def _write_heading(figure: Figure, rows: pd.DataFrame, title: str, year_from: int, year_to: int) -> None:
    """Title and one line of counts."""
    name = f"{title}: l" if title else "L"
    figure.text(0.03, 0.955, f"{name}akes {year_from} – {year_to}", fontsize=23, color=_INK, weight="bold", va="center")
    counts = rows["status"].value_counts()
    told = [f"{int(counts[status])} {status}" for status in map(str, Status) if status in counts.index]
    both = rows[rows["status"] != Status.UNOBSERVED]
    before, after = both["area_from_m2"].sum() / 1e6, both["area_to_m2"].sum() / 1e6
    line = f"{counted(len(rows), 'lake')}: {', '.join(told)}" if told else "No lakes"
    if before > 0:
        line += f".   Seen in both years: {before:.2f} km² → {after:.2f} km² ({100 * (after / before - 1):+.1f} %)"
    figure.text(0.03, 0.91, line, fontsize=12.5, color=QUIET, va="center")


def _write_foot(figure: Figure, years: tuple[int, int], has_images: bool, has_unseen: bool) -> None:
    """Legend and credits."""
    handles: list[Any] = [
        Line2D([], [], color=BEFORE, lw=2, ls=(0, (4, 1.5)), path_effects=[withStroke(linewidth=3.6, foreground=DARK)]),
        Line2D([], [], color=AFTER, lw=2, path_effects=[withStroke(linewidth=3.6, foreground=DARK)]),
        Patch(facecolor=GAINED, edgecolor="none"),
        Patch(facecolor=LOST, edgecolor="none"),
    ]
    labels = [f"shore {years[0]}", f"shore {years[1]}", "water gained", "water lost"]
    if has_unseen:
        mark = Line2D([], [], ls="", marker="$?$", ms=9, color=_UNSEEN)
        mark.set_path_effects([withStroke(linewidth=2.2, foreground=DARK)])
        handles.append(mark)
        labels.append("lake not seen that year")
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.022, 0.022),
        ncols=5,
        frameon=False,
        fontsize=12,
        labelcolor=_INK,
    )
    credit = "Outlines as given in the inventories"
    if has_images:
        credit = f"Contains modified Copernicus Sentinel data {years[0]}, {years[1]}; Copernicus DEM"
    figure.text(0.03, 0.016, f"{credit}. Made with cryosentinel.", fontsize=9, color=QUIET, va="center")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Content:
    """Contents of the panels, all in one zone.

    Attributes:
        years: The first and the last.
        epsg: Code of the zone.
        rows: Rows of the change table for these years.
        close: Rows that are shown close up, largest change first.
        sources: Year -> true colour.
        outlines: Year -> shorelines, metres of the zone.
        pieces: Colour -> gained or lost ground, metres of the zone.
    """

    years: tuple[int, int]
    epsg: int
    rows: gpd.GeoDataFrame
    close: gpd.GeoDataFrame
    sources: Mapping[int, TrueColour]
    outlines: Mapping[int, NDArray[np.object_]]
    pieces: Mapping[str, NDArray[np.object_]]

    @property
    def letters(self) -> dict[str, str]:
        """Lake key -> letter of its close-up."""
        return {key: chr(ord("A") + number) for number, key in enumerate(self.close["lake_key"])}


def _content_of(
    found: ChangeTables,
    tables: Mapping[int, gpd.GeoDataFrame],
    rows: gpd.GeoDataFrame,
    sources: Mapping[int, TrueColour],
    epsg: int,
) -> _Content:
    """Outlines and pieces of the first and the last year, in metres of the zone."""
    first, *_, last = tables
    pair = f"{first}-{last}"
    return _Content(
        years=(first, last),
        epsg=epsg,
        rows=rows,
        close=_largest_changes(rows),
        sources=sources,
        outlines={year: _outlines_of_year(tables[year], rows, epsg) for year in (first, last)},
        pieces={
            colour: in_zone(frame[frame["pair"] == pair].geometry.to_numpy(), epsg)
            for colour, frame in ((GAINED, found.gained), (LOST, found.lost))
        },
    )


def _draw_maps(figure: Figure, content: _Content, extent: Grid, min_observed: float) -> Limits | None:
    """The two maps; reflectance shown as black and as white."""
    images = [read_image(content.sources.get(year), content.epsg, extent) for year in content.years]
    limits = stretch_limits([image for image in images if image is not None])
    boxes = map_boxes(extent, len(content.close) > 0)
    for number, (year, image, box) in enumerate(zip(content.years, images, boxes, strict=True)):
        axes = figure.add_axes(box)
        show_ground(axes, image, limits, extent)
        if number == 1:
            add_fills(axes, content.pieces)
        style = shore_style(BEFORE if number == 0 else AFTER, dashed=number == 0, width=1.1)
        add_outlines(axes, content.outlines[year], **style)
        frame_map(axes, extent, with_latitudes=number == 0 or boxes[0][0] == boxes[1][0])
        add_scale_bar(axes)
        axes.set_title(str(year), fontsize=15, color=_INK, weight="bold", loc="left", pad=6)
        _mark_places(axes, content, extent)
        observed = content.rows["observed_from" if number == 0 else "observed_to"]
        unseen = content.rows[(content.rows["status"] == Status.UNOBSERVED) & (observed < min_observed)]
        _mark_unseen(axes, unseen, content.epsg)
    return limits


def _draw_close(figure: Figure, content: _Content, limits: Limits | None) -> None:
    """The largest changes close up: the later year's image, both shores, gained and lost water."""
    first, last = content.years
    source = content.sources.get(last)
    for number, (_, row) in enumerate(content.close.iterrows()):
        down, across = divmod(number, 2)
        axes = figure.add_axes((0.672 + 0.158 * across, 0.505 - 0.39 * down, 0.148, 0.148 * WIDTH_IN / HEIGHT_IN))
        grid = close_up_grid(row.geometry, content.epsg)
        show_ground(axes, read_image(source, content.epsg, grid), limits, grid)
        add_fills(axes, content.pieces)
        add_outlines(axes, content.outlines[last], **shore_style(AFTER, dashed=False, width=1.7))
        add_outlines(axes, content.outlines[first], **shore_style(BEFORE, dashed=True, width=1.7))
        limit_to(axes, grid)
        axes.set_xticks([])
        axes.set_yticks([])
        add_scale_bar(axes)
        heading = f"{content.letters[row['lake_key']]}   {row['lake_key']}\n"
        axes.set_title(heading, fontsize=11, color=_INK, weight="bold", loc="left", pad=4)
        axes.text(0.0, 1.022, _change_in_words(row), transform=axes.transAxes, fontsize=10, color=QUIET)


def _change_in_words(row: pd.Series[Any]) -> str:
    """Status and change of a lake, as `grown, +1.20 ha (+14 %)`."""
    has_percent = np.isfinite(row["change_percent"]) and row["status"] != Status.NEW
    percent = f" ({row['change_percent']:+.0f} %)" if has_percent else ""
    return f"{row['status']}, {row['change_m2'] / HECTARE_M2:+.2f} ha{percent}"


def _largest_changes(rows: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The significant changes of lakes, largest first, at most four; of those not significant none."""
    told = rows[(rows["significant"].fillna(False)) & (rows["change_m2"].abs() > 0)]
    order = np.lexsort((told["lake_key"].to_numpy(), -told["change_m2"].abs().to_numpy()))
    return told.iloc[order[:N_CLOSE_UPS]]


def _outlines_of_year(table: gpd.GeoDataFrame, rows: gpd.GeoDataFrame, epsg: int) -> NDArray[np.object_]:
    """A year's outlines that belong to a row of the table, in metres of the zone."""
    geometry = table.geometry.to_numpy()
    whole = rows.geometry.to_numpy()
    hits, _ = shapely.STRtree(whole).query(geometry, predicate="intersects")
    return in_zone(geometry[np.unique(hits)], epsg)


def _mark_places(axes: Any, content: _Content, extent: Grid) -> None:
    """A letter beside each lake that is shown close up."""
    to_zone = transformer(4326, content.epsg)
    minx, _, maxx, maxy = extent.bounds
    reach = 0.02 * (maxx - minx)
    for _, row in content.close.iterrows():
        x = to_zone.transform(row["lon"], row["lat"])[0]
        placed = in_zone(np.array([row.geometry], dtype=object), content.epsg)
        top = min(shapely.total_bounds(placed)[3] + reach, maxy - 2 * reach)
        axes.text(
            x,
            top,
            content.letters[row["lake_key"]],
            ha="center",
            va="bottom",
            fontsize=13,
            weight="bold",
            color="white",
            zorder=8,
            path_effects=[withStroke(linewidth=3.2, foreground=DARK)],
        )


def _mark_unseen(axes: Any, rows: pd.DataFrame, epsg: int) -> None:
    """A question mark where a lake's ground was not seen that year."""
    to_zone = transformer(4326, epsg)
    for lon, lat in zip(rows["lon"], rows["lat"], strict=True):
        axes.text(
            *to_zone.transform(lon, lat),
            "?",
            ha="center",
            va="center",
            fontsize=13,
            weight="bold",
            color=_UNSEEN,
            zorder=8,
            clip_on=True,
            path_effects=[withStroke(linewidth=3.0, foreground=DARK)],
        )
