"""What lies on the simulated ground in one year only: tongues of ice that end in lakes, and the sand and braids of rivers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from shapely.geometry import LineString, Polygon
from shapely.ops import unary_union

from cryosentinel_core.simulate.fields import Array, make_generator
from cryosentinel_core.simulate.fronts import ice_beside
from cryosentinel_core.simulate.grids import Grid
from cryosentinel_core.simulate.lakes import Lake
from cryosentinel_core.simulate.shapes import fraction_of, window_of

Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class IceOverlay:
    """One year's tongues.

    Attributes:
        index: Flat indices of pixels with ice, each once.
        share: Of the pixel under ice, 0 to 1.
        debris: Of the ice under debris, 0 to 1.
    """

    index: Index
    share: Array
    debris: Array


@dataclass(frozen=True)
class River:
    """A braided river: the middle of its plain, from head to end, and half its plain's width in metres."""

    course: LineString
    half_width_m: float


def draw_ice(seed: int, grid: Grid, lakes: Sequence[Lake], year: int) -> IceOverlay:
    """The ice of all tongues in a year: what of them is not the year's water; debris lies on it in patches."""
    share = np.zeros(grid.shape, np.float32)
    debris = np.zeros(grid.shape, np.float32)
    for lake in lakes:
        if lake.front is None:
            continue
        rows, columns = window_of(lake.front.tongue, grid, 20.0)
        window = grid.cut(rows, columns)
        ice = ice_beside(lake.front, [polygon for _, polygon in lake.outlines[year]], window)
        rng = make_generator(seed, "debris", lake.name)
        bare = ndimage.gaussian_filter(rng.standard_normal(window.shape, dtype=np.float32), 6.0)
        covered = bare <= np.quantile(bare, lake.front.debris) if lake.front.debris > 0 else np.zeros(bare.shape, bool)
        np.maximum(share[rows, columns], ice, out=share[rows, columns])
        debris[rows, columns] = np.where(ice > 0, covered, debris[rows, columns])
    for lake in lakes:  # another lake's water is no ice
        rows, columns = window_of(lake.union, grid, 20.0)
        water = fraction_of([polygon for _, polygon in lake.outlines[year]], grid.cut(rows, columns), 4)
        share[rows, columns] = np.minimum(share[rows, columns], 1 - water)
    index = np.flatnonzero(share > 0)
    return IceOverlay(index, share.reshape(-1)[index], debris.reshape(-1)[index])


def draw_rivers(seed: int, grid: Grid, heights: Array, lakes: Sequence[Lake], count: int) -> tuple[River, ...]:
    """Braided rivers down the smoothed ground, on gentle slopes and clear of lakes.

    Args:
        seed: Of the simulation.
        grid: Of the heights.
        heights: Metres `(H, W)`.
        lakes: To keep clear of.
        count: How many to try for; ground without gentle valleys has fewer.
    """
    rng = make_generator(seed, "rivers")
    step = 6
    coarse = ndimage.gaussian_filter(heights, 8.0)[::step, ::step]
    south, east = np.gradient(coarse, grid.pixel_m * step)
    slope = np.hypot(south, east)
    blocked = unary_union([lake.union.buffer(150) for lake in lakes] + [
        lake.front.tongue.buffer(50) for lake in lakes if lake.front is not None
    ])  # fmt: skip
    rivers: list[River] = []
    for _ in range(200 * count):
        if len(rivers) == count:
            break
        row, column = (int(rng.integers(4, side - 4)) for side in coarse.shape)
        points = [(row, column)]
        for _ in range(60):
            around = coarse[row - 1 : row + 2, column - 1 : column + 2]
            if around.shape != (3, 3) or slope[row, column] > 0.25 or around.argmin() == 4:
                break
            down = np.unravel_index(int(around.argmin()), (3, 3))
            row, column = row + int(down[0]) - 1, column + int(down[1]) - 1
            points.append((row, column))
        if len(points) < 8:
            continue
        places = [
            (grid.left + (c * step + 0.5) * grid.pixel_m, grid.top - (r * step + 0.5) * grid.pixel_m) for r, c in points
        ]
        course = LineString(places).simplify(40.0)
        half_width_m = float(rng.uniform(25, 70))
        if not course.buffer(half_width_m + 60).intersects(blocked):
            rivers.append(River(course, half_width_m))
    return tuple(rivers)


def braids_of(river: River, rng: np.random.Generator) -> list[Polygon]:
    """Channels of a year: two to four threads that wind to and fro across the plain, a few metres wide each."""
    length = river.course.length
    along = np.arange(0.0, length, 12.0)
    middle = np.array([river.course.interpolate(at).coords[0] for at in along])
    tangent = np.gradient(middle, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T)[:, None], 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    channels = []
    for _ in range(int(rng.integers(2, 5))):
        swing = np.sin(along / rng.uniform(60, 160) + rng.uniform(0, 2 * np.pi))
        swing = (swing + 0.5 * np.sin(along / rng.uniform(25, 50) + rng.uniform(0, 2 * np.pi))) / 1.5
        line = LineString(middle + normal * (swing * 0.85 * river.half_width_m)[:, None])
        channels.append(line.buffer(float(rng.uniform(2.0, 5.0))))
    return channels
