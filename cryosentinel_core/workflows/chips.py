"""The corridor for chips: a folder of GeoTIFFs, each one window, no catalogue and no lattice.

A chip has 15 bands: 12 of Sentinel-2 L2A (reflectance x 10,000), VV and VH (dB), elevation (m). Results lie under
`<workspace>/chips/`: `<name>_logit.tif`, `<name>_probability.tif`, `<name>_water.tif` and one `lakes.gpkg` for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError, RasterioIOError

from cryosentinel_core.bands import CHIP_BANDS, S2_BANDS
from cryosentinel_core.components import level_of_threshold
from cryosentinel_core.errors import BandError, InputError, RasterError
from cryosentinel_core.io.mosaic import LOGIT_LAYER, PROBABILITY_LAYER, WATER_LAYER, write_layer
from cryosentinel_core.io.vector import write_lakes
from cryosentinel_core.io.workspace import Workspace, safe_name, write_json
from cryosentinel_core.lake import LAKE_COLUMNS, LakeOrigin, LakeReaders
from cryosentinel_core.lakes import extract_lakes
from cryosentinel_core.lattice import Grid
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.radiometry import check_offset
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segmenter import ChipBatch, Segmenter
from cryosentinel_core.settings import WATER_INDEX, PredictSettings
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.water_mask import WATER_LAKE, WATER_LAND, WATER_UNOBSERVED, encode_probability
from cryosentinel_core.windows import encode_logits, pad_batch, pad_halo
from cryosentinel_core.workflows.segmenters import build_segmenter

UNKNOWN_YEAR = 0
"""Year of a lake from a chip: a chip file does not say."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip as read.

    Attributes:
        name: Safe for file names.
        batch: One chip.
        crs: Of the file.
        transform: (column, row) -> map (x, y).
    """

    name: str
    batch: ChipBatch
    crs: Any
    transform: Affine


@dataclass(frozen=True, kw_only=True)
class ChipsSummary:
    """What a run over chips came to.

    Attributes:
        folder: Of the results.
        water_share: Chip -> share of its valid pixels that is water.
        n_lakes: Lakes from the minimum area up.
        failed: Chips that could not be read -> why.
        warnings: What a reader should know.
    """

    folder: Path
    water_share: dict[str, float]
    n_lakes: int
    failed: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def is_partial(self) -> bool:
        """True if a chip could not be read."""
        return bool(self.failed)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "folder": str(self.folder),
            "water_share": self.water_share,
            "n_lakes": self.n_lakes,
            "failed": self.failed,
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        lines = [f"{name}: {100 * share:.2f} % water" for name, share in self.water_share.items()]
        lines += [f"{name}: skipped, {reason}" for name, reason in self.failed.items()]
        return "\n".join([*lines, f"{self.n_lakes} lakes, in {self.folder}"])


def predict_chips(workspace: Workspace, source: Path, settings: PredictSettings, *, reporter: Reporter) -> ChipsSummary:
    """Lakes of a folder of chips (or of one chip file).

    Args:
        workspace: Results go to its folder `chips`.
        source: Folder of GeoTIFFs, or one.
        settings: Of prediction; overlap and tiles play no part.
        reporter: Hears progress and warnings.

    Raises:
        InputError: If there is no chip, or none can be used.
    """
    paths = [source] if source.is_file() else sorted([*source.glob("*.tif"), *source.glob("*.tiff")])
    if not paths:
        raise InputError(f"no GeoTIFF in {source}", f"chips are GeoTIFFs of {CHIP_BANDS} bands, *.tif")
    segmenter = build_segmenter(settings)
    folder = workspace.root / "chips"
    shares: dict[str, float] = {}
    failed: dict[str, str] = {}
    warnings: list[str] = []
    tables = []
    for done, path in enumerate(paths):
        reporter.progress("chips", done, len(paths))
        try:
            chip = read_chip(path, segmenter.window_px)
        except (BandError, RasterError) as error:
            failed[path.name] = error.message
            reporter.warn(f"{path.name} skipped: {error.message}")
            continue
        verdict = check_offset(chip.batch.s2[0])
        if verdict.is_suspect:
            message = f"{chip.name}: {verdict.message}"
            warnings.append(message)
            reporter.warn(message)
        share, table = _predict_one(chip, folder, segmenter, settings)
        shares[chip.name] = share
        tables.append(table)
    reporter.progress("chips", len(paths), len(paths))
    if not shares:
        raise InputError(f"none of the {len(paths)} files in {source} is a chip", next(iter(failed.values())))
    n_lakes = _write_tables(folder, tables, segmenter, settings, paths, warnings)
    return ChipsSummary(folder=folder, water_share=shares, n_lakes=n_lakes, failed=failed, warnings=tuple(warnings))


def read_chip(path: Path, size_px: int) -> Chip:
    """One chip of 15 bands: 12 of Sentinel-2, VV, VH, elevation.

    Invalid pixels are those where all optical bands are 0 (or, in older data, all 16,000) or elevation is beyond +-32,000.

    Raises:
        RasterError: If the file cannot be read.
        BandError: If it has another number of bands or another size.
    """
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            count, height, width, crs, transform = (
                raster.count,
                raster.height,
                raster.width,
                raster.crs,
                raster.transform,
            )
            if count != CHIP_BANDS:
                raise BandError(
                    f"{path.name} has {count} bands, wanted {CHIP_BANDS}", "12 Sentinel-2 bands, VV, VH, DEM"
                )
            if (height, width) != (size_px, size_px):
                raise BandError(
                    f"{path.name} is {height} x {width} px, wanted {size_px} x {size_px}", "cut it to chips"
                )
            if crs is None:
                raise BandError(f"{path.name} has no coordinate reference system", "write it with one")
            data = raster.read().astype(np.float32)
    except (RasterioError, RasterioIOError) as error:
        raise RasterError(f"cannot read {path}: {error}", "is it a GeoTIFF, and whole?") from error
    n_s2 = len(S2_BANDS)
    optical = np.clip(np.nan_to_num(data[:n_s2], nan=0.0), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    radar, elevation = data[n_s2 : n_s2 + 2], data[n_s2 + 2]
    elevation = np.where(np.abs(elevation) < 32_000, elevation, np.float32(np.nan)).astype(np.float32)
    seen = (optical != 0).any(axis=0) & ~(optical == 16_000).all(axis=0)
    none = np.zeros((1, height, width), dtype=np.float32)
    batch = ChipBatch(
        s2=optical[None],
        s1=radar[None] if np.isfinite(radar).any() else None,
        dem=elevation[None, None],
        valid=(seen & np.isfinite(elevation))[None],
        shadow=none,
        snow=none,
        water=np.full_like(none, np.nan),
        addresses=np.zeros((1, 2), dtype=np.int64),
    )
    return Chip(name=safe_name(path.stem, "chip"), batch=batch, crs=crs, transform=transform)


def _predict_one(
    chip: Chip, folder: Path, segmenter: Segmenter, settings: PredictSettings
) -> tuple[float, geopandas.GeoDataFrame]:
    """Write one chip's rasters; its share of water and its lakes."""
    padded = pad_batch(pad_halo(chip.batch, segmenter.halo_px), segmenter.batch_size)
    valid = chip.batch.valid[0]
    stored = encode_logits(segmenter.segment(padded)[0], valid)
    is_water = stored > level_of_threshold(settings.threshold)
    water = np.where(valid, np.where(is_water, WATER_LAKE, WATER_LAND), WATER_UNOBSERVED).astype(np.uint8)
    tags = Provenance(kind="chip", settings=_plain(segmenter, settings), inputs={"chip": chip.name}).as_tags()
    grid = Grid(epsg=32601, row=0, col=0, height=valid.shape[0], width=valid.shape[1])
    for kind, layer, array in (
        ("logit", LOGIT_LAYER, stored),
        ("probability", PROBABILITY_LAYER, encode_probability(stored)),
        ("water", WATER_LAYER, water),
    ):
        path = folder / f"{chip.name}_{kind}.tif"
        write_layer(path, grid, layer, tags, _reader(array, grid), place=(chip.crs, chip.transform))
    n_valid = int(valid.sum())
    table = _lakes_of(chip, stored, grid, segmenter, settings)
    return (float((water == WATER_LAKE).sum()) / n_valid if n_valid else 0.0), table


def _reader(array: NDArray[Any], grid: Grid) -> Any:
    return lambda strip: array[strip.slices_in(grid)]


def _lakes_of(
    chip: Chip, stored: NDArray[np.int16], grid: Grid, segmenter: Segmenter, settings: PredictSettings
) -> geopandas.GeoDataFrame:
    """Lakes of one chip; its edge counts as the edge of the processed ground."""
    corners = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
    a, b, c, d, e, f = tuple(chip.transform)[:6]
    xy = np.array([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])
    lon, lat = Transformer.from_crs(chip.crs, 4326, always_xy=True).transform(xy[:, 0], xy[:, 1])
    readers = LakeReaders(
        logits=lambda part: stored[part.slices_in(grid)],
        processed=lambda part: np.ones(part.shape, dtype=bool),
        dem=lambda part: chip.batch.dem[0, 0][part.slices_in(grid)],
    )
    origin = LakeOrigin(
        aoi=chip.name,
        year=UNKNOWN_YEAR,
        model=segmenter.name,
        radar_used=chip.batch.s1 is not None,
        is_network=segmenter.name != WATER_INDEX,
    )
    return extract_lakes(
        readers,
        grid,
        shapely.buffer(shapely.Polygon(np.column_stack([lon, lat])), 1e-3),
        origin,
        threshold=settings.threshold,
        min_area_m2=settings.min_area_m2,
        transform=chip.transform,
        crs=chip.crs,
    )


def _plain(segmenter: Segmenter, settings: PredictSettings) -> dict[str, Any]:
    return {
        "segmenter": segmenter.name,
        "segmenter_digest": segmenter.digest,
        "threshold": settings.threshold,
        "min_area_m2": settings.min_area_m2,
    }


def _write_tables(
    folder: Path,
    tables: Sequence[geopandas.GeoDataFrame],
    segmenter: Segmenter,
    settings: PredictSettings,
    paths: Sequence[Path],
    warnings: Sequence[str],
) -> int:
    """One lakes file for all chips; how many lakes are in it."""
    provenance = Provenance(
        kind="lakes of chips",
        settings=_plain(segmenter, settings),
        inputs={"chips": [path.name for path in paths]},
        warnings=tuple(warnings),
    )
    filled = [table for table in tables if len(table)]
    merged = pd.concat(filled, ignore_index=True) if filled else tables[0]
    is_lake = merged["is_lake"].to_numpy(dtype=bool)
    columns = [*LAKE_COLUMNS, "geometry"]
    lakes = merged.loc[is_lake, columns].reset_index(drop=True)
    candidates = merged.loc[~is_lake, columns].reset_index(drop=True)
    write_lakes(folder, lakes, candidates, provenance)
    write_json(folder / "run.json", {**provenance.as_dict(), "n_lakes": len(lakes), "nodata_logit": LOGIT_NODATA})
    return len(lakes)
