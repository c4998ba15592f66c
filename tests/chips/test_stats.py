"""Statistics of bands: equal to NumPy's over the valid pixels, and a left-over offset shows in its year."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_chips import lake_chip, with_holes

from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.chips.stats import count_bands, join_years, judge_years
from cryosentinel_core.errors import DataError
from cryosentinel_core.scenes.radiometry import check_offset


def test_the_numbers_are_numpy_s() -> None:
    bright = lake_chip(1).s2.copy()
    bright[3, :40] = 30_000
    high = np.full((1, 224, 224), 9_500, dtype=np.int16)
    high[0, 200:] = -700
    chips = [lake_chip(0), lake_chip(1, s2=bright, year=2017), with_holes(lake_chip(2)), lake_chip(3, dem=high)]
    found = join_years(count_bands(chips)).normalisation
    valid = [chip.valid for chip in chips]
    s2 = np.concatenate([np.minimum(chip.s2, 16_000)[:, good] for chip, good in zip(chips, valid, strict=True)], axis=1)
    s1 = np.concatenate([chip.s1[:, good].astype(np.float64) for chip, good in zip(chips, valid, strict=True)], axis=1)
    dem = np.concatenate([np.clip(chip.dem[0], -500, 9_000)[good] for chip, good in zip(chips, valid, strict=True)])
    np.testing.assert_allclose(found.means["S2L2A"], s2.mean(axis=1, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(found.stds["S2L2A"], s2.std(axis=1, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(found.means["S1GRD"], s1.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.stds["S1GRD"], s1.std(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.means["DEM"], dem.mean(dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(found.stds["DEM"], dem.std(dtype=np.float64), rtol=1e-12)
    assert list(found.as_dict()) == ["S2L2A", "S1GRD", "DEM"]
    assert [len(part["means"]) for part in found.as_dict().values()] == [12, 2, 1]


def lifted(chip: ShardChip, year: int) -> ShardChip:
    return replace(chip, year=year, s2=(chip.s2 + 1000).astype(np.uint16))


def test_a_year_with_the_offset_shows() -> None:
    shaded = lake_chip(0).s2.copy()
    shaded[:, :30, :30] = 70
    dark = lake_chip(0, s2=shaded, year=2017)
    by_year = count_bands([lifted(dark, 2022), dark])
    assert list(by_year) == [2017, 2022]
    assert not by_year[2017].offset.is_suspect
    assert by_year[2022].offset.is_suspect
    assert list(judge_years(by_year)) == [2022]
    assert list(judge_years({2022: by_year[2022]})) == [2022]
    difference = np.subtract(*(by_year[year].normalisation.means["S2L2A"] for year in (2022, 2017)))
    np.testing.assert_allclose(difference, 1000.0)


def test_an_offset_over_bright_ground_shows_beside_other_years() -> None:
    milky = [lake_chip(number, year=2017) for number in range(2)]
    by_year = count_bands([*milky, lake_chip(3, year=2021), lifted(lake_chip(4), 2023)])
    assert not by_year[2023].offset.is_suspect
    found = judge_years(by_year)
    assert list(found) == [2023]
    assert "about 1000 above those of 20" in found[2023]


def test_the_floor_is_the_one_of_a_scene() -> None:
    for chip in (lake_chip(0), with_holes(lake_chip(4))):
        whole = np.where(chip.valid, chip.s2, 0).astype(np.uint16)
        counted = count_bands([chip])[2022].offset
        assert counted.floors == pytest.approx(check_offset(whole).floors, rel=1e-12)


def test_nothing_valid_is_no_statistics() -> None:
    empty = lake_chip(0, s2=np.zeros((12, 224, 224), dtype=np.uint16))
    counts = count_bands([empty])[2022]
    assert (counts.n_chips, counts.n_pixels, counts.n_all_pixels) == (1, 0, 224 * 224)
    with pytest.raises(DataError, match="no valid pixel in 1 chips"):
        _ = counts.normalisation
    assert join_years(count_bands([empty, lake_chip(1)])).n_pixels == 224 * 224
