"""Glacier tongues that end in a lake: where the ice lies in each year, how high it stands, and what of it is debris.

A tongue is a band of ice from the lake's middle towards the side on which the lake grows. What of it is not the year's water is ice.
The elevation model is older than all years: its lake is smaller, and ice stands in it where water is now.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from shapely import affinity
from shapely.geometry import Polygon

from cryosentinel_core.simulate.fields import Array, smoothstep
from cryosentinel_core.simulate.grids import Grid
from cryosentinel_core.simulate.shapes import fraction_of

ICE_SLOPE: Final = 0.07
"""Rise of a tongue's surface away from its front."""

MARGIN_M: Final = 40.0
"""Width of a tongue's edge, over which its surface falls to the ground beside it."""


@dataclass(frozen=True)
class Front:
    """A tongue and its front.

    Attributes:
        tongue: All ground that ice may cover, the lake's bed before it among it.
        old_water: The lake as it was when the elevation model was made.
        cliff_m: Height of the front above the water.
        debris: Share of the ice under debris, 0 to 1.
    """

    tongue: Polygon
    old_water: Polygon
    cliff_m: float
    debris: float

    def moved(self, dx: float, dy: float) -> Front:
        """The same front elsewhere."""
        return dataclasses.replace(
            self,
            tongue=affinity.translate(self.tongue, dx, dy),
            old_water=affinity.translate(self.old_water, dx, dy),
        )


def draw_front(rng: np.random.Generator, smallest: Polygon, largest: Polygon, old_water: Polygon) -> Front:
    """A tongue behind the side on which a lake grows.

    Args:
        rng: Draws its height, width and debris.
        smallest: The lake at its smallest of all years.
        largest: At its largest.
        old_water: In the elevation model.
    """
    start = smallest.centroid
    grown = largest.difference(smallest)
    target = (grown if not grown.is_empty else largest).centroid
    direction = np.array([target.x - start.x, target.y - start.y])
    direction /= max(float(np.hypot(*direction)), 1e-9)
    reach = float(np.sqrt(largest.area / np.pi))
    return Front(
        tongue=_draw_tongue(rng, np.array([start.x, start.y]), direction, reach),
        old_water=old_water,
        cliff_m=float(rng.uniform(8.0, 30.0)),
        debris=float(rng.choice([0.0, 0.3, 0.85])),
    )


def _draw_tongue(
    rng: np.random.Generator, start: npt.NDArray[np.float64], direction: npt.NDArray[np.float64], reach_m: float
) -> Polygon:
    """A winding band from a lake's middle up its glacier, rough at its edges and narrowing towards its head."""
    length = 3.2 * reach_m + 500.0
    along = np.linspace(0.0, 1.0, 120)
    waves = np.arange(1, 13)

    def wander(size: float) -> npt.NDArray[np.float64]:
        amplitude = size * rng.standard_normal(waves.size) / waves
        phase = rng.uniform(0, 2 * np.pi, waves.size)
        return np.asarray((amplitude * np.sin(2 * np.pi * along[:, None] * waves + phase)).sum(axis=1))

    side = np.array([-direction[1], direction[0]])
    middle = start + along[:, None] * length * direction + (along * wander(0.5 * reach_m))[:, None] * side
    half = max(0.9 * reach_m, 80.0) * (1 - 0.6 * along**2)
    left, right = (half * np.maximum(1 + wander(0.12), 0.4) for _ in range(2))
    ring = np.concatenate([middle + left[:, None] * side, (middle - right[:, None] * side)[::-1]])
    whole = Polygon(ring).buffer(0)
    return Polygon(max(getattr(whole, "geoms", [whole]), key=lambda part: part.area).exterior)


def raise_ice(heights: Array, window: Grid, front: Front, level_m: float) -> Array:
    """Heights of a window with a tongue's ice on them, its old lake level."""
    tongue = fraction_of([front.tongue], window, 1) > 0.5
    water = fraction_of([front.old_water], window, 2) >= 0.5
    inside = ndimage.distance_transform_edt(tongue) * window.pixel_m
    from_front = ndimage.distance_transform_edt(~water) * window.pixel_m
    surface = level_m + front.cliff_m + ICE_SLOPE * from_front
    weight = smoothstep(np.asarray(inside, np.float32), 0.0, MARGIN_M)
    raised = heights + weight * np.maximum(surface - heights, 0)
    return np.asarray(np.where(water, level_m, raised), np.float32)


def ice_beside(front: Front, water: list[Polygon], window: Grid) -> Array:
    """Share of each pixel `(H, W)` of a window under a tongue's ice in a year with some water."""
    ice = fraction_of([front.tongue], window, 4)
    return np.asarray(np.clip(ice - fraction_of(water, window, 4), 0, 1), np.float32)
