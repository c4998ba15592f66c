"""Means and standard deviations of a data set's bands, by one pass over its chips, all years together and year by year.

Only pixels count in which no sensor is nodata, and numbers are clipped as they are before a network sees them. Whole numbers are
counted one by one (a histogram a band), so that the answer hangs on no order of adding; radar is added up in double precision. The
dark end of the histograms also tells whether the chips of a year still carry the +1000 of processing baseline 04.00.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.errors import DataError
from cryosentinel_core.scenes.radiometry import JUDGED_BANDS, OffsetCheck, judge_floors
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES, index_of_band
from cryosentinel_core.units import BOA_ADD_OFFSET

S2_CLIP: Final = (0, 16_000)
"""Sentinel-2 numbers are clipped to this before they are standardised."""

DEM_CLIP_M: Final = (-500, 9_000)
"""Heights likewise."""

FLOOR_PERCENT: Final = 0.1
"""The dark end of a band: this percentile of its numbers above 0."""

LIFT_SLACK: Final = 400.0
"""How far the lift of a year's floors over another year's may be from 1000 to count as the offset."""

_FLOOR_PIXELS: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Means and standard deviations by modality, in the shape of the published file.

    Attributes:
        means: `S2L2A` (12), `S1GRD` (2) and `DEM` (1): x 10,000 reflectance, dB, metres.
        stds: The same of the standard deviations (of the population).
    """

    means: dict[str, tuple[float, ...]]
    stds: dict[str, tuple[float, ...]]

    def as_dict(self) -> dict[str, Any]:
        """`{"S2L2A": {"means": [...], "stds": [...]}, ...}`."""
        return {name: {"means": list(self.means[name]), "stds": list(self.stds[name])} for name in self.means}


@dataclass
class BandCounts:
    """What has been counted so far of some chips.

    Attributes:
        n_chips: Chips.
        n_pixels: Pixels in which no sensor is nodata.
        n_all_pixels: Pixels.
        n_water_pixels: Of the valid ones, those that the label calls water.
        s2: (12, 16,001) int64, valid pixels by number after clipping.
        dem: (9,501) int64, valid pixels by height after clipping, from -500 m.
        s1_mean: (2,) float64, dB.
        s1_squares: (2,) float64, sum of squared deviations from it.
    """

    n_chips: int = 0
    n_pixels: int = 0
    n_all_pixels: int = 0
    n_water_pixels: int = 0
    s2: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(S2_NAMES), S2_CLIP[1] + 1), dtype=np.int64))
    dem: NDArray[np.int64] = field(default_factory=lambda: np.zeros(DEM_CLIP_M[1] - DEM_CLIP_M[0] + 1, dtype=np.int64))
    s1_mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(S1_NAMES)))
    s1_squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(S1_NAMES)))

    def add(self, chip: ShardChip) -> None:
        """Count one chip."""
        valid = chip.valid
        n = int(np.count_nonzero(valid))
        self.n_chips += 1
        self.n_all_pixels += valid.size
        if n == 0:
            return
        self.n_water_pixels += int(np.count_nonzero(chip.mask[valid]))
        for band, numbers in enumerate(chip.s2):
            clipped = np.minimum(numbers[valid], S2_CLIP[1])
            self.s2[band] += np.bincount(clipped, minlength=S2_CLIP[1] + 1)
        heights = np.clip(chip.dem[0][valid].astype(np.int64), *DEM_CLIP_M) - DEM_CLIP_M[0]
        self.dem += np.bincount(heights, minlength=self.dem.size)
        decibel = chip.s1[:, valid].astype(np.float64)
        mean = decibel.mean(axis=1)
        self._add_radar(n, mean, ((decibel - mean[:, None]) ** 2).sum(axis=1))
        self.n_pixels += n

    def merge(self, other: BandCounts) -> None:
        """Count all that another has counted."""
        self.n_chips += other.n_chips
        self.n_all_pixels += other.n_all_pixels
        self.n_water_pixels += other.n_water_pixels
        self.s2 += other.s2
        self.dem += other.dem
        if other.n_pixels:
            self._add_radar(other.n_pixels, other.s1_mean, other.s1_squares)
        self.n_pixels += other.n_pixels

    def _add_radar(self, n: int, mean: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        """Join two means and sums of squares (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        total = self.n_pixels + n
        apart = mean - self.s1_mean
        self.s1_mean = self.s1_mean + apart * (n / total)
        self.s1_squares = self.s1_squares + squares + apart**2 * (self.n_pixels * n / total)

    @property
    def normalisation(self) -> Normalisation:
        """Means and standard deviations.

        Raises:
            DataError: If no pixel is valid.
        """
        if self.n_pixels == 0:
            raise DataError(
                f"no valid pixel in {self.n_chips} chips, so no statistics",
                "a pixel counts where optical, radar and terrain data are all there",
            )
        optical = [_moments(counts, 0) for counts in self.s2]
        height = _moments(self.dem, DEM_CLIP_M[0])
        radar = np.sqrt(self.s1_squares / self.n_pixels)
        return Normalisation(
            means={
                "S2L2A": tuple(mean for mean, _ in optical),
                "S1GRD": tuple(self.s1_mean.tolist()),
                "DEM": (height[0],),
            },
            stds={"S2L2A": tuple(std for _, std in optical), "S1GRD": tuple(radar.tolist()), "DEM": (height[1],)},
        )

    @property
    def offset(self) -> OffsetCheck:
        """Whether the dark ends of the bands look as if the +1000 offset were still in."""
        return judge_floors({name: _floor(self.s2[index_of_band(name)]) for name in JUDGED_BANDS})


def _moments(counts: NDArray[np.int64], first: int) -> tuple[float, float]:
    """Mean and standard deviation of whole numbers counted from `first` up: exact sums, rounded once."""
    held = np.flatnonzero(counts)
    numbers = [int(value) for value in held + first]
    times = [int(value) for value in counts[held]]
    n = sum(times)
    total = sum(a * b for a, b in zip(numbers, times, strict=True))
    squares = sum(a * a * b for a, b in zip(numbers, times, strict=True))
    return total / n, float(np.sqrt((n * squares - total * total) / (n * n)))


def _floor(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The dark end of a band and the share of its numbers that are 1, as `scenes.radiometry.floor_of_band` has them."""
    above = counts[1:]
    n = int(above.sum())
    if n < _FLOOR_PIXELS:
        return float("nan"), 0.0
    place = FLOOR_PERCENT / 100.0 * (n - 1)
    reached = np.cumsum(above)
    low, high = (
        int(np.searchsorted(reached, rank, side="right")) + 1 for rank in (int(place), min(int(place) + 1, n - 1))
    )
    return low + (high - low) * (place - int(place)), int(above[0]) / n


def count_bands(chips: Iterable[ShardChip]) -> dict[int, BandCounts]:
    """The counts of some chips by year, by one pass."""
    found: dict[int, BandCounts] = {}
    for chip in chips:
        found.setdefault(chip.year, BandCounts()).add(chip)
    return dict(sorted(found.items()))


def join_years(by_year: dict[int, BandCounts]) -> BandCounts:
    """The counts of all years together."""
    total = BandCounts()
    for counts in by_year.values():
        total.merge(counts)
    return total


def judge_years(by_year: dict[int, BandCounts]) -> dict[int, str]:
    """The years whose chips look as if they still carried the +1000 offset, and why, in words; none if there are none.

    A year is suspect by its own dark floors (`scenes.radiometry.judge_floors`), or because every judged band's floor lies about 1000
    above that of the year with the lowest floors: where each year's darkest ground is bright, only the comparison tells.
    """
    found: dict[int, str] = {}
    verdicts = {year: counts.offset for year, counts in by_year.items()}
    floors = {
        year: np.array([verdict.floors[name] for name in JUDGED_BANDS])
        for year, verdict in verdicts.items()
        if not np.isnan(list(verdict.floors.values())).any()
    }
    lowest = min(floors, key=lambda year: (float(floors[year].sum()), year), default=None)
    for year, verdict in verdicts.items():
        if verdict.is_suspect:
            found[year] = verdict.message
        elif lowest is not None and year in floors:
            lift = floors[year] - floors[lowest]
            if lift.min() >= BOA_ADD_OFFSET - LIFT_SLACK and lift.max() <= BOA_ADD_OFFSET + LIFT_SLACK:
                words = ", ".join(f"{name} {value:+.0f}" for name, value in zip(JUDGED_BANDS, lift, strict=True))
                found[year] = (
                    f"all floors lie about 1000 above those of {lowest} ({words}), as if the offset were still in"
                )
    return found
