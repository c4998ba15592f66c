"""`change.png`: one page to put on a slide. Both years in true colour with their outlines, and the largest changes close up.

Images are read strip by strip and reduced while reading, so memory is bounded by the picture, never by the area.
matplotlib's object API draws without a screen and without touching global state; the same tables and pixels give the same
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change_table import ChangeTables, Comparison
from cryosentinel_core.io.results import TrueColour
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.lake import Status
from cryosentinel_core.lattice import Grid, transformer, zone_of_lonlat
from cryosentinel_core.units import HECTARE_M2, PIXEL_M

GAINED, LOST = "#1f9ede", "#e8590c"
"""Blue and vermilion: told apart by all common kinds of colour blindness (after Okabe and Ito 2008)."""
BEFORE, AFTER = "#ffe14d", "#ffffff"
_PAPER, _INK, _QUIET = "#ffffff", "#1c2430", "#5d6875"
_DPI, _WIDTH_IN, _HEIGHT_IN = 150, 16.0, 9.0
_MAX_SIDE_PX: Final = 1000
_STRIP_PX: Final = 2240
_N_CLOSE: Final = 4
_MAPS_WIDTH: Final = 0.602
"""Of the figure, beside the close-ups."""
_TALL_ASPECT: Final = 0.295 * _WIDTH_IN / (0.735 * _HEIGHT_IN)
_WIDE_ASPECT: Final = _MAPS_WIDTH * _WIDTH_IN / (0.345 * _HEIGHT_IN)
_WIDE_FROM: Final = (_TALL_ASPECT * _WIDE_ASPECT) ** 0.5
"""Width / height of the ground from which the maps are drawn one above the other."""


def draw_change(
    path: Path,
    found: ChangeTables,
    tables: Mapping[int, gpd.GeoDataFrame],
    comparison: Comparison,
    sources: Mapping[int, TrueColour],
    *,
    title: str = "",
) -> None:
    """Draw the first and the last year and save the picture, whole or not at all.

    Args:
        path: Of the PNG.
        found: The comparison.
        tables: Year -> outlines, EPSG:4326.
        comparison: What was compared.
        sources: Year -> true colour; a year without one is drawn on a plain ground.
        title: First words of the heading, as the area's name.

    Raises:
        OutputWrite: If the disk refuses.
    """
    year_from, year_to = comparison.years[0], comparison.years[-1]
    rows = found.change[found.change["pair"] == f"{year_from}-{year_to}"].reset_index(drop=True)
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    _write_heading(figure, rows, title, year_from, year_to)
    epsg = _zone_of_rows(rows)
    extent = _extent_of_rows(rows, epsg)
    if extent is None:
        figure.text(0.5, 0.5, "No lake in either year", ha="center", va="center", fontsize=22, color=_QUIET)
    else:
        _draw_panels(figure, found, tables, rows, epsg, extent, (year_from, year_to), sources)
    _write_foot(figure, (year_from, year_to), bool(sources))
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
    line = f"{len(rows)} lakes: {', '.join(told)}" if told else "No lakes"
    if before > 0:
        line += f".   Seen in both years: {before:.2f} km² → {after:.2f} km² ({100 * (after / before - 1):+.1f} %)"
    figure.text(0.03, 0.91, line, fontsize=12.5, color=_QUIET, va="center")


def _write_foot(figure: Figure, years: tuple[int, int], has_images: bool) -> None:
    """Legend and the words owed."""
    handles = [
        Line2D(
            [], [], color=BEFORE, lw=2, ls=(0, (4, 1.5)), path_effects=[withStroke(linewidth=3.6, foreground="#222222")]
        ),
        Line2D([], [], color=AFTER, lw=2, path_effects=[withStroke(linewidth=3.6, foreground="#222222")]),
        Patch(facecolor=GAINED, edgecolor="none"),
        Patch(facecolor=LOST, edgecolor="none"),
    ]
    labels = [f"shore {years[0]}", f"shore {years[1]}", "water gained", "water lost"]
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.022, 0.008),
        ncols=4,
        frameon=False,
        fontsize=12,
        labelcolor=_INK,
    )
    credit = "Outlines as given in the inventories"
    if has_images:
        credit = f"Contains modified Copernicus Sentinel data {years[0]}, {years[1]}; Copernicus DEM"
    figure.text(0.975, 0.028, f"{credit}. Made with cryosentinel.", fontsize=9.5, color=_QUIET, ha="right", va="center")


def _draw_panels(
    figure: Figure,
    found: ChangeTables,
    tables: Mapping[int, gpd.GeoDataFrame],
    rows: gpd.GeoDataFrame,
    epsg: int,
    extent: Grid,
    years: tuple[int, int],
    sources: Mapping[int, TrueColour],
) -> None:
    """The two maps and, below each other on the right, the largest changes."""
    images = [_read_image(sources.get(year), epsg, extent) for year in years]
    limits = _stretch_limits([image for image in images if image is not None])
    outlines = {year: _outlines_of_year(tables[year], rows, epsg) for year in years}
    pair = f"{years[0]}-{years[1]}"
    pieces = {
        colour: _in_zone(frame[frame["pair"] == pair].geometry.to_numpy(), epsg)
        for colour, frame in ((GAINED, found.gained), (LOST, found.lost))
    }
    close = _largest_changes(rows)
    letters = {row["lake_key"]: chr(ord("A") + number) for number, (_, row) in enumerate(close.iterrows())}
    boxes = (
        [(0.045, 0.115, 0.295, 0.735), (0.352, 0.115, 0.295, 0.735)]
        if len(close)
        else [(0.045, 0.115, 0.45, 0.735), (0.52, 0.115, 0.45, 0.735)]
    )
    for number, (year, image, box) in enumerate(zip(years, images, boxes, strict=True)):
        axes = figure.add_axes(box)
        _show_ground(axes, image, limits, extent)
        style = _style(BEFORE if number == 0 else AFTER, dashed=number == 0, width=1.1)
        if number == 1:
            _add_fills(axes, pieces)
        _add_outlines(axes, outlines[year], **style)
        _frame_map(axes, extent, epsg, with_latitudes=number == 0 or boxes[0][0] == boxes[1][0])
        _add_scale_bar(axes, extent)
        axes.set_title(str(year), fontsize=15, color=_INK, weight="bold", loc="left", pad=6)
        _mark_places(axes, close, letters, epsg, extent)
    _draw_close(figure, close, letters, epsg, years, sources, limits, outlines, pieces)


def _map_boxes(extent: Grid, has_close: bool) -> list[tuple[float, float, float, float]]:
    """(left, bottom, width, height) of the two maps: side by side for a tall area, one above the other for a wide one."""
    width = _MAPS_WIDTH if has_close else 0.925
    if extent.width > extent.height * _WIDE_FROM:
        tall = 0.345
        return [(0.045, 0.115 + tall + 0.065, width, tall), (0.045, 0.115, width, tall)]
    half = (width - 0.012) / 2.0
    return [(0.045, 0.115, half, 0.735), (0.045 + half + 0.012, 0.115, half, 0.735)]


def _draw_close(
    figure: Figure,
    close: gpd.GeoDataFrame,
    letters: Mapping[str, str],
    epsg: int,
    years: tuple[int, int],
    sources: Mapping[int, TrueColour],
    limits: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    outlines: Mapping[int, NDArray[np.object_]],
    pieces: Mapping[str, NDArray[np.object_]],
) -> None:
    """The largest changes close up: the later year's image, both shores, gained and lost water."""
    for number, (_, row) in enumerate(close.iterrows()):
        down, across = divmod(number, 2)
        axes = figure.add_axes((0.672 + 0.158 * across, 0.505 - 0.39 * down, 0.148, 0.148 * _WIDTH_IN / _HEIGHT_IN))
        grid = _close_grid(row.geometry, epsg)
        _show_ground(axes, _read_image(sources.get(years[1]), epsg, grid), limits, grid)
        _add_fills(axes, pieces)
        _add_outlines(axes, outlines[years[1]], **_style(AFTER, dashed=False, width=1.7))
        _add_outlines(axes, outlines[years[0]], **_style(BEFORE, dashed=True, width=1.7))
        _limit(axes, grid)
        axes.set_xticks([])
        axes.set_yticks([])
        _add_scale_bar(axes, grid)
        change_ha = row["change_m2"] / HECTARE_M2
        percent = (
            f" ({row['change_percent']:+.0f} %)"
            if np.isfinite(row["change_percent"]) and row["status"] != Status.NEW
            else ""
        )
        axes.set_title(
            f"{letters[row['lake_key']]}   {row['lake_key']}\n",
            fontsize=11,
            color=_INK,
            weight="bold",
            loc="left",
            pad=4,
        )
        axes.text(
            0.0,
            1.022,
            f"{row['status']}, {change_ha:+.2f} ha{percent}",
            transform=axes.transAxes,
            fontsize=10,
            color=_QUIET,
        )


def _largest_changes(rows: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The significant changes of lakes, largest first, at most four; of those not significant none."""
    told = rows[(rows["significant"].fillna(False)) & (rows["change_m2"].abs() > 0)]
    order = np.lexsort((told["lake_key"].to_numpy(), -told["change_m2"].abs().to_numpy()))
    return told.iloc[order[:_N_CLOSE]]


def _zone_of_rows(rows: gpd.GeoDataFrame) -> int:
    """The zone that holds most lakes (tie: lower)."""
    zones = [zone_of_lonlat(lon, lat).epsg for lon, lat in zip(rows["lon"], rows["lat"], strict=True)]
    if not zones:
        return 32643
    numbers, counts = np.unique(zones, return_counts=True)
    return int(numbers[np.argmax(counts)])


def _extent_of_rows(rows: gpd.GeoDataFrame, epsg: int) -> Grid | None:
    """The rectangle of the maps: all lakes with a margin, in the shape of a panel."""
    geometry = rows.geometry.to_numpy()
    filled = geometry[~shapely.is_empty(geometry)]
    if not len(filled):
        return None
    placed = _in_zone(filled, epsg)
    minx, miny, maxx, maxy = shapely.total_bounds(placed)
    is_wide = maxx - minx > _WIDE_FROM * (maxy - miny)
    aspect = _WIDE_ASPECT if is_wide else _TALL_ASPECT
    return _grid_around(placed, epsg, margin=0.05, min_side_m=1500.0, aspect=aspect)


def _close_grid(geometry: BaseGeometry, epsg: int) -> Grid:
    """A square around one lake."""
    return _grid_around(
        _in_zone(np.array([geometry], dtype=object), epsg), epsg, margin=0.3, min_side_m=400.0, aspect=1.0
    )


def _grid_around(placed: NDArray[np.object_], epsg: int, *, margin: float, min_side_m: float, aspect: float) -> Grid:
    """A grid around geometries in metres with a margin (share of the longer side) and a width / height."""
    minx, miny, maxx, maxy = shapely.total_bounds(placed)
    spare = 2.0 * margin * max(maxx - minx, maxy - miny)
    width, height = max(maxx - minx + spare, min_side_m), max(maxy - miny + spare, min_side_m)
    width, height = max(width, height * aspect), max(height, width / aspect)
    x, y = (minx + maxx) / 2.0, (miny + maxy) / 2.0
    return Grid(
        epsg=epsg,
        row=math.floor(-(y + height / 2.0) / PIXEL_M),
        col=math.floor((x - width / 2.0) / PIXEL_M),
        height=math.ceil(height / PIXEL_M),
        width=math.ceil(width / PIXEL_M),
    )


def _in_zone(geometry: NDArray[np.object_], epsg: int) -> NDArray[np.object_]:
    """EPSG:4326 -> metres of a zone."""
    to_zone = transformer(4326, epsg)
    moved = shapely.transform(geometry, lambda xy: np.column_stack(to_zone.transform(xy[:, 0], xy[:, 1])))
    return np.asarray(moved, dtype=object)


def _outlines_of_year(table: gpd.GeoDataFrame, rows: gpd.GeoDataFrame, epsg: int) -> NDArray[np.object_]:
    """A year's outlines that belong to a row of the table, in metres of the zone."""
    geometry = table.geometry.to_numpy()
    whole = rows.geometry.to_numpy()
    hits, _ = shapely.STRtree(whole).query(geometry, predicate="intersects")
    return _in_zone(geometry[np.unique(hits)], epsg)


def _read_image(source: TrueColour | None, epsg: int, grid: Grid) -> NDArray[np.float32] | None:
    """(3, h, w) reflectance of a grid, reduced by a whole factor to at most `_MAX_SIDE_PX`; None without a source."""
    if source is None or epsg not in source.zones:
        return None
    factor = max(1, math.ceil(max(grid.shape) / _MAX_SIDE_PX))
    h, w = math.ceil(grid.height / factor), math.ceil(grid.width / factor)
    image = np.full((3, h, w), np.nan, dtype=np.float32)
    step = max(1, _STRIP_PX // factor)
    found = False
    for top in range(0, h, step):
        for left in range(0, w, step):
            rows, cols = min(step, h - top), min(step, w - left)
            part = Grid(
                epsg=epsg,
                row=grid.row + top * factor,
                col=grid.col + left * factor,
                height=rows * factor,
                width=cols * factor,
            )
            pixels = source.read(epsg, part)
            if pixels is not None:
                found = True
                image[:, top : top + rows, left : left + cols] = _mean_blocks(pixels, factor)
    return image if found else None


def _mean_blocks(pixels: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(3, H, W) -> (3, H / factor, W / factor), the mean of what is there."""
    if factor == 1:
        return pixels
    bands, height, width = pixels.shape
    blocks = pixels.reshape(bands, height // factor, factor, width // factor, factor)
    there = np.isfinite(blocks)
    total = np.where(there, blocks, 0.0).sum(axis=(2, 4))
    count = there.sum(axis=(2, 4))
    mean = np.full(total.shape, np.nan, dtype=np.float32)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _stretch_limits(images: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Reflectance shown as black and as white, the same for both years and all three bands."""
    values = [image[np.isfinite(image)] for image in images]
    if not values or not sum(value.size for value in values):
        return None
    low, high = np.percentile(np.concatenate(values), (0.5, 97.0))
    return np.full(3, low, dtype=np.float64), np.full(3, max(high, low + 0.02), dtype=np.float64)


def _show_ground(
    axes: Any,
    image: NDArray[np.float32] | None,
    limits: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    grid: Grid,
) -> None:
    """The image in true colour, or a plain ground."""
    axes.set_facecolor("#8b94a0")
    if image is not None and limits is not None:
        low, high = limits
        scaled = np.clip((image - low[:, None, None]) / (high - low)[:, None, None], 0.0, 1.0) ** 0.75
        shown = np.dstack([*np.nan_to_num(scaled), np.isfinite(image).all(axis=0).astype(np.float32)])
        factor = max(1, math.ceil(max(grid.shape) / _MAX_SIDE_PX))
        minx, _, _, maxy = grid.bounds
        side = factor * PIXEL_M
        right, bottom = minx + side * shown.shape[1], maxy - side * shown.shape[0]
        axes.imshow(shown, extent=(minx, right, bottom, maxy), interpolation="antialiased", zorder=0)
    _limit(axes, grid)


def _limit(axes: Any, grid: Grid) -> None:
    """Show exactly a grid, metres square."""
    minx, miny, maxx, maxy = grid.bounds
    axes.set_xlim(minx, maxx)
    axes.set_ylim(miny, maxy)
    axes.set_aspect("equal", adjustable="box")
    for spine in axes.spines.values():
        spine.set_color(_QUIET)
        spine.set_linewidth(0.8)


def _style(colour: str, *, dashed: bool, width: float) -> dict[str, Any]:
    """Of a shore."""
    return {"colour": colour, "dash": (0, (4, 1.5)) if dashed else "-", "width": width}


def _add_outlines(axes: Any, placed: NDArray[np.object_], *, colour: str, dash: Any, width: float) -> None:
    """Shores as lines with a dark rim, legible on snow and on rock."""
    path = _as_path(axes, placed)
    if path is not None:
        axes.add_artist(PathPatch(path, fill=False, edgecolor="#20242a", lw=width + 1.2, alpha=0.75, zorder=3))
        axes.add_artist(PathPatch(path, fill=False, edgecolor=colour, lw=width, linestyle=dash, zorder=4))


def _add_fills(axes: Any, pieces: Mapping[str, NDArray[np.object_]]) -> None:
    """Gained and lost water."""
    for colour, placed in pieces.items():
        path = _as_path(axes, placed)
        if path is not None:
            axes.add_artist(PathPatch(path, facecolor=colour, edgecolor="none", alpha=0.85, zorder=2))


def _as_path(axes: Any, placed: NDArray[np.object_]) -> Outline | None:
    """The polygons that a map shows as one matplotlib path, holes kept; None if it shows none."""
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    shown = placed[shapely.intersects(placed, shapely.box(west, south, east, north))]
    points, codes = [], []
    for part in shapely.get_parts(shown):
        if part.geom_type == "Polygon" and not part.is_empty:
            for ring in (part.exterior, *part.interiors):
                xy = shapely.get_coordinates(ring)
                points.append(xy)
                codes += [Outline.MOVETO] + [Outline.LINETO] * (len(xy) - 2) + [Outline.CLOSEPOLY]
    return Outline(np.concatenate(points), codes) if points else None


def _frame_map(axes: Any, grid: Grid, epsg: int, *, with_latitudes: bool) -> None:
    """Ticks in degrees."""
    to_lonlat, to_zone = transformer(epsg, 4326), transformer(4326, epsg)
    minx, miny, maxx, maxy = grid.bounds
    (west, east), (south, north) = (
        to_lonlat.transform([minx, maxx], [miny, miny])[0],
        to_lonlat.transform([minx, minx], [miny, maxy])[1],
    )
    lons, lats = _nice_ticks(west, east, 3), _nice_ticks(south, north, 5)
    axes.set_xticks([to_zone.transform(lon, south)[0] for lon in lons], [_degrees(lon, "E", "W") for lon in lons])
    if with_latitudes:
        axes.set_yticks(
            [to_zone.transform(west, lat)[1] for lat in lats],
            [_degrees(lat, "N", "S") for lat in lats],
            rotation=90,
            va="center",
        )
    else:
        axes.set_yticks([])
    axes.tick_params(labelsize=9, colors=_QUIET, length=3, width=0.8)


def _nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round values inside a range, about as many as wanted."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step)
    return [round(number * step, 6) for number in range(first, math.floor(high / step) + 1)]


def _degrees(value: float, positive: str, negative: str) -> str:
    """As `77.25° E`."""
    return f"{abs(value):.4f}".rstrip("0").rstrip(".") + f"° {positive if value >= 0 else negative}"


def _add_scale_bar(axes: Any, grid: Grid) -> None:
    """A bar of a round length, about a quarter of the width."""
    minx, miny, maxx, maxy = grid.bounds
    rough = (maxx - minx) * 0.28
    power = 10.0 ** math.floor(math.log10(rough))
    length = max(power * factor for factor in (1, 2, 5) if power * factor <= rough)
    x, y = minx + 0.05 * (maxx - minx), miny + 0.045 * (maxy - miny)
    thick = 0.009 * (maxy - miny)
    axes.add_patch(Rectangle((x, y), length, thick, facecolor="white", edgecolor="#20242a", lw=0.8, zorder=6))
    axes.add_patch(Rectangle((x, y), length / 2, thick, facecolor="#20242a", edgecolor="#20242a", lw=0.8, zorder=7))
    told = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    axes.text(
        x + length / 2,
        y + 1.6 * thick,
        told,
        ha="center",
        va="bottom",
        fontsize=10,
        color="white",
        weight="bold",
        zorder=7,
        path_effects=[withStroke(linewidth=2.6, foreground="#20242a")],
    )


def _mark_places(axes: Any, close: gpd.GeoDataFrame, letters: Mapping[str, str], epsg: int, extent: Grid) -> None:
    """A letter beside each lake that is shown close up."""
    to_zone = transformer(4326, epsg)
    minx, _, maxx, maxy = extent.bounds
    reach = 0.02 * (maxx - minx)
    for _, row in close.iterrows():
        x = to_zone.transform(row["lon"], row["lat"])[0]
        placed = _in_zone(np.array([row.geometry], dtype=object), epsg)
        top = min(shapely.total_bounds(placed)[3] + reach, maxy - 2 * reach)
        axes.text(
            x,
            top,
            letters[row["lake_key"]],
            ha="center",
            va="bottom",
            fontsize=13,
            weight="bold",
            color="white",
            zorder=8,
            path_effects=[withStroke(linewidth=3.2, foreground="#20242a")],
        )
