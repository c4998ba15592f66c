"""What the logits of a chip come to: the numbers of its rasters, its lakes, and how it agrees with its label.

Neighbours: `chip` holds what went in; `chip_result` is what a record keeps; `io.chip_results` writes both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import geopandas
import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip import Chip
from cryosentinel_core.chips.chip_result import ChipResult
from cryosentinel_core.chips.chip_scene import grid_of_shape
from cryosentinel_core.chips.metrics import count_pixels
from cryosentinel_core.chips.place import Place
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.components import level_of_threshold
from cryosentinel_core.lakes.extract import extract_lakes, merge_zones
from cryosentinel_core.lakes.pixel_classes import WATER_LAKE, WATER_LAND, WATER_UNOBSERVED, encode_probability
from cryosentinel_core.lakes.tables import LakeOrigin, LakeReaders
from cryosentinel_core.scenes.radiometry import check_offset
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.segment.windows import encode_logits, encode_spread
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import LOGIT_NODATA


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipAnswer:
    """The numbers of one chip's rasters, as stored.

    Attributes:
        logit: (H, W) int16, `LOGIT_NODATA` where unobserved.
        probability: (H, W) uint8.
        water: (H, W) uint8: land, lake or unobserved; one chip does not tell snow and shadow.
        spread: (H, W) uint16, `SPREAD_NODATA` where unobserved; None where the segmenter gives none.
    """

    logit: NDArray[np.int16]
    probability: NDArray[np.uint8]
    water: NDArray[np.uint8]
    spread: NDArray[np.uint16] | None

    def layers(self) -> dict[str, Callable[[Grid], NDArray[Any]] | None]:
        """Kind of raster, as in file names -> (rectangle -> its numbers); None where there is none."""
        arrays: dict[str, NDArray[Any] | None] = {
            "logit": self.logit,
            "probability": self.probability,
            "water": self.water,
            "spread": self.spread,
        }
        return {kind: None if array is None else partial(_cut, array) for kind, array in arrays.items()}


def _cut(array: NDArray[Any], part: Grid) -> NDArray[Any]:
    return array[part.slices_in(grid_of_shape(*array.shape))]


def answer_of(chip: Chip, logits: NDArray[np.float32], threshold: float) -> ChipAnswer:
    """What is stored of a chip's logits.

    Args:
        chip: That they are of.
        logits: (H, W) float32, or with a spread (2, H, W), mean and variance over the members.
        threshold: Probability from which a pixel is water.
    """
    valid = chip.batch.valid[0]
    mean, variance = logits if logits.ndim == 3 else (logits, None)
    stored = encode_logits(mean, valid)
    return ChipAnswer(
        logit=stored,
        probability=encode_probability(stored),
        water=water_of(stored, threshold),
        spread=None if variance is None else encode_spread(np.sqrt(variance), valid),
    )


def water_of(stored: NDArray[np.int16], threshold: float) -> NDArray[np.uint8]:
    """(H, W) uint8 of stored logits: lake or land, and unobserved where there is no logit."""
    classes = np.where(stored > level_of_threshold(threshold), WATER_LAKE, WATER_LAND)
    return np.where(stored == LOGIT_NODATA, WATER_UNOBSERVED, classes).astype(np.uint8)


def nothing_seen(chip: Chip, *, with_spread: bool) -> NDArray[np.float32]:
    """Logits of a chip in which nothing was seen: the shape that `answer_of` wants, never looked at."""
    shape = chip.batch.valid.shape[1:]
    return np.zeros((2, *shape) if with_spread else shape, dtype=np.float32)


def lakes_of(
    chip: Chip, answer: ChipAnswer, name: str, segmenter: Segmenter, settings: PredictSettings
) -> geopandas.GeoDataFrame:
    """Lakes and candidates of one chip, as `extract_lakes` gives them; none without a place. Its edge is the edge of the work.

    Args:
        chip: As read.
        answer: What its logits came to.
        name: That its results go by.
        segmenter: That gave the logits.
        settings: Of prediction.
    """
    if chip.place is None or not (answer.water == WATER_LAKE).any():
        return merge_zones([])[0]
    spread, grid = answer.spread, grid_of_shape(*chip.shape)
    readers = LakeReaders(
        logits=lambda part: answer.logit[part.slices_in(grid)],
        processed=lambda part: np.ones(part.shape, dtype=bool),
        dem=(lambda part: chip.batch.dem[0, 0][part.slices_in(grid)]) if chip.has_heights else None,
        spread=None if spread is None else lambda part: spread[part.slices_in(grid)],
    )
    origin = origin_of(name, chip.year, segmenter, radar_used=chip.batch.s1 is not None)
    return lakes_on(chip.place, readers, origin, settings)


def origin_of(name: str, year: int, segmenter: Segmenter, *, radar_used: bool) -> LakeOrigin:
    """What all lakes of one chip or picture have in common."""
    return LakeOrigin(
        aoi=name,
        year=year,
        model=segmenter.name,
        radar_used=radar_used,
        is_network=segmenter.is_network,
        error_model=segmenter.error_model,
    )


def lakes_on(
    place: Place, readers: LakeReaders, origin: LakeOrigin, settings: PredictSettings
) -> geopandas.GeoDataFrame:
    """Lakes and candidates of a chip or picture at a place, as `extract_lakes` gives them.

    Args:
        place: Of its pixels.
        readers: Of its rasters, in the addresses of `grid_of_shape`.
        origin: What its lakes have in common.
        settings: Of prediction.
    """
    return extract_lakes(
        readers,
        grid_of_shape(place.height, place.width),
        place.outline(),
        origin,
        threshold=settings.water_threshold,
        min_area_m2=settings.min_area_m2,
        transform=place.transform,
        crs=place.crs,
    )


def result_of(chip: Chip, answer: ChipAnswer, n_components: int) -> ChipResult:
    """What one chip came to.

    Args:
        chip: As read.
        answer: What its logits came to.
        n_components: Lakes and candidates found in it.
    """
    found, suspect = answer.water == WATER_LAKE, check_offset(chip.batch.s2[0])
    return ChipResult(
        source=chip.name.source,
        n_water_px=int(found.sum()),
        n_observed_px=int(chip.batch.valid.sum()),
        n_components=n_components,
        is_placed=chip.place is not None,
        offset_warning=suspect.message if suspect.is_suspect else "",
        notes=chip.notes,
        counts=None if chip.label is None else count_pixels(found, chip.label, chip.measured),
    )
