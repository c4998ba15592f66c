"""Stacks of Datasets that users bring: bands by name in the units that they say, checked, and given strip by strip.

Neighbours: `placed_arrays` says where one lies; `segmenting` segments it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401 the `rio` accessor
import xarray as xr
from numpy.typing import NDArray

from cryosentinel_core.errors import BandError, InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.notebook.placed_arrays import PlacedGrid, place_of, spatial_dims
from cryosentinel_core.notebook.resampled import resample_to_lattice
from cryosentinel_core.notebook.stacks import COUNT_VARIABLES, REFLECTANCE_ATTRIBUTE
from cryosentinel_core.stack.bands import S1_NAMES, S2_BANDS, S2_NAMES
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import REFLECTANCE_SCALE

_OTHER_NAMES: Final[dict[str, tuple[str, ...]]] = {
    **{band.name: (band.common_name, band.name.lower()) for band in S2_BANDS},
    "VV": ("vv",),
    "VH": ("vh",),
    "dem": ("DEM", "elevation"),
    "valid": (),
}
_OPTIONAL: Final = ("VV", "VH", "dem", "valid", *COUNT_VARIABLES)
_MIN_PIXELS: Final = 1_000
"""Fewer numbers are not judged: a strip at a swath's edge may hold nothing but dark water."""

_BRIGHTEST_MEDIAN: Final = 1.5
"""Half of the pixels of a strip are nowhere brighter than this reflectance, nor darker than its 5,000th part."""

_DB_MEDIAN: Final = -2.0
"""Median of radar in dB lies below this, of linear power above 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UserStack:
    """A Dataset with our names on (y, x), rows from north to south.

    Attributes:
        data: Its variables; lazy ones stay so.
        place: Where it lies, already turned north up.
        original: Where it lay as it was given.
        reflectance: Number that stands for a reflectance of 1.
    """

    data: xr.Dataset
    place: PlacedGrid
    original: PlacedGrid
    reflectance: float

    @property
    def has_radar(self) -> bool:
        """True if VV and VH are there."""
        return all(name in self.data for name in S1_NAMES)

    @property
    def has_terrain(self) -> bool:
        """True if heights are there."""
        return "dem" in self.data

    def read(self, grid: Grid) -> Stack:
        """The pixels of a grid, nodata outside of the Dataset; only they are computed.

        Raises:
            BandError: If numbers are in another unit than was said.
        """
        h, w = grid.shape
        s2 = np.zeros((len(S2_NAMES), h, w), dtype=np.uint16)
        s1 = np.full((2, h, w), np.nan, dtype=np.float32) if self.has_radar else None
        dem = np.full((h, w), np.nan, dtype=np.float32)
        counts = np.zeros((len(COUNT_VARIABLES), h, w), dtype=np.uint8)
        shared = grid.intersection(self.place.address)
        if shared is not None:
            rows, cols = shared.slices_in(self.place.address)
            there = (..., *shared.slices_in(grid))
            part = self.data.isel(y=rows, x=cols).load()
            s2[there] = self._optical(part)
            dem[there] = _numbers(part["dem"]) if self.has_terrain else np.float32(0.0)
            if s1 is not None:
                s1[there] = _radar(part)
            if all(name in part for name in COUNT_VARIABLES):
                counts[there] = np.stack([part[name].values for name in COUNT_VARIABLES])
        return Stack(
            grid=grid,
            s2=s2,
            s1=s1,
            dem=dem,
            counts=counts,
            condition=np.broadcast_to(np.uint8(0), (h, w)),
            dates=np.broadcast_to(np.uint16(0), (3, h, w)),
        )

    def _optical(self, part: xr.Dataset) -> NDArray[np.uint16]:
        """(12, H, W) reflectance x 10,000, at least 1 where there are data, 0 where not."""
        numbers = np.stack([_numbers(part[name]) for name in S2_NAMES])
        whole = all(np.issubdtype(part[name].dtype, np.integer) for name in S2_NAMES)
        dark = numbers == 0
        seen = np.isfinite(numbers).all(axis=0) & ~(dark.any(axis=0) if whole else dark.all(axis=0))
        if "valid" in part:
            seen &= part["valid"].values.astype(bool)
        self._check_reflectance(numbers[:, seen])
        scaled = np.where(seen, numbers, 0.0).astype(np.float64) * (REFLECTANCE_SCALE / self.reflectance)
        stored = np.rint(np.clip(scaled, 1.0, np.iinfo(np.uint16).max)).astype(np.uint16)
        return np.where(seen, stored, np.uint16(0))

    def _check_reflectance(self, seen: NDArray[np.floating[Any]]) -> None:
        """Refuse numbers that cannot be what was said.

        Raises:
            BandError: If so.
        """
        if seen.shape[1] < _MIN_PIXELS:
            return
        middle = float(np.median(seen)) / self.reflectance
        if not _BRIGHTEST_MEDIAN / 5_000.0 <= middle <= _BRIGHTEST_MEDIAN:
            raise BandError(
                f"with reflectance={self.reflectance:g} half of the pixels are brighter than {middle:.3g}, where 1 reflects all "
                f"light; the bands run from {seen.min():.5g} to {seen.max():.5g}",
                "say what a reflectance of 1 is stored as: reflectance=1 for 0..1, reflectance=10_000 for Sentinel-2's integers",
            )


def user_stack(dataset: xr.Dataset, reflectance: float | None, *, resample: bool) -> UserStack:
    """A user's Dataset as a stack, checked.

    Args:
        dataset: Twelve bands by name (`B02` or `blue`), and as far as there are `VV`, `VH` (dB), `dem` (m), `valid` (True = good).
        reflectance: Number that stands for a reflectance of 1; None if the Dataset's attributes say it.
        resample: Whether to resample what lies on no 10 m UTM grid.

    Raises:
        BandError: If bands are missing.
        InputError: If dimensions, dates or units are unclear.
        GridMismatch: If it lies on no 10 m UTM grid and is not to be resampled.
    """
    data = _two_dimensional(_named(dataset))
    said = dataset.attrs.get(REFLECTANCE_ATTRIBUTE) if reflectance is None else reflectance
    if said is None or not float(said) > 0:
        raise InputError(
            "nobody says what a reflectance of 1 is stored as"
            if said is None
            else f"reflectance is {said}, wanted a number above 0",
            "give reflectance=10_000 for Sentinel-2's integers (offset taken off), or reflectance=1 for 0..1",
        )
    if resample:
        data = resample_to_lattice(data)
    place = place_of(data, "the dataset")
    turned = data.isel(
        y=slice(None, None, -1 if place.is_flipped_y else 1), x=slice(None, None, -1 if place.is_flipped_x else 1)
    )
    return UserStack(data=turned, place=place_of(turned, "the dataset"), original=place, reflectance=float(said))


def _named(dataset: xr.Dataset) -> xr.Dataset:
    """The variables that matter, by our names.

    Raises:
        BandError: If an optical band is missing, or one of two radar bands, or one holds no numbers.
        InputError: If it is no Dataset.
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputError(
            f"wanted an xarray.Dataset with a variable a band, got {type(dataset).__name__}",
            "make one of a DataArray with data.to_dataset('band')",
        )
    chosen: dict[str, str] = {}
    for name in (*S2_NAMES, *_OPTIONAL):
        present = [other for other in (name, *_OTHER_NAMES.get(name, ())) if other in dataset.data_vars]
        if len(present) > 1:
            raise BandError(f"the dataset has {' and '.join(present)}, both for {name}", "drop one of them")
        if present:
            chosen[present[0]] = name
    missing = [name for name in S2_NAMES if name not in chosen.values()]
    if missing:
        raise BandError(
            f"the dataset lacks {', '.join(missing)}; it has {', '.join(map(str, dataset.data_vars)) or 'nothing'}",
            f"give all of {', '.join(S2_NAMES)} (or blue, green and so on)",
        )
    if ("VV" in chosen.values()) != ("VH" in chosen.values()):
        raise BandError("the dataset has one of VV and VH", "give both or none")
    for name in chosen:
        dtype = dataset[name].dtype
        if dtype.kind not in "biuf":
            raise BandError(f"{name} holds {dtype}, wanted whole or decimal numbers", "turn it into float32")
    return dataset[list(chosen)].rename(chosen)


def _two_dimensional(data: xr.Dataset) -> xr.Dataset:
    """The same on (y, x) alone.

    Raises:
        InputError: If a variable has more than one date, or other dimensions.
    """
    data = data.rename(spatial_dims(data, "the dataset"))
    more = [name for name in data.dims if name not in ("y", "x")]
    long = [name for name in more if data.sizes[name] > 1]
    if long:
        raise InputError(
            f"the dataset has {data.sizes[long[0]]} {long[0]}s, wanted one picture",
            f"mask clouds and reduce it first, as with data.median({str(long[0])!r})",
        )
    data = data.squeeze(more, drop=True)
    lacking = [name for name in data.data_vars if set(data[name].dims) != {"y", "x"}]
    if lacking:
        raise InputError(f"{lacking[0]} has the dimensions {data[lacking[0]].dims}, wanted y and x")
    return data.transpose("y", "x")


def _numbers(array: xr.DataArray) -> NDArray[np.floating[Any]]:
    """(H, W) float, NaN where the variable's own nodata stands."""
    values: NDArray[Any] = array.values.astype(np.float64 if array.dtype.itemsize > 2 else np.float32)
    nodata = array.rio.nodata
    if nodata is not None and np.isfinite(nodata):
        values[values == nodata] = np.nan
    return values


def _radar(part: xr.Dataset) -> NDArray[np.float32]:
    """(2, H, W) dB, NaN = nodata.

    Raises:
        BandError: If it is in another unit.
    """
    values = np.stack([_numbers(part[name]) for name in S1_NAMES]).astype(np.float32)
    seen = values[np.isfinite(values)]
    if seen.size >= _MIN_PIXELS and np.median(seen) > _DB_MEDIAN:
        raise BandError(
            f"radar runs from {seen.min():.5g} to {seen.max():.5g} (median {np.median(seen):.5g}), wanted dB",
            "turn linear power into dB first: 10 * np.log10(power)",
        )
    return values
