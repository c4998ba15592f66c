"""Readers that lakes are extracted through, made of a zone's rasters: what counts as observed, and what as processed.

Neighbours: `pixel_classes` holds the rules; `extract` reads; `io.rasters.zone_rasters` opens the files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryosentinel_core.ground.lattice import Cell, Grid, mask_of_cells
from cryosentinel_core.lakes.pixel_classes import keep_clear, keep_processed
from cryosentinel_core.lakes.tables import LakeReaders

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reader = Callable[[Grid], "NDArray[Any]"]
"""Grid -> pixels of a raster."""


@dataclass(frozen=True, kw_only=True)
class ZoneSources:
    """Readers of a zone's rasters as they are stored.

    Attributes:
        logits: Grid -> (H, W) int16 stored logits.
        condition: Grid -> (1, H, W) values of `Condition`.
        dem: Grid -> (1, H, W) float metres.
        counts: Grid -> (5, H, W) uint8.
        dates: Grid -> (3, H, W) uint16.
        spread: Grid -> (H, W) uint16 stored spreads; None where there are none.
    """

    logits: Reader
    condition: Reader
    dem: Reader
    counts: Reader
    dates: Reader
    spread: Reader | None = None


def make_lake_readers(sources: ZoneSources, cells: Sequence[Cell], min_elevation_m: float | None) -> LakeReaders:
    """Readers of one zone: snow, ice and terrain shadow count as unobserved, low ground that was passed over as not processed.

    Args:
        sources: The zone's rasters.
        cells: Those that were segmented.
        min_elevation_m: Limit below which windows were passed over; None for none.
    """

    def read_processed(grid: Grid) -> NDArray[Any]:
        mask = mask_of_cells(cells, grid)
        if min_elevation_m is None:
            return mask
        return keep_processed(mask, sources.logits(grid), sources.dem(grid)[0], min_elevation_m)

    return LakeReaders(
        logits=lambda grid: keep_clear(sources.logits(grid), sources.condition(grid)[0]),
        processed=read_processed,
        dem=lambda grid: sources.dem(grid)[0],
        counts=sources.counts,
        dates=sources.dates,
        spread=sources.spread,
    )
