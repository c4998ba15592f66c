"""What the functions return is what the commands write, bit by bit."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from click.testing import CliRunner
from mapped_area import Mapped

import cryosentinel_core as cs
from cryosentinel_cli.main import cli
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.notebook.stacks import COUNT_VARIABLES
from cryosentinel_core.stack.bands import S2_NAMES

YEARS = (2017, 2023)


def assert_same(one: gpd.GeoDataFrame, two: gpd.GeoDataFrame) -> None:
    plain = [pd.DataFrame(frame.drop(columns="geometry")) for frame in (one, two)]
    pd.testing.assert_frame_equal(*plain, check_exact=True, check_dtype=False)
    shapes = [shapely.to_wkb(shapely.normalize(frame.geometry.to_numpy())).tolist() for frame in (one, two)]
    assert shapes[0] == shapes[1]


def test_command_line_writes_the_same_bytes(mapped: Mapped, tmp_path: object) -> None:
    arguments = ["--aoi", f"{mapped.catalogue}/aoi.geojson", "--catalog", str(mapped.catalogue), "-w", str(tmp_path)]
    result = CliRunner().invoke(cli, ["change", "2017", "2023", "--model", "water-index", *arguments])
    assert result.exit_code == 0, result.output
    names = [
        "change_2017_2023_water-index/change.csv",
        "2017/water-index/logit_32643.tif",
        "2023/water-index/lakes.gpkg",
    ]
    for name in names:
        theirs, ours = (f"{root}/{mapped.area.name}/{name}" for root in (tmp_path, mapped.root))
        with open(theirs, "rb") as one, open(ours, "rb") as two:
            assert one.read() == two.read(), name


def test_stack_is_lazy_placed_and_what_the_files_hold(mapped: Mapped) -> None:
    stack = cs.read_stack(mapped.root, mapped.area, 2017)
    assert stack.B03.chunks is not None
    assert stack.rio.crs.to_epsg() == 32643
    assert '"composite": "median"' in stack.attrs["recipe"]
    assert '"tiles"' in stack.attrs["provenance"]
    path = next((mapped.root / mapped.area.name / "2017").glob("stack-*/*/*/s2.tif"))
    with rasterio.open(path) as raster:
        x, y = raster.xy(5, 7)
        stored = raster.read(window=((5, 6), (7, 8)))[:, 0, 0].tolist()
    assert [int(stack[name].sel(x=x, y=y)) for name in S2_NAMES] == stored
    assert stack.rio.transform().almost_equals(Affine(10, 0, float(stack.x[0]) - 5, 0, -10, float(stack.y[0]) + 5))


def test_results_are_what_the_files_hold(mapped: Mapped) -> None:
    results = cs.read_results(mapped.root, mapped.area, 2023, "water-index")
    folder = mapped.root / mapped.area.name / "2023" / "water-index"
    for kind, step in (("logit", 1000.0), ("probability", 200.0), ("water", 1.0)):
        with rasterio.open(folder / f"{kind}_32643.tif") as raster:
            stored, nodata = raster.read(1), raster.nodata
            assert results.rio.transform().almost_equals(raster.transform)
        values = results[kind].values
        if nodata is not None:
            np.testing.assert_array_equal(np.isnan(values), stored == nodata)
        seen = np.isfinite(values)
        np.testing.assert_array_equal(np.rint(values[seen].astype(float) * step), stored[seen])


def test_functions_go_the_whole_way_alone(mapped: Mapped) -> None:
    """Stack -> logits -> lakes -> change in memory gives what the corridor wrote."""
    lakes, observed = {}, {}
    for year in YEARS:
        stack, results = (read(mapped.root, mapped.area, year) for read in (cs.read_stack, cs.read_results))
        core = stack.sel(x=results.x, y=results.y)
        logits = cs.segment_dataset(stack).sel(x=results.x, y=results.y)
        np.testing.assert_array_equal(logits.values, results.logit.values)
        lakes[year] = cs.find_lakes(logits, core, mapped.area, with_candidates=True)
        assert_same(lakes[year], cs.read_lakes(mapped.root, mapped.area, year, with_candidates=True))
        assert_same(cs.find_lakes(results.logit, core, mapped.area), cs.read_lakes(mapped.root, mapped.area.name, year))
        observed[year] = xr.merge(
            [results[["water"]], stack[["condition", "dem", *COUNT_VARIABLES]]],
            join="outer", fill_value={"water": 255, "condition": 255, "dem": np.nan, **dict.fromkeys(COUNT_VARIABLES, 0)},
            compat="override", combine_attrs="override",
        )  # fmt: skip
    assert_same(cs.compare_lakes(lakes, observed), cs.read_change(mapped.root, mapped.area, YEARS))


def test_what_is_not_there_is_told(mapped: Mapped) -> None:
    with pytest.raises(DataError, match="no stack of 2020"):
        cs.read_stack(mapped.root, mapped.area, 2020)
    with pytest.raises(DataError, match="no lakes of 2020"):
        cs.read_lakes(mapped.root, mapped.area, 2020)
    with pytest.raises(DataError, match="there is no model soup"):
        cs.read_results(mapped.root, mapped.area, 2017, "soup")
    with pytest.raises(DataError, match="no change table of 2017 2020"):
        cs.read_change(mapped.root, mapped.area, (2017, 2020))
    with pytest.raises(InputError, match="ascend"):
        cs.predict(mapped.root, mapped.area, [2023, 2017])
    with pytest.raises(InputError, match="nothing says what 2023 saw"):
        lakes = {year: cs.read_lakes(mapped.root, mapped.area, year) for year in YEARS}
        cs.compare_lakes(lakes, {2017: cs.read_results(mapped.root, mapped.area, 2017)})
