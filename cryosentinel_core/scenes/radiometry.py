"""Stored numbers to physical ones: reflectance without offset, radar in decibels, and a check of the outcome on the pixels.

Sentinel-2 numbers are made independent of the processing baseline here, once, before anything looks at them. Neighbours:
`composite` works on what comes out; `scenes.providers` says which collections have had the offset taken off already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import DataError
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.units import BOA_ADD_OFFSET

FIRST_BASELINE_WITH_OFFSET: Final = (4, 0)
"""Processing baseline 04.00 brought the offset (Sentinel-2 PSD 14.9)."""

RADAR_LOOKS: Final = 4.4
"""Equivalent number of looks of IW GRD products (Sentinel-1 Product Specification)."""

_BASELINE: Final = re.compile(r"^(\d{1,2})\.(\d{1,2})$")


def parse_baseline(text: str) -> tuple[int, int]:
    """The processing baseline as numbers: `05.09` -> (5, 9).

    Raises:
        DataError: If the text is not a baseline.
    """
    found = _BASELINE.match(text.strip())
    if found is None:
        raise DataError(f"processing baseline {text!r} has another form than 05.09")
    return int(found[1]), int(found[2])


def offset_of_baseline(baseline: str) -> int:
    """What L2A numbers of a processing baseline carry on top: 1000 from 04.00 on, else 0; the date plays no part.

    Raises:
        DataError: If the text is not a baseline.
    """
    return BOA_ADD_OFFSET if parse_baseline(baseline) >= FIRST_BASELINE_WITH_OFFSET else 0


def remove_offset(numbers: NDArray[np.uint16], offset: int) -> NDArray[np.uint16]:
    """Reflectance x 10,000 independent of the baseline.

    Args:
        numbers: Any shape, uint16, as stored; 0 = nodata.
        offset: 0 or 1000.

    Returns:
        The same shape, uint16: `numbers - offset` in signed arithmetic, at least 1 where there are data, 0 only for nodata.
    """
    if offset == 0:
        return numbers
    lowered = np.maximum(numbers.astype(np.int32) - offset, 1)
    return np.where(numbers == 0, 0, lowered).astype(np.uint16)


@dataclass(frozen=True)
class OffsetCheck:
    """Result of a look at the pixels for the +1000 offset.

    Attributes:
        is_suspect: True if the numbers look as if the offset were still in.
        floors: Band name -> its dark-pixel floor (0.1th percentile of the valid numbers).
        message: The verdict in words, with the numbers.
    """

    is_suspect: bool
    floors: dict[str, float]
    message: str


JUDGED_BANDS: Final = ("B02", "B03", "B04", "B11", "B12")
"""Bands whose dark-pixel floors are looked at."""

_FLOOR_LOW: Final = 850.0
_FLOOR_TOUCHES: Final = 1_200.0
_FLOOR_HIGH: Final = 1_600.0
_CLAMPED_SHARE: Final = 0.05
_MIN_PIXELS: Final = 1_000


def floor_of_band(numbers: NDArray[np.uint16]) -> tuple[float, float]:
    """Dark-pixel floor (0.1th percentile of the numbers above 0) and the share of them that are 1; (NaN, 0) for under 1000 px."""
    good = numbers[numbers > 0]
    if good.size < _MIN_PIXELS:
        return float("nan"), 0.0
    return float(np.percentile(good, 0.1)), float((good == 1).mean())


def judge_floors(floors: Mapping[str, tuple[float, float]]) -> OffsetCheck:
    """The verdict of `check_offset` on the floors of the bands in `JUDGED_BANDS`.

    Args:
        floors: Band name -> (floor, share of numbers at the clamp) of `floor_of_band`.
    """
    plain = {name: floors[name][0] for name in JUDGED_BANDS}
    judged = list(plain.values())
    words = ", ".join(f"{name} {floor:.0f}" for name, floor in plain.items())
    if any(math.isnan(floor) for floor in judged):
        return OffsetCheck(False, plain, "too few pixels to judge the offset")
    if min(judged) > _FLOOR_LOW and max(judged) < _FLOOR_HIGH and min(judged) < _FLOOR_TOUCHES:
        return OffsetCheck(True, plain, f"the floors lie near +1000, as if the offset were still in ({words})")
    clamped = floors["B03"][1]
    if clamped > _CLAMPED_SHARE:
        return OffsetCheck(
            True,
            plain,
            f"{clamped:.0%} of B03 lies at the lower limit, as if an offset that was not in had been taken off",
        )
    return OffsetCheck(False, plain, f"the floors do not look like a left-over offset ({words})")


def check_offset(s2: NDArray[np.uint16]) -> OffsetCheck:
    """Whether numbers that should be without offset look as if they still carried it, or had lost it twice.

    Nearly every scene holds something dark in the visible and something dark in the shortwave infrared (water, shade, snow,
    vegetation), and the offset lifts every floor by the same 1000. The verdict is `suspect` if the floors of B02, B03, B04, B11
    and B12 all lie above 850, none above 1600, and the lowest below 1200; or if over 5 % of B03 lie at the lower limit of 1.
    All-snow scenes keep a dark shortwave infrared, deserts and bright rock a spread of floors: neither fires. It cannot see
    an offset in a scene without any dark surface.

    Args:
        s2: (12, H, W) uint16 in the order of `bands.S2_BANDS`, 0 = nodata; a lone chip will do.
    """
    return judge_floors({name: floor_of_band(s2[index_of_band(name)]) for name in JUDGED_BANDS})


def to_decibel(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Backscatter in dB: 10 log10 of linear power; NaN where the power is not finite or not above 0."""
    good = np.isfinite(power) & (power > 0)
    return np.where(good, 10.0 * np.log10(np.where(good, power, 1.0)), np.nan).astype(np.float32)


def mask_power(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear power with NaN for everything that is none: non-finite, 0 or below (nodata -32768 among them)."""
    good = np.isfinite(stored) & (stored > 0)
    return np.where(good, stored, np.nan).astype(np.float32)


def filter_lee(power: NDArray[np.float32], looks: float = RADAR_LOOKS) -> NDArray[np.float32]:
    """Speckle filtered power: Lee's local linear minimum mean square error filter in a window of 5 x 5.

    Args:
        power: (H, W) float32, linear, NaN = nodata. Pixels nearer than 2 to the array's edge see fewer neighbours, so give
            2 more on each side than you keep.
        looks: Equivalent number of looks of the input.

    Returns:
        (H, W) float32; NaN where the input is NaN. Means and variances are over the valid pixels of the window, summed in a
        fixed order, so that a pixel's value does not depend on where the array was cut.

    Source: Lee (1980), Digital image enhancement and noise filtering by use of local statistics, IEEE TPAMI 2(2), in its
        multiplicative form: x = m + k (y - m), k = var(x) / (var(x) + (m^2 + var(x)) / L), var(x) = (v - m^2 / L) / (1 + 1 / L).
    """
    valid = np.isfinite(power)
    value = np.where(valid, power, 0.0).astype(np.float64)
    count = _sum_5x5(valid.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = _sum_5x5(value) / count
        variance = np.maximum(_sum_5x5(value * value) / count - mean * mean, 0.0)
        noise = 1.0 / looks
        signal = np.maximum((variance - mean * mean * noise) / (1.0 + noise), 0.0)
        gain = signal / (signal + (mean * mean + signal) * noise)
        filtered = mean + gain * (value - mean)
    return np.where(valid, filtered, np.nan).astype(np.float32)


def _sum_5x5(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over 5 x 5 neighbours, zeros outside, added in one fixed order."""
    h, w = array.shape
    padded = np.zeros((h + 4, w + 4), dtype=np.float64)
    padded[2:-2, 2:-2] = array
    rows = padded[0:h] + padded[1 : h + 1]
    for shift in (2, 3, 4):
        rows += padded[shift : h + shift]
    total = rows[:, 0:w] + rows[:, 1 : w + 1]
    for shift in (2, 3, 4):
        total += rows[:, shift : w + shift]
    return np.asarray(total)
