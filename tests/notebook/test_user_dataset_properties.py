"""A picture is the same however its Dataset is laid out; what is odd about one is unobserved, put right on request, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_user_datasets import scene

import cryosentinel_core as cs
from cryosentinel_core.errors import BandError, GridMismatch, InputError
from cryosentinel_core.notebook.resampled import resample_to_lattice
from cryosentinel_core.stack.bands import S2_BANDS, S2_NAMES

SIDE = 120
HOLE = (slice(20, 31), slice(40, 57))


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return scene(n=SIDE)


@pytest.fixture(scope="module")
def plain(small: xr.Dataset) -> xr.DataArray:
    return cs.segment_dataset(small, reflectance=10_000)


DRESSES = st.fixed_dictionaries(
    {
        "turned": st.sets(st.sampled_from(S2_NAMES)),
        "flip_y": st.booleans(),
        "flip_x": st.booleans(),
        "names": st.booleans(),
        "order": st.permutations(S2_NAMES),
        "axes": st.sampled_from([("y", "x"), ("latitude", "longitude"), ("northing", "easting")]),
        "kind": st.sampled_from(["uint16", "int32", "float32", "float64", "fraction"]),
        "chunks": st.sampled_from([None, {"y": 1}, {"x": 1}, {"y": 7, "x": 50}]),
        "time": st.booleans(),
    }
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dress=DRESSES)
def test_any_layout_of_the_same_numbers_gives_the_same_bits(
    small: xr.Dataset, plain: xr.DataArray, dress: dict[str, object]
) -> None:
    y, x = dress["axes"]  # type: ignore[misc]
    data, reflectance = small[list(dress["order"])], 10_000.0  # type: ignore[call-overload]
    if dress["kind"] == "fraction":
        data, reflectance = data / np.float64(10_000), 1.0
    else:
        data = data.astype(str(dress["kind"]))
    data = data.assign({name: data[name].transpose("x", "y") for name in dress["turned"]})  # type: ignore[attr-defined]
    data = data.isel(
        y=slice(None, None, -1 if dress["flip_y"] else 1), x=slice(None, None, -1 if dress["flip_x"] else 1)
    )
    if dress["chunks"]:
        data = data.chunk(dress["chunks"])  # type: ignore[arg-type]
    if dress["names"]:
        data = data.rename({band.name: band.common_name for band in S2_BANDS})
    if (y, x) == ("northing", "easting"):
        data = data.rename(y=y, x=x)
    if dress["time"]:
        data = data.expand_dims(time=[np.datetime64("2023-08-01", "ns")])
    got = cs.segment_dataset(data.drop_vars("spatial_ref").rio.write_crs(32643), reflectance=reflectance)
    assert got.dims == ("y", "x")
    np.testing.assert_array_equal(got.sortby("y", ascending=False).sortby("x").values, plain.values)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    top=st.integers(0, SIDE - 1), left=st.integers(0, SIDE - 1), size=st.integers(1, 40),
    band=st.sampled_from(S2_NAMES), how=st.sampled_from(["nan", "inf", "zero", "nodata", "mask"]),
)  # fmt: skip
def test_what_is_missing_anywhere_is_unobserved_there_and_only_there(
    small: xr.Dataset, plain: xr.DataArray, top: int, left: int, size: int, band: str, how: str
) -> None:
    """NaN, infinity, 0 of integers, the file's own nodata or a mask, in one band alone."""
    hole = (slice(top, top + size), slice(left, left + size))
    data = small.copy(deep=True)
    if how in ("nan", "inf"):
        data = data.astype("float64")
        data[band][hole] = np.nan if how == "nan" else np.inf
    elif how == "zero":
        data[band][hole] = 0
    elif how == "nodata":
        data[band][hole] = 65_535
        data[band] = data[band].rio.write_nodata(65_535)
    else:
        data["valid"] = xr.ones_like(data["B02"], dtype=bool)
        data["valid"][hole] = False
    got = cs.segment_dataset(data, reflectance=10_000)
    missing = np.zeros((SIDE, SIDE), dtype=bool)
    missing[hole] = True
    np.testing.assert_array_equal(np.isnan(got.values), missing)
    far = np.ones((SIDE, SIDE), dtype=bool)
    far[max(0, top - 64) : top + size + 64, max(0, left - 64) : left + size + 64] = False
    np.testing.assert_array_equal(got.values[far], plain.values[far])


def test_nothing_seen_anywhere_is_no_lake_and_no_failure(small: xr.Dataset) -> None:
    empty = small.astype("float32") * np.float32(np.nan)
    logits = cs.segment_dataset(empty.rio.write_crs(32643), reflectance=1)
    assert np.isnan(logits.values).all()
    assert len(cs.find_lakes(logits)) == 0


def test_heights_with_holes_are_unobserved_there(small: xr.Dataset, plain: xr.DataArray) -> None:
    flat = xr.zeros_like(small.B02, dtype="float32")
    flat[HOLE] = np.nan
    got = cs.segment_dataset(small.assign(dem=flat), reflectance=10_000)
    assert np.isnan(got.values[HOLE]).all()
    assert int(np.isnan(got.values).sum()) == 11 * 17
    assert (plain.notnull()).all()


@pytest.mark.parametrize("chunks", [{"y": 1}, {"y": 50, "x": 33}])
def test_other_resolutions_in_chunks_are_resampled_as_those_without(chunks: dict[str, int]) -> None:
    coarse = scene(step=20.0, n=SIDE)
    logits = cs.segment_dataset(coarse.chunk(chunks), reflectance=10_000, resample=True)
    whole = cs.segment_dataset(coarse, reflectance=10_000, resample=True)
    np.testing.assert_array_equal(logits.values, whole.values)
    assert cs.find_lakes(logits).area_m2.tolist() == pytest.approx([np.pi * 300.0**2], rel=0.06)


@pytest.mark.parametrize("step", [20.0, 5.0])
def test_blocks_of_resampling_leave_no_seams(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Away from rounding, a pixel is what it is when all is resampled at once."""
    data = scene(step=step, n=int(800 / step), left=660_003.0, top=4_770_007.0)[["B03", "B11"]]
    whole = resample_to_lattice(data)
    monkeypatch.setattr("cryosentinel_core.notebook.resampled.BLOCK_PX", 37)
    blocks = resample_to_lattice(data.chunk(y=1)).compute(scheduler="synchronous")
    for name in ("B03", "B11"):
        np.testing.assert_array_equal(np.isnan(blocks[name]), np.isnan(whole[name]))
        np.testing.assert_allclose(blocks[name], whole[name], atol=0.05)


def test_what_has_no_answer_is_refused(small: xr.Dataset) -> None:
    cases = [
        (small.isel(y=slice(0, 0)), {}, (GridMismatch, InputError), "pixel"),
        (small.isel(x=slice(0, 1)), {}, (GridMismatch, InputError), "pixel"),
        (small.rio.write_crs(32643).drop_vars(["x", "y"]), {}, (GridMismatch, InputError), "coordinates|wanted y"),
        (small.assign(B02=small.B02.astype(complex)), {}, (BandError,), "complex128"),
        (small.assign(B02=small.B02.astype(str)), {}, (BandError,), "decimal numbers"),
        (small, {"reflectance": -1}, (InputError,), "above 0"),
        (small, {"reflectance": float("nan")}, (InputError,), "above 0"),
        (small.assign(blue=small.B02), {}, (BandError,), "both for B02"),
        (small.drop_vars("spatial_ref"), {"resample": True}, (GridMismatch,), "no coordinate reference system"),
    ]
    for data, said, kinds, words in cases:
        with pytest.raises(kinds, match=words) as caught:
            cs.segment_dataset(data, **{"reflectance": 10_000, **said})
        assert getattr(caught.value, "hint", ""), words
