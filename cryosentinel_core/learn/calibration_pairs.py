"""Lakes of chips beside their polygons: what `calibration` fits on.

A lake counts where its polygon lies wholly inside a chip, all of it was seen, and at a threshold one outline and one polygon overlap
and nothing else does. Chips overlap, so that a lake stands in several: the one whose middle is nearest to it speaks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from cryosentinel_core.change.matching import overlap_pairs
from cryosentinel_core.chips.chip import Chip
from cryosentinel_core.chips.chip_answer import answer_of, lakes_of
from cryosentinel_core.chips.place import pixels_around
from cryosentinel_core.learn.calibration import LakePairs
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import PIXEL_M

_MARGIN_DEG: Final = 2.5e-4
"""A polygon nearer to the chip's edge than this (two to three pixels) may be cut by it."""

SHORE_ERRORS: Final = replace(
    NETWORK_ERRORS, lake_displacement_m=0.0, systematic_displacement_m=0.0, unobserved_displacement_m=0.0
)
"""Of the shore's own displacement alone, so that its part of a sigma can be told from the others."""


@dataclass(frozen=True, eq=False)
class _OfShore:
    """A segmenter whose sigmas are those of the shore alone."""

    inner: Segmenter

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def is_network(self) -> bool:
        return self.inner.is_network

    @property
    def error_model(self) -> UncertaintyModel:
        return SHORE_ERRORS


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredLake:
    """One polygon and its outlines in one chip.

    Attributes:
        key: Year and id of the polygon.
        block: Of the chip.
        offset: Distance of the lake from the chip's middle, degrees, for choosing among chips.
        true_m2: Area of the polygon.
        area_m2: (T,) of the outline at each threshold, NaN where it is not the same one lake.
        perimeter_m: (T,) likewise.
        shore_m2: (T,) random sigma of the shore alone.
    """

    key: tuple[int, str]
    block: str
    offset: float
    true_m2: float
    area_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    shore_m2: NDArray[np.float64]


def measure_lakes(
    chip: Chip,
    logits: NDArray[np.float32],
    polygons: gpd.GeoDataFrame,
    segmenter: Segmenter,
    block: str,
    thresholds: Sequence[float],
) -> list[MeasuredLake]:
    """The lakes of one chip that have a polygon, drawn at every threshold.

    Args:
        chip: With a place.
        logits: (H, W) float32.
        polygons: Lake table of the chip's year, EPSG:4326, with `lake_id` and `area_m2`.
        segmenter: That gave the logits.
        block: That the chip lies in.
        thresholds: Probabilities, ascending.
    """
    if chip.place is None:
        return []
    ground = shapely.Polygon(chip.place.corners_lonlat())
    inside = shapely.within(polygons.geometry.to_numpy(), shapely.buffer(ground, -_MARGIN_DEG))
    near = polygons[shapely.intersects(polygons.geometry.to_numpy(), ground)]
    inside = inside[shapely.intersects(polygons.geometry.to_numpy(), ground)]
    inside &= np.array([_is_seen(chip, outline) for outline in near.geometry], dtype=bool)
    if not inside.any():
        return []
    figures = np.full((3, len(near), len(thresholds)), np.nan)
    for column, threshold in enumerate(thresholds):
        settings = PredictSettings(threshold=threshold, min_area_m2=1.0)
        found = lakes_of(chip, answer_of(chip, logits, threshold), "", _OfShore(segmenter), settings)  # type: ignore[arg-type]
        truth, drawn = overlap_pairs(near.geometry.to_numpy(), found.geometry.to_numpy(), float(PIXEL_M**2))
        alone = (np.bincount(truth, minlength=len(near))[truth] == 1) & (
            np.bincount(drawn, minlength=len(found))[drawn] == 1
        )
        truth, drawn = truth[alone], drawn[alone]
        whole = ~found["touches_edge"].to_numpy(dtype=bool)[drawn]
        truth, drawn = truth[whole], drawn[whole]
        for row, name in enumerate(("area_m2", "perimeter_m", "area_sigma_random_m2")):
            figures[row, truth, column] = found[name].to_numpy(dtype=float)[drawn]
    middle = shapely.centroid(ground)
    true_m2 = near["area_m2"].to_numpy(dtype=float)
    return [
        MeasuredLake(
            key=(chip.year, str(near["lake_id"].iloc[index])),
            block=block,
            offset=float(shapely.distance(near.geometry.iloc[index].centroid, middle)),
            true_m2=float(true_m2[index]),
            area_m2=figures[0, index],
            perimeter_m=figures[1, index],
            shore_m2=figures[2, index],
        )
        for index in np.flatnonzero(inside).tolist()
        if np.isfinite(figures[0, index]).any()
    ]


def pairs_of(lakes: Iterable[MeasuredLake], thresholds: Sequence[float]) -> LakePairs:
    """One row a lake and year: of several chips the one whose middle is nearest."""
    best: dict[tuple[int, str], MeasuredLake] = {}
    for lake in lakes:
        other = best.get(lake.key)
        if other is None or lake.offset < other.offset:
            best[lake.key] = lake
    kept = [best[key] for key in sorted(best)]
    shape = (len(kept), len(thresholds))
    return LakePairs(
        block=np.array([lake.block for lake in kept], dtype=np.str_),
        true_m2=np.array([lake.true_m2 for lake in kept], dtype=float),
        area_m2=np.array([lake.area_m2 for lake in kept], dtype=float).reshape(shape),
        perimeter_m=np.array([lake.perimeter_m for lake in kept], dtype=float).reshape(shape),
        shore_m2=np.array([lake.shore_m2 for lake in kept], dtype=float).reshape(shape),
        thresholds=np.array(thresholds, dtype=float),
    )


def _is_seen(chip: Chip, outline: shapely.Geometry) -> bool:
    """True if every pixel of the rectangle around an outline has good data."""
    if chip.place is None:
        return False
    rows, cols = pixels_around(chip.place, outline)
    window = chip.batch.valid[0, rows, cols]
    return bool(window.size and window.all())
