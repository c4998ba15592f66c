"""Labels: which inventory speaks for a year, and that every touched pixel is burned."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from cryosentinel_core.chips.cutting import ChipWindow, centres_of, choose_windows, windows_of_area
from cryosentinel_core.chips.labels import Outlines, label_year_of
from cryosentinel_core.chips.overlaps import find_overlaps
from cryosentinel_core.chips.split import BlockSplit
from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer


def test_the_published_years() -> None:
    found = {year: label_year_of(year, (2016, 2022)) for year in range(2014, 2026)}
    assert found == {year: 2016 if year < 2019 else 2022 for year in range(2014, 2026)}
    assert label_year_of(2021, (2016, 2022), {2021: 2016}) == 2016
    assert label_year_of(2023, {2010: None}) == 2010
    with pytest.raises(InputError, match="no inventory of 2019 to label 2021"):
        label_year_of(2021, (2016, 2022), {2021: 2019})
    with pytest.raises(InputError, match="no inventory to label"):
        label_year_of(2021, ())


GRID = Grid(epsg=32643, row=-477_000, col=51_000, height=6, width=7)


def test_every_touched_pixel_is_lake() -> None:
    """A lake from the middle of pixel (1, 1) to a metre inside pixel (3, 4), with an island of one whole pixel at (2, 2)."""
    left, top = GRID.bounds[0], GRID.bounds[3]
    island = shapely.box(left + 19.9, top - 30.1, left + 30.1, top - 19.9)
    lake = shapely.difference(shapely.box(left + 15, top - 31, left + 41, top - 15), island)
    found = Outlines(GRID.epsg, np.array([lake])).burn(GRID)
    wanted = np.zeros(GRID.shape, dtype=np.uint8)
    wanted[1:4, 1:5] = 1
    wanted[2, 2] = 0
    assert found.tolist() == wanted.tolist()
    assert Outlines(GRID.epsg, np.array([], dtype=object)).burn(GRID).sum() == 0


def test_a_label_does_not_depend_on_the_window() -> None:
    rng = np.random.default_rng(3)
    whole = Grid(epsg=32643, row=-477_120, col=50_960, height=448, width=448)
    x, y = rng.uniform(whole.bounds[0], whole.bounds[2], 60), rng.uniform(whole.bounds[1], whole.bounds[3], 60)
    lakes = shapely.buffer(shapely.points(x, y), rng.uniform(5, 200, 60), quad_segs=5)
    to_degrees = transformer(32643, 4326)
    lonlat = shapely.transform(lakes, lambda p: np.column_stack(to_degrees.transform(p[:, 0], p[:, 1])))
    outlines = Outlines.project(lonlat, 32643)
    burned = outlines.burn(whole)
    for row in (0, 112, 224):
        for col in (0, 112, 224):
            window = Grid(epsg=32643, row=whole.row + row, col=whole.col + col, height=224, width=224)
            assert (outlines.burn(window) == burned[row : row + 224, col : col + 224]).all()
    shuffled = Outlines.project(lonlat[::-1].copy(), 32643)
    assert shuffled.digest == outlines.digest
    assert shuffled.near(GRID).digest != outlines.digest


def test_windows_belong_to_the_zone_of_their_centre() -> None:
    area = Area("border", shapely.box(77.95, 43.0, 78.05, 43.06))
    windows = windows_of_area(area, 112)
    lat, lon = centres_of(windows)
    zones = np.array([window.epsg for window in windows])
    assert set(zones) == {32643, 32644}
    assert ((lon < 78.0) == (zones == 32643)).all()
    assert {window.row % 112 for window in windows} == {window.col % 112 for window in windows} == {0}
    assert len(windows) > 3 * len(windows_of_area(area, 224))
    reach = 223 * 10.0 / 70_000
    assert lon.min() > 77.95 - 2 * reach
    assert lat.max() < 43.06 + 2 * reach


def test_chips_of_two_zones_share_no_ground_across_splits() -> None:
    area = Area("border", shapely.box(77.85, 43.0, 78.15, 43.2))
    lat, lon = centres_of(windows_of_area(area, 112))
    blocks = BlockSplit(size_deg=0.06, buffer_deg=0.0, rule="extents", train_below=50, val_below=75)
    split = blocks.assign(lat, lon)
    assert {"train", "val", "test"} <= set(split.tolist())
    assert len(find_overlaps(lat, lon, split)) == 0
    assert len(find_overlaps(lat, lon, blocks.changed({"rule": "published"}).assign(lat, lon))) > 100


def test_background_is_drawn_the_same_way_every_year() -> None:
    windows = [ChipWindow(32643, -477_008 + 112 * row, 50_960) for row in range(40)]
    one = np.arange(40) < 5
    chosen = choose_windows(windows, one, 2.0, seed=1)
    assert len(chosen) == 15
    assert set(windows[:5]) < set(chosen)
    other = one.copy()
    other[0] = False  # a lake fewer in another year: one of its windows less, the rest as before
    again = choose_windows(windows, other, 2.0, seed=1)
    assert len(set(again) & set(chosen)) >= 12
    assert choose_windows(windows, one, 2.0, seed=2) != chosen
    assert choose_windows(windows, one, None, seed=1) == windows
    assert choose_windows(windows, one, 0.0, seed=1) == windows[:5]
