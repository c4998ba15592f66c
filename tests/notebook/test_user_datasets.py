"""Whatever a user brings is mapped right or refused with what to do."""

from __future__ import annotations

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from odc.geo.geobox import GeoBox

import cryosentinel_core as cs
from cryosentinel_core.errors import BandError, GridMismatch, InputError
from cryosentinel_core.stack.bands import S2_BANDS, S2_NAMES

N = 260
LEFT, TOP = 660_000.0, 4_770_000.0
WATER = dict(zip(S2_NAMES, (700, 800, 700, 450, 300, 250, 200, 150, 120, 100, 60, 40), strict=True))
LAND = dict(zip(S2_NAMES, (900, 1000, 1200, 1500, 1800, 2000, 2200, 2400, 2500, 2600, 3000, 2500), strict=True))


def scene(step: float = 10.0, left: float = LEFT, top: float = TOP, n: int = N) -> xr.Dataset:
    """A round lake of 300 m radius in the middle of bare ground, integers of Sentinel-2."""
    x, y = left + step * (np.arange(n) + 0.5), top - step * (np.arange(n) + 0.5)
    middle = left + step * n / 2, top - step * n / 2
    lake = np.hypot(x[None] - middle[0], y[:, None] - middle[1]) < 300.0
    rng = np.random.default_rng(1)
    bands = {
        name: (("y", "x"), (np.where(lake, WATER[name], LAND[name]) + rng.integers(0, 40, lake.shape)).astype("uint16"))
        for name in S2_NAMES
    }
    return xr.Dataset(bands, coords={"y": y, "x": x}).rio.write_crs(32643)


@pytest.fixture(scope="module")
def plain() -> xr.DataArray:
    return cs.segment_dataset(scene(), reflectance=10_000)


def test_the_lake_is_found_with_its_area(plain: xr.DataArray) -> None:
    lakes = cs.find_lakes(plain, year=2023)
    assert len(lakes) == 1
    assert lakes.area_m2[0] == pytest.approx(np.pi * 300.0**2, rel=0.03)
    assert (lakes.year[0], lakes.model[0], bool(lakes.radar_used[0])) == (2023, "water-index", False)
    assert plain.rio.crs.to_epsg() == 32643


@pytest.mark.parametrize("case", ["shuffled", "flipped", "named", "one date", "one row chunks", "float", "signed"])
def test_the_same_picture_in_another_dress(plain: xr.DataArray, case: str) -> None:
    data, reflectance = scene(), 10_000.0
    if case == "shuffled":
        data = data.assign({name: data[name].transpose("x", "y") for name in S2_NAMES[::2]})
    elif case == "flipped":
        data = data.sortby("y")
    elif case == "named":
        data = data.rename({band.name: band.common_name for band in S2_BANDS} | {"y": "northing", "x": "easting"})
    elif case == "one date":
        data = data.expand_dims(time=[np.datetime64("2023-08-01", "ns")])
    elif case == "one row chunks":
        data = data.chunk(y=1)
    elif case == "float":
        data, reflectance = data / np.float64(10_000), 1.0
        data = data.rio.write_crs(32643)
    elif case == "signed":
        data = data.astype("int32")
    got = cs.segment_dataset(data, reflectance=reflectance)
    np.testing.assert_array_equal(got.sortby("y", ascending=False).values, plain.values)
    np.testing.assert_array_equal(got.y.values, data[next(name for name in ("y", "northing") if name in data.coords)])


def test_any_origin_gives_the_lake_where_it_lies(plain: xr.DataArray) -> None:
    moved = cs.find_lakes(cs.segment_dataset(scene(left=LEFT + 3.7, top=TOP - 4.2), reflectance=10_000))
    home = cs.find_lakes(plain)
    centres = [lakes.geometry.to_crs(32643).centroid.iloc[0] for lakes in (moved, home)]
    assert centres[0].x - centres[1].x == pytest.approx(3.7, abs=0.01)
    assert centres[0].y - centres[1].y == pytest.approx(-4.2, abs=0.01)
    assert moved.area_m2[0] == pytest.approx(home.area_m2[0], rel=1e-5)


def test_nan_and_masks_are_unobserved_and_change_nothing_far_away(plain: xr.DataArray) -> None:
    hole = (slice(0, 20), slice(0, 20))
    floats = (scene() / 10_000.0).rio.write_crs(32643)
    floats["B08"][hole] = np.nan
    masked = scene()
    masked["valid"] = xr.ones_like(masked["B02"], dtype=bool)
    masked["valid"][hole] = False
    for data, reflectance in ((floats, 1), (masked, 10_000)):
        got = cs.segment_dataset(data, reflectance=reflectance).values
        assert np.isnan(got[hole]).all()
        np.testing.assert_array_equal(got[100:, 100:], plain.values[100:, 100:])
        assert int(np.isnan(got).sum()) == 400


def test_other_resolutions_are_refused_or_resampled_on_request(plain: xr.DataArray) -> None:
    coarse = scene(step=20.0, n=N // 2)
    with pytest.raises(GridMismatch, match="20 x 20 m") as caught:
        cs.segment_dataset(coarse, reflectance=10_000)
    assert "resample=True" in caught.value.hint
    degrees = scene().rio.reproject(4326, nodata=0)
    with pytest.raises(GridMismatch, match="degrees"):
        cs.segment_dataset(degrees, reflectance=10_000)
    for data, share in ((coarse, 0.06), (degrees, 0.03)):
        logits = cs.segment_dataset(data, reflectance=10_000, resample=True)
        lakes = cs.find_lakes(logits)
        assert cs.Grid.from_geobox(logits.odc.geobox).epsg == 32643
        assert lakes.area_m2.tolist() == pytest.approx([np.pi * 300.0**2], rel=share)


def test_what_is_unclear_is_refused() -> None:
    data = scene()
    cases = [
        (data.drop_vars("B11"), {}, BandError, "lacks B11"),
        (data.assign(VV=data.B02), {}, BandError, "one of VV and VH"),
        (data.drop_vars("spatial_ref"), {}, GridMismatch, "no coordinate reference system"),
        (data.rio.write_crs(3857), {}, GridMismatch, "wanted a UTM zone"),
        (data.isel(x=[0, 1, 5, 6]), {}, GridMismatch, "gaps"),
        (data.expand_dims(time=2), {}, InputError, "2 times"),
        (data.to_dataarray("band"), {}, InputError, "wanted an xarray.Dataset"),
        (data.rename(y="row"), {}, InputError, "wanted y among them"),
        (data, {"reflectance": None}, InputError, "nobody says"),
        (data, {"reflectance": 1}, BandError, "half of the pixels are brighter"),
        ((data / 10_000.0).rio.write_crs(32643), {}, BandError, "half of the pixels are brighter"),
        (data.assign(VV=data.B02 / 1e4, VH=data.B02 / 1e4), {}, BandError, "wanted dB"),
    ]  # fmt: skip
    for broken, said, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            cs.segment_dataset(broken, **{"reflectance": 10_000, **said})
        assert caught.value.hint, words


def test_radar_and_heights_take_part_where_they_are_there(plain: xr.DataArray) -> None:
    data = scene()
    rough = xr.full_like(data.B02, -8.0, dtype="float32")
    with_radar = cs.segment_dataset(data.assign(VV=rough, VH=rough), reflectance=10_000)
    assert (with_radar.values < 0).all()  # bright radar: no lake, whatever the colour
    assert with_radar.attrs["radar_used"] == 1
    steep = (data.x * 0.7).broadcast_like(data.B02).astype("float32")
    assert (cs.segment_dataset(data.assign(dem=steep), reflectance=10_000).values < 0).all()
    assert (plain.values > 0).any()


def test_grid_and_geobox_are_one() -> None:
    grid = cs.Grid(epsg=32643, row=-477_700, col=65_800, height=30, width=20)
    assert grid.geobox.shape == (30, 20)
    assert tuple(grid.geobox.boundingbox) == grid.bounds
    assert cs.Grid.from_geobox(grid.geobox) == grid
    for other in (
        grid.geobox.translate_pix(0.5, 0),
        grid.geobox.zoom_out(2),
        GeoBox.from_bbox((77, 43, 78, 44), 4326, resolution=0.1),
    ):
        with pytest.raises(GridMismatch):
            cs.Grid.from_geobox(other)
