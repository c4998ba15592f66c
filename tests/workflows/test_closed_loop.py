"""The whole main job against the truth of simulated scenes: what the benchmark measures at length, held here at small size."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import hull_of_cells
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.tables.vector import read_lakes
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.stack import Condition, Stack
from cryosentinel_core.workflows.change import ChangeSummary, change
from cryosentinel_core.workflows.fetch import fetch
from cryosentinel_core.workflows.predict import predict

YEARS = (2017, 2023)


@pytest.fixture(scope="module")
def done(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Area, ChangeSummary]:
    home = Workspace(tmp_path_factory.mktemp("loop"))
    area = load_area(str(small_catalogue / "aoi.geojson"))
    fetching = FetchSettings(catalog=str(small_catalogue))
    summary = predict(home, area, YEARS, PredictSettings(model="water-index"), fetching, reporter=Silent())
    return (
        home,
        area,
        change(home, area.name, YEARS, summary.model, ChangeSettings(errors="simulated"), reporter=Silent()),
    )


@pytest.fixture(scope="module")
def truth(small_catalogue: Path) -> tuple[geopandas.GeoDataFrame, pd.DataFrame]:
    lakes = geopandas.read_file(small_catalogue / "truth" / "lakes.gpkg", layer="lakes")
    return lakes, pd.read_csv(small_catalogue / "truth" / "events.csv", keep_default_na=False, na_values=[""])


def seen_lakes(lakes: geopandas.GeoDataFrame, events: pd.DataFrame, area: Area) -> geopandas.GeoDataFrame:
    hidden = {part for ids in events[events.status == "unobserved"].truth_ids for part in str(ids).split(";")}
    return lakes[~lakes.truth_id.isin(hidden) & lakes.within(area.geometry) & (lakes.area_m2 >= 5000)]


def test_lakes_are_found_with_their_areas(
    done: tuple[Workspace, Area, ChangeSummary], truth: tuple[geopandas.GeoDataFrame, pd.DataFrame]
) -> None:
    home, area, _ = done
    seen = seen_lakes(*truth, area)
    assert len(seen) >= 5
    errors = []
    for year in YEARS:
        lakes, candidates = read_lakes(home.model(area.name, year, "water-index"))
        found = pd.concat([lakes, candidates])
        for row in seen[seen.year == year].itertuples():
            best = found[found.intersects(row.geometry)].sort_values("area_m2").tail(1)
            assert len(best) == 1, f"{row.truth_id} of {year} was not found"
            errors.append(float(best.area_m2.iloc[0]) / row.area_m2 - 1)
            union = shapely.union(best.geometry.iloc[0], row.geometry).area
            assert shapely.intersection(best.geometry.iloc[0], row.geometry).area / union > 0.65
    assert abs(np.mean(errors)) < 0.04
    assert np.median(np.abs(errors)) < 0.04


def test_no_large_lake_is_invented(
    done: tuple[Workspace, Area, ChangeSummary], truth: tuple[geopandas.GeoDataFrame, pd.DataFrame]
) -> None:
    home, area, _ = done
    for year in YEARS:
        lakes, _ = read_lakes(home.model(area.name, year, "water-index"))
        strange = lakes[~lakes.intersects(shapely.union_all(truth[0].geometry.to_numpy()))]
        assert strange.empty


def test_what_the_table_says_happened(
    done: tuple[Workspace, Area, ChangeSummary], truth: tuple[geopandas.GeoDataFrame, pd.DataFrame]
) -> None:
    """No lake that did not change is called changed, and what was hidden is unobserved, not gone."""
    rows = geopandas.read_file(done[2].folder / "change.gpkg", layer="change")
    lakes, events = truth
    checked = 0
    for event in events.itertuples():
        shapes = lakes[lakes.truth_id.isin(str(event.truth_ids).split(";"))]
        place = shapely.union_all(shapes.geometry.to_numpy())
        found = rows[rows.intersects(place)]
        if found.empty:
            continue
        checked += 1
        said = set(found.status)
        if event.true_status == "stable" and event.status == "stable":
            assert said <= {"stable", "unobserved"}, event.truth_ids
        if event.status == "unobserved":
            assert "vanished" not in said, event.truth_ids
            assert "new" not in said, event.truth_ids
        if event.status in ("new", "vanished") and max(event.area_from_m2, event.area_to_m2) > 6000:
            assert said <= {event.status, "unobserved"}, event.truth_ids
    assert checked >= 5


def rock_difference(home: Workspace, area: Area, catalogue: Path) -> np.ndarray:
    """Median difference of the two years' numbers over dry, bare, clear ground, for the bands B02 to B04, B08, B11, B12."""
    fetched = fetch(home, area, YEARS, FetchSettings(catalog=str(catalogue)), reporter=Silent())
    grid = hull_of_cells([cell for cell in area.touched if cell.epsg == area.zones[0].epsg])
    one, two = (read_stack(fetched.stacks[year], grid.epsg, grid, tile_cells=10) for year in YEARS)
    bare = is_bare(one) & is_bare(two)
    assert bare.sum() > 1000
    bands = [1, 2, 3, 7, 10, 11]
    return np.median(two.s2[bands][:, bare].astype(float) - one.s2[bands][:, bare].astype(float), axis=1)


def is_bare(stack: Stack) -> np.ndarray:
    red, nir, swir = (stack.s2[band].astype(float) for band in (3, 7, 10))
    with np.errstate(all="ignore"):
        ndvi = (nir - red) / (nir + red)
    return (stack.condition == Condition.CLEAR) & (ndvi < 0.2) & (swir > 1500) & (stack.counts[2] == 0)


def test_years_agree_over_rock_once_the_offset_is_off(
    small_catalogue: Path, done: tuple[Workspace, Area, ChangeSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, area, _ = done
    assert np.abs(rock_difference(home, area, small_catalogue)).max() < 120
    monkeypatch.setattr("cryosentinel_core.scenes.items.offset_of_baseline", lambda baseline: 0)
    assert rock_difference(Workspace(tmp_path), area, small_catalogue).min() > 700
