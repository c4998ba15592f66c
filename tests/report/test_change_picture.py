"""The picture: what it reads, what it shows, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from outline_tables import Box, table
from PIL import Image

from cryosentinel_core.change.change_table import ChangeTables, compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import match_years
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.year_results import TrueColour
from cryosentinel_core.lakes.tables import GroundSeen
from cryosentinel_core.report.change_picture import GAINED, LOST, draw_change
from cryosentinel_core.report.maps import MAX_SIDE_PX, read_image, stretch_limits
from cryosentinel_core.settings.change import ChangeSettings

EPSG = 32643


def ramp(epsg: int, grid: Grid) -> NDArray[np.float32]:
    """Reflectance that says where it lies: red by lattice row, green by column."""
    assert epsg == EPSG
    rows = np.arange(grid.row, grid.row + grid.height)[:, None] + np.zeros(grid.width)
    cols = np.arange(grid.col, grid.col + grid.width)[None, :] + np.zeros((grid.height, 1))
    return np.stack([rows, cols, np.ones(grid.shape)]).astype(np.float32)


def draw(path: Path, before: list[Box], after: list[Box], seen: GroundSeen | None = None) -> NDArray[np.uint8]:
    tables = {2017: table(2017, before), 2023: table(2023, after)}
    matches = match_years(tables)
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=5_000.0)
    basis = ComparisonBasis(
        settings=ChangeSettings(),
        observe_ground=lambda *_: {2017: GroundSeen(land=1), 2023: seen or GroundSeen(land=1)},
    )
    found: ChangeTables = compare_years(tables, matches, keys, basis)
    grey: Callable[[int, Grid], NDArray[np.float32]] = lambda epsg, grid: np.full(  # noqa: E731
        (3, *grid.shape), 0.2, dtype=np.float32
    )
    sources = {year: TrueColour(zones=(EPSG,), read=grey) for year in tables}
    draw_change(path, found, tables, sources, min_observed=0.95, title="Somewhere")
    return np.asarray(Image.open(path).convert("RGB"))


def share_like(image: NDArray[np.uint8], colour: str) -> float:
    """Share of a picture's maps (not its legend) that has about a colour."""
    maps = image[: int(image.shape[0] * 0.9)].astype(float) / 255
    return float((np.abs(maps - np.array(to_rgb(colour))).max(axis=2) < 0.16).mean())


def test_reading_is_reduced_and_bounded() -> None:
    asked: list[tuple[int, int]] = []

    def read(epsg: int, grid: Grid) -> NDArray[np.float32]:
        asked.append(grid.shape)
        return ramp(epsg, grid)

    grid = Grid(epsg=EPSG, row=-5000, col=1000, height=5200, width=4100)
    image = read_image(TrueColour(zones=(EPSG,), read=read), EPSG, grid)
    assert image is not None
    assert max(image.shape[1:]) <= MAX_SIDE_PX
    assert max(max(shape) for shape in asked) <= 2240
    factor = 6
    assert image.shape == (3, -(-5200 // factor), -(-4100 // factor))
    assert image[0, 100, 50] == pytest.approx(-5000 + 100 * factor + (factor - 1) / 2)
    assert image[1, 100, 50] == pytest.approx(1000 + 50 * factor + (factor - 1) / 2)


def test_nodata_takes_no_part_in_the_mean() -> None:
    def read(epsg: int, grid: Grid) -> NDArray[np.float32]:
        pixels = ramp(epsg, grid)
        pixels[2, 0::2] = np.nan
        pixels[2, 1::2] = 0.5
        return pixels

    image = read_image(
        TrueColour(zones=(EPSG,), read=read), EPSG, Grid(epsg=EPSG, row=0, col=0, height=1800, width=100)
    )
    assert image is not None
    assert np.unique(image[2]).tolist() == [0.5]


def test_no_source_no_image() -> None:
    grid = Grid(epsg=EPSG, row=0, col=0, height=10, width=10)
    assert read_image(None, EPSG, grid) is None
    assert read_image(TrueColour(zones=(32644,), read=ramp), EPSG, grid) is None
    assert read_image(TrueColour(zones=(EPSG,), read=lambda epsg, grid: None), EPSG, grid) is None
    assert stretch_limits([]) is None


def test_both_years_are_stretched_alike() -> None:
    dark, bright = np.full((3, 4, 4), 0.1, dtype=np.float32), np.full((3, 4, 4), 0.4, dtype=np.float32)
    limits = stretch_limits([dark, bright])
    assert limits is not None
    assert limits[0].max() == pytest.approx(0.1)
    assert limits[1].min() == pytest.approx(0.4)


def test_gained_and_lost_water_show_in_their_colours(tmp_path: Path) -> None:
    grown = draw(tmp_path / "a.png", [(0, 0, 4, 4)], [(0, 0, 4, 8)])
    assert grown.shape == (1350, 2400, 3)
    assert share_like(grown, GAINED) > 0.01
    assert share_like(grown, LOST) < 0.001
    shrunk = draw(tmp_path / "b.png", [(0, 0, 4, 8)], [(0, 0, 4, 4)])
    assert share_like(shrunk, LOST) > 0.01
    assert share_like(shrunk, GAINED) < 0.001


def test_what_was_not_seen_is_neither_gained_nor_lost(tmp_path: Path) -> None:
    hidden = draw(tmp_path / "a.png", [(0, 0, 4, 4)], [], GroundSeen(ice=100))
    assert share_like(hidden, LOST) < 0.001


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", [(0, 0, 4, 4), (9, 0, 12, 2)], [(0, 0, 4, 5)])
    draw(tmp_path / "b.png", [(0, 0, 4, 4), (9, 0, 12, 2)], [(0, 0, 4, 5)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "boxes", [[], [(0, 0, 1, 1)], [(0, 0, 2, 2), (400, 0, 402, 2)], [(0, 0, 2, 2), (0, 300, 2, 302)]]
)
def test_any_extent_can_be_drawn(tmp_path: Path, boxes: list[Box]) -> None:
    assert draw(tmp_path / "a.png", boxes, boxes).shape == (1350, 2400, 3)
