"""Chips through a network: GeoTIFFs and shards alike, real ones, and the spread of its members."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from made_chips import (
    COAST,
    LAND,
    RIVER,
    SNOW,
    assemble,
    lake_chip,
    make_dataset,
    mixed_chips,
    read,
    results,
    run,
    run_both,
    with_holes,
)
from pyproj import Transformer

from cryosentinel_core.chips.chip import chip_of_row
from cryosentinel_core.report.chip_summary import ChipsSummary
from cryosentinel_core.settings.predict import PredictSettings


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> PredictSettings:
    """A tiny network with random weights."""
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

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
    lakes = [geopandas.read_file(results(tmp_path / run) / "lakes.gpkg", layer="lakes") for run in ("a", "b")]
    assert len(lakes[0]) > 0
    assert lakes[0].lake_id.tolist() == lakes[1].lake_id.tolist()
    np.testing.assert_allclose(lakes[0].area_m2, lakes[1].area_m2, rtol=1e-6)


def test_the_spread_of_chips(tmp_path: Path, network: PredictSettings) -> None:
    """The standard deviation over the four flips, an area band around every lake; nothing of it is left by a run without."""
    from cryosentinel_core.io.weights.model_files import load_segmenter

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
    lakes = geopandas.read_file(results(tmp_path) / "lakes.gpkg", layer="lakes")
    assert len(lakes) == summary.n_lakes > 0
    assert (lakes.area_low_m2 <= lakes.area_m2).all()
    assert (lakes.area_m2 <= lakes.area_high_m2).all()
    assert (lakes.area_low_m2 < lakes.area_high_m2).all()
    assert (lakes.area_sigma_random_m2 >= lakes.area_high_m2 - lakes.area_m2).all()
    assert lakes.model.str.endswith("-spread").all()

    assert run(tmp_path, source, settings=asked).n_reused == 3
    (results(tmp_path) / "c1_spread.tif").unlink()
    assert run(tmp_path, source, settings=asked).n_reused == 2
    assert run(tmp_path, source, settings=network).n_reused == 0
    assert not list(results(tmp_path).glob("*_spread.tif"))
    assert "area_low_m2" not in geopandas.read_file(results(tmp_path) / "lakes.gpkg", layer="lakes")


def test_no_lake_still_has_the_columns_of_the_band(tmp_path: Path, network: PredictSettings) -> None:
    asked = network.model_copy(update={"tta": True, "uncertainty": True, "threshold": 0.9999})
    assert run(tmp_path, make_dataset(tmp_path / "data", [lake_chip(0)]), settings=asked).n_lakes == 0
    lakes = geopandas.read_parquet(results(tmp_path) / "lakes.parquet")
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
