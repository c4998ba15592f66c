"""odc-stac on our lattice: the same pixels as our own sampler's, and the same lakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pytest
import xarray as xr
from mapped_area import Mapped
from scipy import ndimage

import cryosentinel_core as cs
from cryosentinel_core import Grid
from cryosentinel_core.io.rasters.source import read_on_grid
from cryosentinel_core.stack.bands import S2_NAMES


def items_of(catalogue: Path, kind: str, year: int) -> list[pystac.Item]:
    """The items of a collection and late summer."""
    found = []
    for path in sorted((catalogue / kind).rglob("*.json")):
        data = json.loads(path.read_text())
        if data.get("type") == "Feature" and data["properties"]["datetime"].startswith(str(year)):
            item = pystac.Item.from_file(path)
            item.make_asset_hrefs_absolute()
            found.append(item)
    return found


@pytest.fixture(scope="module")
def loaded(mapped: Mapped) -> tuple[Grid, xr.Dataset]:
    """All scenes of 2023 on the results' grid, each date by itself."""
    grid = Grid.from_geobox(cs.read_results(mapped.root, mapped.area, 2023).odc.geobox)
    data = odc.stac.load(
        items_of(mapped.catalogue, "sentinel-2-l2a", 2023),
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
    item = items_of(mapped.catalogue, "sentinel-2-l2a", 2023)[0]
    ours = read_on_grid(item.assets[band].href, grid)
    when = np.datetime64(item.datetime.replace(tzinfo=None))
    theirs = data[band].sel(time=when, method="nearest").values.astype(int)
    with_data = ndimage.binary_erosion(ours.valid & (theirs > 0), iterations=4)
    assert with_data.mean() > 0.5
    assert np.abs(ours.values.astype(int) - theirs)[with_data].max() <= (0 if band == "B03" else 1)


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
def test_a_user_s_own_composite_gives_the_command_s_lakes(mapped: Mapped, loaded: tuple[Grid, xr.Dataset]) -> None:
    """Masked by SCL, reduced by a median, without radar or heights: areas within a sigma of the command's."""
    _, data = loaded
    clear = data.SCL.isin([4, 5, 6, 7])
    own = (data[list(S2_NAMES)].where(clear & (data.B03 > 0)) - 1000).median("time").compute()
    lakes = cs.find_lakes(cs.segment_dataset(own.clip(min=1), reflectance=10_000), area=mapped.area)
    command = cs.read_lakes(mapped.root, mapped.area, 2023)
    pairs = [
        (row, lakes[lakes.intersects(row.geometry)])
        for row in command.itertuples()
        if not row.touches_edge and row.n_observations >= 3
    ]
    found = [(row, theirs) for row, theirs in pairs if len(theirs) == 1]
    assert len(found) >= 0.7 * len(pairs) > 0
    apart = [abs(theirs.area_m2.iloc[0] - row.area_m2) / row.area_sigma_m2 for row, theirs in found]
    assert np.median(apart) < 1.0, apart
