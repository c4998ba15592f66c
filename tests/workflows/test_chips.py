"""Chips from GeoTIFFs and from shards: the real ones, simulated ones, and what is no chip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from made_chips import (
    COAST,
    LAND,
    NUMBERS,
    RIVER,
    SNOW,
    Counting,
    lake_chip,
    make_dataset,
    mixed_chips,
    read,
    results,
    run,
    run_both,
    with_holes,
    write_numbers,
)
from pyproj import Transformer

from cryosentinel_cli.main import cli
from cryosentinel_core.chips.metrics import Counts
from cryosentinel_core.lakes.plain_rows import rows_of, table_of
from cryosentinel_core.report.chip_summary import NAMED_AT_MOST, ChipsSummary
from cryosentinel_core.settings.predict import PredictSettings


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
    lakes = geopandas.read_file(results(root) / "lakes.gpkg", layer="lakes")
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


@pytest.mark.parametrize("model", ["water-index", "counting"])
def test_shards_and_geotiffs_give_the_same(tmp_path: Path, model: str, request: pytest.FixtureRequest) -> None:
    if model == "counting":
        request.getfixturevalue("counting")
    from_tifs, _ = run_both(tmp_path, mixed_chips(), PredictSettings(model="water-index"))
    assert from_tifs.n_lakes == 4
    lakes = [geopandas.read_file(results(tmp_path / run) / "lakes.gpkg", layer="lakes") for run in ("a", "b")]
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


def test_a_lake_is_as_large_as_it_is(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(5)])
    run(tmp_path, tmp_path / "data")
    lakes = geopandas.read_file(results(tmp_path) / "lakes.gpkg", layer="lakes").sort_values("aoi")
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
    record = str(results(tmp_path / "w") / "run.json")
    after = files_of(tmp_path / "w")
    assert before.pop(record)[0] == after.pop(record)[0]
    assert before == after

    make_dataset(source, [lake_chip(0), lake_chip(1, dem=lake_chip().dem + 1), lake_chip(2), lake_chip(3)])
    assert run(tmp_path / "w", source).n_reused == 3
    assert run(tmp_path / "w", source, settings=PredictSettings(model="water-index", threshold=0.6)).n_reused == 0
    counting.digest = "2"
    assert run(tmp_path / "w", source, settings=PredictSettings(model="water-index", threshold=0.6)).n_reused == 0


@pytest.mark.parametrize("lost", ["c1_water.tif", "_parts/c1.json", "lakes.gpkg", "run.json"])
def test_what_is_lost_is_made_again(tmp_path: Path, counting: Counting, lost: str) -> None:
    source = make_dataset(tmp_path / "data", [lake_chip(number) for number in range(3)])
    run(tmp_path / "w", source)
    before = {path: data for path, (data, _) in files_of(tmp_path / "w").items()}
    folder = results(tmp_path / "w")
    (folder / lost).unlink()
    (folder / ".tmp-1-c0_logit.tif").write_bytes(b"half")
    summary = run(tmp_path / "w", source)
    assert summary.n_reused == (2 if "c1" in lost else 3)
    assert {path: data for path, (data, _) in files_of(tmp_path / "w").items()} == before


@pytest.mark.parametrize("place", [{"lat": None}, {"lon": None}, {"lat": -85.0}])
def test_without_a_centre_there_is_no_place(tmp_path: Path, counting: Counting, place: dict[str, Any]) -> None:
    make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(1, **place)])
    summary = run(tmp_path, tmp_path / "data")
    assert summary.n_lakes == 1
    (warning,) = summary.warnings
    assert warning.startswith("1 of 2 chips have no latitude and longitude")
    with rasterio.open(results(tmp_path) / "c1_water.tif") as raster:
        assert raster.crs is None
        assert (raster.read(1) == 1).sum() > 1000
    assert run(tmp_path, tmp_path / "data").warnings == summary.warnings


def test_no_place_at_all(tmp_path: Path, counting: Counting) -> None:
    make_dataset(tmp_path / "data", [lake_chip(0, lat=None, lon=None)])
    summary = run(tmp_path, tmp_path / "data")
    assert summary.n_lakes == 0
    assert len(geopandas.read_file(results(tmp_path) / "lakes.gpkg", layer="lakes")) == 0


def test_lakes_survive_their_record(tmp_path: Path) -> None:
    """Plain rows and back: the same table, unknowns and the last bit of every number included."""
    make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(4)])
    run(tmp_path, tmp_path / "data")
    path = results(tmp_path) / "_parts" / "c0.json"
    rows = json.loads(path.read_text())["lakes"]
    table = table_of(rows)
    assert rows_of(table) == rows
    assert rows[0]["water_frequency"] is None
    assert np.isnan(table.water_frequency[0])
    assert str(table.n_observations.dtype) == "Int64"
    stored = geopandas.read_file(results(tmp_path) / "lakes.gpkg", layer="lakes")
    assert table.area_m2[0] == stored.area_m2[stored.aoi == "c0"].iloc[0]
    assert table.geometry[0].equals_exact(stored.geometry[stored.aoi == "c0"].iloc[0], 0)


def test_many_chips_make_a_short_text() -> None:
    share: dict[str, float | None] = {f"c{number}": 0.5 for number in range(NAMED_AT_MOST + 7)}
    summary = ChipsSummary(
        folder=Path("w"), water_share=share, sources={}, n_lakes=1, n_reused=0, n_labelled=0, counts=Counts(),
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
    assert "against the labels of 1 chip:" in output
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
    write_numbers(tmp_path / "tifs" / "good.tif", NUMBERS)
    code, output = command(tmp_path, *arguments)
    assert code == 2
    assert words in " ".join(output.split())
