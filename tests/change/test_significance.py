"""Tests, false discovery rates and trends against scipy and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cryosentinel_core.change.significance import (
    detectable_quantile,
    estimate_trends,
    normal_quantile,
    p_values,
    q_values,
    q_values_of_families,
)
from cryosentinel_core.errors import InputError


def test_quantile_is_the_familiar_one() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    with pytest.raises(InputError, match="between 0 and 1"):
        normal_quantile(1.0)


def test_p_values_are_two_sided_and_unknown_stays_unknown() -> None:
    p = p_values([1.96, -1.96, 0.0, 0.0, 5.0, np.nan], [1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    assert p[:2] == pytest.approx([0.05, 0.05], abs=1e-4)
    assert p[2:5].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(p[5])


def test_q_values_of_the_worked_example() -> None:
    # Five tests: p x n / rank, then the running minimum from the largest down.
    q = q_values([0.005, 0.04, np.nan, 0.03, 0.5, 0.01])
    assert q[[0, 1, 3, 4, 5]] == pytest.approx([0.025, 0.05, 0.05, 0.5, 0.025])
    assert np.isnan(q[2])
    assert q_values([]).size == 0


@settings(deadline=None, max_examples=60)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_agree_with_scipy(p: list[float]) -> None:
    assert q_values(p) == pytest.approx(stats.false_discovery_control(p, method="bh"))


def test_false_alarms_of_unchanged_lakes_are_held_down() -> None:
    rng = np.random.default_rng(7)
    p = p_values(rng.normal(0, 100, 500), np.full(500, 100.0))
    assert (p < 0.05).sum() > 10
    assert (q_values(p) < 0.05).sum() == 0


def test_certain_rows_do_not_thin_out_the_false_alarms_of_others() -> None:
    rng = np.random.default_rng(11)
    unchanged = p_values(rng.normal(0, 100, 500), np.full(500, 100.0))
    p = np.concatenate([unchanged, np.full(400, 1e-9)])
    together, apart = q_values(p)[:500], q_values_of_families(p, np.repeat(["one", "other"], [500, 400]))[:500]
    assert (together < 0.05).sum() > 5
    assert (apart < 0.05).sum() == 0


def test_a_change_that_is_just_detectable_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(5)
    found = p_values(detectable_quantile(0.95) + rng.normal(0, 1, 20_000), np.ones(20_000)) < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_trend_is_weighted_by_each_year_s_error() -> None:
    years, areas, sigmas = [2000, 2005, 2010, 2015], [100.0, 130.0, 120.0, 150.0], [1.0, 20.0, 1.0, 1.0]
    trend = estimate_trends(years, [areas], [sigmas], 0.95)
    slope, covariance = np.polyfit(years, areas, 1, w=1 / np.array(sigmas), cov="unscaled")
    residual = (np.array(areas) - np.polyval((*slope,), years)) / sigmas
    wide = np.sqrt(covariance[0, 0] * max(1.0, (residual**2).sum() / 2)) * stats.t.ppf(0.975, 2)
    assert trend.slope[0] == pytest.approx(slope[0])
    assert (trend.high - trend.low)[0] / 2 == pytest.approx(wide, rel=1e-6)


@pytest.mark.parametrize("n_years", [3, 4, 6, 10])
def test_intervals_of_trends_cover_the_truth(n_years: int) -> None:
    """Also where years scatter by more than their errors say, as areas of real lakes do."""
    rng = np.random.default_rng(n_years)
    years = np.sort(rng.choice(np.arange(1990, 2024), n_years, replace=False))
    sigma = rng.uniform(50, 200, (4000, n_years))
    for scatter in (1.0, 2.0):
        areas = 1e5 + 300.0 * (years - 2000) + rng.normal(0, scatter * sigma)
        trend = estimate_trends(years, areas, sigma, 0.95)
        assert ((trend.low <= 300) & (trend.high >= 300)).mean() >= 0.94


def test_robust_slope_stands_beside_and_has_an_interval_from_six_years_on() -> None:
    years, areas = [2010, 2013, 2017, 2021, 2022, 2023], [70.0, 80.0, 100.0, 140.0, 400.0, 160.0]
    slopes = [(areas[j] - areas[i]) / (years[j] - years[i]) for i in range(6) for j in range(i + 1, 6)]
    values = [areas, [np.nan, *areas[1:]], [100.0, np.nan, np.nan, np.nan, np.nan, 113.0]]
    trend = estimate_trends(years, values, np.ones((3, 6)), 0.95)
    assert trend.robust_slope[0] == pytest.approx(np.median(slopes))
    assert trend.robust_low[0] < trend.robust_slope[0] < trend.robust_high[0]
    assert np.isfinite(trend.robust_slope[1])
    assert np.isnan(trend.robust_low[1])
    assert np.isnan([trend.slope[2], trend.low[2], trend.robust_slope[2]]).all()


def test_unobserved_years_take_no_part() -> None:
    trend = estimate_trends([2000, 2005, 2010, 2020], [[1.0, np.nan, 2.0, 3.0]], np.ones((1, 4)), 0.95)
    assert trend.slope[0] == pytest.approx(0.1)
