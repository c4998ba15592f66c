"""Water by two thresholds, an example of a segmenter that another package brings.

A pixel is water where the normalised difference of green and near infrared is high enough and shortwave infrared is dark enough. It
is no good mapper: it takes shade for water. It shows what a segmenter must have. Install it beside cryosentinel:

    pip install ./examples/two-threshold
    cryosentinel predict --aoi my-valley.kml --year 2023 --model two-threshold
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.provenance import digest_of
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.stack.recipe import Recipe


@dataclass(frozen=True)
class TwoThreshold:
    """Segmenter whose logit is the smaller distance from its two thresholds.

    Attributes:
        least_ndwi: Normalised difference water index of the shore.
        darkest_swir: Reflectance of B11 at the shore.
    """

    least_ndwi: float = 0.2
    darkest_swir: float = 0.08

    name = "two-threshold"
    """Names the folder of the results."""

    window_px = 224
    """Side of a window: always 224."""

    halo_px = 0
    """Pixels around it that a pixel's answer depends on: none."""

    blended = False
    """A pixel's answer is the same whichever window asks."""

    batch_size = 8
    """Windows per call."""

    is_network = False
    """It makes no less of an area without radar, which it does not look at."""

    @property
    def digest(self) -> str:
        """Changes with all that changes the answer, so that results are made again."""
        return digest_of({"version": 1, **asdict(self)})

    @property
    def recipe(self) -> Recipe | None:
        """Any stack will do."""
        return None

    @property
    def error_model(self) -> UncertaintyModel:
        """Half a pixel along the shore, as long as nobody has measured better."""
        return NETWORK_ERRORS

    def segment(self, batch: ChipBatch) -> NDArray[np.float32]:
        """(N, 224, 224) float32 logits: 0 at a threshold, 1 a twentieth beyond it."""
        green, nir, swir = (
            batch.s2[:, index_of_band(name)].astype(np.float32) / 10_000 for name in ("B03", "B08", "B11")
        )
        ndwi = (green - nir) / np.maximum(green + nir, np.float32(1e-4))
        nearest = np.minimum(ndwi - self.least_ndwi, self.darkest_swir - swir)
        return np.clip(20.0 * nearest, -8.0, 8.0).astype(np.float32)
