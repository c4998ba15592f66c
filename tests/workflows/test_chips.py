"""Chips from GeoTIFFs and from shards: the real ones, simulated ones, and what is no chip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from pyproj import Transformer

from cryosentinel_cli.main import cli
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.shard_chip import ShardChip
from cryosentinel_core.io.shards import write_shard
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.metrics import Counts
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segmenter import ChipBatch
from cryosentinel_core.settings import PredictSettings
from cryosentinel_core.workflows import chips as chips_module
from cryosentinel_core.workflows.chip_results import NAMED_AT_MOST, rows_of, table_of
from cryosentinel_core.workflows.chip_sources import chip_of_row
from cryosentinel_core.workflows.chips import ChipsSummary, predict_chips

COAST, LAND, SNOW, RIVER = "282D_485L_3_3", "38D_378R_2_3", "609U_541L_3_0", "433D_629L_3_1"


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


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChipsSummary]:
    folder = tmp_path_factory.mktemp("real")
    for name in (COAST, LAND, SNOW, RIVER):
        assemble(shared_data / "chips", folder, name)
    root = tmp_path_factory.mktemp("out")
    return root, predict_chips(Workspace(root), folder, PredictSettings(model="water-index"), reporter=Silent())


def read(root: Path, name: str, kind: str) -> np.ndarray:
    with rasterio.open(root / "chips" / f"{name}_{kind}.tif") as raster:
        return raster.read(1)


def test_real_chips(real: tuple[Path, ChipsSummary]) -> None:
    root, summary = real
    water = read(root, COAST, "water")
    for point in [(200, 200), (150, 212), (120, 218), (215, 150), (20, 150), (25, 152), (40, 110), (90, 106)]:
        assert water[point] == 1
    for point in [(150, 130), (110, 160), (12, 200), (60, 155), (50, 40), (150, 40)]:
        assert water[point] == 0
    assert summary.water_share[LAND] < 0.001
    assert summary.water_share[SNOW] < 0.001


def test_rasters_agree(real: tuple[Path, ChipsSummary]) -> None:
    root, _ = real
    logit, probability, water = (read(root, COAST, kind) for kind in ("logit", "probability", "water"))
    np.testing.assert_array_equal(water == 1, logit > 0)
    np.testing.assert_allclose(probability / 200, 1 / (1 + np.exp(-logit / 1000)), atol=0.0026)


def test_lakes_lie_on_their_chips(real: tuple[Path, ChipsSummary]) -> None:
    root, summary = real
    lakes = geopandas.read_file(root / "chips" / "lakes.gpkg", layer="lakes")
    assert len(lakes) == summary.n_lakes > 0
    coast = lakes[lakes.aoi == COAST]
    water_m2 = 100.0 * (read(root, COAST, "water") == 1).sum()
    assert coast.area_m2.sum() == pytest.approx(water_m2, rel=0.05)
    assert coast.sort_values("area_m2").iloc[-1].touches_edge


def test_the_dark_pixel_check_finds_the_offset(real: tuple[Path, ChipsSummary]) -> None:
    _, summary = real
    assert [warning.split(":")[0] for warning in summary.warnings] == [RIVER]


def test_real_chips_as_shards(real: tuple[Path, ChipsSummary], shared_data: Path, tmp_path: Path) -> None:
    root, summary = real
    rows = []
    for name in (COAST, SNOW):
        parts = {}
        for kind in ("S2L2A", "S1RTC", "DEM"):
            with rasterio.open(shared_data / "chips" / kind / f"{name}.tif") as raster:
                parts[kind] = raster.read()
                x, y = raster.xy(112, 112, offset="ul")
                lon, lat = Transformer.from_crs(raster.crs, 4326, always_xy=True).transform(x, y)
        rows.append(
            lake_chip(
                chip_id=name,
                lat=lat,
                lon=lon,
                s2=parts["S2L2A"].clip(0).astype(np.uint16),
                s1=parts["S1RTC"].astype(np.float32),
                dem=parts["DEM"].astype(np.int16),
            )
        )
    found = run(tmp_path, make_dataset(tmp_path / "data", rows))
    for name in (COAST, SNOW):
        assert found.water_share[name] == summary.water_share[name]
        for kind in ("logit", "probability", "water"):
            np.testing.assert_array_equal(read(tmp_path, name, kind), read(root, name, kind))


def write_chip(path: Path, bands: int, side: int) -> None:
    data = np.full((bands, side, side), 1000, dtype=np.float32)
    profile = {"crs": "EPSG:32643", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 4700000)}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=bands, height=side, width=side, **profile
    ) as raster:
        raster.write(data)


def test_files_that_are_no_chips_are_skipped_and_named(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_chip(source / "good.tif", 15, 224)
    write_chip(source / "bands.tif", 12, 224)
    write_chip(source / "size.tif", 15, 100)
    (source / "broken.tif").write_bytes(b"II*\0nonsense")
    summary = predict_chips(Workspace(tmp_path), source, PredictSettings(model="water-index"), reporter=Silent())
    assert summary.is_partial
    assert sorted(summary.failed) == ["bands.tif", "broken.tif", "size.tif"]
    assert list(summary.water_share) == ["good"]
    assert "12 bands, wanted 15" in summary.failed["bands.tif"]


def test_chips_are_looked_for_before_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no GeoTIFF"):
        predict_chips(Workspace(tmp_path), tmp_path, PredictSettings(model="no/such.ckpt"), reporter=Silent())


def test_no_chip_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no GeoTIFF"):
        predict_chips(Workspace(tmp_path), tmp_path, PredictSettings(model="water-index"), reporter=Silent())
    write_chip(tmp_path / "bands.tif", 12, 224)
    with pytest.raises(InputError, match="none of the 1 files"):
        predict_chips(Workspace(tmp_path), tmp_path, PredictSettings(model="water-index"), reporter=Silent())


LEFT, TOP, EPSG = 600_000.0, 4_700_000.0, 32643


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
    asked: list[int] = field(default_factory=list)

    def segment(self, batch: ChipBatch) -> np.ndarray:
        self.asked.append(len(batch))
        radar = 0 if batch.s1 is None else np.nan_to_num(batch.s1[:, 0]) / 100
        return ((1000 - batch.s2[:, 7].astype(np.float32)) / 200 + radar).astype(np.float32)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    segmenter = Counting()
    monkeypatch.setattr(chips_module, "build_segmenter", lambda settings: segmenter)
    return segmenter


def run(root: Path, source: Path, **asked: Any) -> ChipsSummary:
    settings = asked.pop("settings", PredictSettings(model="water-index"))
    return predict_chips(Workspace(root), source, settings, reporter=Silent(), **asked)


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
                rasterio.open(tmp_path / "a" / "chips" / f"{chip.chip_id}_{kind}.tif") as one,
                rasterio.open(tmp_path / "b" / "chips" / f"{chip.chip_id}_{kind}.tif") as other,
            ):
                np.testing.assert_array_equal(one.read(), other.read())
                assert one.crs == other.crs
                np.testing.assert_allclose(one.transform, other.transform, atol=2e-3)
    return found


@pytest.mark.parametrize("model", ["water-index", "counting"])
def test_shards_and_geotiffs_give_the_same(tmp_path: Path, model: str, request: pytest.FixtureRequest) -> None:
    if model == "counting":
        request.getfixturevalue("counting")
    from_tifs, _ = run_both(tmp_path, mixed_chips(), PredictSettings(model="water-index"))
    assert from_tifs.n_lakes == 4
    lakes = [geopandas.read_file(tmp_path / run / "chips" / "lakes.gpkg", layer="lakes") for run in ("a", "b")]
    assert lakes[0].year.tolist() == [0] * 4
    assert lakes[1].year.tolist() == [2022] * 4
    np.testing.assert_allclose(lakes[0].area_m2, lakes[1].area_m2, rtol=1e-6)
    assert lakes[0].lake_id.tolist() == lakes[1].lake_id.tolist()
    assert dict(zip(lakes[1].aoi, lakes[1].radar_used, strict=True)) == {
        "c0": True,
        "c1": False,
        "c2": True,
        "c3": True,
    }


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> PredictSettings:
    """A tiny network with random weights."""
    from cryosentinel_core.io.model_files import write_random_checkpoint

    path = write_random_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.ckpt", seed=6, decoder_channels=8)
    return PredictSettings(
        model=str(path), device="cpu", precision="float32", tta=False, batch_size=3, threads=1, min_area_m2=1000
    )


def test_shards_and_geotiffs_give_the_same_by_a_network(tmp_path: Path, network: PredictSettings) -> None:
    summaries = run_both(tmp_path, mixed_chips(), network)
    assert [share is None for share in summaries[0].water_share.values()] == [False] * 4 + [True]
    logits = np.stack([read(tmp_path / "a", name, "logit") for name in ("c0", "c1", "c2", "c3")])
    assert (logits > 0).any()
    assert (logits[0] < 0).any()
    assert (logits[2] == -32_768).any(), "holes are unobserved"
    assert (logits[0] != logits[1]).mean() > 0.5, "a chip without radar is computed without"
    assert (read(tmp_path / "a", "c4", "logit") == -32_768).all()
    lakes = [geopandas.read_file(tmp_path / run / "chips" / "lakes.gpkg", layer="lakes") for run in ("a", "b")]
    assert len(lakes[0]) > 0
    assert lakes[0].lake_id.tolist() == lakes[1].lake_id.tolist()
    np.testing.assert_allclose(lakes[0].area_m2, lakes[1].area_m2, rtol=1e-6)


def test_the_spread_of_chips(tmp_path: Path, network: PredictSettings) -> None:
    """The standard deviation over the four flips, an area band around every lake; nothing of it is left by a run without."""
    from cryosentinel_core.io.model_files import load_segmenter

    chips = [lake_chip(0), with_holes(lake_chip(1)), lake_chip(2, lat=None)]
    source = make_dataset(tmp_path / "data", chips)
    asked = network.model_copy(update={"tta": True, "uncertainty": True})
    summary = run(tmp_path, source, settings=asked)
    one = load_segmenter(Path(network.model), device="cpu", precision="float32", batch_size=3, tta=False, threads=1)
    for chip in chips:
        batch = chip_of_row(chip).batch
        views = []
        for axes in ((), (-1,), (-2,), (-2, -1)):
            flipped = replace(batch, **{k: np.flip(getattr(batch, k), axes) for k in ("s2", "s1", "dem", "valid")})
            views.append(np.flip(one.segment(flipped)[0], axes).astype(np.float64))
        spread, logit = (read(tmp_path, chip.chip_id, kind) for kind in ("spread", "logit"))
        good = batch.valid[0]
        np.testing.assert_allclose(logit[good] / 1000, np.mean(views, axis=0)[good], atol=6e-4)
        np.testing.assert_allclose(spread[good] / 1000, np.std(views, axis=0)[good], atol=6e-4)
        assert spread[good].max() > 10
        assert (spread[~good] == 65_535).all()
    lakes = geopandas.read_file(tmp_path / "chips" / "lakes.gpkg", layer="lakes")
    assert len(lakes) == summary.n_lakes > 0
    assert (lakes.area_low_m2 <= lakes.area_m2).all()
    assert (lakes.area_m2 <= lakes.area_high_m2).all()
    assert (lakes.area_low_m2 < lakes.area_high_m2).all()
    assert (lakes.area_sigma_random_m2 >= lakes.area_high_m2 - lakes.area_m2).all()
    assert lakes.model.str.endswith("-spread").all()

    assert run(tmp_path, source, settings=asked).n_reused == 3
    (tmp_path / "chips" / "c1_spread.tif").unlink()
    assert run(tmp_path, source, settings=asked).n_reused == 2
    assert run(tmp_path, source, settings=network).n_reused == 0
    assert not list((tmp_path / "chips").glob("*_spread.tif"))
    assert "area_low_m2" not in geopandas.read_file(tmp_path / "chips" / "lakes.gpkg", layer="lakes")


def test_no_lake_still_has_the_columns_of_the_band(tmp_path: Path, network: PredictSettings) -> None:
    asked = network.model_copy(update={"tta": True, "uncertainty": True, "threshold": 0.9999})
    assert run(tmp_path, make_dataset(tmp_path / "data", [lake_chip(0)]), settings=asked).n_lakes == 0
    lakes = geopandas.read_parquet(tmp_path / "chips" / "lakes.parquet")
    assert [str(lakes[name].dtype) for name in ("area_low_m2", "area_high_m2")] == ["float64", "float64"]


def test_real_chips_through_a_network(
    real: tuple[Path, ChipsSummary], shared_data: Path, tmp_path: Path, network: PredictSettings
) -> None:
    """As GeoTIFFs and, one of them, as a shard: the same logits, finite on every pixel with data."""
    root, by_index = real
    tifs = tmp_path / "tifs"
    tifs.mkdir()
    for name in (COAST, LAND, SNOW, RIVER):
        assemble(shared_data / "chips", tifs, name)
    summary = run(tmp_path / "a", tifs, settings=network)
    assert not summary.is_partial
    assert sorted(summary.water_share) == sorted(by_index.water_share)
    for name in summary.water_share:
        logit = read(tmp_path / "a", name, "logit")
        np.testing.assert_array_equal(logit == -32_768, read(root, name, "logit") == -32_768)
        assert len(np.unique(logit)) > 100
    with rasterio.open(tifs / f"{COAST}.tif") as raster:
        data = raster.read()
        x, y = raster.xy(112, 112, offset="ul")
        lon, lat = Transformer.from_crs(raster.crs, 4326, always_xy=True).transform(x, y)
    chip = lake_chip(
        chip_id=COAST, lat=lat, lon=lon, s2=data[:12].clip(0).astype(np.uint16), s1=data[12:14],
        dem=data[14:].astype(np.int16),
    )  # fmt: skip
    run(tmp_path / "b", make_dataset(tmp_path / "data", [chip]), settings=network)
    np.testing.assert_array_equal(read(tmp_path / "b", COAST, "logit"), read(tmp_path / "a", COAST, "logit"))


def test_a_lake_is_as_large_as_it_is(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(5)])
    run(tmp_path, tmp_path / "data")
    lakes = geopandas.read_file(tmp_path / "chips" / "lakes.gpkg", layer="lakes").sort_values("aoi")
    np.testing.assert_allclose(lakes.area_m2, [np.pi * 300**2, np.pi * 350**2], rtol=0.02)
    assert lakes.elevation_m.tolist() == [3500.0, 3500.0]


def test_agreement_with_labels(tmp_path: Path, counting: Counting) -> None:
    chips = [lake_chip(0), with_holes(lake_chip(9))]
    make_dataset(tmp_path / "data", chips)
    summary = run(tmp_path, tmp_path / "data")
    tp = union = total = 0
    for chip in chips:
        logit = read(tmp_path, chip.chip_id, "logit")
        found, label = (logit > 0)[chip.valid], chip.mask[chip.valid] == 1
        tp, union = tp + int((found & label).sum()), union + int((found | label).sum())
        total += int(chip.valid.sum())
    counts = summary.counts
    assert (counts.tp, counts.union) == (tp, union)
    assert counts.tp + counts.fp + counts.fn + counts.tn == total < 2 * 224 * 224
    assert counts.iou == pytest.approx(tp / union)
    assert summary.as_dict()["labels"]["n_chips"] == 2
    text = summary.as_text()
    assert f"{tp} px water in both, {union} in either" in text
    assert f"IoU {tp / union:.4f}" in text


def test_no_labels_no_agreement(real: tuple[Path, ChipsSummary]) -> None:
    _, summary = real
    assert summary.as_dict()["labels"] is None
    assert "IoU" not in summary.as_text()


def test_water_nowhere_is_no_iou(tmp_path: Path, counting: Counting) -> None:
    dry = np.full((12, 224, 224), 2000, dtype=np.uint16)
    make_dataset(tmp_path / "data", [lake_chip(0, s2=dry, mask=np.zeros((224, 224), dtype=np.uint8))])
    summary = run(tmp_path, tmp_path / "data")
    assert (summary.counts.union, summary.counts.tn) == (0, 224 * 224)
    assert summary.as_dict()["labels"]["iou"] is None
    assert "no IoU, as there is no water in either" in summary.as_text()
    assert summary.n_lakes == 0


def test_a_chip_without_any_data_is_unobserved(tmp_path: Path, counting: Counting) -> None:
    blind = lake_chip(1, s2=np.zeros((12, 224, 224), dtype=np.uint16))
    make_dataset(tmp_path / "data", [lake_chip(0), blind])
    summary = run(tmp_path, tmp_path / "data")
    assert not summary.is_partial
    assert summary.water_share["c1"] is None
    assert "c1: unobserved" in summary.as_text()
    assert (read(tmp_path, "c1", "water") == 255).all()
    assert (read(tmp_path, "c1", "logit") == -32_768).all()
    assert counting.asked == [3]
    assert run(tmp_path, tmp_path / "data").n_reused == 2
    alone = make_dataset(tmp_path / "alone", [blind])
    assert run(tmp_path / "w", alone).water_share == {"c1": None}


def test_batches_are_full(tmp_path: Path, counting: Counting) -> None:
    make_dataset(tmp_path / "data", [lake_chip(number) for number in range(7)])
    summary = run(tmp_path, tmp_path / "data")
    assert counting.asked == [3, 3, 3]
    assert list(summary.water_share) == [f"c{number}" for number in range(7)]
    counting.batch_size = 1
    run(tmp_path / "single", tmp_path / "data")
    for number in range(7):
        np.testing.assert_array_equal(
            read(tmp_path, f"c{number}", "logit"), read(tmp_path / "single", f"c{number}", "logit")
        )


def files_of(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_what_is_done_is_not_done_again(tmp_path: Path, counting: Counting) -> None:
    source = make_dataset(tmp_path / "data", [lake_chip(number) for number in range(4)])
    first = run(tmp_path / "w", source)
    before = files_of(tmp_path / "w")
    again = run(tmp_path / "w", source)
    assert counting.asked == [3, 3]
    assert (first.n_reused, again.n_reused) == (0, 4)
    assert replace(again, n_reused=0) == first
    record = str(tmp_path / "w" / "chips" / "run.json")
    after = files_of(tmp_path / "w")
    assert before.pop(record)[0] == after.pop(record)[0]
    assert before == after

    make_dataset(source, [lake_chip(0), lake_chip(1, dem=lake_chip().dem + 1), lake_chip(2), lake_chip(3)])
    assert run(tmp_path / "w", source).n_reused == 3
    assert run(tmp_path / "w", source, settings=PredictSettings(model="water-index", threshold=0.6)).n_reused == 0
    counting.digest = "2"
    assert run(tmp_path / "w", source, settings=PredictSettings(model="water-index", threshold=0.6)).n_reused == 0


@pytest.mark.parametrize("lost", ["c1_water.tif", "parts/c1.json", "lakes.gpkg", "run.json"])
def test_what_is_lost_is_made_again(tmp_path: Path, counting: Counting, lost: str) -> None:
    source = make_dataset(tmp_path / "data", [lake_chip(number) for number in range(3)])
    run(tmp_path / "w", source)
    before = {path: data for path, (data, _) in files_of(tmp_path / "w").items()}
    (tmp_path / "w" / "chips" / lost).unlink()
    (tmp_path / "w" / "chips" / ".tmp-1-c0_logit.tif").write_bytes(b"half")
    summary = run(tmp_path / "w", source)
    assert summary.n_reused == (2 if "c1" in lost else 3)
    assert {path: data for path, (data, _) in files_of(tmp_path / "w").items()} == before


def test_names_are_safe_and_never_shared(tmp_path: Path, counting: Counting) -> None:
    names = ["../../etc/passwd", "a b", "a_b", "A_B", "a_b-2", "..."]
    make_dataset(tmp_path / "data", [lake_chip(number, chip_id=name) for number, name in enumerate(names)])
    make_dataset(tmp_path / "data", [lake_chip(6, chip_id="a b", year=2016)])
    summary = run(tmp_path / "w", tmp_path / "data")
    assert list(summary.water_share) == ["a_b", "etc_passwd", "a_b-2", "a_b-3", "A_B-4", "a_b-2-2", "chip"]
    assert len(set(summary.water_share.values())) == 7
    assert len(list((tmp_path / "w" / "chips").glob("*_logit.tif"))) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "w"]


@pytest.mark.parametrize("place", [{"lat": None}, {"lon": None}, {"lat": -85.0}])
def test_without_a_centre_there_is_no_place(tmp_path: Path, counting: Counting, place: dict[str, Any]) -> None:
    make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(1, **place)])
    summary = run(tmp_path, tmp_path / "data")
    assert summary.n_lakes == 1
    (warning,) = summary.warnings
    assert warning.startswith("1 of 2 chips have no latitude and longitude")
    with rasterio.open(tmp_path / "chips" / "c1_water.tif") as raster:
        assert raster.crs is None
        assert (raster.read(1) == 1).sum() > 1000
    assert run(tmp_path, tmp_path / "data").warnings == summary.warnings


def test_no_place_at_all(tmp_path: Path, counting: Counting) -> None:
    make_dataset(tmp_path / "data", [lake_chip(0, lat=None, lon=None)])
    summary = run(tmp_path, tmp_path / "data")
    assert summary.n_lakes == 0
    assert len(geopandas.read_file(tmp_path / "chips" / "lakes.gpkg", layer="lakes")) == 0


def test_a_part_of_a_dataset(tmp_path: Path, counting: Counting) -> None:
    data = tmp_path / "data"
    make_dataset(data, [lake_chip(number) for number in range(3)])
    make_dataset(data, [lake_chip(3, region="altai")])
    make_dataset(data, [lake_chip(4, year=2016)])
    assert list(run(tmp_path / "w", data, regions=["pamir"], years=[2022], n_chips=2).water_share) == ["c0", "c1"]
    assert list(run(tmp_path / "w", data, years=[2016]).water_share) == ["c4"]
    assert list(run(tmp_path / "w", data).water_share) == ["c3", "c4", "c0", "c1", "c2"]
    with pytest.raises(InputError, match="no region alps"):
        run(tmp_path / "w", data, regions=["alps"])


def test_a_damaged_shard_and_a_damaged_chip_are_skipped(tmp_path: Path, counting: Counting) -> None:
    data = make_dataset(tmp_path / "data", [lake_chip(0)])
    (data / "pamir" / "2022" / "shard_009.parquet").write_bytes(b"PAR1 and no more")
    summary = run(tmp_path / "w", data)
    assert summary.is_partial
    assert list(summary.failed) == ["pamir/2022/shard_009.parquet"]
    assert list(summary.water_share) == ["c0"]
    (data / "pamir" / "2022" / "shard_000.parquet").unlink()
    with pytest.raises(InputError, match="none of the 0 chips"):
        run(tmp_path / "w", data)


def test_both_kinds_in_one_folder(tmp_path: Path, counting: Counting) -> None:
    data = make_dataset(tmp_path / "data", [lake_chip(0)])
    write_chip(data / "good.tif", 15, 224)
    with pytest.raises(InputError, match="both GeoTIFFs and shards"):
        run(tmp_path / "w", data)


def test_lakes_survive_their_record(tmp_path: Path) -> None:
    """Plain rows and back: the same table, unknowns and the last bit of every number included."""
    make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(4)])
    run(tmp_path, tmp_path / "data")
    path = tmp_path / "chips" / "parts" / "c0.json"
    rows = json.loads(path.read_text())["lakes"]
    table = table_of(rows)
    assert rows_of(table) == rows
    assert rows[0]["water_frequency"] is None
    assert np.isnan(table.water_frequency[0])
    assert str(table.n_observations.dtype) == "Int64"
    stored = geopandas.read_file(tmp_path / "chips" / "lakes.gpkg", layer="lakes")
    assert table.area_m2[0] == stored.area_m2[stored.aoi == "c0"].iloc[0]
    assert table.geometry[0].equals_exact(stored.geometry[stored.aoi == "c0"].iloc[0], 0)


def test_many_chips_make_a_short_text() -> None:
    share: dict[str, float | None] = {f"c{number}": 0.5 for number in range(NAMED_AT_MOST + 7)}
    summary = ChipsSummary(
        folder=Path("w"), water_share=share, n_lakes=1, n_reused=0, n_labelled=0, counts=Counts(),
        failed={}, warnings=(),
    )  # fmt: skip
    lines = summary.as_text().splitlines()
    assert lines[NAMED_AT_MOST] == "... and 7 more chips"
    assert len(lines) == NAMED_AT_MOST + 2


def command(root: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["predict", "--model", "water-index", "-w", str(root), *arguments])
    return result.exit_code, result.output


def test_the_command(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", [lake_chip(number) for number in range(3)])
    make_dataset(data, [lake_chip(3, year=2016)])
    (tmp_path / "cryosentinel.toml").write_text('aoi = "pamir"\nyears = [2017, 2023]\n')
    arguments = ["--chips", str(data), "--region", "pamir", "--year", "2022", "--n-chips", "1"]
    code, output = command(tmp_path, *arguments)
    assert code == 0, output
    assert "c0: " in output
    assert "c1: " not in output
    assert "against the labels of 1 chips" in output
    code, output = command(tmp_path, "--chips", str(data))
    assert code == 0, output
    assert "c3: " in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chips", "tifs", "--year", "2022"], "--year goes with a data set of shards"),
        (["--chips", "tifs", "--region", "pamir"], "--region goes with a data set of shards"),
        (["--chips", "data", "--aoi", "pamir"], "--chips takes no --aoi"),
        (["--chips", "data", "--min-elevation", "2500"], "--min-elevation goes with an area"),
        (["--chips", "data", "--uncertainty"], "--uncertainty is for networks"),
        (["--region", "pamir", "--aoi", "pamir", "--year", "2022"], "go with --chips"),
        (["--n-chips", "3", "--aoi", "pamir", "--year", "2022"], "go with --chips"),
        (["--chips", "data", "--n-chips", "0"], "--n-chips"),
    ],
)
def test_flags_that_mean_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data", [lake_chip(0)])
    (tmp_path / "tifs").mkdir()
    write_chip(tmp_path / "tifs" / "good.tif", 15, 224)
    code, output = command(tmp_path, *arguments)
    assert code == 2
    assert words in " ".join(output.split())
