"""What the logits of a large picture come to, band by band, as `chip_answer` has it of a chip of one window.

The stored logits lie in a plane that grows from north to south, on disk or in memory; all else is derived from it where it is asked
for. Neighbours: `engine.array_stream` gives the bands; `io.chip_results` writes what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip_answer import water_of
from cryosentinel_core.chips.chip_result import ChipResult
from cryosentinel_core.chips.chip_scene import ChipScene
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.pixel_classes import WATER_LAKE, encode_probability
from cryosentinel_core.lakes.tables import LakeReaders
from cryosentinel_core.segment.windows import encode_logits, encode_spread


class Plane(Protocol):
    """Numbers of a picture, given from north to south."""

    def append(self, rows: NDArray[Any]) -> None:
        """Add the next rows."""
        ...

    def read(self, grid: Grid) -> NDArray[Any]:
        """(H, W) of a rectangle that has been given."""
        ...


class SceneAnswer:
    """The numbers of one picture's rasters, as stored.

    Args:
        scene: That they are of.
        logit: Plane for int16 logits.
        spread: Plane for uint16 spreads; None where the segmenter gives none.
        threshold: Probability from which a pixel is water.
    """

    def __init__(self, scene: ChipScene, logit: Plane, spread: Plane | None, threshold: float) -> None:
        self._scene, self._logit, self._spread, self._threshold = scene, logit, spread, threshold
        self._n_water_px = self._n_observed_px = 0

    def add(self, logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Enter the next rows.

        Args:
            logits: (H, W) float32, or with a spread (2, H, W), mean and variance over the members.
            valid: (H, W) bool, True where optical and terrain data are good.
        """
        mean, variance = logits if logits.ndim == 3 else (logits, None)
        stored = encode_logits(mean, valid)
        self._logit.append(stored)
        if self._spread is not None:
            assert variance is not None, "a segmenter with a spread gives one"
            self._spread.append(encode_spread(np.sqrt(variance), valid))
        self._n_water_px += int((water_of(stored, self._threshold) == WATER_LAKE).sum())
        self._n_observed_px += int(valid.sum())

    def layers(self) -> dict[str, Callable[[Grid], NDArray[Any]] | None]:
        """Kind of raster, as in file names -> (rectangle -> its numbers); None where there is none."""
        return {
            "logit": self._logit.read,
            "probability": lambda part: encode_probability(self._logit.read(part)),
            "water": lambda part: water_of(self._logit.read(part), self._threshold),
            "spread": None if self._spread is None else self._spread.read,
        }

    def readers(self) -> LakeReaders:
        """Readers for the extraction of lakes; the picture's edge is the edge of the work."""
        return LakeReaders(
            logits=self._logit.read,
            processed=lambda part: np.ones(part.shape, dtype=bool),
            dem=self._scene.heights if self._scene.has_heights else None,
            spread=None if self._spread is None else self._spread.read,
        )

    def result(self, n_components: int) -> ChipResult:
        """What the picture came to, with so many lakes and candidates."""
        return ChipResult(
            source=self._scene.name.source,
            n_water_px=self._n_water_px,
            n_observed_px=self._n_observed_px,
            n_components=n_components,
            is_placed=True,
            offset_warning=self._scene.offset_warning,
            notes=self._scene.notes,
            counts=None,
        )
