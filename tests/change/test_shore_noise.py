"""The noise of a pair of years: found where it is known, whatever its shape, and shrunk where lakes are few."""

from __future__ import annotations

import numpy as np
import pytest

from cryosentinel_core.change.shore_noise import measure_noise, noise_of_prior, weighted_median


def lakes(n: int, lake_m: float, along_m: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Changes (m2) and perimeters (m) of lakes that do not change."""
    rng = np.random.default_rng(seed)
    shore = np.exp(rng.uniform(np.log(300), np.log(10_000), n))
    return rng.normal(0, 1, n) * np.hypot(lake_m * shore, along_m * np.sqrt(1000 * shore)), shore


@pytest.mark.parametrize(("lake_m", "along_m"), [(4.0, 0.0), (0.0, 3.0), (2.0, 3.0)])
def test_it_finds_the_noise_that_is_there_in_every_class_of_size(lake_m: float, along_m: float) -> None:
    change, shore = lakes(4000, lake_m, along_m)
    noise = measure_noise(change, shore, prior_m=4.9)
    sigma = np.sqrt(2.0 * noise.area_variance(shore))
    for low, high in ((300, 600), (600, 2000), (2000, 10_000)):
        size = (shore >= low) & (shore < high)
        assert (np.abs(change[size]) < 1.96 * sigma[size]).mean() == pytest.approx(0.95, abs=0.02)


def test_real_changes_of_a_few_do_not_widen_it_and_the_centre_stays_in() -> None:
    change, shore = lakes(400, 2.0, 0.0)
    quiet = measure_noise(change, shore, 4.9)
    change[::20] += 200.0 * shore[::20]
    assert measure_noise(change, shore, 4.9).shore_m == pytest.approx(quiet.shore_m, rel=0.15)
    outward = measure_noise(change + 3.0 * shore, shore, 4.9)
    assert outward.centre_m == pytest.approx(3.0, abs=0.5)
    assert outward.has_common_displacement
    assert outward.shore_m > 3.0


def test_change_everywhere_is_told_as_making_it_too_wide() -> None:
    change, shore = lakes(200, 2.0, 0.0)
    assert not measure_noise(change, shore, 4.9).is_too_wide
    change[::5] += 60.0 * shore[::5]
    change[1::5] -= 40.0 * shore[1::5]
    change[2::5] += 50.0 * shore[2::5]
    assert measure_noise(change, shore, 4.9).is_too_wide


def test_few_lakes_say_little() -> None:
    change, shore = np.full(10, 500.0), np.full(10, 1000.0)
    noise = measure_noise(change, shore, 4.0)
    assert noise.weight == pytest.approx(0.5)
    assert noise.measured_m == pytest.approx(0.5 / 0.67449, rel=1e-4)
    assert noise.shore_m == pytest.approx(np.sqrt(4.0 * noise.measured_m))
    alone = measure_noise(np.zeros(0), np.zeros(0), 4.0)
    assert alone == noise_of_prior(4.0)
    assert (alone.n_lakes, alone.weight, alone.shore_m) == (0, 0.0, 4.0)


def test_one_giant_is_one_lake() -> None:
    change, shore = lakes(50, 2.0, 0.0)
    with_giant = measure_noise(np.append(change, 2e6), np.append(shore, 1e6), 4.0)
    assert with_giant.weight < 0.2


def test_weighted_median() -> None:
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2.0
    assert weighted_median(np.array([1.0, 2.0]), np.ones(2)) == 1.5
    assert weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 3.0])) == 9.0
