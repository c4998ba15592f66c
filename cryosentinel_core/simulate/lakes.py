"""The simulated lakes: which kinds there are, what outline each has in each year, and where each lies.

Outlines are exact polygons in the ground's CRS; rasters are made from them, never the other way round.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from shapely import affinity
from shapely.geometry import Polygon
from shapely.ops import unary_union

from cryosentinel_core.simulate.fields import Array, make_generator
from cryosentinel_core.simulate.fronts import Front, draw_front
from cryosentinel_core.simulate.grids import Ground
from cryosentinel_core.simulate.light import shadow_depth
from cryosentinel_core.simulate.settings import SimulateSettings
from cryosentinel_core.simulate.shapes import SUN_SIDE_DEG, Outlines, Shape, fill_holes, join_or_part

Kind = Literal[
    "stable", "grown", "shrunk", "new", "vanished", "merged", "split", "ice", "shadow", "cloud", "small",
    "calving", "advance",
]  # fmt: skip
FRONT_KINDS: Final[tuple[Kind, ...]] = ("calving", "advance")
"""Lakes that eat into a glacier, and those that a glacier pushes back; only where the difficulty asks for them."""
KINDS: Final[tuple[Kind, ...]] = tuple(kind for kind in get_args(Kind) if kind not in FRONT_KINDS)
"""What else can happen to a lake; `small` is a change of a few per cent, `ice`, `shadow` and `cloud` hide it."""

_REMAINDER: Final[tuple[Kind, ...]] = (
    "stable", "small", "grown", "stable", "shrunk", "small", "stable", "new", "grown", "stable",
    "stable", "small", "shrunk", "stable", "grown", "small", "stable", "vanished", "stable", "merged",
    "stable", "small", "grown", "ice", "stable", "shrunk", "small", "split", "stable", "stable",
)  # fmt: skip

_AREA_HA: Final[dict[Kind, tuple[float, float]]] = {
    "merged": (1.5, 15.0),
    "split": (1.5, 15.0),
    "new": (0.6, 6.0),
    "vanished": (0.6, 6.0),
    "ice": (1.0, 15.0),
    "cloud": (1.0, 8.0),
    "shadow": (0.55, 0.9),
    "grown": (0.5, 60.0),
    "shrunk": (0.5, 60.0),
    "small": (0.5, 100.0),
    "calving": (1.5, 60.0),
    "advance": (1.5, 60.0),
}
"""Allowed areas in hectares of the kinds that need a range of their own."""

APART_M: Final[dict[Kind, float]] = {"shadow": 380.0, "cloud": 520.0, "calving": 600.0, "advance": 600.0}
"""How far a headwall and its shadow, fog over a lake, or a glacier's tongue keep other lakes away, in metres."""


@dataclass(frozen=True)
class Lake:
    """A planned lake.

    Attributes:
        name: Its name; parts add a letter.
        kind: What happens to it.
        outlines: Its parts in each year.
        union: All water of all years together.
        turbidity: 0 clear to 1 white with glacial flour.
        level_m: Height of its surface.
        basin_m: How far its basin reaches from the shore, in metres.
        moraine: Height of the moraine around it relative to the usual one.
        hidden_years: Years in which ice or cloud hides it.
        wall_azimuth_deg: Bearing of its headwall, if it lies in shadow.
        front: The glacier that ends in it, if one does.
        white: 0 as its turbidity says, to 1 white with flour.
        dark: 0 as its turbidity says, to 1 nearly black.
    """

    name: str
    kind: Kind
    outlines: Outlines
    union: Polygon
    turbidity: float
    level_m: float = 0.0
    basin_m: float = 250.0
    moraine: float = 1.0
    hidden_years: tuple[int, ...] = ()
    wall_azimuth_deg: float | None = None
    front: Front | None = None
    white: float = 0.0
    dark: float = 0.0

    @property
    def reach_m(self) -> float:
        """Distance of the farthest water from the lake's origin."""
        minx, miny, maxx, maxy = self.union.bounds
        return float(np.hypot(maxx - minx, maxy - miny) / 2)


def plan_lakes(settings: SimulateSettings, ground: Ground, heights: Array, pixel_m: float) -> tuple[Lake, ...]:
    """The lakes of a simulation, in place.

    Args:
        settings: What to simulate.
        ground: Where.
        heights: Heights in metres `(H, W)` on pixels of `pixel_m` over the ground's grid, before any lake.
        pixel_m: Their pixel side.

    Returns:
        Lakes by name, their basins apart from each other (a crowded area has fewer than asked for).
    """
    drafts = draft_lakes(settings)
    return _place(drafts, settings, ground, heights, pixel_m)


def draft_lakes(settings: SimulateSettings) -> tuple[Lake, ...]:
    """The lakes' outlines about the origin (0, 0), one of every kind first, before they have a place."""
    count = settings.lake_count
    kinds = _kinds(count, settings.hardships.fronts)
    rng = make_generator(settings.seed, "lakes")
    top = min(settings.max_lake_ha, 0.7 * settings.size_km**2)
    ranks = (rng.permutation(count) + rng.random(count)) / count
    areas = settings.min_lake_ha * (max(top, settings.min_lake_ha * 1.01) / settings.min_lake_ha) ** ranks
    lakes = []
    for i, (kind, area) in enumerate(zip(kinds, areas, strict=True)):
        low, high = _AREA_HA.get(kind, (settings.min_lake_ha, settings.max_lake_ha))
        hectares = float(np.clip(area, min(low, top), min(high, top)))
        lakes.append(_draft(settings, f"L{i + 1:02d}", kind, hectares * 1e4))
    return tuple(lakes)


def _kinds(count: int, fronts: float) -> list[Kind]:
    """One of every kind, then the usual mixture, of which a share lies at glaciers: two of three eat into them."""
    kinds: list[Kind] = [*KINDS[:count]]
    due, n_fronts = 0.0, 0
    for i in range(max(0, count - len(KINDS))):
        due += fronts
        if due >= 1:
            due -= 1
            kinds.append("advance" if n_fronts % 3 == 2 else "calving")
            n_fronts += 1
        else:
            kinds.append(_REMAINDER[i % len(_REMAINDER)])
    return kinds


def _draft(settings: SimulateSettings, name: str, kind: Kind, area_m2: float) -> Lake:
    rng = make_generator(settings.seed, "lake", name)
    years = settings.years
    outlines = _outlines(rng, name, kind, area_m2, settings)
    hardships = settings.hardships
    if kind == "stable" and hardships.deltas > 0:
        outlines = _with_delta(settings, name, outlines)
    union = unary_union([polygon for parts in outlines.values() for _, polygon in parts])
    hidden = (years[int(rng.integers(len(years)))],) if kind == "cloud" else ()
    if kind == "ice":
        hidden = (years[int(name[1:]) % len(years)],)
    return Lake(
        name=name,
        kind=kind,
        outlines=outlines,
        union=fill_holes(union),
        turbidity=float(np.clip(rng.beta(0.9, 1.1), 0.02, 0.98)),
        basin_m=min(90.0 + 2.2 * float(np.sqrt(area_m2 / np.pi)), 480.0),
        moraine=float(rng.uniform(0.3, 1.5)),
        hidden_years=hidden,
        wall_azimuth_deg=SUN_SIDE_DEG if kind == "shadow" else None,
        front=_front(settings, name, outlines) if kind in FRONT_KINDS else None,
        **_colour(settings, name),
    )


def _front(settings: SimulateSettings, name: str, outlines: Outlines) -> Front:
    """The glacier behind a lake, and the lake as it was some years before the first one."""
    rng = make_generator(settings.seed, "front", name)
    polygons = sorted((parts[0][1] for parts in outlines.values()), key=lambda polygon: polygon.area)
    smallest, largest = polygons[0], polygons[-1]
    old = smallest.buffer(-0.12 * float(np.sqrt(smallest.area / np.pi)))
    old = max(getattr(old, "geoms", [old]), key=lambda part: part.area)
    return draw_front(rng, smallest, largest, fill_holes(smallest if old.is_empty else old))


def _colour(settings: SimulateSettings, name: str) -> dict[str, float]:
    """How far a lake lies beyond clear and milky ones."""
    hardships = settings.hardships
    if hardships.white_flour + hardships.dark_water == 0:
        return {}
    draw, strength = make_generator(settings.seed, "flour", name).random(2)
    return {
        "white": float(0.3 + 0.7 * strength) if draw < hardships.white_flour else 0.0,
        "dark": float(0.4 + 0.6 * strength) if draw > 1 - hardships.dark_water else 0.0,
    }


def _with_delta(settings: SimulateSettings, name: str, outlines: Outlines) -> Outlines:
    """Outlines of which one year lacks the fan that a river has laid into the lake, for a share of the lakes."""
    rng = make_generator(settings.seed, "delta", name)
    if rng.random() >= settings.hardships.deltas:
        return outlines
    year = settings.years[int(rng.integers(len(settings.years)))]
    ((part, polygon),) = outlines[year]
    at = polygon.exterior.interpolate(float(rng.random()), normalized=True)
    fan = at.buffer(float(rng.uniform(0.2, 0.45)) * float(np.sqrt(polygon.area / np.pi)))
    left = polygon.difference(fan)
    left = max(getattr(left, "geoms", [left]), key=lambda piece: piece.area)
    return {**outlines, year: ((part, left),)}


def _outlines(rng: np.random.Generator, name: str, kind: Kind, area_m2: float, settings: SimulateSettings) -> Outlines:
    years = settings.years
    if kind in ("merged", "split"):
        return join_or_part(
            rng, name, area_m2, years, later=kind == "merged", roughness=settings.hardships.shore_roughness
        )
    shape = Shape(rng, area_m2, flat=kind == "shadow", roughness=settings.hardships.shore_roughness)
    turn = len(years) // 2
    share = {year: (year - years[0]) / (years[-1] - years[0]) for year in years}
    if kind in ("new", "vanished"):
        present = years[turn:] if kind == "new" else years[:turn]
        return {year: ((name, shape.at(1.0)),) if year in present else () for year in years}
    factor = {"grown": rng.uniform(1.27, 1.9), "shrunk": rng.uniform(0.5, 0.76)}.get(kind, 1.0)
    if kind in FRONT_KINDS:
        factor = rng.uniform(1.15, 2.0) if kind == "calving" else rng.uniform(0.55, 0.9)
    if kind == "small":
        factor = 1 + float(rng.choice([-1, 1])) * rng.uniform(0.02, 0.09)
    base = area_m2 / max(1.0, factor)
    if settings.islands and kind not in FRONT_KINDS and base > 4e4 and rng.random() < 0.45:
        shape.add_islands(rng, base * min(1.0, factor))
    return {year: ((name, shape.at(base / area_m2 * factor ** share[year])),) for year in years}


def _place(
    drafts: Sequence[Lake], settings: SimulateSettings, ground: Ground, heights: Array, pixel_m: float
) -> tuple[Lake, ...]:
    """Lakes moved to gentle ground inside the area, apart from each other; the largest choose first."""
    rng = make_generator(settings.seed, "places")
    minx, miny, maxx, maxy = ground.aoi.bounds
    sites = rng.uniform((minx, miny), (maxx, maxy), (6_000, 2))
    roughness = _roughness(heights, pixel_m)
    shade = _shade(heights, pixel_m)
    rows, columns = _at(ground, sites, pixel_m)
    cost = {scale: field[rows, columns] for scale, field in roughness.items()}
    taken: list[tuple[float, float, float]] = []
    placed: list[Lake] = []
    order = sorted(drafts, key=lambda lake: (-APART_M.get(lake.kind, 0.0), -lake.union.area, lake.name))
    straddler = next((lake.name for lake in order if lake.kind == "stable" and len(drafts) >= 20), None)
    for lake in order:
        reach = lake.reach_m
        scale = min(cost, key=lambda s: abs(s - 2 * reach))
        score = cost[scale] + rng.random(len(sites)) * 3
        if lake.kind != "shadow":
            score = score + settings.hardships.shade_cost * shade[scale][rows, columns]
        inside = np.minimum.reduce([sites[:, 0] - minx, maxx - sites[:, 0], sites[:, 1] - miny, maxy - sites[:, 1]])
        if lake.name == straddler:
            free = (inside < 0.3 * reach) & (_clearance(sites, taken) > reach + 150)
        else:
            free = (inside > reach + 60) & (_clearance(sites, taken) > reach + 150)
        if not free.any():
            free = (inside > reach + 30) & (_clearance(sites, taken) > reach + 60)
        if not free.any():
            continue
        best = int(np.argmin(np.where(free, score, np.inf)))
        x, y = sites[best]
        taken.append((x, y, reach + APART_M.get(lake.kind, 0.0)))
        placed.append(_moved(lake, float(x), float(y), _level(heights, rows[best], columns[best], reach, pixel_m)))
    return tuple(sorted(placed, key=lambda lake: lake.name))


def _roughness(heights: Array, pixel_m: float) -> dict[float, Array]:
    """By length in metres: relief within it in degrees of slope, plus a cost for standing high above the trough."""
    step = 3
    small = np.ascontiguousarray(heights[1::step, 1::step])
    pixel_m *= step
    result = {}
    for scale in (200.0, 500.0, 1000.0):
        smooth = ndimage.gaussian_filter(small, scale / 3 / pixel_m)
        south, east = np.gradient(smooth, pixel_m)
        spread = ndimage.gaussian_filter(np.hypot(south, east), scale / 4 / pixel_m)
        around = ndimage.gaussian_filter(small, 2 * scale / pixel_m)
        cost = np.degrees(np.arctan(spread)) + np.maximum(smooth - around + 30, 0) / 10
        result[scale] = np.repeat(np.repeat(cost, step, axis=0), step, axis=1)
    return result


def _shade(heights: Array, pixel_m: float) -> dict[float, Array]:
    """By length in metres: whether a mountain throws its shadow within about half of it on a September morning."""
    small = np.ascontiguousarray(heights[1::3, 1::3])
    dark = shadow_depth(small, 3 * pixel_m, SUN_SIDE_DEG + 6, 45.0) > -15
    result = {}
    for scale in (200.0, 500.0, 1000.0):
        near = ndimage.maximum_filter(dark.astype(np.float32), int(scale / 3 / pixel_m) | 1)
        result[scale] = np.repeat(np.repeat(near, 3, axis=0), 3, axis=1)
    return result


def _at(
    ground: Ground, sites: npt.NDArray[np.float64], pixel_m: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    rows = ((ground.grid.top - sites[:, 1]) / pixel_m).astype(np.intp)
    return rows, ((sites[:, 0] - ground.grid.left) / pixel_m).astype(np.intp)


def _clearance(sites: npt.NDArray[np.float64], taken: Sequence[tuple[float, float, float]]) -> npt.NDArray[np.float64]:
    """Distance in metres from each site to the nearest lake's outermost water."""
    nearest = np.full(len(sites), 1e9)
    for x, y, reach in taken:
        np.minimum(nearest, np.hypot(sites[:, 0] - x, sites[:, 1] - y) - reach, out=nearest)
    return nearest


def _level(heights: Array, row: int, column: int, reach_m: float, pixel_m: float) -> float:
    half = int((reach_m + 80) / pixel_m)
    around = heights[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
    return round(float(np.quantile(around, 0.3)), 1)


def _moved(lake: Lake, x: float, y: float, level_m: float) -> Lake:
    minx, miny, maxx, maxy = lake.union.bounds
    dx, dy = x - (minx + maxx) / 2, y - (miny + maxy) / 2
    outlines = {
        year: tuple((name, affinity.translate(polygon, dx, dy)) for name, polygon in parts)
        for year, parts in lake.outlines.items()
    }
    front = None if lake.front is None else lake.front.moved(dx, dy)
    union = affinity.translate(lake.union, dx, dy)
    return dataclasses.replace(lake, outlines=outlines, union=union, level_m=level_m, front=front)
