"""Chips with a round lake as rows of a shard and as GeoTIFFs, real ones put together, and runs over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from click.testing import CliRunner
from pyproj import Transformer

from cryosentinel_cli.main import cli
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.io.shards import write_shard
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.report.chip_summary import ChipsSummary
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.settings.chips import ChipSelection
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.chips import predict_chips

COAST, LAND, SNOW, RIVER = "282D_485L_3_3", "38D_378R_2_3", "609U_541L_3_0", "433D_629L_3_1"


LEFT, TOP, EPSG = 600_000.0, 4_700_000.0, 32643


def assemble(source: Path, folder: Path, name: str) -> Path:
    """A chip GeoTIFF of 15 bands from the parts of a real chip."""
    parts = []
    for kind in ("S2L2A", "S1RTC", "DEM"):
        with rasterio.open(source / kind / f"{name}.tif") as raster:
            parts.append(raster.read().astype(np.float32))
            profile = {"crs": raster.crs, "transform": raster.transform}
    data = np.concatenate(parts)
    path = folder / f"{name}.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=15, height=224, width=224, **profile
    ) as raster:
        raster.write(data)
    return path


def results(root: Path) -> Path:
    """Folder of the run in a workspace that ended last."""
    runs = sorted((root / "chip-results").glob("*/*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    return runs[-1].parent


@dataclass
class Counting:
    """A segmenter that answers by near infrared and remembers what it was asked."""

    name: str = "counting"
    digest: str = "1"
    window_px: int = 224
    halo_px: int = 0
    blended: bool = True
    batch_size: int = 3
    recipe: None = None
    is_network: bool = True
    error_model: UncertaintyModel = NETWORK_ERRORS
    asked: list[int] = field(default_factory=list)

    def segment(self, batch: ChipBatch) -> np.ndarray:
        self.asked.append(len(batch))
        radar = 0 if batch.s1 is None else np.nan_to_num(batch.s1[:, 0]) / 100
        return ((1000 - batch.s2[:, 7].astype(np.float32)) / 200 + radar).astype(np.float32)


def read(root: Path, name: str, kind: str) -> np.ndarray:
    with rasterio.open(results(root) / f"{name}_{kind}.tif") as raster:
        return raster.read(1)


def lake_chip(number: int = 0, **changes: Any) -> ShardChip:
    """A chip of rock with one round lake and its label, in zone 43, each number a kilometre farther north."""
    row, col = np.mgrid[:224, :224]
    wet = np.hypot(row - 112, col - 100) < 30 + number
    rng = np.random.default_rng(number)
    water = np.array([900, 800, 700, 450, 300, 220, 200, 150, 140, 130, 60, 50])[:, None, None]
    rock = np.array([1200, 1300, 1500, 1700, 1850, 1950, 2000, 2100, 2150, 2200, 2600, 2300])[:, None, None]
    s2 = np.where(wet, water, rock) + rng.integers(-40, 40, (12, 224, 224))
    s1 = np.where(wet, [[[-22.0]], [[-29.0]]], [[[-9.0]], [[-16.0]]]) + rng.normal(0, 1, (2, 224, 224))
    label = np.hypot(row - 112, col - 100) < 33
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(LEFT + 1120, TOP + 1000 * number - 1120)
    chip = ShardChip(
        chip_id=f"c{number}",
        split="val",
        region="pamir",
        year=2022,
        lat=lat,
        lon=lon,
        water_frac=float(label.mean()),
        s2=np.maximum(s2, 1).astype(np.uint16),
        s1=s1.astype(np.float32),
        dem=np.full((1, 224, 224), 3500, dtype=np.int16),
        mask=label.astype(np.uint8),
    )
    return replace(chip, **changes)


def write_tif(folder: Path, chip: ShardChip, transform: rasterio.Affine) -> None:
    """The same chip as a GeoTIFF of 15 bands."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.concatenate([chip.s2.astype(np.float32), chip.s1, chip.dem.astype(np.float32)])
    profile: dict[str, Any] = {"dtype": "float32", "count": 15, "height": 224, "width": 224, "crs": f"EPSG:{EPSG}"}
    with rasterio.open(folder / f"{chip.chip_id}.tif", "w", driver="GTiff", transform=transform, **profile) as raster:
        raster.write(data)


def with_holes(chip: ShardChip) -> ShardChip:
    """Nodata of every kind, one strip each."""
    s2, s1, dem = chip.s2.copy(), chip.s1.copy(), chip.dem.copy()
    s2[:, :5], s2[:, 5:9] = 0, 16_000
    s1[:, 10:15], s1[0, 110:120] = np.nan, np.inf
    dem[0, 20:24], dem[0, 24:28] = -32_768, 32_767
    return replace(chip, s2=s2, s1=s1, dem=dem)


def make_dataset(root: Path, chips: Sequence[ShardChip], number: int = 0) -> Path:
    first = chips[0]
    write_shard(root / first.region / str(first.year) / f"shard_{number:03d}.parquet", chips)
    return root


def run(root: Path, source: Path, **asked: Any) -> ChipsSummary:
    settings = asked.pop("settings", PredictSettings(model="water-index"))
    return predict_chips(Workspace(root), ChipSelection(path=source, **asked), settings, reporter=Silent())


def mixed_chips() -> list[ShardChip]:
    """Whole ones, one without radar, one with holes, one without any optical data."""
    no_radar = np.full((2, 224, 224), np.nan, dtype=np.float32)
    return [
        lake_chip(0),
        lake_chip(1, s1=no_radar),
        with_holes(lake_chip(2)),
        lake_chip(3),
        lake_chip(4, s2=np.zeros((12, 224, 224), dtype=np.uint16)),
    ]


def run_both(tmp_path: Path, chips: Sequence[ShardChip], settings: PredictSettings) -> list[ChipsSummary]:
    """The same chips as GeoTIFFs, results in `a`, and as a shard, results in `b`: the rasters are equal."""
    for number, chip in enumerate(chips):
        write_tif(tmp_path / "tifs", chip, rasterio.Affine(10, 0, LEFT, 0, -10, TOP + 1000 * number))
    make_dataset(tmp_path / "data", chips)
    found = [
        run(tmp_path / "a", tmp_path / "tifs", settings=settings),
        run(tmp_path / "b", tmp_path / "data", settings=settings),
    ]
    assert found[0].water_share == found[1].water_share
    assert found[0].n_lakes == found[1].n_lakes
    for chip in chips:
        for kind in ("logit", "probability", "water"):
            with (
                rasterio.open(results(tmp_path / "a") / f"{chip.chip_id}_{kind}.tif") as one,
                rasterio.open(results(tmp_path / "b") / f"{chip.chip_id}_{kind}.tif") as other,
            ):
                np.testing.assert_array_equal(one.read(), other.read())
                assert one.crs == other.crs
                np.testing.assert_allclose(one.transform, other.transform, atol=2e-3)
    return found


UPRIGHT = Affine(10, 0, LEFT, 0, -10, TOP)
CHIP = lake_chip(0)
NUMBERS = np.concatenate([CHIP.s2.astype(np.float32), CHIP.s1, CHIP.dem.astype(np.float32)])
"""A good chip's 15 bands; a patch of shaded rock in the corner would be water if radar were dark there."""

NUMBERS[:12, 10:30, 70:90] = np.array([300, 280, 260, 230, 225, 215, 210, 205, 200, 200, 300, 250])[:, None, None]


def write_numbers(path: Path, data: np.ndarray, **how: Any) -> Path:
    """A GeoTIFF of some numbers; `descriptions`, `scales` and `offsets` go into it, the rest is rasterio's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = {name: how.pop(name) for name in ("descriptions", "scales", "offsets") if name in how}
    size = {"count": data.shape[0], "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    profile = {"crs": f"EPSG:{EPSG}", "transform": UPRIGHT, **size, **how}
    with rasterio.open(path, "w", driver="GTiff", **profile) as raster:
        raster.write(data)
        for name, value in inside.items():
            setattr(raster, name, value)
    return path


def map_chips(root: Path, source: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, summary and everything that a person sees."""
    arguments = ["predict", "--model", "water-index", "-w", str(root), "--chips", str(source), "--json"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
    return result.return_value, json.loads(result.stdout), result.stderr
