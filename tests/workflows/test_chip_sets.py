"""What is asked of a data set of chips: statistics, split and its proof, holdings, chips as GeoTIFFs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from click.testing import CliRunner, Result
from made_chips import lake_chip, make_dataset, with_holes

from cryosentinel_cli.main import cli
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.chips.stats import count_bands
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.shards import ShardDataset, write_shard


def run(*arguments: Any) -> Result:
    """A command's result; what it returns is its exit code."""
    return CliRunner().invoke(cli, [str(one) for one in arguments], standalone_mode=False)


def told(*arguments: Any) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, f"{result.output} {result.exception}"
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def at(number: int, lat: float, lon: float, **changes: Any) -> ShardChip:
    return lake_chip(number, chip_id=f"c{number}", lat=lat, lon=lon, **changes)


# Centres in blocks that the published split gives to train, train, val and test, and one in the buffer.
TRAIN, OTHER_TRAIN, VAL, TEST, BUFFER = (43.13, 78.68), (43.13, 78.70), (42.53, 78.68), (41.62, 78.68), (43.06, 78.68)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    chips = [at(0, *TRAIN), at(1, *OTHER_TRAIN), at(2, *VAL), at(3, *TEST), at(4, *BUFFER), with_holes(at(5, *TRAIN))]
    make_dataset(tmp_path / "data", chips)
    make_dataset(tmp_path / "data", [at(6, *TRAIN, year=2017)])
    return tmp_path / "data"


def test_statistics_are_of_the_training_chips(dataset: Path) -> None:
    summary = told("chips", "stats", dataset)
    written = json.loads((dataset / "dataset_stats.json").read_text())
    assert {name: sorted(part) for name, part in written.items()} == {
        name: ["means", "stds"] for name in ("S2L2A", "S1GRD", "DEM")
    }
    chips = {chip.chip_id: chip for chip in ShardDataset(dataset).read_chips()}
    trained = [chips[name] for name in ("c0", "c1", "c5", "c6")]
    values = np.concatenate([chip.s2[:, chip.valid] for chip in trained], axis=1)
    np.testing.assert_allclose(written["S2L2A"]["means"], values.mean(axis=1), rtol=1e-12)
    assert {year: one["n_chips"] for year, one in summary["years"].items()} == {"2017": 1, "2022": 3}
    assert summary["offset_suspects"] == {}
    by_year = json.loads((dataset / "dataset_stats.years.json").read_text())["years"]
    only = count_bands([chips["c6"]])[2017].normalisation
    assert by_year["2017"]["statistics"]["S2L2A"]["means"] == list(only.means["S2L2A"])
    assert (
        told("chips", "stats", dataset, "--split", "val", "-o", dataset / "val.json")["years"]["2022"]["n_chips"] == 1
    )


def test_a_year_with_the_offset_is_warned_of(dataset: Path) -> None:
    lifted = at(7, *TRAIN, year=2023)
    make_dataset(dataset, [replace(lifted, s2=(lifted.s2 + 1000).astype(np.uint16))])
    result = run("chips", "stats", dataset)
    assert result.exit_code == 0, result.output
    assert "warning: 2023: " in result.stderr
    assert "offset were still in" in result.stderr


def test_a_set_without_such_chips_is_told(dataset: Path) -> None:
    missing = run("chips", "stats", dataset, "--split", "test", "--year", "2017")
    assert isinstance(missing.exception, InputError)
    assert "no chip of split test" in missing.exception.message
    assert "1 train" in missing.exception.message


def test_the_split_is_told_and_proved(dataset: Path, tmp_path: Path) -> None:
    summary = told("chips", "split", dataset, "--check", "-o", tmp_path / "split.csv")
    assert summary["splits"] == {"train": 4, "val": 1, "test": 1, "BUFFER": 1}
    assert summary["is_proved"] is True
    with (tmp_path / "split.csv").open() as file:
        rows = {row["chip_id"]: row for row in csv.DictReader(file)}
    assert [rows[f"c{number}"]["split"] for number in range(7)] == [
        "train",
        "train",
        "val",
        "test",
        "BUFFER",
        "train",
        "train",
    ]
    assert {row["stored_split"] for row in rows.values()} == {"val"}
    assert told("chips", "split", dataset, "--by-column")["splits"] == {"train": 0, "val": 7, "test": 0}
    quarter = told("chips", "split", dataset, "--block-size", "0.25")["split"]
    assert (quarter["size_deg"], quarter["buffer_deg"]) == (0.25, 0.02)


def test_chips_that_share_ground_fail_the_proof(tmp_path: Path) -> None:
    # A kilometre to either side of the edge of two blocks of unlike splits.
    pair = [at(0, 42.605, 78.68), at(1, 42.595, 78.68)]
    make_dataset(tmp_path, pair)
    bare = ["chips", "split", tmp_path, "--check", "--buffer", "0.001"]
    failed = run(*bare)
    assert isinstance(failed.exception, DataError)
    assert "1 pairs of chips of different splits share ground, as c0 (" in failed.exception.message
    strict = run(*bare, "--split-rule", "extents", "--json")
    assert json.loads(strict.stdout)["splits"]["BUFFER"] == 2
    assert "no chip for train and val and test: give smaller blocks" in strict.stderr
    unplaced = make_dataset(tmp_path / "old", [lake_chip(0, lat=None, lon=None)])
    nothing = run("chips", "split", unplaced, "--check")
    assert isinstance(nothing.exception, DataError)
    assert "nothing can be proved of 1 chip" in nothing.exception.message


def test_what_a_data_set_holds(dataset: Path) -> None:
    summary = told("chips", "info", dataset)
    assert summary["problems"] == []
    assert (summary["regions"], summary["years"], summary["n_chips"], summary["n_shards"]) == (
        ["pamir"],
        [2017, 2022],
        7,
        2,
    )
    assert summary["n_bytes"] == sum(path.stat().st_size for path in dataset.rglob("*.parquet"))
    assert [one["n_water"] for one in summary["places"]] == [1, 6]


def test_what_is_missing_or_damaged_is_named(dataset: Path) -> None:
    folder = dataset / "pamir" / "2022"
    write_shard(folder / "shard_003.parquet", [at(8, *TRAIN), at(8, *TRAIN)])
    (folder / "shard_004.parquet").write_bytes((folder / "shard_003.parquet").read_bytes()[:5000])
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 270000000\n"
    (folder / "shard_005.parquet").write_text(pointer)
    (folder / "shard_006.parquet.incomplete").write_bytes(b"half")
    table = pq.read_table(folder / "shard_003.parquet")
    (dataset / "old" / "2022").mkdir(parents=True)
    pq.write_table(
        table.drop_columns(["lat", "lon", "water_frac"]), dataset / "old" / "2022" / "shard_00000-of-00003.parquet"
    )
    shards = {
        "pamir/2022/shard_009.parquet": {"n_chips": 5, "n_bytes": 10},
        "pamir/2017/shard_000.parquet": {"n_chips": 1, "n_bytes": 10},
    }
    (dataset / "dataset.json").write_text(json.dumps({"shards": shards}))
    result = run("chips", "info", dataset, "--json")
    assert result.return_value == 3
    summary = json.loads(result.stdout)
    text = "\n".join(summary["problems"])
    for words in (
        "pamir/2022 lacks 2 shards by their numbers: shard_1, 2",
        "old/2022 lacks 2 shards by their numbers: shard_1, 2",
        "shard_004.parquet cannot be read",
        "shard_005.parquet was not downloaded: git left a pointer",
        "shard_006.parquet.incomplete is half downloaded",
        "pamir/2022/shard_009.parquet is missing: dataset.json names it, with 5 chips",
        "pamir/2017/shard_000.parquet has",
    ):
        assert words in text, f"{words!r} is not in {text}"
    assert len(summary["problems"]) == 7
    assert summary["missing_columns"] == {"lat": 1, "lon": 1, "water_frac": 1}
    assert summary["n_duplicates"] == 2


def test_exported_chips_give_the_same_lakes(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "tifs"
    assert told("chips", "export", dataset, "-o", out, "--year", 2022, "--labels")["n_chips"] == 6
    chips = {chip.chip_id: chip for chip in ShardDataset(dataset).read_chips(years=[2022])}
    with rasterio.open(out / "c5.tif") as raster:
        assert (raster.count, raster.dtypes[0], raster.descriptions[12:]) == (15, "float32", ("VV", "VH", "DEM"))
        assert (raster.read(range(1, 13)) == chips["c5"].s2).all()
        heights = raster.read(15)
        assert np.isnan(heights[20:28]).all()
        assert (heights[30:] == 3500).all()
    with rasterio.open(out / "c5_label.tif") as raster:
        label = raster.read(1)
        assert (label[chips["c5"].valid] == chips["c5"].mask[chips["c5"].valid]).all()
        assert (label[~chips["c5"].valid] == 255).all()
    mapped = [
        told("predict", "--chips", source, "--model", "water-index", "-w", tmp_path / name, *flags)
        for source, name, flags in ((out, "a", []), (dataset, "b", ["--year", 2022]))
    ]
    assert mapped[0]["water_share"] == mapped[1]["water_share"]
    assert len(mapped[0]["water_share"]) == 6
    unplaced = make_dataset(tmp_path / "old", [lake_chip(0, lat=None, lon=None), lake_chip(1)])
    partly = run("chips", "export", unplaced, "-o", tmp_path / "some", "--json")
    assert partly.return_value == 3
    assert json.loads(partly.stdout)["failed"] == {"c0": "chip 'c0' does not say where it lies"}


def test_damaged_chips_are_left_out_with_a_word(dataset: Path) -> None:
    path = dataset / "pamir" / "2022" / "shard_000.parquet"
    table = pq.read_table(path)
    columns = table.to_pydict()
    columns["s2_shape"][1] = [12, -224, -224]
    pq.write_table(type(table).from_pydict(columns, schema=table.schema), path)
    result = run("chips", "stats", dataset, "--json")
    assert result.return_value == 3
    summary = json.loads(result.stdout)
    assert list(summary["failed"]) == ["pamir/2022/shard_000.parquet#c1"]
    assert "s2_shape is [12, -224, -224]" in summary["failed"]["pamir/2022/shard_000.parquet#c1"]
    assert summary["years"]["2022"]["n_chips"] == 2
