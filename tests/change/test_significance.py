"""Tests, false discovery rates and trends against scipy and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cryosentinel_core.change.significance import estimate_trend, normal_quantile, p_values, q_values
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


def test_trend_is_the_median_slope_of_all_pairs() -> None:
    years, areas = [2017, 2021, 2022, 2023], [100.0, 140.0, 400.0, 160.0]
    slopes = [(areas[j] - areas[i]) / (years[j] - years[i]) for i in range(4) for j in range(i + 1, 4)]
    trend = estimate_trend(years, areas, 0.95)
    assert trend.slope == pytest.approx(np.median(slopes))
    assert trend.low <= trend.slope <= trend.high


def test_unobserved_years_take_no_part_and_two_make_no_trend() -> None:
    assert estimate_trend([2000, 2005, 2010, 2020], [1.0, np.nan, 2.0, 3.0], 0.95).slope == pytest.approx(0.1)
    assert np.isnan(estimate_trend([2000, 2010, 2020], [1.0, np.nan, 3.0], 0.95).slope)
