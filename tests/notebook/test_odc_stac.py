"""odc-stac on our lattice: the same pixels as our own sampler's, and the same lakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pytest
import xarray as xr
from made_items import simulated_items
from mapped_area import Mapped
from scipy import ndimage

import cryosentinel_core as cs
from cryosentinel_core import Grid
from cryosentinel_core.io.rasters.source import read_on_grid
from cryosentinel_core.stack.bands import S2_NAMES

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def loaded(mapped: Mapped) -> tuple[Grid, xr.Dataset]:
    """All scenes of 2023 on the results' grid, each date by itself."""
    grid = Grid.from_geobox(cs.read_results(mapped.root, mapped.area, 2023).odc.geobox)
    data = odc.stac.load(
        simulated_items(mapped.catalogue / "sentinel-2-l2a", 2023),
        bands=[*S2_NAMES, "SCL"],
        geobox=grid.geobox,
        resampling={"SCL": "nearest", "*": "bilinear"},
        chunks={},
    )
    return grid, data


@pytest.mark.parametrize("band", ["B03", "B11"])
def test_the_same_pixels_as_our_own_sampler(mapped: Mapped, loaded: tuple[Grid, xr.Dataset], band: str) -> None:
    """Away from edges and nodata, where GDAL interpolates between the same neighbours, but for the last rounding."""
    grid, data = loaded
    item = simulated_items(mapped.catalogue / "sentinel-2-l2a", 2023)[0]
    ours = read_on_grid(item.assets[band].href, grid)
    when = np.datetime64(item.datetime.replace(tzinfo=None))
    theirs = data[band].sel(time=when, method="nearest").values.astype(int)
    with_data = ndimage.binary_erosion(ours.valid & (theirs > 0), iterations=4)
    assert with_data.mean() > 0.5
    assert np.abs(ours.values.astype(int) - theirs)[with_data].max() <= (0 if band == "B03" else 1)


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
def test_the_documented_recipe_gives_the_command_s_lakes(mapped: Mapped) -> None:
    """Every lake of the command within its sigma."""
    recipe = re.findall(r"^```python\n(.*?)^```", (DOCS / "odc-stac.md").read_text(encoding="utf-8"), re.M | re.S)[0]
    grid = Grid.from_geobox(cs.read_results(mapped.root, mapped.area, 2023).odc.geobox)
    here = f"grid = cs.Grid(epsg={grid.epsg}, row={grid.row}, col={grid.col}, height={grid.height}, width={grid.width})"
    recipe, n_grids = re.subn(r"^grid = .*$", here, recipe, flags=re.M)
    assert n_grids == 1
    names: dict[str, Any] = {
        "items": simulated_items(mapped.catalogue / "sentinel-2-l2a", 2023),
        "height_items": simulated_items(mapped.catalogue / "cop-dem-glo-30"),
    }
    exec(compile(recipe, "odc-stac.md", "exec"), names)
    lakes, command = names["lakes"], cs.read_lakes(mapped.root, mapped.area, 2023)
    whole = command[~command.touches_edge]
    assert len(whole) == 10
    apart = {}
    for row in whole.itertuples():
        found = lakes[lakes.intersects(row.geometry)]
        assert len(found) == 1, row.lake_id
        apart[row.lake_id] = (found.area_m2.iloc[0] - row.area_m2) / row.area_sigma_m2
    assert all(abs(sigmas) < 1.0 for sigmas in apart.values()), apart
    assert np.median(np.abs(list(apart.values()))) < 0.4
