"""From two years' lakes on disk to table, map and layers: drawn lakes with known fates, and real inventories."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from numpy.typing import NDArray

from cryosentinel_core.errors import CryosentinelError, DataError, InputError
from cryosentinel_core.ground.lattice import Grid, Tile
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.ground.season import EPOCH
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.rasters.cogs import RasterFormat, write_cog_in_strips
from cryosentinel_core.io.rasters.stack_files import read_stack, write_stack_tile
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.tables.registry import read_registry, write_registry
from cryosentinel_core.io.tables.vector import write_lakes
from cryosentinel_core.io.workspace import Workspace, write_json
from cryosentinel_core.lakes.extract import extract_lakes, merge_zones
from cryosentinel_core.lakes.tables import CHANGE_COLUMNS, Inventory, LakeOrigin, LakeReaders
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.change_summary import ChangeSummary
from cryosentinel_core.reporter import Reporter, Silent
from cryosentinel_core.scenes.registration import UNKNOWN
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.simulate import SimulateSettings, simulate
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.workflows.change import change, change_inventories
from cryosentinel_core.workflows.predict import predict

EPSG = 32643
TILE = Tile(EPSG, -1065, 120, 2)
HULL = TILE.grid
SIDE = HULL.height
CELLS = {"cells": [[row, col] for row in (-2130, -2129) for col in (240, 241)]}
"""As the record of the tile lists them."""
Disc = tuple[float, float, float]
"""(column, row, radius) in pixels."""

LAKES: dict[int, list[Disc]] = {
    2017: [
        (60, 60, 15),
        (160, 60, 10),
        (190, 60, 11),
        (300, 60, 14),
        (60, 200, 16),
        (200, 200, 20),
        (330, 220, 12),
        (60, 330, 25),
        (350, 370, 14),
    ],
    2021: [
        (60, 60, 18),
        (160, 60, 12),
        (190, 60, 12),
        (300, 60, 14),
        (60, 200, 16),
        (330, 220, 12),
        (60, 330, 25),
        (200, 380, 12),
        (353, 370, 17),
    ],
    2023: [
        (60, 60, 21),
        (163, 60, 16),
        (187, 60, 16),
        (300, 60, 14),
        (200, 200, 20),
        (60, 330, 25),
        (200, 380, 13),
        (356, 370, 20),
    ],
}
"""Grows; merges; stays; frozen in 2023; clouded in 2021; vanishes in 2023; stays; appears in 2021; eats into a glacier."""
TONGUE: Disc = (378, 370, 28)
ICE: dict[int, list[Disc]] = {2017: [TONGUE], 2021: [TONGUE], 2023: [(60, 200, 40), TONGUE]}
CLOUD: dict[int, list[Disc]] = {2017: [], 2021: [(200, 200, 40)], 2023: []}
NAMES = {
    "grows": (60, 60),
    "merges": (175, 60),
    "stays": (300, 60),
    "frozen": (60, 200),
    "clouded": (200, 200),
    "vanishes": (330, 220),
    "large": (60, 330),
    "appears": (200, 380),
    "eats": (356, 370),
}


def depth_of(discs: list[Disc]) -> NDArray[np.float64]:
    rows, cols = np.mgrid[:SIDE, :SIDE] + 0.5
    depth = np.full((SIDE, SIDE), -20.0)
    for col, row, radius in discs:
        depth = np.maximum(depth, radius - np.hypot(cols - col, rows - row))
    return depth


def lonlat(col: float, row: float) -> tuple[float, float]:
    lon, lat = transformer(EPSG, 4326).transform(HULL.bounds[0] + 10 * col, HULL.bounds[3] - 10 * row)
    return float(lon), float(lat)


def write_year(
    workspace: Workspace,
    year: int,
    model: str = "water-index",
    *,
    day: str = "08-15",
    texture: NDArray[np.float64] | None = None,
    moved_px: tuple[float, float] = (0.0, 0.0),
) -> None:
    """What fetch and predict leave of a year; lakes lie `moved_px` (columns, rows) off, the ground is as its texture says."""
    right, down = moved_px
    depth = depth_of([(col + right, row + down, radius) for col, row, radius in LAKES[year]])
    condition = np.zeros((SIDE, SIDE), dtype=np.uint8)
    condition[(depth_of(ICE[year]) > 0) & (depth <= 0)] = 1
    condition[depth_of(CLOUD[year]) > 0] = 3
    logits = np.round(np.clip(4 * depth, -16, 16) * 1000).astype(np.int16)
    logits[condition > 0] = LOGIT_NODATA
    water = (logits > 0).astype(np.uint8)
    water[condition == 1], water[condition == 3] = 2, 255
    folder = workspace.model("here", year, model)
    layer = RasterFormat(dtype="uint8", names=("classes",))
    write_cog_in_strips(folder / f"water_{EPSG}.tif", HULL, layer, {}, lambda grid: water[grid.slices_in(HULL)])
    days = (pd.Timestamp(f"{year}-{day}").date() - EPOCH).days
    s2 = np.full((12, SIDE, SIDE), 1800, dtype=np.uint16)
    if texture is not None:
        s2[:] = np.round(1800 * np.exp(0.2 * texture)).astype(np.uint16)
    s2[:, depth > 0] = np.array([500, 600, 700, 400, *[200] * 8], dtype=np.uint16)[:, None]
    s2[:, condition > 0] = 7000
    dem = np.full((SIDE, SIDE), 3300, dtype=np.float32)
    dem[(depth_of([TONGUE]) > 0) & (depth_of(LAKES[2017]) <= 0)] += 25
    counts = np.full((5, SIDE, SIDE), 3, dtype=np.uint8)
    counts[1] = np.where(depth > 0, 3, 0)
    dates = np.full((3, SIDE, SIDE), days, dtype=np.uint16)
    stack = Stack(grid=HULL, s2=s2, s1=None, dem=dem, counts=counts, condition=condition, dates=dates)
    write_stack_tile(workspace.year("here", year) / "stack-0", TILE, stack, Provenance(kind="stack tile", inputs=CELLS))

    def cut(array: NDArray[np.generic]) -> Callable[[Grid], NDArray[np.generic]]:
        return lambda grid: array[(..., *grid.slices_in(HULL))]

    readers = LakeReaders(
        logits=cut(logits),  # type: ignore[arg-type]
        processed=lambda grid: np.ones(grid.shape, dtype=bool),
        dem=cut(dem),  # type: ignore[arg-type]
        counts=cut(counts),  # type: ignore[arg-type]
        dates=cut(dates),  # type: ignore[arg-type]
    )
    origin = LakeOrigin(aoi="here", year=year, model=model, radar_used=False)
    area = shapely.box(*lonlat(5, SIDE - 5), *lonlat(SIDE - 5, 5))
    found = extract_lakes(readers, HULL, area, origin)
    told = {"year": year, "radar_used": False, "day": day, "uncertainty": origin.error_model.as_dict()}
    provenance = Provenance(kind="lakes", settings=told)
    write_lakes(folder, *merge_zones([found]), provenance)
    write_json(
        folder / "run.json", {**provenance.as_dict(), "stack": "stack-0", "stack_tile_cells": 2, "zones": [EPSG]}
    )


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    for year in LAKES:
        write_year(Workspace(root), year)
    return root


@pytest.fixture
def workspace(years: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(years, tmp_path / "w")
    return Workspace(tmp_path / "w")


def run(workspace: Workspace, *years: int, **settings: object) -> ChangeSummary:
    wanted = ChangeSettings(**settings)  # type: ignore[arg-type]
    return change(workspace, "here", years, "water-index", wanted, reporter=Silent())


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def fates(table: pd.DataFrame, pair: str = "2017-2023") -> dict[str, str]:
    """Name of a drawn lake -> status, with the reason after a slash."""
    rows = table[table["pair"] == pair]
    found = {}
    for name, place in NAMES.items():
        lon, lat = lonlat(*place)
        near = rows[np.hypot(rows["lon"] - lon, rows["lat"] - lat) < 0.004]
        assert len(near) <= 1
        if len(near):
            found[name] = "/".join(part for part in near[["status", "reason"]].iloc[0] if part)
    assert len(found) == len(rows)
    return found


def test_every_lake_meets_its_fate(workspace: Workspace) -> None:
    summary = run(workspace, 2017, 2023)
    assert fates(summary.table) == {
        "grows": "grown",
        "merges": "merged",
        "stays": "stable",
        "frozen": "unobserved/ice",
        "clouded": "stable",
        "vanishes": "vanished",
        "large": "stable",
        "appears": "new",
        "eats": "grown",
    }
    assert summary.table.columns.tolist() == list(CHANGE_COLUMNS)
    grown = summary.table[summary.table["status"] == "grown"].iloc[0]
    assert grown["area_from_m2"] == pytest.approx(np.pi * 150**2, rel=5e-3)
    assert grown["area_to_m2"] == pytest.approx(np.pi * 210**2, rel=5e-3)
    place = np.hypot(*(summary.table[["lon", "lat"]].to_numpy() - lonlat(*NAMES["eats"])).T)
    eats = summary.table.iloc[int(place.argmin())]
    assert (eats["glacier_contact_from"], eats["glacier_contact_to"]) == ("yes", "yes")
    assert set(summary.table.drop(index=eats.name)["glacier_contact_from"]) == {"no"}
    assert summary.table["glacier_distance_m"].isna().all()
    assert summary.reasons == {"ice": 1}
    text = summary.as_text()
    assert "2 grown" in text
    assert str(summary.folder) in text
    json.dumps(summary.as_dict(), allow_nan=False)


def test_outlines_of_glaciers_give_distances(workspace: Workspace, tmp_path: Path) -> None:
    """Twelve pixels east of a lake, under debris, so that no ice tells."""
    west, east = lonlat(300 + 26, 80), lonlat(300 + 40, 40)
    frame = gpd.GeoDataFrame(geometry=[shapely.box(*west, *east)], crs="EPSG:4326")
    frame.to_file(tmp_path / "glaciers.gpkg")
    table = run(workspace, 2017, 2023, glaciers=tmp_path / "glaciers.gpkg").table
    near = np.hypot(*(table[["lon", "lat"]].to_numpy() - lonlat(300, 60)).T) < 0.002
    assert table.loc[near, "glacier_distance_m"].tolist() == pytest.approx([120.0], abs=12.0)
    assert table.loc[near, "glacier_contact_to"].tolist() == ["no"]


def test_another_model_checks_the_lakes(workspace: Workspace) -> None:
    """One whose lakes lie three pixels off: large ones agree more. What it said does not outlive a comparison without it."""
    for year in (2017, 2023):
        write_year(workspace, year, "other", moved_px=(3.0, 0.0))

    def compare(check_model: str | None) -> ChangeSummary:
        return change(
            workspace, "here", (2017, 2023), "water-index", ChangeSettings(), reporter=Silent(), check_model=check_model
        )

    checked = compare("other")
    check = pd.read_csv(checked.folder / "check.csv")
    assert check["agreement"].is_monotonic_increasing
    assert checked.table.columns.tolist() == [*CHANGE_COLUMNS, "agreement"]
    assert checked.check["model"] == "other"
    assert "checked with other: agreement 0." in checked.as_text()
    large = np.hypot(*(check[["lon", "lat"]].to_numpy() - lonlat(*NAMES["large"])).T) < 0.002
    assert check.loc[large, "agreement"].to_numpy() == pytest.approx([0.86, 0.86], abs=0.02)
    assert compare("other").is_reused
    (checked.folder / "check.csv").unlink()
    assert not compare("other").is_reused
    plain = compare(None)
    assert not plain.is_reused
    assert not (plain.folder / "check.csv").exists()
    assert plain.table.columns.tolist() == list(CHANGE_COLUMNS)
    with pytest.raises(DataError, match="no lakes of 2017"):
        compare("nobody")


def test_three_years_tell_the_middle_one_too(workspace: Workspace) -> None:
    summary = run(workspace, 2017, 2021, 2023)
    assert fates(summary.table, "2017-2021") == {
        "grows": "grown",
        "merges": "grown",
        "stays": "stable",
        "frozen": "stable",
        "clouded": "unobserved/cloud",
        "vanishes": "stable",
        "large": "stable",
        "appears": "new",
        "eats": "grown",
    }
    assert fates(summary.table, "2021-2023")["merges"] == "merged"
    series = pd.read_csv(summary.folder / "series.csv")
    assert len(series) == 9 * 3
    growing = summary.table[summary.table["status"] == "grown"]["trend_m2_per_year"]
    assert (growing.dropna() > 0).all()


def test_files_hold_the_same_table_and_open_alone(workspace: Workspace) -> None:
    folder = run(workspace, 2017, 2023).folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "alerts.csv",
        "change.csv",
        "change.gpkg",
        "change.json",
        "change.parquet",
        "change.png",
        "totals.csv",
    ]
    assert [name for name, _ in pyogrio.list_layers(folder / "change.gpkg")] == ["change", "gained", "lost"]
    csv, parquet = pd.read_csv(folder / "change.csv"), gpd.read_parquet(folder / "change.parquet")
    package = pyogrio.read_dataframe(folder / "change.gpkg", layer="change")
    for other in (csv, package):
        assert other["lake_key"].tolist() == parquet["lake_key"].tolist()
        assert other["area_to_m2"].to_numpy() == pytest.approx(parquet["area_to_m2"].to_numpy(), nan_ok=True)
    lost = pyogrio.read_dataframe(folder / "change.gpkg", layer="lost")
    vanished = parquet[parquet["status"] == "vanished"].iloc[0]
    piece = lost[lost["lake_key"] == vanished["lake_key"]].iloc[0]
    assert piece["area_m2"] == pytest.approx(vanished["area_from_m2"], rel=1e-6)
    frozen = parquet[parquet["status"] == "unobserved"].iloc[0]
    assert frozen["lake_key"] not in set(lost["lake_key"])
    record = json.loads((folder / "change.json").read_text())
    assert set(record["inputs"]["years"]) == {"2017", "2023"}


def test_a_second_run_does_nothing_and_a_changed_one_does(workspace: Workspace) -> None:
    first = run(workspace, 2017, 2023)
    stamp = (first.folder / "change.csv").stat().st_mtime_ns
    again = run(workspace, 2017, 2023)
    assert again.is_reused
    assert (first.folder / "change.csv").stat().st_mtime_ns == stamp
    assert again.table.equals(first.table)
    assert not run(workspace, 2017, 2023, confidence=0.99).is_reused
    write_year(workspace, 2023, day="08-20")
    assert not run(workspace, 2017, 2023, confidence=0.99).is_reused


WRITERS = ("write_registry", "write_csv", "write_parquet", "write_geopackage", "draw_change", "write_json")
"""In the order in which they are called."""


@pytest.fixture(scope="module")
def untouched(years: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Bytes of a run that nothing interrupted."""
    root = tmp_path_factory.mktemp("untouched")
    shutil.copytree(years, root / "w")
    folder = run(Workspace(root / "w"), 2017, 2023).folder
    return {
        **digests(folder),
        "registry": hashlib.sha256(Workspace(root / "w").registry("here").read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_bytes_wherever_it_was_killed(workspace: Workspace, untouched: dict[str, str], writer: str) -> None:
    from cryosentinel_core.workflows import comparing as corridor

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corridor, writer, killed)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, 2017, 2023)
    summary = run(workspace, 2017, 2023)
    assert not summary.is_reused
    registry = hashlib.sha256(workspace.registry("here").read_bytes()).hexdigest()
    assert {**digests(summary.folder), "registry": registry} == untouched


def test_keys_stay_when_a_year_is_added(workspace: Workspace) -> None:
    two = run(workspace, 2017, 2023).table
    three = run(workspace, 2017, 2021, 2023).table
    first_last = three[three["pair"] == "2017-2023"]
    assert set(two["lake_key"]) <= set(first_last["lake_key"])
    merged = two[two["status"] == "merged"].iloc[0]
    assert len(merged["aliases"].split(";")) == 1
    assert merged["lake_key"] != merged["aliases"]


def test_dates_too_far_apart_are_not_compared(workspace: Workspace) -> None:
    write_year(workspace, 2023, day="09-29")
    table = run(workspace, 2017, 2023).table
    assert set(table["reason"]) == {"season", "ice"}
    assert set(run(workspace, 2017, 2023, max_day_difference=60.0).table["reason"]) == {"", "ice"}


def test_without_its_stack_cloud_is_nodata_and_the_picture_is_plain(workspace: Workspace) -> None:
    for year in (2017, 2021):
        shutil.rmtree(workspace.year("here", year) / "stack-0")
    summary = run(workspace, 2017, 2021)
    assert summary.reasons == {"ice": 1, "nodata": 1}, "without heights nobody can tell the glacier from a frozen lake"
    assert (summary.folder / "change.png").stat().st_size > 10_000


def test_watched_lakes_always_have_a_row(workspace: Workspace, tmp_path: Path) -> None:
    places = [shapely.Point(lonlat(60, 60)), shapely.Point(lonlat(400, 30)).buffer(0.001)]
    frame = gpd.GeoDataFrame({"name": ["Growing", "Dry"]}, geometry=places, crs="EPSG:4326")
    frame.to_file(tmp_path / "watch.geojson")
    table = run(workspace, 2017, 2023, watch=tmp_path / "watch.geojson").table
    assert table.loc[table["aliases"].str.contains("Growing"), "status"].tolist() == ["grown"]
    assert table.loc[table["aliases"] == "Dry", "status"].tolist() == ["stable"]
    with pytest.raises(InputError, match="cannot read"):
        run(workspace, 2017, 2023, watch=tmp_path / "none.geojson")


def test_a_watched_name_is_no_formula_in_the_csv(workspace: Workspace, tmp_path: Path) -> None:
    """Spreadsheets run a cell that begins with =, +, - or @, also one behind a semicolon; only the CSV is guarded."""
    places = [shapely.Point(lonlat(*NAMES[name])) for name in ("grows", "stays", "large", "appears")]
    names = ["=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1"]
    gpd.GeoDataFrame({"name": names}, geometry=places, crs="EPSG:4326").to_file(tmp_path / "watch.geojson")
    folder = run(workspace, 2017, 2023, watch=tmp_path / "watch.geojson").folder
    csv, parquet = pd.read_csv(folder / "change.csv"), gpd.read_parquet(folder / "change.parquet")
    assert sorted(csv["aliases"].dropna()) == sorted(f"'{name}" for name in names) + sorted(
        parquet.loc[parquet["status"] == "merged", "aliases"]
    )
    assert set(names) <= set(parquet["aliases"])
    again = run(workspace, 2017, 2023)
    merged = again.table.loc[again.table["status"] == "merged", "lake_key"].iloc[0]
    assert merged in set(csv["lake_key"])


def test_layers_of_a_watched_table_hold_polygons(workspace: Workspace, tmp_path: Path) -> None:
    """A watched place without an outline has a row and no geometry: never a point among polygons."""
    places = [shapely.Point(lonlat(400, 30)), shapely.Point(lonlat(*NAMES["grows"]))]
    gpd.GeoDataFrame({"name": ["Dry", "Growing"]}, geometry=places, crs="EPSG:4326").to_file(tmp_path / "watch.geojson")
    folder = run(workspace, 2017, 2023, watch=tmp_path / "watch.geojson").folder
    assert pyogrio.read_info(folder / "change.gpkg", layer="change")["geometry_type"] in ("Polygon", "MultiPolygon")
    for table in (
        pyogrio.read_dataframe(folder / "change.gpkg", layer="change"),
        gpd.read_parquet(folder / "change.parquet"),
    ):
        dry = table["aliases"] == "Dry"
        assert table.geometry.isna().tolist() == dry.tolist()
        assert (table.loc[dry, "lon"].iloc[0], table.loc[dry, "lat"].iloc[0]) == pytest.approx(lonlat(400, 30))


def test_all_layers_of_watched_lakes_count(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("grows", "stays"):
        frame = gpd.GeoDataFrame({"name": [name]}, geometry=[shapely.Point(lonlat(*NAMES[name]))], crs="EPSG:4326")
        frame.to_file(tmp_path / "watch.gpkg", layer=name)
    table = run(workspace, 2017, 2023, watch=tmp_path / "watch.gpkg").table
    assert {"grows", "stays"} <= set(table["aliases"])


def test_our_own_lakes_are_an_inventory(workspace: Workspace, tmp_path: Path) -> None:
    """`lakes.gpkg` has two layers: the lakes are compared, and no driver warns (warnings are errors here)."""
    files = [workspace.model("here", year, "water-index") / "lakes.gpkg" for year in (2017, 2023)]
    inventories = [
        Inventory(year=y, path=str(file), resolution_m=10) for y, file in zip((2017, 2023), files, strict=True)
    ]
    summary = change_inventories(inventories, tmp_path / "out", ChangeSettings(), reporter=Silent())
    assert summary.statuses["2017-2023"]["grown"] == 2
    assert summary.statuses["2017-2023"]["merged"] == 1


def test_the_table_fits_a_terminal(workspace: Workspace, tmp_path: Path) -> None:
    place = gpd.GeoDataFrame({"name": ["Growing"]}, geometry=[shapely.Point(lonlat(60, 60))], crs="EPSG:4326")
    place.to_file(tmp_path / "watch.geojson")
    summary = run(workspace, 2017, 2023, watch=tmp_path / "watch.geojson")
    lines = summary.as_text().splitlines()
    rows = [line for line in lines if line.startswith(("*", " "))]
    assert len(rows) == 10
    assert max(map(len, rows)) <= 80
    grown = next(line for line in rows if " grown " in line)
    assert grown.split()[:5] == ["*", "Growing", "grown", "7.07", "13.86"]
    frozen = next(line for line in rows if " unobserved " in line)
    assert frozen.endswith(" ice")


def test_what_another_process_has_just_made_is_reused(workspace: Workspace) -> None:
    from cryosentinel_core.workflows import comparing as corridor

    @contextmanager
    def waited_for(part: Path, task: str, reporter: Reporter) -> Iterator[None]:
        """The other process makes the same comparison while this one waits."""
        patch.undo()
        assert not run(workspace, 2017, 2023).is_reused
        with hold_part(part, task, reporter):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corridor, "hold_part", waited_for)
        assert run(workspace, 2017, 2023).is_reused


OTHER = """
import sys
from pathlib import Path
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Reporter, Silent
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.workflows.change import change

class Notes(Silent):
    def note(self, message):
        print(message, flush=True)

change(Workspace(Path(sys.argv[1])), "here", (2021, 2023), "water-index", ChangeSettings(), reporter=Notes())
"""


def test_two_processes_share_one_registry(workspace: Workspace) -> None:
    """Who would read the registry while another is about to write it waits, and says for whom: no key is lost."""
    from cryosentinel_core.workflows import comparing as corridor

    def late(path: Path, registry: gpd.GeoDataFrame) -> None:
        heard = next(line for line in held[0].stdout or () if "waiting" in line)
        assert f"registry.gpkg is in use by process {os.getpid()} " in heard
        assert "(change 2017 2023)" in heard
        write_registry(path, registry)

    def read(path: Path) -> gpd.GeoDataFrame:
        command = [sys.executable, "-c", OTHER, str(workspace.root)]
        held.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return read_registry(path)

    held: list[subprocess.Popen[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corridor, "read_registry", read)
        patch.setattr(corridor, "write_registry", late)
        first = run(workspace, 2017, 2023).table
    with held[0] as other:
        assert other.wait(timeout=120) == 0
    second = run(workspace, 2021, 2023)
    assert second.is_reused
    keys = set(read_registry(workspace.registry("here"))["lake_key"])
    assert set(first["lake_key"]) | set(second.table["lake_key"]) <= keys


def test_missing_years_and_wrong_order_are_said(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="no lakes of 2019"):
        run(workspace, 2017, 2019)
    with pytest.raises(InputError, match="ascending"):
        run(workspace, 2023, 2017)
    (workspace.model("here", 2023, "water-index") / "lakes.gpkg").write_bytes(b"damaged")
    with pytest.raises(CryosentinelError, match=r"lakes\.gpkg"):
        run(workspace, 2017, 2023)


def test_radar_in_one_year_only_is_said(workspace: Workspace) -> None:
    record = workspace.model("here", 2023, "water-index") / "run.json"
    data = json.loads(record.read_text())
    data["settings"]["radar_used"] = True
    record.write_text(json.dumps(data))
    assert any("radar" in warning for warning in run(workspace, 2017, 2023).warnings)


@pytest.fixture
def shifted(workspace: Workspace) -> Workspace:
    """2017 and 2023 with textured ground, the images of 2023 8 m to the east and 5 m to the south."""
    rng = np.random.default_rng(3)
    frequency_row, frequency_col = np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]
    frequency = np.hypot(frequency_row, frequency_col)
    spectrum = np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * (frequency < 0.3) / np.maximum(frequency, 0.02)
    for year, (right, down) in {2017: (0.0, 0.0), 2023: (0.8, 0.5)}.items():
        phase = np.exp(-2j * np.pi * (frequency_row * down + frequency_col * right))
        field = np.fft.ifft2(spectrum * phase).real
        write_year(workspace, year, texture=field / field.std(), moved_px=(right, down))
    return workspace


def test_a_shift_is_measured_told_and_taken_out_of_gained_and_lost(shifted: Workspace) -> None:
    summary = run(shifted, 2017, 2023)
    shift = summary.registration["2017-2023"]
    assert shift["dx_m"] == pytest.approx(8.0, abs=0.3)
    assert shift["dy_m"] == pytest.approx(-5.0, abs=0.3)
    assert 0 < shift["sigma_m"] < 0.5
    assert shift["n_patches"] >= 10
    assert shift["is_applied"]
    assert any("more than half a pixel" in warning for warning in summary.warnings)
    record = json.loads((summary.folder / "change.json").read_text())
    assert record["registration"] == summary.registration
    assert json.loads(json.dumps(summary.as_dict(), allow_nan=False))["registration"] == summary.registration
    assert run(shifted, 2017, 2023).registration == summary.registration
    lon, lat = lonlat(*NAMES["large"])
    stays = summary.table[np.hypot(summary.table["lon"] - lon, summary.table["lat"] - lat) < 0.004].iloc[0]
    assert stays["status"] == "stable"
    left = sum(
        layer.loc[layer["lake_key"] == stays["lake_key"], "area_m2"].sum()
        for layer in (pyogrio.read_dataframe(summary.folder / "change.gpkg", layer=name) for name in ("gained", "lost"))
    )
    slivers = 4 * 250.0 * np.hypot(8.0, 5.0)
    assert left < 0.15 * slivers


def test_areas_and_statuses_never_depend_on_the_shift(shifted: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryosentinel_core.workflows import change as corridor

    with_shift = run(shifted, 2017, 2023)
    table = (with_shift.folder / "change.csv").read_bytes()
    gained = pyogrio.read_dataframe(with_shift.folder / "change.gpkg", layer="gained")
    (with_shift.folder / "change.json").unlink()
    monkeypatch.setattr(corridor, "measure_registration", lambda first, second: UNKNOWN)
    without = run(shifted, 2017, 2023)
    assert (without.folder / "change.csv").read_bytes() == table
    assert not without.registration["2017-2023"]["is_applied"]
    assert without.registration["2017-2023"]["dx_m"] is None
    assert (
        pyogrio.read_dataframe(without.folder / "change.gpkg", layer="gained")["area_m2"].sum()
        > gained["area_m2"].sum()
    )


def test_plain_ground_and_missing_stacks_leave_the_shift_unknown(workspace: Workspace) -> None:
    plain = run(workspace, 2017, 2023)
    assert plain.registration["2017-2023"]["dx_m"] is None
    assert not any("pixel" in warning for warning in plain.warnings)
    shutil.rmtree(workspace.year("here", 2021) / "stack-0")
    assert run(workspace, 2017, 2021).registration["2017-2021"]["sigma_m"] is None


def test_the_shift_does_not_depend_on_how_the_stack_is_cut(shifted: Workspace) -> None:
    whole = run(shifted, 2017, 2023).registration
    assert whole["2017-2023"]["dx_m"] is not None
    for year in (2017, 2023):
        home = shifted.year("here", year) / "stack-0"
        stack = read_stack(home, EPSG, HULL, tile_cells=2)
        shutil.rmtree(home / str(EPSG))
        for row, col in CELLS["cells"]:
            tile = Tile(EPSG, row, col, 1)
            rows, cols = tile.grid.slices_in(HULL)
            piece = Stack(
                grid=tile.grid,
                s2=stack.s2[:, rows, cols],
                s1=None,
                dem=stack.dem[rows, cols],
                counts=stack.counts[:, rows, cols],
                condition=stack.condition[rows, cols],
                dates=stack.dates[:, rows, cols],
            )
            write_stack_tile(home, tile, piece, Provenance(kind="stack tile", inputs={"cells": [[row, col]]}))
        record = shifted.model("here", year, "water-index") / "run.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "stack_tile_cells": 1}))
    shutil.rmtree(shifted.change("here", (2017, 2023), "water-index"))
    assert run(shifted, 2017, 2023).registration == whole


def mean_shift(catalogue: Path, stack: Path) -> NDArray[np.float64]:
    """Mean of the true shifts (east, north) of the scenes that a stack was made of."""
    truth = json.loads((catalogue / "truth" / "scenes.json").read_text())
    shifts = {name: scene["shift_m"] for scene in truth for name in scene["ids"]}
    records = [json.loads(path.read_text()) for path in sorted(stack.glob("*/*/tile.json"))]
    used = {name.split("/")[-1] for record in records for name in record["inputs"]["items"]["optical"]}
    assert used
    return np.mean([shifts[name] for name in sorted(used)], axis=0)


@pytest.mark.slow
def test_the_shift_of_simulated_scenes(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue"
    simulate(
        catalogue,
        SimulateSettings(
            seed=4,
            size_km=2.0,
            margin_km=4.0,
            optical_dates=3,
            radar_dates=1,
            year_shift_m=6.0,
            misregistration_m=1.0,
            cloud=0.05,
        ),
    )
    home, area = Workspace(tmp_path / "w"), load_area(str(catalogue / "aoi.geojson"))
    fetching = FetchSettings(catalog=str(catalogue))
    predict(home, area, (2017, 2023), PredictSettings(model="water-index"), fetching, reporter=Silent())
    summary = change(home, area.name, (2017, 2023), "water-index", ChangeSettings(), reporter=Silent())
    stacks = [next(home.year(area.name, year).glob("stack-*")) for year in (2017, 2023)]
    true = mean_shift(catalogue, stacks[1]) - mean_shift(catalogue, stacks[0])
    assert np.hypot(*true) > 4.0
    shift = summary.registration["2017-2023"]
    assert shift["n_patches"] >= 20
    assert (shift["dx_m"], shift["dy_m"]) == pytest.approx(tuple(true), abs=2.0)


def test_real_inventories_in_a_few_seconds(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "lakes"
    inventories = [Inventory(year=year, path=str(folder / f"HKH_{year}.shp"), resolution_m=30) for year in (2010, 2020)]
    summary = change_inventories(inventories, tmp_path, ChangeSettings(min_area_m2=1.0), reporter=Silent())
    first, second = (pyogrio.read_dataframe(folder / f"HKH_{year}.shp") for year in (2010, 2020))
    twins = set(first.geometry.force_2d().normalize().to_wkb()) & set(second.geometry.force_2d().normalize().to_wkb())
    same = summary.table[summary.table["change_m2"] == 0.0]
    assert len(twins) >= 505
    assert len(same) >= len(twins) - 3
    assert set(same["status"]) == {"stable"}
    assert not same["significant"].any()
    lonely = summary.table[(summary.table["lake_ids_from"] == "") | (summary.table["lake_ids_to"] == "")]
    assert len(lonely) > 50
    assert set(lonely["status"] + "/" + lonely["reason"]) == {"unobserved/not drawn"}
    assert lonely["change_m2"].isna().all()
    assert not {"new", "vanished"} & set(summary.table["status"])
    assert change_inventories(inventories, tmp_path, ChangeSettings(min_area_m2=1.0), reporter=Silent()).is_reused


def test_three_real_years_tell_of_known_lakes(shared_data: Path, tmp_path: Path) -> None:
    path = str(shared_data / "lakes/khumbu_2000_2010_2020.gpkg")
    inventories = [
        Inventory(year=year, path=path, resolution_m=30, select=("year", str(year))) for year in (2000, 2010, 2020)
    ]
    summary = change_inventories(inventories, tmp_path, ChangeSettings(), reporter=Silent())
    rows = summary.table[summary.table["pair"] == "2000-2020"]
    imja = rows[np.hypot(rows["lon"] - 86.922, rows["lat"] - 27.899) < 0.02].sort_values("area_to_m2").iloc[-1]
    assert imja["status"] == "grown"
    assert imja["area_from_m2"] / 1e6 == pytest.approx(0.841, rel=0.01)
    assert imja["area_to_m2"] / 1e6 == pytest.approx(1.582, rel=0.01)
    assert imja["trend_robust_m2_per_year"] == pytest.approx((1.582 - 0.841) / 20 * 1e6, rel=0.02)
    assert imja["trend_low_m2_per_year"] < imja["trend_robust_m2_per_year"] < imja["trend_high_m2_per_year"]
    assert np.isnan(imja["trend_robust_low_m2_per_year"])
    barun = rows[np.hypot(rows["lon"] - 87.097, rows["lat"] - 27.798) < 0.02].sort_values("area_to_m2").iloc[-1]
    assert (barun["status"], round(barun["area_to_m2"] / 1e6, 2)) == ("grown", 2.05)


def test_no_lakes_at_all_are_a_result(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for year in (2017, 2023):
        monkeypatch.setitem(LAKES, year, [])
        write_year(workspace, year)
    summary = run(workspace, 2017, 2023)
    assert summary.n_rows == 0
    assert (summary.folder / "change.png").exists()


def test_an_old_inventory_beside_an_own_year(workspace: Workspace, tmp_path: Path) -> None:
    """Own years judge the ground of lakes that they lack; the inventory speaks only of those that it draws, inside the area."""
    area = shapely.box(*lonlat(5, SIDE - 5), *lonlat(SIDE - 5, 5))
    feature = {"type": "Feature", "properties": {"name": "here"}, "geometry": json.loads(shapely.to_geojson(area))}
    write_json(workspace.area("here") / "aoi.geojson", feature)
    old = gpd.read_file(workspace.model("here", 2017, "water-index") / "lakes.gpkg", layer="lakes")
    far = shapely.Point(79, 43).buffer(0.01)
    outlines = [*old.geometry[~old.contains(shapely.Point(lonlat(*NAMES["stays"])))], far]
    gpd.GeoDataFrame(geometry=outlines, crs="EPSG:4326").to_file(tmp_path / "old.gpkg")
    inventory = Inventory(year=2011, path=str(tmp_path / "old.gpkg"), resolution_m=30)
    summary = change(
        workspace, "here", (2023,), "water-index", ChangeSettings(), reporter=Silent(), inventories=[inventory]
    )
    found = fates(summary.table, "2011-2023")
    assert found["grows"] == "grown"
    assert found["vanishes"] == "vanished"
    assert found["frozen"] == "unobserved/ice"
    assert found["stays"] == found["appears"] == "unobserved/not drawn"
    assert "_inventories" in summary.folder.name
