"""Windows of logits blended back: weighted means, and their spread.

Overlapping logits are averaged with Gaussian weights (sigma = a quarter of the window, peak 1; the published inference), added window
after window in lattice order so that the floating-point sum is the same however the work is cut. Where windows come with the variance
of their members, that is blended alike:

    mean = sum(g m) / sum(g)        spread^2 = sum(g (v + m^2)) / sum(g) - mean^2        over the windows of a pixel

with g a window's weight there, m and v mean and population variance of its members. So the spread is the standard deviation over
all members of all windows, and also holds what overlapping windows disagree about. Each step is one product, sum or quotient in
float32, rounded as IEEE 754 has it, so that the bits do not depend on where the sums are kept (see `arrays`). Neighbours: `windows`
cuts the chips; the predict workflow feeds both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.segment.arrays import HOST, Arrays
from cryosentinel_core.segment.windows import window_grid
from cryosentinel_core.units import CELL_PX


def gaussian_weights(size_px: int = CELL_PX) -> NDArray[np.float32]:
    """(size, size) float32 weights: a Gaussian of sigma = size / 4 about the window's centre, peak 1."""
    offset = np.arange(size_px, dtype=np.float64) - (size_px - 1) / 2.0
    line = np.exp(-0.5 * (offset / (size_px / 4.0)) ** 2)
    weights = np.outer(line, line)
    return np.asarray(weights / weights.max(), dtype=np.float32)


class LogitCanvas:
    """Canvas that adds windows of logits in lattice order and gives their weighted mean, and their spread where asked for.

    The spread is added up as squared distances from the mean so far, which is the module's formula without its difference of large
    numbers. The mean is the same bits with and without it.

    Source: West (1979), Updating mean and variance estimates: an improved method, Communications of the ACM 22(9), 532-535.

    Args:
        grid: Pixels wanted; windows may reach over its edge.
        size_px: Side of a window.
        blended: True for Gaussian weights; False where windows do not overlap.
        with_spread: True if windows come with their members' variance.
        arrays: Where the sums are kept; windows must lie there too.
    """

    def __init__(
        self, grid: Grid, size_px: int, *, blended: bool, with_spread: bool = False, arrays: Arrays = HOST
    ) -> None:
        self.grid = grid
        self._size_px, self._arrays = size_px, arrays
        weights = gaussian_weights(size_px) if blended else np.ones((size_px, size_px), dtype=np.float32)
        self._weights = arrays.put(weights)
        self._sum = arrays.zeros(grid.shape)
        self._weight = arrays.zeros(grid.shape)
        self._squares = arrays.zeros(grid.shape) if with_spread else None
        self._last: tuple[int, int] | None = None

    def add(self, address: tuple[int, int], logits: Any, variance: Any = None) -> None:
        """Add one window.

        Args:
            address: Lattice (row, col) of its upper left pixel.
            logits: (size, size) float32, mean over the members.
            variance: (size, size) float32, population variance over the members; must be there if the spread is asked for.

        Raises:
            InputError: If windows do not come in lattice order, on which the bits of the sum depend.
        """
        if self._last is not None and address <= self._last:
            raise InputError(f"window {address} after {self._last}: windows are added in lattice order")
        self._last = address
        window = window_grid(self.grid.epsg, address, self._size_px)
        shared = window.intersection(self.grid)
        if shared is None:
            return
        inside, outside = shared.slices_in(window), shared.slices_in(self.grid)
        logits, weights, total, weight = (
            logits[inside],
            self._weights[inside],
            self._sum[outside],
            self._weight[outside],
        )
        if self._squares is not None:
            if variance is None:
                raise InputError(f"window {address} comes without the variance of its members")
            squares = self._squares[outside]
            squares += weights * variance[inside] + self._squares_between(logits, weights, total, weight)
        total += logits * weights
        weight += weights

    def _squares_between(self, logits: Any, weights: Any, total: Any, weight: Any) -> Any:
        """Addition of a window to the weighted squares by lying off the mean of those before it; 0 where it is the first."""
        off = logits - self._quotient(total, weight, logits)
        return weights * weight / (weights + weight) * (off * off)

    def _quotient(self, total: Any, weight: Any, otherwise: Any) -> Any:
        """`total / weight`, or something else where no window came."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._arrays.where(weight > 0, total / weight, otherwise)

    def spread(self) -> NDArray[np.float32]:
        """(height, width) float32 standard deviation of the logits over members and windows; NaN where no window came.

        Raises:
            InputError: If it was not asked for.
        """
        if self._squares is None:
            raise InputError("this canvas was made without a spread")
        variance = self._arrays.get(self._quotient(self._squares, self._weight, float("nan")))
        return np.asarray(np.sqrt(variance))  # on the host: not every library rounds a root as IEEE 754 has it

    def mean(self) -> NDArray[np.float32]:
        """(height, width) float32 logits; NaN where no window came."""
        return self._arrays.get(self._quotient(self._sum, self._weight, float("nan")))
