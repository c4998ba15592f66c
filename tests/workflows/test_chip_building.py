"""Chips cut from simulated scenes: the stack's pixels, the truth's labels, the split's promise, and work that is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cryosentinel_cli.main import cli
from cryosentinel_core.chips.overlaps import find_overlaps
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.io.shards import ShardDataset

SPLIT = ["--block-size", "0.02", "--buffer", "0.001", "--split-rule", "extents", "--shares", "50,20,30"]
LOOSE = ["--block-size", "0.02", "--buffer", "0.001", "--shares", "50,20,30"]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few and clear dates: quick to simulate and to stack."""
    from cryosentinel_core.simulate import SimulateSettings, simulate

    folder = tmp_path_factory.mktemp("catalogue")
    settings = SimulateSettings(
        seed=1,
        size_km=3.0,
        margin_km=5.0,
        optical_dates=2,
        radar_dates=1,
        cloud=0.05,
        duplicates=False,
        detector_edges=False,
    )
    simulate(folder, settings)
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def built(catalogue: Path, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("chips")
    result = run(
        "chips", "build", "--truth", catalogue, "-o", root, "-w", workspace, "--region", "sim", "--json", *LOOSE
    )
    assert result.exit_code == 0, result.output
    return root, json.loads(result.stdout)


def place_of(chip: ShardChip) -> Grid:
    """The lattice window that a chip's name says."""
    zone, east, north = chip.chip_id.split("_")[-3:]
    return Grid(
        epsg=32600 + int(zone[:2]), row=-int(north[1:]) // 10 - 224, col=int(east[1:]) // 10, height=224, width=224
    )


def test_chips_hold_the_stack_s_pixels_and_the_truth(
    built: tuple[Path, dict[str, Any]], workspace: Path, catalogue: Path
) -> None:
    from pyproj import Transformer
    from rasterio.features import rasterize

    root, summary = built
    chips = list(ShardDataset(root).read_chips())
    assert len(chips) == summary["n_chips"] > 10
    assert max(chip.n_clear or 0.0 for chip in chips) >= 1
    truth = gpd.read_file(catalogue / "truth" / "lakes.gpkg").to_crs(32643)
    for chip in chips[::7]:
        grid = place_of(chip)
        (folder,) = (workspace / "sim" / str(chip.year)).glob("stack-*")
        stack = read_stack(folder, grid.epsg, grid, tile_cells=10)
        assert (chip.s2 == stack.s2).all()
        assert stack.s1 is not None
        assert np.array_equal(chip.s1, stack.s1, equal_nan=True)
        known = np.isfinite(stack.dem)
        assert np.abs(chip.dem[0][known] - stack.dem[known]).max() <= 0.5
        assert (chip.dem[0][~known] == -32_768).all()
        lakes = truth.geometry[truth["year"] == chip.year]
        label = rasterize(lakes, out_shape=(224, 224), transform=grid.transform, all_touched=True, dtype="uint8")
        assert (chip.mask == label).all()
        assert chip.water_frac == label.mean()
        assert chip.n_clear == np.median(stack.counts[0])
        x, y = Transformer.from_crs(4326, grid.epsg, always_xy=True).transform(chip.lon, chip.lat)
        assert (x, y) == pytest.approx((grid.bounds[0] + 1120, grid.bounds[1] + 1120), abs=1e-3)


def test_the_record_counts_what_is_there(built: tuple[Path, dict[str, Any]]) -> None:
    root, summary = built
    record = json.loads((root / "dataset.json").read_text())
    index = ShardDataset(root).read_index()
    assert record["totals"]["n_chips"] == len(index) == sum(summary["splits"].values())
    assert record["totals"]["n_water"] == int((index.water_frac > 0).sum()) == summary["n_water"]
    assert record["split"]["size_deg"] == 0.02
    assert set(record["recipes"]) == {"sim/2017", "sim/2023"}
    for name, shard in record["shards"].items():
        assert shard["n_bytes"] == (root / name).stat().st_size
        assert shard["labels"]["kind"] == "truth"
        assert shard["labels"]["year"] == shard["settings"]["year"]
    places = {
        year: set(zip(index.lat[index.year == year], index.lon[index.year == year], strict=True))
        for year in (2017, 2023)
    }
    assert len(places[2017] & places[2023]) > 0.6 * len(places[2017] | places[2023])


def test_work_that_is_done_is_kept_and_the_rest_is_the_same_bytes(
    built: tuple[Path, dict[str, Any]], workspace: Path, catalogue: Path
) -> None:
    root, summary = built
    shards = sorted(root.glob("*/*/*.parquet"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in shards}
    shards[0].with_suffix(".json").unlink()  # as if killed before the record
    shards[-1].write_bytes(shards[-1].read_bytes()[:1000])
    (shards[0].parent / ".tmp-999999-1-shard_9.parquet").write_bytes(b"half")
    again = run(
        "chips", "build", "--truth", catalogue, "-o", root, "-w", workspace, "--region", "sim", "--json", *LOOSE
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == summary
    for path in shards:
        assert path.read_bytes() == before[path][0]
    assert [path for path in shards if path.stat().st_mtime_ns == before[path][1]] == shards[1:-1]


def test_small_blocks_by_extents_share_no_ground(
    built: tuple[Path, dict[str, Any]], workspace: Path, catalogue: Path, tmp_path: Path
) -> None:
    root, _ = built
    loose = ShardDataset(root).read_index()
    assert len(find_overlaps(loose.lat, loose.lon, loose.stored_split)) > 0
    common = ["chips", "build", "--truth", catalogue, "-w", workspace, "--region", "sim"]
    refused = run(*common, "-o", root, *SPLIT)
    assert isinstance(refused.exception, InputError)
    assert "rule published instead of extents" in refused.exception.message
    strict = run(*common, "-o", tmp_path, *SPLIT, "--keep-buffer", "--background", "all", "--year", 2023)
    assert strict.exit_code == 0, strict.output
    index = ShardDataset(tmp_path).read_index()
    assert set(index.year) == {2023}
    assert "UNKNOWN" in index.stored_split
    assert len(find_overlaps(index.lat, index.lon, index.stored_split)) == 0


def test_an_inventory_labels_the_nearest_year(
    workspace: Path, catalogue: Path, built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    truth = catalogue / "truth" / "lakes.gpkg"
    common = [
        "chips", "build", "--aoi", catalogue / "aoi.geojson", "--catalog", catalogue, "--region", "sim", "-w", workspace,
        "-o", tmp_path / "data", "--year", 2017, "--year", 2023, "--json", *LOOSE,
    ]  # fmt: skip
    result = run(*common, "--inventory", f"2016={truth}?year=2017", "--inventory", f"2022={truth}?year=2023")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert [(year["year"], year["label_year"]) for year in summary["years"]] == [(2017, 2016), (2023, 2022)]
    assert {"iou", "water without lake"} & set(
        summary["rejected"]
    )  # snow has a high MNDWI: the released filter takes it for water
    by_truth = {chip.chip_id: chip for chip in ShardDataset(built[0]).read_chips()}
    for chip in ShardDataset(tmp_path / "data").read_chips():
        assert (chip.mask == by_truth[chip.chip_id].mask).all()
    swapped = run(
        *common,
        "--inventory",
        f"2016={truth}?year=2017",
        "--inventory",
        f"2022={truth}?year=2023",
        "--label-year",
        "2023=2016",
    )
    assert [year["label_year"] for year in json.loads(swapped.stdout)["years"]] == [2016, 2016]


def test_what_a_person_called_wrong_is_left_out(
    built: tuple[Path, dict[str, Any]], workspace: Path, catalogue: Path, tmp_path: Path
) -> None:
    ids = ShardDataset(built[0]).read_index().chip_id.tolist()
    table = tmp_path / "wrong.csv"
    table.write_text(f"chip_id,verdict\n{ids[0]},wrong\n{ids[1]},right\n{ids[2]},\nelsewhere,wrong\n")
    result = run(
        "chips", "build", "--truth", catalogue, "-o", tmp_path / "data", "-w", workspace, "--region", "sim",
        "--corrections", table, *LOOSE,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert ShardDataset(tmp_path / "data").read_index().chip_id.tolist() == ids[1:]
    assert "1 chip left out: their labels are wrong" in result.stderr
    assert "1 corrections are of no chip here, as elsewhere" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to label with"),
        (["--inventory", "lakes.gpkg"], "YEAR=FILE"),
        (["--inventory", "2016=nowhere.gpkg", "--year", "2017"], "could not read nowhere.gpkg"),
        (["--truth", ".", "--year", "2017"], "no truth in"),
        (["--truth", ".", "--shares", "80,20"], "not three whole numbers"),
        (["--truth", ".", "--shares", "80,30,10"], "do not add up to 100"),
        (["--truth", ".", "--background", "many"], "neither a number nor all"),
        (["--truth", ".", "--label-year", "2017"], "another form than 2021=2016"),
        (["--truth", ".", "--region", "../x"], "no truth in"),
    ],
)
def test_plain_words_about_mistakes(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = run("chips", "build", "-o", tmp_path / "data", "-w", tmp_path, *arguments)
    assert result.exit_code != 0
    assert words in f"{result.output} {result.exception}"
    assert not (tmp_path / "data").exists()


def test_blocks_without_room(
    catalogue: Path, workspace: Path, built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    result = run(
        "chips", "build", "--truth", catalogue, "-o", tmp_path, "-w", workspace, "--region", "sim",
        "--block-size", "0.01", "--buffer", "0.0049", "--split-rule", "extents",
    )  # fmt: skip
    assert isinstance(result.exception, InputError)
    assert "windows lie too near to the edge of a block" in result.exception.message
