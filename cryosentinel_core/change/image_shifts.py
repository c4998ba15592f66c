"""Shifts between two years' images: measured over ground that stays as it is, and taken out of gained and lost ground.

Areas, their uncertainty and statuses never depend on it: a shift leaves the area of a whole outline as it is. Neighbours:
`scenes.registration` measures one patch; `change_table` moves outlines by what is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Cell, Grid
from cryosentinel_core.lakes.pixel_classes import WATER_LAND
from cryosentinel_core.scenes.registration import (
    MAX_PATCHES,
    MAX_TRIES,
    UNKNOWN,
    WARN_M,
    Registration,
    combine_patches,
    has_enough_ground,
    measure_patch,
    patches_of_cells,
)
from cryosentinel_core.stack.stack import Condition

REGISTRATION_BAND: Final = "B08"
"""Near infrared: 10 m, and textured on bare ground and vegetation alike."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageReaders:
    """Readers of one year's images, for a patch of the lattice at a time.

    Attributes:
        cells: Cells that are there, in the stack and among the classes.
        image: Grid -> (H, W) reflectance of `REGISTRATION_BAND` on any scale, 0 = nodata.
        water: Grid -> (H, W) uint8 classes of the year's `water_<epsg>.tif`.
        condition: Grid -> (H, W) uint8 values of `stack.stack.Condition`.
        wet_dates: Grid -> (H, W) uint8 dates on which the pixel was water.
    """

    cells: frozenset[Cell]
    image: Callable[[Grid], NDArray[Any]]
    water: Callable[[Grid], NDArray[np.uint8]]
    condition: Callable[[Grid], NDArray[np.uint8]]
    wet_dates: Callable[[Grid], NDArray[np.uint8]]


def measure_registration(first: ImageReaders | None, second: ImageReaders | None) -> Registration:
    """Shift of the second year's images against the first's, over ground that both saw clear, with neither water nor snow.

    Patches lie fixed on the lattice and are tried in an order that their addresses alone decide, so neither tiles nor workers
    matter; which patches there are depends on the area of interest. At most `MAX_TRIES` patches are read, one at a time.

    Args:
        first: Readers of the earlier year; None where its stack is gone.
        second: Readers of the later year, likewise.

    Returns:
        The shift; unknown where a stack is gone or there is too little ground.

    Raises:
        RasterError: If a stack is damaged.
    """
    if first is None or second is None:
        return UNKNOWN
    measured = []
    for patch in patches_of_cells(first.cells & second.cells)[:MAX_TRIES]:
        stable = _is_stable(first, patch) & _is_stable(second, patch)
        if not has_enough_ground(stable):
            continue
        shift = measure_patch(first.image(patch), second.image(patch), stable)
        if shift is not None:
            measured.append(shift)
        if len(measured) == MAX_PATCHES:
            break
    return combine_patches(measured)


def _is_stable(year: ImageReaders, patch: Grid) -> NDArray[np.bool_]:
    """(H, W) bool: True on clear land that was water on no date."""
    clear = year.condition(patch) == int(Condition.CLEAR)
    return np.asarray((year.water(patch) == WATER_LAND) & clear & (year.wet_dates(patch) == 0), dtype=np.bool_)


def shifts_to_apply(
    measured: Mapping[tuple[int, int], Registration], registration_m: float
) -> dict[tuple[int, int], tuple[float, float]]:
    """Shifts (east, north) in metres that are taken out of gained and lost ground, by pair of years.

    Args:
        measured: Pair of years -> shift of the later year's images.
        registration_m: Shift that the error model allows for anyway; a shift counts only beyond it and beyond its own error.
    """
    return {
        pair: (shift.dx_m, shift.dy_m)
        for pair, shift in measured.items()
        if shift.dx_m is not None
        and shift.dy_m is not None
        and shift.is_significant
        and float(np.hypot(shift.dx_m, shift.dy_m)) > registration_m
    }


def describe_shifts(measured: Mapping[tuple[int, int], Registration]) -> tuple[list[str], list[str]]:
    """Sentences on what was measured: all of them, and those that a reader must be warned of."""
    notes, warnings = [], []
    for (year_from, year_to), shift in measured.items():
        pair = f"{year_from}-{year_to}"
        if shift.length_m is None:
            notes.append(
                f"{pair}: the shift between the images is unknown ({shift.n_patches} patches of stable ground)"
            )
            continue
        told = (
            f"{pair}: the images of {year_to} lie {shift.dx_m:+.1f} m east and {shift.dy_m:+.1f} m north of those of "
            f"{year_from} (+- {shift.sigma_m:.1f} m, {shift.n_patches} patches)"
        )
        notes.append(told)
        if shift.length_m > WARN_M:
            warnings.append(f"{told}, more than half a pixel: look at gained and lost ground with care")
    return notes, warnings
