"""Where chips come from: a folder of GeoTIFFs, or a data set of shards; both give the same noun.

A GeoTIFF brings its own place. A shard says no more than the chip's centre, so its chips are placed in the UTM zone of the centre
with pixels of 10 m around it: right to about a pixel if the chip was cut in that zone, and turned by up to some degrees if it
was cut in the neighbouring one. Without a centre a chip has no place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError, RasterioIOError

from cryosentinel_core.chips.shard_chip import DEM_LIMIT_M, ShardChip, find_observed
from cryosentinel_core.errors import AreaError, BandError, CryosentinelError, InputError, RasterError
from cryosentinel_core.ground.projection import transformer, zone_of_lonlat
from cryosentinel_core.io.shards import SHARD_PATTERN, ShardDataset, find_shards
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.stack.bands import CHIP_BANDS, S2_BANDS
from cryosentinel_core.units import CELL_PX, PIXEL_M

UNKNOWN_YEAR: Final = 0
"""Year of a chip whose source does not say."""

OnError = Callable[[str, CryosentinelError], None]
"""Hears which chip or file could not be read, and why."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the pixels of a chip lie.

    Attributes:
        crs: Anything rasterio takes.
        transform: (column, row) -> map (x, y).
    """

    crs: Any
    transform: Affine


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip as read.

    Attributes:
        chip_id: As its source names it; neither safe for file names nor always unique.
        year: Of the imagery, or `UNKNOWN_YEAR`.
        batch: One chip.
        place: None where its source does not say.
        label: (H, W) bool, True where the label says lake; None where there is no label.
        measured: (H, W) bool, True where no sensor is nodata: the pixels that count in metrics.
    """

    chip_id: str
    year: int
    batch: ChipBatch
    place: Place | None
    label: NDArray[np.bool_] | None
    measured: NDArray[np.bool_]

    @property
    def digest(self) -> str:
        """SHA-256 of all that results depend on: pixels, label, place and year."""
        crs = None if self.place is None else rasterio.crs.CRS.from_user_input(self.place.crs).to_wkt()
        transform = None if self.place is None else list(self.place.transform)[:6]
        parts: list[tuple[str, NDArray[Any] | None]] = [
            ("s2", self.batch.s2), ("s1", self.batch.s1), ("dem", self.batch.dem), ("valid", self.batch.valid),
            ("measured", self.measured), ("label", self.label),
        ]  # fmt: skip
        have = {name: None if array is None else list(array.shape) for name, array in parts}
        found = hashlib.sha256(json.dumps([self.year, crs, transform, have], sort_keys=True).encode())
        for _, array in parts:
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


class ChipSource(Protocol):
    """Gives chips one by one, in a stable order."""

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

    def read(self, on_error: OnError) -> Generator[Chip, None, None]:
        """The chips; those that cannot be read are told and passed over."""
        ...


def open_chips(
    path: Path, *, regions: Sequence[str] = (), years: Sequence[int] = (), n_chips: int | None = None
) -> ChipSource:
    """The source at a path: one GeoTIFF, a folder of them, or a folder of shards.

    Args:
        path: Where to look.
        regions: Only these, of a data set; empty for all.
        years: Only these, of a data set; empty for all.
        n_chips: At most so many, the first.

    Raises:
        InputError: If there is neither a GeoTIFF nor a shard, or both, or GeoTIFFs are to be chosen by region or year.
    """
    files = [path] if path.is_file() else sorted([*path.glob("*.tif"), *path.glob("*.tiff")])
    has_shards = path.is_dir() and bool(find_shards(path))
    if files and has_shards:
        raise InputError(f"{path} holds both GeoTIFFs and shards", "move one kind into a folder of its own")
    if has_shards:
        return Shards(ShardDataset(path), tuple(regions), tuple(years), n_chips)
    if not files:
        raise InputError(
            f"no GeoTIFF and no shard in {path}",
            f"chips are GeoTIFFs of {CHIP_BANDS} bands, *.tif, or <region>/<year>/{SHARD_PATTERN}",
        )
    if regions or years:
        raise InputError(f"the chips in {path} are GeoTIFFs, which say no region and no year", "leave both out")
    return GeoTiffs(path, tuple(files[:n_chips]))


@dataclass(frozen=True)
class GeoTiffs:
    """Chips as files of 15 bands.

    Attributes:
        path: As given.
        files: In order of their names.
    """

    path: Path
    files: tuple[Path, ...]

    @property
    def words(self) -> str:
        """See `ChipSource`."""
        return f"{len(self.files)} files in {self.path}"

    @property
    def n_chips(self) -> int:
        """See `ChipSource`."""
        return len(self.files)

    def describe(self) -> dict[str, Any]:
        """See `ChipSource`."""
        return {"kind": "GeoTIFFs"}

    def read(self, on_error: OnError) -> Generator[Chip, None, None]:
        """See `ChipSource`."""
        for path in self.files:
            try:
                chip = read_chip(path)
            except (BandError, RasterError) as error:
                on_error(path.name, error)
                continue
            yield chip


@dataclass(frozen=True)
class Shards:
    """Chips of a data set.

    Attributes:
        dataset: Of shards.
        regions: Only these; empty for all.
        years: Only these; empty for all.
        limit: At most so many chips; None for all.
    """

    dataset: ShardDataset
    regions: tuple[str, ...]
    years: tuple[int, ...]
    limit: int | None

    @property
    def words(self) -> str:
        """See `ChipSource`."""
        return f"{self.n_chips} chips in {self.dataset.root}"

    @property
    def n_chips(self) -> int:
        """See `ChipSource`."""
        total = self.dataset.count_rows(self.regions, self.years)
        return total if self.limit is None else min(total, self.limit)

    def describe(self) -> dict[str, Any]:
        """See `ChipSource`."""
        return {"kind": "shards", "regions": sorted(self.regions), "years": sorted(self.years), "n_chips": self.limit}

    def read(self, on_error: OnError) -> Generator[Chip, None, None]:
        """See `ChipSource`."""
        rows = self.dataset.read_chips(self.regions, self.years, n_chips=self.limit, on_error=on_error)
        for row in rows:
            yield chip_of_row(row)


def read_chip(path: Path) -> Chip:
    """One chip of 15 bands: 12 of Sentinel-2, VV, VH, elevation.

    Args:
        path: GeoTIFF; nodata as `chips.shard_chip.find_observed` says.

    Raises:
        RasterError: If the file cannot be read.
        BandError: If it has another number of bands, another size or no coordinate reference system.
    """
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            seen, shape = raster.count, (raster.height, raster.width)
            place = Place(crs=raster.crs, transform=raster.transform)
            if seen != CHIP_BANDS:
                raise BandError(
                    f"{path.name} has {seen} bands, wanted {CHIP_BANDS}", "12 Sentinel-2 bands, VV, VH, DEM"
                )
            if shape != (CELL_PX, CELL_PX):
                raise BandError(
                    f"{path.name} is {shape[0]} x {shape[1]} px, wanted {CELL_PX} x {CELL_PX}", "cut it to chips"
                )
            if place.crs is None:
                raise BandError(f"{path.name} has no coordinate reference system", "write it with one")
            data = raster.read().astype(np.float32)
    except (RasterioError, RasterioIOError) as error:
        raise RasterError(f"cannot read {path}: {error}", "is it a GeoTIFF, and whole?") from error
    n_s2 = len(S2_BANDS)
    optical = np.clip(np.nan_to_num(data[:n_s2], nan=0.0), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    return _make_chip(path.stem, UNKNOWN_YEAR, optical, data[n_s2 : n_s2 + 2], data[n_s2 + 2], place, None)


def chip_of_row(row: ShardChip) -> Chip:
    """The chip of a shard's row, placed by its centre; without a centre, or with one outside UTM, it has no place."""
    elevation = row.dem[0].astype(np.float32)
    return _make_chip(row.chip_id, row.year, row.s2, row.s1, elevation, _place_of(row), row.mask > 0)


def _place_of(row: ShardChip) -> Place | None:
    """Pixels of 10 m around the centre, in its zone; to the millimetre, so that no rounding noise is stored."""
    if row.lat is None or row.lon is None:
        return None
    try:
        epsg = zone_of_lonlat(row.lon, row.lat).epsg
    except AreaError:
        return None
    x, y = transformer(4326, epsg).transform(row.lon, row.lat)
    half_m = CELL_PX * PIXEL_M / 2
    transform = Affine(PIXEL_M, 0.0, round(x - half_m, 3), 0.0, -PIXEL_M, round(y + half_m, 3))
    return Place(crs=f"EPSG:{epsg}", transform=transform)


def _make_chip(
    chip_id: str,
    year: int,
    optical: NDArray[np.uint16],
    radar: NDArray[np.float32],
    elevation: NDArray[np.float32],
    place: Place | None,
    label: NDArray[np.bool_] | None,
) -> Chip:
    """The noun of stored numbers: nodata of radar and terrain becomes NaN, and all radar absent becomes no radar."""
    observed = find_observed(optical, elevation)
    has_radar = np.isfinite(radar)
    none = np.zeros((1, *elevation.shape), dtype=np.float32)
    batch = ChipBatch(
        s2=optical[None],
        s1=np.where(has_radar, radar, np.float32(np.nan))[None] if has_radar.any() else None,
        dem=np.where(np.abs(elevation) < DEM_LIMIT_M, elevation, np.float32(np.nan)).astype(np.float32)[None, None],
        valid=observed[None],
        shadow=none,
        snow=none,
        water=np.full_like(none, np.nan),
        addresses=np.zeros((1, 2), dtype=np.int64),
    )
    measured = np.asarray(observed & has_radar.all(axis=0), dtype=bool)
    return Chip(chip_id=chip_id, year=year, batch=batch, place=place, label=label, measured=measured)
