"""Heights of the DEM on the lattice: tiles of one degree as one seamless surface, in arrays.

Tiles of equal pixels are put side by side on one grid that is fixed to the globe before anything is interpolated, so that the edge
between two tiles is no edge, and a pixel's height does not depend on which tiles happened to be asked for. Heights are above EGM2008,
as the Copernicus DEM has them. Neighbours: `io.rasters.elevation` reads the tiles, `terrain` casts shadows with what comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.scenes.resampling import Numbers, Positions, Source, positions_in, sample_bilinear
from cryosentinel_core.scenes.scene import Scene

LOWEST_M: Final = -1_000.0
HIGHEST_M: Final = 9_000.0
"""Heights outside are no heights (the lowest land lies at -430 m, the highest at 8,849 m)."""

Window = tuple[int, int, int, int]
"""(first row, row after, first column, column after) of a grid's pixels."""


@dataclass(frozen=True, kw_only=True)
class Relief:
    """Heights around a tile.

    Attributes:
        fine: (H, W) float32 metres on the tile's grid, NaN where no tile of the DEM has data.
        coarse: (H', W') float32 metres at the centres of the squares of `terrain.SHADOW_STEP` pixels of the wider grid.
        n_bytes: Read from the archive.
    """

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class DemTile:
    """One tile of the DEM on the endless grid of its surface.

    Attributes:
        scene: Its item.
        source: Where its pixels lie.
        row: Of its first pixel on the endless grid.
        col: Of its first pixel on the endless grid.
    """

    scene: Scene
    source: Source
    row: int
    col: int

    def overlap(self, window: Window) -> tuple[Window, Window] | None:
        """The shared pixels of the tile and a window of the endless grid, counted in the tile and in the window; None if none."""
        top, bottom = max(window[0], self.row), min(window[1], self.row + self.source.height)
        left, right = max(window[2], self.col), min(window[3], self.col + self.source.width)
        if top >= bottom or left >= right:
            return None
        own = top - self.row, bottom - self.row, left - self.col, right - self.col
        return own, (top - window[0], bottom - window[0], left - window[2], right - window[2])


@dataclass(frozen=True, kw_only=True)
class DemSurface:
    """Tiles of equal pixels as one endless grid.

    Attributes:
        grid: The endless grid.
        tiles: On it, by name; where two hold a pixel the first supplies it.
    """

    grid: Source
    tiles: tuple[DemTile, ...]


def surfaces_of(sources: Iterable[tuple[Scene, Source]]) -> list[DemSurface]:
    """Tiles by the endless grid that they lie on, each grid's tiles in the order given."""
    found: dict[tuple[int, float, float, float, float], tuple[Source, list[DemTile]]] = {}
    for scene, source in sources:
        grid, row, col = _on_endless_grid(source)
        key = (grid.epsg, grid.step_x, grid.step_y, grid.left, grid.top)
        found.setdefault(key, (grid, []))[1].append(DemTile(scene=scene, source=source, row=row, col=col))
    return [DemSurface(grid=grid, tiles=tuple(tiles)) for grid, tiles in found.values()]


def _on_endless_grid(source: Source) -> tuple[Source, int, int]:
    """The grid of a tile's pixels continued over the globe, and where the tile begins on it.

    Pixel widths are rounded to whole fractions of a unit where that moves no pixel by more than a hundredth, and the grid's
    phase to a thousandth of a pixel, so that all tiles of an archive share one grid.
    """
    step_x, step_y = _rounded_step(source.step_x, source.width), _rounded_step(source.step_y, source.height)
    degrees = abs(source.left) <= 360.0 and step_x < 0.1
    left, top = (-200.0, 100.0) if degrees else (0.0, 0.0)
    at_col, at_row = (source.left - left) / step_x, (top - source.top) / step_y
    col, row = int(np.floor(at_col + 1e-3)), int(np.floor(at_row + 1e-3))
    phase_x, phase_y = round(at_col - col, 3), round(at_row - row, 3)
    grid = Source(
        epsg=source.epsg,
        left=left + phase_x * step_x,
        top=top - phase_y * step_y,
        step_x=step_x,
        step_y=step_y,
        height=2**31,
        width=2**31,
    )
    return grid, row, col


def _rounded_step(step: float, count: int) -> float:
    fraction = 1.0 / round(1.0 / step) if step < 0.5 else float(round(step))
    return fraction if abs(fraction - step) * count < 0.01 * step else step


class ReliefBuilder:
    """Heights of a tile filled in surface by surface; where two hold a pixel, the first supplies it.

    Args:
        grid: Wanted pixels.
        outer: The wider grid, a multiple of `step` pixels high and wide; holds `grid`.
        step: Side of the squares of the wider grid.
    """

    def __init__(self, grid: Grid, outer: Grid, step: int) -> None:
        self._grid, self._outer, self._step = grid, outer, step
        self._fine = np.full(grid.shape, np.nan, dtype=np.float32)
        self._coarse = np.full((outer.height // step, outer.width // step), np.nan, dtype=np.float32)

    def window_in(self, surface: DemSurface) -> tuple[Window, tuple[Positions, Positions]]:
        """The native pixels that are needed of a surface (one more on each side, so that seams can be filled), and where."""
        wide = positions_in(surface.grid, self._outer, self._step)
        near = positions_in(surface.grid, self._grid)
        a, b = wide.window, near.window
        window = min(a[0], b[0]) - 1, max(a[1], b[1]) + 1, min(a[2], b[2]) - 1, max(a[3], b[3]) + 1
        return window, (near, wide)

    def add(
        self, window: Window, positions: tuple[Positions, Positions], parts: Sequence[tuple[Window, Numbers]]
    ) -> None:
        """Enter the heights of one surface.

        Args:
            window: Of `window_in`.
            positions: Of `window_in`.
            parts: Native heights of its tiles, each with its place in the window.
        """
        values = np.full((window[1] - window[0], window[3] - window[2]), np.nan, dtype=np.float32)
        for (top, bottom, left, right), numbers in parts:
            part = numbers.astype(np.float32)
            good = np.isfinite(part) & (part > LOWEST_M) & (part < HIGHEST_M)
            place = values[top:bottom, left:right]
            np.copyto(place, part, where=good & np.isnan(place))
        values = fill_seams(values)
        valid = np.isfinite(values)
        values = np.where(valid, values, np.float32(0))
        for heights, where in zip((self._fine, self._coarse), positions, strict=True):
            found, good = sample_bilinear(values, valid, where, (window[0], window[2]), fill_half=True)
            np.copyto(heights, found, where=good & np.isnan(heights))

    def relief(self, n_bytes: int) -> Relief:
        """The heights as far as they were entered."""
        return Relief(fine=self._fine, coarse=self._coarse, n_bytes=n_bytes)


def fill_seams(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heights whose missing pixels next to valid ones (above, below, left, right) are the mean of these.

    Args:
        values: (H, W) float32 metres, NaN = nodata.
    """
    missing = np.isnan(values)
    if not missing.any() or missing.all():
        return values
    padded = np.pad(values, 1, constant_values=np.nan)
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    good = np.isfinite(around)
    total = np.where(good, around, np.float32(0)).sum(axis=0, dtype=np.float32)
    count = good.sum(axis=0)
    fill = missing & (count > 0)
    return np.where(fill, total / np.maximum(count, 1), values).astype(np.float32)
