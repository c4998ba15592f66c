from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from cryosentinel_core.errors import DataError
from cryosentinel_core.scenes.radiometry import (
    check_offset,
    filter_lee,
    mask_power,
    offset_of_baseline,
    parse_baseline,
    remove_offset,
    to_decibel,
)


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.12", 0), ("03.01", 0), ("04.00", 1000), ("05.09", 1000), ("05.11", 1000), ("99.99", 1000)],
)
def test_offset_follows_the_baseline(baseline: str, offset: int) -> None:
    assert offset_of_baseline(baseline) == offset


@pytest.mark.parametrize("text", ["", "4", "five", "2022-01-25", "04.00.1"])
def test_no_baseline_is_an_error(text: str) -> None:
    with pytest.raises(DataError):
        parse_baseline(text)


def test_offset_is_removed_without_wrapping_round() -> None:
    stored = np.array([0, 1, 500, 1000, 1001, 1500, 65_535], dtype=np.uint16)
    np.testing.assert_array_equal(remove_offset(stored, 1000), [0, 1, 1, 1, 1, 500, 64_535])
    np.testing.assert_array_equal(remove_offset(stored, 0), stored)


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=50))
def test_nodata_and_only_nodata_is_zero_after_removal(numbers: list[int]) -> None:
    stored = np.array(numbers, dtype=np.uint16)
    np.testing.assert_array_equal(remove_offset(stored, 1000) == 0, stored == 0)


def real_chip(folder: Path, name: str) -> np.ndarray:
    with rasterio.open(next((folder / "chips" / "S2L2A").glob(f"{name}_*.tif"))) as dataset:
        return np.asarray(dataset.read()).astype(np.uint16)


@pytest.mark.parametrize(("name", "is_suspect"), [("433D", True), ("282D", False), ("38D", False), ("609U", False)])
def test_offset_check_on_real_chips(shared_data: Path, name: str, is_suspect: bool) -> None:
    verdict = check_offset(real_chip(shared_data, name))
    assert verdict.is_suspect is is_suspect, verdict.message


@pytest.mark.parametrize("name", ["282D", "433D"])
def test_offset_check_sees_an_offset_put_on_and_taken_off(shared_data: Path, name: str) -> None:
    chip = real_chip(shared_data, name)
    if name == "433D":
        assert not check_offset(remove_offset(chip, 1000)).is_suspect
        assert check_offset(remove_offset(remove_offset(chip, 1000), 1000)).is_suspect
    else:
        assert check_offset(chip + np.uint16(1000)).is_suspect


def test_offset_check_is_silent_without_pixels() -> None:
    assert not check_offset(np.zeros((12, 50, 50), np.uint16)).is_suspect


def test_decibels() -> None:
    db = to_decibel(np.array([1.0, 0.1, 0.001, 0.0, -5.0, np.nan, np.inf], dtype=np.float32))
    np.testing.assert_allclose(db[:3], [0, -10, -30], atol=1e-5)
    assert np.isnan(db[3:]).all()


def test_power_mask() -> None:
    power = mask_power(np.array([0.2, 0.0, -32_768.0, np.nan, np.inf], dtype=np.float32))
    assert np.isfinite(power).tolist() == [True, False, False, False, False]


def test_lee_leaves_even_ground_and_smooths_speckle() -> None:
    even = np.full((20, 20), 0.3, dtype=np.float32)
    np.testing.assert_allclose(filter_lee(even), even, rtol=1e-6)
    rng = np.random.default_rng(0)
    speckle = (0.3 * rng.gamma(4.4, 1 / 4.4, (200, 200))).astype(np.float32)
    filtered = filter_lee(speckle)
    assert abs(filtered.mean() - 0.3) < 0.005
    assert filtered[5:-5, 5:-5].std() < 0.4 * speckle.std()


def test_lee_by_hand() -> None:
    rng = np.random.default_rng(1)
    power = rng.gamma(2.0, 0.1, (5, 5)).astype(np.float32)
    mean, variance = power.mean(dtype=float), power.var(dtype=float)
    signal = max((variance - mean**2 / 4.4) / (1 + 1 / 4.4), 0)
    gain = signal / (signal + (mean**2 + signal) / 4.4)
    assert filter_lee(power)[2, 2] == pytest.approx(mean + gain * (power[2, 2] - mean), rel=1e-5)


def test_lee_does_not_depend_on_the_cutting_and_skips_nodata() -> None:
    rng = np.random.default_rng(2)
    power = rng.gamma(4.4, 0.05, (60, 70)).astype(np.float32)
    power[rng.random(power.shape) < 0.1] = np.nan
    whole = filter_lee(power)
    part = filter_lee(power[10:40, 20:60])
    np.testing.assert_array_equal(part[2:-2, 2:-2], whole[12:38, 22:58])
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(power))
