"""A picture that is larger than a window and is read piece by piece, so that it may be larger than the memory.

Neighbours: `chip` is one window, read whole; `io.rasters.chip_files` opens both; `engine.array_stream` asks for rectangles.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip import Chip, ChipName, OnError, stored_optical
from cryosentinel_core.chips.place import Place
from cryosentinel_core.chips.shard_chip import S2_OLD_NODATA
from cryosentinel_core.chips.unit_evidence import ChipNumbers
from cryosentinel_core.chips.units_check import ChipNote, Settlement
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.scenes.radiometry import check_offset
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.segment.windows import cut_chips
from cryosentinel_core.stack.bands import S2_NAMES
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import CELL_PX

_NOWHERE: Final = 32601
"""Zone of addresses that are counted from a picture's own corner: its place is carried beside."""


_PIECE_ROWS: Final = 128
"""Rows whose numbers are brought into the units wanted together: as decimal numbers they take twice the memory."""


def grid_of_shape(height: int, width: int) -> Grid:
    """Pixel addresses of a picture, counted from its own corner."""
    return Grid(epsg=_NOWHERE, row=0, col=0, height=height, width=width)


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipScene:
    """One large picture; its pixels stay in its file until they are asked for.

    Attributes:
        name: As its source has it.
        place: Where its pixels lie.
        digest: SHA-256 of all that results depend on: numbers, place and what was put right.
        settlement: How its numbers are brought into the units wanted.
        thinned: Some of its pixels, evenly over all of it, as its file has them.
        read_numbers: Rectangle of `grid`, wholly inside -> its numbers as the file has them.
        read_heights: The same, elevation alone.
        more_notes: What was put right beside units.
        has_heights: False if the file has no band of elevation.
    """

    name: ChipName
    place: Place
    digest: str
    settlement: Settlement
    thinned: ChipNumbers
    read_numbers: Callable[[Grid], ChipNumbers]
    read_heights: Callable[[Grid], NDArray[np.float32]]
    more_notes: tuple[ChipNote, ...] = ()
    has_heights: bool = True

    @property
    def grid(self) -> Grid:
        """Its pixels' addresses."""
        return grid_of_shape(self.place.height, self.place.width)

    @property
    def notes(self) -> tuple[ChipNote, ...]:
        """What was put right in its numbers."""
        return (*self.settlement.notes, *self.more_notes)

    @property
    def has_radar(self) -> bool:
        """True if any pixel has radar."""
        return self.settlement.has_radar

    @property
    def offset_warning(self) -> str:
        """What is suspect about its numbers; empty if nothing is."""
        suspect = check_offset(_seen_optical(self.settlement.apply(self.thinned).optical))
        return suspect.message if suspect.is_suspect else ""

    def read(self, grid: Grid) -> Stack:
        """The pixels of a rectangle, nodata outside of the picture.

        Args:
            grid: In the addresses of `grid`.

        Raises:
            RasterError: If the file cannot be read.
        """
        h, w = grid.shape
        s2 = np.zeros((len(S2_NAMES), h, w), dtype=np.uint16)
        s1 = np.full((2, h, w), np.nan, dtype=np.float32) if self.has_radar else None
        dem = np.full((h, w), np.nan, dtype=np.float32)
        shared = grid.intersection(self.grid)
        for piece in _pieces(shared):
            settled = self.settlement.apply(self.read_numbers(piece))
            there = (..., *piece.slices_in(grid))
            s2[there] = _seen_optical(settled.optical)
            dem[there] = settled.elevation
            if s1 is not None:
                s1[there] = np.where(np.isfinite(settled.radar), settled.radar, np.float32(np.nan))
        nothing = np.zeros((1, 1), dtype=np.uint8)
        return Stack(
            grid=grid,
            s2=s2,
            s1=s1,
            dem=dem,
            counts=np.broadcast_to(nothing, (5, h, w)),
            condition=np.broadcast_to(nothing, (h, w)),
            dates=np.broadcast_to(nothing.astype(np.uint16), (3, h, w)),
        )

    def heights(self, grid: Grid) -> NDArray[np.float32]:
        """(H, W) metres of a rectangle, NaN where there are none and outside of the picture."""
        dem = np.full(grid.shape, np.nan, dtype=np.float32)
        shared = grid.intersection(self.grid)
        if shared is not None:
            dem[shared.slices_in(grid)] = self.settlement.settle_heights(self.read_heights(shared))
        return dem

    def middle_window(self) -> ChipBatch | None:
        """The window in its middle; None if nothing was seen there."""
        top, left = ((side - CELL_PX) // 2 for side in self.grid.shape)
        stack = self.read(Grid(epsg=_NOWHERE, row=top, col=left, height=CELL_PX, width=CELL_PX))
        return cut_chips(stack, [(top, left)], CELL_PX, 0) if stack.valid.any() else None


class ChipSource(Protocol):
    """Gives chips, and larger pictures, one by one, in a stable order."""

    @property
    def words(self) -> str:
        """What it holds, as `3 files in chips`, for messages."""
        ...

    @property
    def n_chips(self) -> int:
        """How many chips will come, or be reported as unreadable; an estimate, for a bar."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain data for the provenance: what was asked for."""
        ...

    def read(self, on_error: OnError) -> Generator[Chip | ChipScene, None, None]:
        """The chips; those that cannot be read are told and passed over."""
        ...


def _pieces(grid: Grid | None) -> Iterator[Grid]:
    """A rectangle in strips of `_PIECE_ROWS`; none of none."""
    for top in range(0, grid.height, _PIECE_ROWS) if grid is not None else ():
        assert grid is not None
        yield replace(grid, row=grid.row + top, height=min(_PIECE_ROWS, grid.height - top))


def _seen_optical(reflectance: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(12, H, W) uint16, 0 where nothing was seen: a band has no number, or all are at the clip, the nodata of older data."""
    stored = stored_optical(reflectance)
    seen = (stored < S2_OLD_NODATA).any(axis=0)
    return np.where(seen, stored, np.uint16(0))
