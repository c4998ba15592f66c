"""Maps on matplotlib axes: ground in true colour, shores, gained and lost water, degrees and scale bars.

Images are read piece by piece and reduced while reading, so memory is bounded by the picture, never by the area.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import shapely
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator
from matplotlib_scalebar.scalebar import ScaleBar
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import project_geometry, transformer
from cryosentinel_core.io.year_results import TrueColour
from cryosentinel_core.units import PIXEL_M

QUIET: Final = "#5d6875"
"""Ink of what should not be loud."""

DARK: Final = "#20242a"
"""Rim around light ink, so that it is legible on snow."""

MAX_SIDE_PX: Final = 1000
"""Longer side of an image as drawn."""

_STRIP_PX: Final = 2240

_MANY_CORNERS: Final = 200_000
"""Corners of a map's outlines from which those that lie together within a part of a dot are drawn once."""

_TOLERANCE_PX: Final = 0.2
"""That part of a dot."""
_BLOCK: Final = 2_000
"""Outlines that are looked at together, to save memory."""

Limits = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(3,) reflectance shown as black and (3,) as white: red, green, blue."""


def in_zone(geometry: NDArray[np.object_], epsg: int) -> NDArray[np.object_]:
    """Geometries in EPSG:4326 -> metres of a zone, (N,) both."""
    return np.asarray(project_geometry(geometry, 4326, epsg), dtype=object)


def read_image(source: TrueColour | None, epsg: int, grid: Grid) -> NDArray[np.float32] | None:
    """(3, h, w) reflectance of a grid, reduced by a whole factor to at most `MAX_SIDE_PX`; None without a source."""
    if source is None or epsg not in source.zones:
        return None
    factor = max(1, math.ceil(max(grid.shape) / MAX_SIDE_PX))
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


def stretch_limits(images: Sequence[NDArray[np.float32]]) -> Limits | None:
    """Reflectance shown as black and as white, the same for both years and all three bands."""
    values = [image[np.isfinite(image)] for image in images]
    if not values or not sum(value.size for value in values):
        return None
    low, high = np.percentile(np.concatenate(values), (0.5, 95.0))
    return np.full(3, low, dtype=np.float64), np.full(3, max(high, low + 0.02), dtype=np.float64)


def show_ground(
    axes: Any,
    image: NDArray[np.float32] | None,
    limits: Limits | None,
    grid: Grid,
) -> None:
    """The image in true colour, or a plain ground."""
    axes.set_facecolor("#8b94a0")
    if image is not None and limits is not None:
        low, high = limits
        scaled = np.clip((image - low[:, None, None]) / (high - low)[:, None, None], 0.0, 1.0) ** 0.65
        shown = np.dstack([*np.nan_to_num(scaled), np.isfinite(image).all(axis=0).astype(np.float32)])
        factor = max(1, math.ceil(max(grid.shape) / MAX_SIDE_PX))
        minx, _, _, maxy = grid.bounds
        side = factor * PIXEL_M
        right, bottom = minx + side * shown.shape[1], maxy - side * shown.shape[0]
        axes.imshow(shown, extent=(minx, right, bottom, maxy), interpolation="antialiased", zorder=0)
    limit_to(axes, grid)


def limit_to(axes: Any, grid: Grid) -> None:
    """Show exactly a grid, metres square."""
    minx, miny, maxx, maxy = grid.bounds
    axes.set_xlim(minx, maxx)
    axes.set_ylim(miny, maxy)
    axes.set_aspect("equal", adjustable="box")
    for spine in axes.spines.values():
        spine.set_color(QUIET)
        spine.set_linewidth(0.8)


def shore_style(colour: str, *, dashed: bool, width: float) -> dict[str, Any]:
    """Line style of a shoreline."""
    return {"colour": colour, "dash": (0, (4, 1.5)) if dashed else "-", "width": width}


def add_outlines(axes: Any, placed: NDArray[np.object_], *, colour: str, dash: Any, width: float) -> None:
    """Shorelines with a dark rim, legible on snow and on rock."""
    path = _as_path(axes, placed)
    if path is not None:
        axes.add_artist(PathPatch(path, fill=False, edgecolor=DARK, lw=width + 1.2, alpha=0.75, zorder=3))
        axes.add_artist(PathPatch(path, fill=False, edgecolor=colour, lw=width, linestyle=dash, zorder=4))


def add_fills(axes: Any, pieces: Mapping[str, NDArray[np.object_]]) -> None:
    """Gained and lost water as filled areas, by colour."""
    for colour, placed in pieces.items():
        path = _as_path(axes, placed)
        if path is not None:
            axes.add_artist(PathPatch(path, facecolor=colour, edgecolor="none", alpha=0.85, zorder=2))


def _as_path(axes: Any, placed: NDArray[np.object_]) -> Outline | None:
    """The polygons that a map shows as one matplotlib path, holes kept; None if it shows none."""
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    box = shapely.box(west, south, east, north)
    shapely.prepare(box)
    shown = placed[shapely.intersects(box, placed)]
    dot_m = max((east - west) / axes.bbox.width, (north - south) / axes.bbox.height)
    least_m = _TOLERANCE_PX * dot_m if shapely.get_num_coordinates(shown).sum() > _MANY_CORNERS else 0.0
    blocks = [_corners_of(shown[at : at + _BLOCK], least_m) for at in range(0, len(shown), _BLOCK)]
    xy = np.concatenate([corners for corners, _ in blocks]) if blocks else np.zeros((0, 2))
    if not len(xy):
        return None
    is_first = np.concatenate([begins for _, begins in blocks])
    ring = np.cumsum(is_first)
    codes = np.full(ring.size, Outline.LINETO, dtype=Outline.code_type)
    codes[np.diff(ring, prepend=-1) > 0] = Outline.MOVETO
    codes[np.diff(ring, append=ring[-1] + 1) > 0] = Outline.CLOSEPOLY
    return Outline(xy, codes)


def _corners_of(outlines: NDArray[np.object_], least_m: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(C, 2) corners of some polygons, ring after ring, and (C,) True for each ring's first; of those within `least_m` only one."""
    parts = shapely.get_parts(outlines)
    parts = parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]
    xy, ring = shapely.get_coordinates(shapely.get_rings(parts), return_index=True)
    if not ring.size:
        return np.zeros((0, 2)), np.zeros(0, dtype=bool)
    is_first, is_last = np.diff(ring, prepend=-1) > 0, np.diff(ring, append=ring[-1] + 1) > 0
    if least_m == 0.0:
        return xy, is_first
    place = np.floor(xy / least_m).astype(np.int64)
    kept = (np.diff(place, axis=0, prepend=place[:1] - 1) != 0).any(axis=1) | is_first | is_last
    return xy[kept], is_first[kept]


def frame_map(axes: Any, grid: Grid, *, with_latitudes: bool) -> None:
    """Ticks in degrees along the lower and the left edge of a map.

    Args:
        axes: Map in metres of the grid's zone.
        grid: Ground that it shows.
        with_latitudes: False for no ticks at the left.
    """
    to_lonlat, to_zone = transformer(grid.epsg, 4326), transformer(4326, grid.epsg)
    minx, miny, maxx, maxy = grid.bounds
    west, east = to_lonlat.transform([minx, maxx], [miny, miny])[0]
    south, north = to_lonlat.transform([minx, minx], [miny, maxy])[1]
    lons = _round_values(west, east, 3)
    axes.set_xticks([to_zone.transform(lon, south)[0] for lon in lons], [_degrees(lon, "E", "W") for lon in lons])
    lats = _round_values(south, north, 5) if with_latitudes else []
    places = [to_zone.transform(west, lat)[1] for lat in lats]
    axes.set_yticks(places, [_degrees(lat, "N", "S") for lat in lats], rotation=90, va="center")
    axes.tick_params(labelsize=9, colors=QUIET, length=3, width=0.8)


def _round_values(low: float, high: float, n_steps: int) -> list[float]:
    """Round values inside a range, at most as many steps as wanted."""
    found = MaxNLocator(n_steps, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [round(float(value), 6) for value in found if low <= value <= high]


def _degrees(value: float, positive: str, negative: str) -> str:
    """An angle as `77.25° E`."""
    return f"{abs(value):.4f}".rstrip("0").rstrip(".") + f"° {positive if value >= 0 else negative}"


def add_scale_bar(axes: Any) -> None:
    """A bar of a round length, at most 0.28 of the width, on a map in metres."""
    bar = ScaleBar(
        1.0,
        "m",
        location="lower left",
        length_fraction=0.28,
        color="white",
        box_color=DARK,
        box_alpha=0.45,
        scale_loc="top",
        font_properties={"size": 10, "weight": "bold"},
    )
    axes.add_artist(bar)
