from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from loopback import loopback

from cryosentinel_cli.main import cli
from cryosentinel_core.errors import InputError, NoScenes
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Grid, hull_of_cells, tile_of_cell
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.io import scene_bands as reading
from cryosentinel_core.io.catalogs.http import RetryPolicy
from cryosentinel_core.io.catalogs.search import Catalogues
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace, read_json
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.stack.stack import Condition, Stack
from cryosentinel_core.units import CELL_M
from cryosentinel_core.workflows import scene_plan as planning
from cryosentinel_core.workflows import scene_search as finding
from cryosentinel_core.workflows.fetch import FetchSummary, fetch

YEARS = (2017, 2023)
BANDS = ("s2", "s1", "dem", "counts", "condition", "dates")


def tiny_area(folder: Path, *, part: str = "all") -> Area:
    """Ground about the edge between two cells in the middle of the simulated area, or its western or eastern half."""
    whole = load_area(str(folder / "aoi.geojson"))
    x, y = transformer(4326, 32643).transform(*whole.geometry.centroid.coords[0])
    edge, middle = round(x / CELL_M) * CELL_M, (np.floor(y / CELL_M) + 0.5) * CELL_M
    west, east = {"all": (-200, 200), "west": (-200, -20), "east": (20, 200)}[part]
    corners = [(edge + dx, middle + dy) for dx, dy in ((west, -100), (east, -100), (east, 100), (west, 100))]
    return Area(f"tiny-{part}", shapely.Polygon([transformer(32643, 4326).transform(*xy) for xy in corners]))


def settings_for(folder: Path | str, **more: Any) -> FetchSettings:
    values: dict[str, Any] = {"catalog": str(folder), "workers": 1} | more
    return FetchSettings(**values)


def run(root: Path, area: Area, settings: FetchSettings, years: tuple[int, ...] = YEARS) -> FetchSummary:
    return fetch(Workspace(root), area, years, settings, reporter=Silent())


def stack_of(summary: FetchSummary, year: int, grid: Grid, tile_cells: int = 10) -> Stack:
    return read_stack(summary.stacks[year], grid.epsg, grid, tile_cells=tile_cells)


def assert_same(a: Stack, b: Stack, *, but: tuple[str, ...] = ()) -> None:
    for name in set(BANDS) - set(but):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.fixture(scope="module")
def fetched(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FetchSummary, Area]:
    root = tmp_path_factory.mktemp("workspace")
    area = tiny_area(small_catalogue)
    return root, run(root, area, settings_for(small_catalogue)), area


@pytest.fixture
def copied(fetched: tuple[Path, FetchSummary, Area], tmp_path: Path) -> Path:
    """A copy of the fetched workspace that a test may spoil."""
    root = tmp_path / "workspace"
    shutil.copytree(fetched[0], root)
    return root


def test_stack_is_on_disk_and_complete(fetched: tuple[Path, FetchSummary, Area]) -> None:
    root, summary, area = fetched
    grid = hull_of_cells(area.ground)
    assert not summary.is_partial
    for year in YEARS:
        stack = stack_of(summary, year, grid)
        assert stack.valid.mean() > 0.8
        assert stack.observed.mean() > 0.4
        assert stack.s1 is not None
        assert np.isfinite(stack.s1).mean() > 0.9
        assert not ((stack.s2 == 0).any(axis=0) & (stack.s2 != 0).any(axis=0)).any()
        used = stack.counts[0] > 0
        assert (stack.dates[0][used] <= stack.dates[1][used]).all()
        assert (stack.dates[1][used] <= stack.dates[2][used]).all()
    assert (root / area.name / "aoi.geojson").is_file()
    assert read_json(summary.stacks[2017] / "recipe.json") == summary.recipe.as_dict()


def test_lock_holds_items_settings_and_tiles(fetched: tuple[Path, FetchSummary, Area]) -> None:
    root, summary, area = fetched
    lock = read_json(root / area.name / "2023" / "scenes.json")
    assert lock["type"] == "FeatureCollection"
    keys = {f"{item['collection']}/{item['id']}" for item in lock["features"]}
    own = lock["cryosentinel"]
    named = {key for tiles in own["tiles"].values() for entry in tiles.values() for role in ("optical", "radar", "terrain")
             for key in entry[role]}  # fmt: skip
    assert named == keys
    assert own["selection"]["season"] == "07-01:09-30"
    assert all(Path(asset["href"]).is_absolute() for item in lock["features"] for asset in item["assets"].values())
    assert set(summary.years[1].chosen["optical"]) <= keys


def test_record_and_tags_lead_back_to_the_items(fetched: tuple[Path, FetchSummary, Area]) -> None:
    _, summary, _ = fetched
    record_path = next(summary.stacks[2023].glob("*/*/tile.json"))
    record = read_json(record_path)
    assert set(record["inputs"]["items"]["optical"]) == set(summary.years[1].chosen["optical"])
    assert record["partial"] is False
    with rasterio.open(record_path.parent / "s2.tif") as dataset:
        tags = dataset.tags()
        assert tags["CRYOSENTINEL_DIGEST"] == record["digest"]
        assert json.loads(tags["CRYOSENTINEL_INPUTS"]) == record["inputs"]
        assert dataset.descriptions[2] == "B03"


def test_result_does_not_depend_on_the_cutting(
    fetched: tuple[Path, FetchSummary, Area], small_catalogue: Path, tmp_path: Path
) -> None:
    _, whole, area = fetched
    grid = hull_of_cells(area.ground)
    fine = run(tmp_path, Area("fine", area.geometry), settings_for(small_catalogue, tile_cells=2, workers=2), (2023,))
    assert_same(stack_of(fine, 2023, grid, 2), stack_of(whole, 2023, grid))
    for part in ("west", "east"):
        half_area = tiny_area(small_catalogue, part=part)
        half = run(tmp_path, half_area, settings_for(small_catalogue), (2023,))
        for cell in half_area.ground:
            if cell in area.ground:
                assert_same(stack_of(half, 2023, cell.grid), stack_of(whole, 2023, cell.grid))


def test_second_run_reuses_everything(
    copied: Path, fetched: tuple[Path, FetchSummary, Area], small_catalogue: Path
) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in copied.rglob("*") if path.is_file()}
    again = run(copied, fetched[2], settings_for(small_catalogue))
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in copied.rglob("*") if path.is_file()}
    assert after == before
    assert all(not year.done and year.reused for year in again.years)
    assert again.bytes_planned == 0


def test_lost_file_is_made_again_with_the_same_bytes(
    copied: Path, fetched: tuple[Path, FetchSummary, Area], small_catalogue: Path
) -> None:
    lost = sorted(copied.glob("*/2023/stack-*/*/*/clear.tif"))[0]
    bytes_before = lost.read_bytes()
    lost.unlink()
    (lost.parent / ".tmp-1-s2.tif").write_bytes(b"left by a killed process")
    again = run(copied, fetched[2], settings_for(small_catalogue))
    assert lost.read_bytes() == bytes_before
    assert len(again.years[1].done) == 1
    assert not list(copied.rglob(".tmp-*"))


def test_lock_is_used_without_the_catalogue(
    copied: Path, fetched: tuple[Path, FetchSummary, Area], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "empty", "links": []}))
    again = run(copied, fetched[2], FetchSettings(workers=1))
    assert all(year.reused and not year.done for year in again.years)
    with pytest.raises(NoScenes):
        run(copied, fetched[2], settings_for(empty, refresh=True))


@pytest.mark.parametrize("change", [{"season": "08-01:08-31"}, {"max_cloud": 55.0}, {"catalog": "earth-search"}])
def test_other_settings_than_the_locks_are_refused(
    copied: Path, fetched: tuple[Path, FetchSummary, Area], small_catalogue: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="asked for is") as error:
        run(copied, fetched[2], settings_for(small_catalogue, **change))
    assert "--refresh" in error.value.hint


def test_dry_run_writes_nothing(small_catalogue: Path, tmp_path: Path) -> None:
    summary = run(tmp_path, tiny_area(small_catalogue), settings_for(small_catalogue, dry_run=True))
    assert list(tmp_path.iterdir()) == []
    assert summary.is_dry_run
    assert summary.bytes_planned > 10_000_000
    assert all(year.chosen["optical"] and year.rejected for year in summary.years)


def test_commands_that_fetch_first_tell_the_same_plan(small_catalogue: Path, tmp_path: Path) -> None:
    place = [
        "--aoi",
        str(small_catalogue / "aoi.geojson"),
        "--catalog",
        str(small_catalogue),
        "-w",
        str(tmp_path / "w"),
    ]
    years = [str(year) for year in YEARS]
    asked = {
        "fetch": [part for year in years for part in ("--year", year)],
        "predict": [part for year in years for part in ("--year", year)],
        "change": years,
    }
    plans = {}
    for name, given in asked.items():
        told = CliRunner().invoke(cli, [name, *given, *place, "--dry-run", "--json", "-q"])
        assert told.exit_code == 0, told.output
        plans[name] = json.loads(told.stdout)
    assert plans["fetch"] == plans["predict"] == plans["change"]
    assert plans["change"]["is_dry_run"]
    assert plans["change"]["bytes_planned"] > 0
    assert not list((tmp_path / "w").rglob("*.tif"))
    alone = CliRunner().invoke(cli, ["change", "--lakes", "2010=a.shp@30m", "--lakes", "2020=b.shp@30m", "--dry-run"])
    assert alone.exit_code == 2


def test_no_scenes_names_the_closest_misses(small_catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(NoScenes, match="2023") as error:
        run(
            tmp_path,
            tiny_area(small_catalogue),
            settings_for(small_catalogue, max_cloud=0.001, october_fallback=False),
            (2023,),
        )
    assert "over the cloud limit" in error.value.hint
    with pytest.raises(NoScenes, match="1999"):
        run(tmp_path, tiny_area(small_catalogue), settings_for(small_catalogue), (1999,))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ".locks" not in path.parts]


def test_an_area_far_from_the_catalogue_is_told_where_it_lies(small_catalogue: Path, tmp_path: Path) -> None:
    area = Area("alps", shapely.box(7.1, 45.9, 7.12, 45.92))
    with pytest.raises(NoScenes, match=r"longitude 6\.\d\d to 7\.\d\d, latitude 45\.\d\d to 46\.\d\d") as error:
        run(tmp_path, area, settings_for(small_catalogue), (2023,))
    assert str(small_catalogue) in error.value.message
    assert "where you meant it" in error.value.hint


@pytest.fixture
def broken_catalogue(small_catalogue: Path, tmp_path: Path) -> Path:
    """A catalogue whose files are links, so that single ones can be spoilt."""
    folder = tmp_path / "catalogue"
    for path in small_catalogue.rglob("*"):
        target = folder / path.relative_to(small_catalogue)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path) if path.suffix in (".tif", ".tiff") else shutil.copy(path, target)
    return folder


@pytest.mark.parametrize("fault", ["truncated", "gone", "not a raster"])
def test_unreadable_asset_makes_a_partial_tile_that_the_next_run_completes(
    broken_catalogue: Path, tmp_path: Path, fetched: tuple[Path, FetchSummary, Area], fault: str
) -> None:
    area = fetched[2]
    chosen = fetched[1].years[1].chosen["optical"][0].split("/")[1]
    asset = next(broken_catalogue.glob(f"sentinel-2-l2a/{chosen}/*B05*.tif"))
    whole = asset.resolve()
    asset.unlink()
    if fault == "truncated":
        asset.write_bytes(whole.read_bytes()[:60_000])
    elif fault == "not a raster":
        asset.write_text("<html>busy</html>")
    root = tmp_path / "workspace"
    settings = settings_for(broken_catalogue, radar="none")
    partial = run(root, area, settings, (2023,))
    assert partial.is_partial
    assert any(chosen in key for missing in partial.years[0].partial.values() for key in missing)
    assert any(chosen in warning for warning in partial.warnings)
    records = [read_json(path) for path in partial.stacks[2023].glob("*/*/tile.json")]
    assert all(record["partial"] for record in records)
    if fault != "truncated":
        return
    again = run(root, area, settings, (2023,))
    assert again.is_partial
    assert again.years[0].done
    asset.unlink()
    asset.symlink_to(whole)
    complete = run(root, area, settings, (2023,))
    assert not complete.is_partial
    grid = hull_of_cells(area.ground)
    assert_same(stack_of(complete, 2023, grid), stack_of(fetched[1], 2023, grid), but=("s1",))


def test_stack_without_radar(small_catalogue: Path, tmp_path: Path) -> None:
    area = tiny_area(small_catalogue)
    summary = run(tmp_path, area, settings_for(small_catalogue, radar="none"), (2023,))
    assert summary.recipe.radar == "none"
    assert stack_of(summary, 2023, hull_of_cells(area.ground)).s1 is None
    assert not list(tmp_path.rglob("s1.tif"))


def test_missing_band_makes_the_item_unusable_with_a_reason(broken_catalogue: Path, tmp_path: Path) -> None:
    for path in broken_catalogue.glob("sentinel-2-l2a/*/*.json"):
        item = json.loads(path.read_text())
        if item.get("type") == "Feature":
            del item["assets"]["B11"]
            path.write_text(json.dumps(item))
    with pytest.raises(NoScenes) as error:
        run(tmp_path / "w", tiny_area(broken_catalogue), settings_for(broken_catalogue), (2023,))
    assert "no asset for B11" in error.value.hint


def test_frozen_list_gives_the_same_stack(fetched: tuple[Path, FetchSummary, Area], tmp_path: Path) -> None:
    root, summary, area = fetched
    listed = root / area.name / "2023" / "scenes.json"
    again = run(tmp_path, area, FetchSettings(from_items=listed, workers=1), (2023,))
    grid = hull_of_cells(area.ground)
    assert_same(stack_of(again, 2023, grid), stack_of(summary, 2023, grid))


def test_best_composite_uses_one_date(small_catalogue: Path, tmp_path: Path) -> None:
    area = tiny_area(small_catalogue)
    summary = run(tmp_path, area, settings_for(small_catalogue, composite="best", radar="none"), (2023,))
    stack = stack_of(summary, 2023, hull_of_cells(area.ground))
    np.testing.assert_array_equal(stack.dates[0], stack.dates[2])
    assert stack.counts[0].max() == 1


def test_years_agree_in_reflectance_over_unchanged_rock(fetched: tuple[Path, FetchSummary, Area]) -> None:
    _, summary, area = fetched
    grid = hull_of_cells(area.core)
    old, new = (stack_of(summary, year, grid) for year in YEARS)
    stable = (old.counts[0] >= 2) & (new.counts[0] >= 2) & (old.counts[1] + new.counts[1] == 0)
    stable &= (
        (old.condition == Condition.CLEAR) & (new.condition == Condition.CLEAR) & (old.counts[2] + new.counts[2] == 0)
    )
    assert stable.sum() > 5_000
    for band in range(12):
        difference = new.s2[band][stable].astype(int) - old.s2[band][stable]
        assert abs(np.median(difference)) < 150, band


def test_offset_left_in_is_seen_and_breaks_the_years(
    fetched: tuple[Path, FetchSummary, Area], small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "remove_offset", lambda numbers, offset: numbers)
    _, right, area = fetched
    wrong = run(tmp_path, area, settings_for(small_catalogue, radar="none"), (2023,))
    grid = hull_of_cells(area.core)
    with_offset, without = stack_of(wrong, 2023, grid), stack_of(right, 2023, grid)
    seen = (with_offset.counts[0] >= 2) & (without.counts[0] >= 2)
    assert np.median(with_offset.s2[2][seen].astype(int) - without.s2[2][seen]) == pytest.approx(1_000, abs=5)
    assert any("as if the offset were still in" in warning for warning in wrong.warnings)
    assert not any("offset" in warning for warning in right.warnings)


def test_grown_area_searches_only_what_the_lock_lacks(small_catalogue: Path, tmp_path: Path) -> None:
    whole = load_area(str(small_catalogue / "aoi.geojson")).geometry
    x, y = whole.centroid.coords[0]
    small = Area("growing", shapely.box(x, y - 0.001, x + 0.001, y))
    tiles = {tile_of_cell(cell) for cell in small.ground}
    taller = (Area("growing", shapely.box(x, y, x + 0.001, y + 0.004 * step)) for step in range(1, 60))
    north = next(area for area in taller if {tile_of_cell(cell) for cell in area.ground} > tiles)
    settings = settings_for(small_catalogue, radar="none")
    lock = tmp_path / "growing" / "2023" / "scenes.json"
    planning.plan_years(Workspace(tmp_path), small, (2023,), settings, reporter=Silent(), warnings=[])
    first = read_json(lock)["cryosentinel"]["tiles"]
    planning.plan_years(Workspace(tmp_path), north, (2023,), settings, reporter=Silent(), warnings=[])
    second = read_json(lock)["cryosentinel"]["tiles"]
    for epsg, entries in first.items():
        for name, entry in entries.items():
            assert second[epsg][name] == entry
    assert sum(map(len, second.values())) > sum(map(len, first.values()))


def test_catalogue_over_http_with_faults_gives_the_same_stack(
    fetched: tuple[Path, FetchSummary, Area], small_catalogue: Path, tmp_path: Path
) -> None:
    _, local, area = fetched
    with loopback(small_catalogue) as server:
        server.faults = {"B03_10m.tif": [503, "truncated"], "SCL_20m.tif": [403, 403], "catalog.json": [502]}
        settings = settings_for(f"{server.address}/files/catalog.json", radar="none")
        far = run(tmp_path, area, settings, (2023,))
        assert not far.is_partial
        assert not any(left for left in server.faults.values())
    grid = hull_of_cells(area.ground)
    assert_same(stack_of(far, 2023, grid), stack_of(local, 2023, grid), but=("s1",))
    hrefs = [asset["href"] for item in read_json(tmp_path / area.name / "2023" / "scenes.json")["features"]
             for asset in item["assets"].values()]  # fmt: skip
    assert all(href.startswith(server.address) for href in hrefs)


def test_second_catalogue_steps_in(small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = ("http://127.0.0.1:9/api", str(small_catalogue / "catalog.json"))
    monkeypatch.setattr(finding, "DEFAULT_CATALOGS", dict.fromkeys(("optical", "radar", "terrain"), order))
    warnings: list[str] = []
    locks = planning.plan_years(
        Workspace(tmp_path), tiny_area(small_catalogue), YEARS, FetchSettings(), reporter=Silent(), warnings=warnings,
        catalogues=Catalogues(RetryPolicy(attempts=1, wait_s=0.01)),
    )  # fmt: skip
    assert all(any(roles["optical"] and roles["radar"] for roles in lock.tiles.values()) for lock in locks.values())
    assert any("does not answer" in warning for warning in warnings)


def test_years_share_one_radar_geometry(fetched: tuple[Path, FetchSummary, Area]) -> None:
    root, _, area = fetched
    notes = [
        {name: entry["notes"]["radar"] for name, entry in tiles.items()}
        for year in YEARS
        for tiles in read_json(root / area.name / str(year) / "scenes.json")["cryosentinel"]["tiles"].values()
    ]
    assert notes[0] == notes[1]
    assert all(note.split("-")[0] in ("ascending", "descending") for note in notes[0].values())


def test_damaged_lock_is_an_error_with_a_hint(copied: Path, fetched: tuple[Path, FetchSummary, Area]) -> None:
    (copied / fetched[2].name / "2017" / "scenes.json").write_text('{"type": "FeatureCollection"}')
    with pytest.raises(InputError, match="damaged") as error:
        run(copied, fetched[2], FetchSettings(workers=1))
    assert "--refresh" in error.value.hint


def test_an_area_outside_high_mountain_asia_is_named(
    small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(small_catalogue, dry_run=True)
    area = tiny_area(small_catalogue)
    assert not any("High Mountain Asia" in warning for warning in run(tmp_path, area, settings, (2023,)).warnings)
    monkeypatch.setattr("cryosentinel_core.ground.area.HIGH_MOUNTAIN_ASIA", (0.0, 40.0, 10.0, 50.0))
    assert any("High Mountain Asia" in warning for warning in run(tmp_path, area, settings, (2023,)).warnings)
