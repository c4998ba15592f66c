"""Registration: how far two years' images lie apart over stable ground, measured in sub-pixels: a year-to-year shift draws slivers of
gained and lost ground around every lake that did nothing.

Small square patches, fixed to the lattice, are compared one by one. In a patch the second image is taken to be the first one
moved by `d`, up to an offset and a gain: with `f` the mean of both, each brought half of the way,

    first(x) - second(x) = grad f(x) . d

in the least squares over pixels that both years saw, iterated, first on smoothed images and then on sharper ones. As both
images go half of the way, swapping them turns the sign of `d` and nothing else, and noise does not draw it towards zero.
The shift of a pair of years is the median over patches; its standard error comes from their spread.

Sources: Lucas and Kanade (1981), Proceedings IJCAI, 674-679 (iterated least squares); Keren, Peleg and Brada (1988),
Proceedings CVPR, 742-746 (sub-pixel shifts); Leprince et al. (2007), IEEE Transactions on Geoscience and Remote Sensing 45,
1529-1558 (many small windows over stable ground).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import GridMismatch, InputError
from cryosentinel_core.ground.lattice import Cell, Grid
from cryosentinel_core.ground.projection import project_geometry, zone_of_lonlat
from cryosentinel_core.units import CELL_PX, PIXEL_M

PATCH_PX: Final = 64
"""Side of a patch in pixels."""

PATCHES_PER_SIDE: Final = 3
"""Patches along the side of a cell; a patch never crosses a cell's border."""

MAX_PATCHES: Final = 60
"""Patches that a pair of years is judged by."""

MAX_TRIES: Final = 240
"""Patches that are looked at to find so many."""

MIN_PATCHES: Final = 5
"""With fewer the shift is unknown."""

SHIFT_LIMIT_PX: Final = 4.0
"""Along an axis; a patch that says more was not understood."""

MIN_SHARE: Final = 0.3
"""Of a patch's pixels that must count."""

MAX_PATCH_SIGMA_PX: Final = 0.25
"""A patch with a larger standard error has too little texture."""

MIN_CORRELATION: Final = 0.5
"""Between the two images once they are aligned."""

SIGNIFICANT: Final = 3.0
"""Standard errors that a shift must exceed to be acted on."""

WARN_M: Final = PIXEL_M / 2
"""A shift beyond half a pixel is warned of."""

_STEPS: Final = ((2.5, 8), (2.5, 8), (2.5, 8), (1.0, 5), (1.0, 5), (1.0, 5), (1.0, 5))
"""Smoothing (standard deviation) and distance to keep from pixels that do not count, both in pixels, of each iteration."""


@dataclass(frozen=True, kw_only=True)
class PatchShift:
    """Shift of the second image against the first in one patch, in pixels.

    Attributes:
        d_col: To the right (east).
        d_row: Downwards (south).
        sigma_px: Standard error along the less certain direction.
    """

    d_col: float
    d_row: float
    sigma_px: float


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Shift of a later year's images against an earlier year's.

    Attributes:
        dx_m: To the east, metres; None = unknown.
        dy_m: To the north, metres; None = unknown.
        sigma_m: Standard error along either axis (the larger one), metres; None = unknown.
        n_patches: Patches that it was measured on.
    """

    dx_m: float | None
    dy_m: float | None
    sigma_m: float | None
    n_patches: int

    def __post_init__(self) -> None:
        values = (self.dx_m, self.dy_m, self.sigma_m)
        if any(value is None for value in values) and any(value is not None for value in values):
            raise InputError(f"a shift is known whole or not at all, got {values}")
        if any(value is not None and not np.isfinite(value) for value in values):
            raise InputError(f"a shift must be finite, got {values}")

    @property
    def length_m(self) -> float | None:
        """Length of the shift, metres; None = unknown."""
        return None if self.dx_m is None or self.dy_m is None else float(np.hypot(self.dx_m, self.dy_m))

    @property
    def is_significant(self) -> bool:
        """True if it is known and longer than `SIGNIFICANT` standard errors."""
        length = self.length_m
        return length is not None and self.sigma_m is not None and length > SIGNIFICANT * self.sigma_m

    def as_dict(self) -> dict[str, Any]:
        """Plain data, metres to the millimetre."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


UNKNOWN: Final = Registration(dx_m=None, dy_m=None, sigma_m=None, n_patches=0)
"""Nothing could be measured."""


def registration_constants() -> dict[str, Any]:
    """All constants that decide a measured shift, as plain data for a settings digest."""
    return {
        "patch_px": PATCH_PX,
        "patches_per_side": PATCHES_PER_SIDE,
        "max_patches": MAX_PATCHES,
        "max_tries": MAX_TRIES,
        "min_patches": MIN_PATCHES,
        "shift_limit_px": SHIFT_LIMIT_PX,
        "min_share": MIN_SHARE,
        "max_patch_sigma_px": MAX_PATCH_SIGMA_PX,
        "min_correlation": MIN_CORRELATION,
        "significant": SIGNIFICANT,
        "steps": [list(step) for step in _STEPS],
    }


def patches_of_cells(cells: Iterable[Cell]) -> list[Grid]:
    """The patches of some cells in an order that depends on their addresses alone: that of a digest of the address.

    The first `n` are spread over the cells as if drawn at random, and of two sets of cells both keep the same order.

    Args:
        cells: Of any zones.
    """
    step = CELL_PX // PATCHES_PER_SIDE
    margin = (step - PATCH_PX) // 2
    offsets = [margin + number * step for number in range(PATCHES_PER_SIDE)]
    patches = [
        Grid(
            epsg=cell.epsg,
            row=cell.row * CELL_PX + down,
            col=cell.col * CELL_PX + right,
            height=PATCH_PX,
            width=PATCH_PX,
        )
        for cell in set(cells)
        for down in offsets
        for right in offsets
    ]
    return sorted(patches, key=lambda patch: hashlib.sha256(f"{patch.epsg}/{patch.row}/{patch.col}".encode()).digest())


def has_enough_ground(stable: NDArray[np.bool_]) -> bool:
    """True if enough of a patch counts to be worth measuring.

    Args:
        stable: (H, W) bool, True where both years saw ground.
    """
    return float(_away_from(~stable, _STEPS[-1][1]).mean()) >= MIN_SHARE


def measure_patch(first: NDArray[Any], second: NDArray[Any], stable: NDArray[np.bool_]) -> PatchShift | None:
    """Shift of the second image against the first; None if it cannot be told.

    Args:
        first: (H, W) reflectance on any scale, above 0 where stable.
        second: (H, W), the same ground and band.
        stable: (H, W) bool, True where both are good and the ground stays as it is.

    Returns:
        The shift; None where there is too little ground or texture, the images do not agree, or the shift is beyond
        `SHIFT_LIMIT_PX`.

    Raises:
        GridMismatch: If the shapes differ.
    """
    if not first.shape == second.shape == stable.shape or first.ndim != 2:
        raise GridMismatch(
            f"patches of shapes {first.shape} and {second.shape}, mask {stable.shape}: wanted one (H, W)"
        )
    good = stable & (first > 0) & (second > 0)
    if not has_enough_ground(good):
        return None
    images = [_log_filled(image, good) for image in (first, second)]
    shift = np.zeros(2)
    answer: tuple[NDArray[np.float64], float, float] | None = None
    for smoothing, distance in _STEPS:
        use = _away_from(~good, distance)
        if use.mean() < MIN_SHARE / 2:
            continue
        answer = _one_step(images, use, shift, smoothing)
        if answer is None:
            return None
        shift = shift + answer[0]
        if np.abs(shift).max() > SHIFT_LIMIT_PX:
            return None
    if answer is None or answer[1] > MAX_PATCH_SIGMA_PX or answer[2] < MIN_CORRELATION or np.hypot(*answer[0]) > 0.05:
        return None
    return PatchShift(d_col=float(shift[1]), d_row=float(shift[0]), sigma_px=answer[1])


def combine_patches(patches: Sequence[PatchShift]) -> Registration:
    """The shift of a pair of years: the median over patches, axis by axis; unknown with fewer than `MIN_PATCHES`.

    The standard error is that of a median of normal values, 1.2533 sigma / sqrt(n), with sigma the larger of the patches'
    spread (median absolute deviation x 1.4826) and their own median standard error.

    Args:
        patches: Measured, in any order.
    """
    if len(patches) < MIN_PATCHES:
        return Registration(dx_m=None, dy_m=None, sigma_m=None, n_patches=len(patches))
    values = np.array([(patch.d_col, -patch.d_row) for patch in patches])
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0).max()
    own = float(np.median([patch.sigma_px for patch in patches]))
    sigma = 1.2533 * max(float(spread), own) / np.sqrt(len(patches))
    return Registration(
        dx_m=float(middle[0]) * PIXEL_M,
        dy_m=float(middle[1]) * PIXEL_M,
        sigma_m=float(sigma) * PIXEL_M,
        n_patches=len(patches),
    )


def move_outline(outline: BaseGeometry, dx_m: float, dy_m: float) -> BaseGeometry:
    """An outline in EPSG:4326 moved along the axes of its UTM zone.

    Args:
        outline: Of a lake; an empty one stays empty.
        dx_m: To the east, metres.
        dy_m: To the north, metres.
    """
    if outline.is_empty:
        return outline
    west, south, east, north = outline.bounds
    epsg = zone_of_lonlat((west + east) / 2, (south + north) / 2).epsg
    moved = shapely.transform(project_geometry(outline, 4326, epsg), lambda xy: xy + np.array([dx_m, dy_m]))
    return project_geometry(moved, epsg, 4326)


def _log_filled(image: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(H, W) logarithm with mean 0 and standard deviation 1 over the good pixels, others filled by their nearest."""
    log = np.log(np.where(good, image, 1).astype(np.float64))
    nearest = ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True)
    filled = log[tuple(nearest)]
    spread = float(log[good].std())
    return np.asarray((filled - log[good].mean()) / (spread if spread > 1e-9 else 1.0), dtype=np.float64)


def _away_from(bad: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """(H, W) bool: True where neither a bad pixel nor the patch's edge is within `distance` rows and columns."""
    near = ndimage.maximum_filter(bad, size=2 * distance + 1, mode="constant", cval=True)
    return np.asarray(~near, dtype=np.bool_)


def _one_step(
    images: Sequence[NDArray[np.float64]], use: NDArray[np.bool_], shift: NDArray[np.float64], smoothing: float
) -> tuple[NDArray[np.float64], float, float] | None:
    """What is missing from a shift (rows, columns), its larger standard error in pixels, and the images' correlation."""
    smooth = [ndimage.gaussian_filter(image, smoothing, mode="nearest") for image in images]
    first = ndimage.shift(smooth[0], shift / 2, order=3, mode="nearest")
    second = ndimage.shift(smooth[1], -shift / 2, order=3, mode="nearest")
    gradients = np.gradient((first + second) / 2)
    a, b = first[use] - first[use].mean(), second[use] - second[use].mean()
    power = float(np.sqrt((a @ a) * (b @ b)))
    if power < 1e-9 * a.size:
        return None
    design = np.column_stack([gradient[use] - gradient[use].mean() for gradient in gradients])
    # A gain between the images must not read as a shift: both are brought to one contrast.
    residual = a / np.sqrt(a @ a) - b / np.sqrt(b @ b)
    residual *= np.sqrt(((a + b) / 2) @ ((a + b) / 2))
    normal = design.T @ design
    if np.linalg.eigvalsh(normal)[0] <= 1e-9 * a.size:
        return None
    step = np.linalg.solve(normal, design.T @ residual)
    left = residual - design @ step
    # Smoothed noise is alike over about 4 pi smoothing^2 pixels, so that many pixels count as one.
    variance = float(left @ left) / a.size * max(4 * np.pi * smoothing**2, 1.0)
    sigma = float(np.sqrt(variance * np.diag(np.linalg.inv(normal)).max()))
    return step, sigma, float(a @ b) / power
