"""Sensor noise and speckle, drawn once and cut from at a new place for every band: cheap, and the same bytes always."""

from __future__ import annotations

from typing import Final

import numpy as np

from cryosentinel_core.simulate.fields import Array, make_generator

_SPARE: Final = 512
"""Pixels that a pool is larger than the ground, in rows and columns: cuts start anywhere in them."""

_SMOOTHING: Final = (0.25, 0.5, 0.25)
_LOOKS_GAINED: Final = 1 / sum(w * w for w in _SMOOTHING) ** 2


class NoisePool:
    """Pools of white normal noise and of speckle that are larger than the ground.

    Two cuts hold the same numbers at other places, so they are independent pixel by pixel.

    Args:
        seed: Seed of the simulation.
        shape: Pixels `(H, W)` of the ground at 10 m.
        looks: Equivalent number of looks of the speckle.
    """

    def __init__(self, seed: int, shape: tuple[int, int], looks: float) -> None:
        self._seed = seed
        pool = (shape[0] + _SPARE, shape[1] + _SPARE)
        self._normal = make_generator(seed, "normal").standard_normal(pool, dtype=np.float32)
        raw = make_generator(seed, "speckle").standard_gamma(looks / _LOOKS_GAINED, pool, dtype=np.float32)
        raw /= np.float32(looks / _LOOKS_GAINED)
        self._speckle = _smooth(_smooth(raw).T).T

    def normal(self, shape: tuple[int, ...], *name: object) -> Array:
        """White noise of mean 0 and variance 1, `(H, W)`."""
        return self._cut(self._normal, shape, name)

    def speckle(self, shape: tuple[int, ...], *name: object) -> Array:
        """Speckle of mean 1, correlated between neighbours as a resolution of 20 m on 10 m pixels is, `(H, W)`."""
        return self._cut(self._speckle, shape, name)

    def _cut(self, pool: Array, shape: tuple[int, ...], name: tuple[object, ...]) -> Array:
        rng = make_generator(self._seed, "cut", *name)
        row, column = (int(rng.integers(0, limit - n + 1)) for limit, n in zip(pool.shape, shape, strict=True))
        cut = pool[row : row + shape[0], column : column + shape[1]]
        return cut[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]


def _smooth(array: Array) -> Array:
    """Rows averaged with their neighbours; the outermost two stay as they are."""
    result = array * np.float32(_SMOOTHING[1])
    result[1:] += np.float32(_SMOOTHING[0]) * array[:-1]
    result[:-1] += np.float32(_SMOOTHING[2]) * array[1:]
    result[0], result[-1] = array[0], array[-1]
    return result
