"""Words and plain data on how sure changes are: which errors were used, what they can detect, and what all outlines share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from cryosentinel_core.change.pair_judgement import JudgedPair, measurable_lakes
from cryosentinel_core.change.shore_noise import ShoreNoise
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2

SIZE_CLASSES_HA: Final = ((0.5, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, np.inf))
"""Classes of lake size that the detectable change is told for, hectares."""

_METRES_OF_DEGREE: Final = 111_320.0
_MIN_LAKES: Final = 5
"""Lakes from which a common shift of outlines is told."""


@dataclass(frozen=True, kw_only=True)
class OutlineShift:
    """Shift that all outlines of a year have against another year's: the median of the centroids' shifts.

    Attributes:
        dx_m: To the east.
        dy_m: To the north.
        sigma_m: Standard deviation of either.
        n_lakes: Lakes matched one to one that it was measured on.
    """

    dx_m: float
    dy_m: float
    sigma_m: float
    n_lakes: int

    @property
    def length_m(self) -> float:
        """Length."""
        return float(np.hypot(self.dx_m, self.dy_m))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the record."""
        return asdict(self)


def outline_shift(pair: JudgedPair) -> OutlineShift | None:
    """The shift of the later year's outlines against the earlier one's; None with too few lakes."""
    kept = measurable_lakes(pair)
    if kept.sum() < _MIN_LAKES:
        return None
    first, second = (shapely.get_coordinates(shapely.centroid(one.outline[kept])) for one in (pair.first, pair.second))
    east_north = (second - first) * _METRES_OF_DEGREE
    east_north[:, 0] *= np.cos(np.radians(first[:, 1]))
    centre = np.median(east_north, axis=0)
    spread = 1.4826 * np.median(np.abs(east_north - centre))
    sigma = float(np.sqrt(np.pi / 2.0 / kept.sum()) * spread)
    return OutlineShift(dx_m=float(centre[0]), dy_m=float(centre[1]), sigma_m=sigma, n_lakes=int(kept.sum()))


def describe_noise(pair: str, noise: ShoreNoise | None, source: str, pixel_m: float) -> tuple[str, list[str]]:
    """A sentence on the errors of a pair of years, and what a reader must be warned of."""
    if noise is None:
        return f"{pair}: errors by constants set on simulated scenes", []
    told = f"{pair}: shores differ by {noise.shore_m:.1f} m ({noise.shore_m / pixel_m:.2f} px) without any change"
    if source == "file":
        return f"{told}, as the file of errors says", []
    if noise.measured_m is None:
        return f"{told}, by the prior alone: no lake to measure it on", []
    told += (
        f", measured on {counted(noise.n_lakes, 'lake')} ({noise.measured_m:.1f} m, weight {noise.weight:.0%}; "
        f"prior {noise.prior_m:.1f} m)"
    )
    doubts = []
    if noise.is_too_wide:
        doubts.append(
            f"{pair}: many lakes really changed, and their changes count as noise: the measured errors are too wide "
            f"(the quieter lakes scatter by {noise.quiet_m:.1f} m); --errors simulated or FILE takes others"
        )
    if not noise.has_common_displacement:
        return told, doubts
    way = "outwards" if (noise.centre_m or 0.0) > 0 else "inwards"
    return told, [
        *doubts,
        f"{pair}: half of all shores moved {way} by over {abs(noise.centre_m or 0.0):.1f} m: lakes really changed alike, or one year "
        "was drawn wider; it is left in areas and statuses, and makes the measured errors wider",
    ]


def describe_shift(pair: str, shift: OutlineShift | None, pixel_m: float) -> list[str]:
    """A warning where the outlines of two years lie apart by over half a pixel."""
    if shift is None or shift.length_m < max(0.5 * pixel_m, 3.0 * shift.sigma_m):
        return []
    return [
        f"{pair}: the outlines of the later year lie {shift.dx_m:+.1f} m east and {shift.dy_m:+.1f} m north of the earlier one's "
        f"(+- {shift.sigma_m:.1f} m, {counted(shift.n_lakes, 'lake')}): areas do not depend on it, gained and lost ground do"
    ]


def detectable_percent(rows: pd.DataFrame) -> dict[str, float]:
    """Class of size -> median change, in per cent of the earlier area, that is found with 80 % power.

    Args:
        rows: Rows of the change table of one pair of years.
    """
    area: NDArray[np.float64] = rows["area_from_m2"].to_numpy(dtype=float)
    share = rows["minimum_detectable_change_m2"].to_numpy(dtype=float)
    found = {}
    for low, high in SIZE_CLASSES_HA:
        kept = (area >= low * HECTARE_M2) & (area < high * HECTARE_M2) & np.isfinite(share)
        if kept.any():
            name = f"{low:g}-{high:g} ha" if np.isfinite(high) else f"over {low:g} ha"
            found[name] = float(np.median(100.0 * share[kept] / area[kept]))
    return found


def errors_of_result(
    change: pd.DataFrame,
    noises: Mapping[tuple[int, int], ShoreNoise | None],
    shifts: Mapping[tuple[int, int], OutlineShift | None],
    common_m: Mapping[int, float],
    source: str,
    pixel_m: float,
) -> dict[str, Any]:
    """Plain data for the record.

    Args:
        change: The change table.
        noises: Pair of years -> noise.
        shifts: Pair of years -> shift of the outlines.
        common_m: Year -> displacement that all its shores may have in common; it cancels in changes.
        source: Word of `ErrorSource`.
        pixel_m: Side of the coarsest year's pixels.
    """
    pairs = {}
    for (a, b), noise in noises.items():
        name = f"{a}-{b}"
        shift = shifts.get((a, b))
        pairs[name] = {
            "noise": None if noise is None else {**noise.as_dict(), "shore_px": noise.shore_m / pixel_m},
            "detectable_percent": detectable_percent(change[change["pair"] == name]),
            "outline_shift": None if shift is None else shift.as_dict(),
            "told": describe_noise(name, noise, source, pixel_m)[0],
        }
    return {"source": source, "pixel_m": pixel_m, "common_m": {str(y): m for y, m in common_m.items()}, "pairs": pairs}
