"""Intervals that draw blocks: closed forms, a simulated population of blocks with known IoU, and when they are withheld."""

from __future__ import annotations

import numpy as np
import pytest

from cryosentinel_core.chips.bootstrap import difference_interval, ratio_interval, sum_by_block


def draw_blocks(rng: np.random.Generator, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of blocks whose sizes and scores both vary."""
    union = rng.lognormal(0.0, 0.5, n_blocks) * 10_000
    return rng.beta(30.0, 4.0, n_blocks) * union, union


def test_the_value_is_the_ratio_of_totals() -> None:
    found = ratio_interval([90.0, 0.0], [100.0, 100.0])
    assert found.value == 0.45
    assert (found.low, found.high) == (None, None)
    assert found.withheld == "2 blocks, wanted at least 8"


def test_intervals_cover_the_population_they_were_drawn_from() -> None:
    """18 blocks, as in a published split: 95 % intervals hold the truth about 95 times in a hundred."""
    population = draw_blocks(np.random.default_rng(1), 1_000_000)
    truth = population[0].sum() / population[1].sum()
    held, widths = 0, []
    for seed in range(200):
        found = ratio_interval(*draw_blocks(np.random.default_rng(100 + seed), 18), seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert 180 <= held <= 199
    assert 0.03 < np.mean(widths) < 0.09


def test_pixels_and_chips_do_not_make_it_narrower() -> None:
    """A hundred copies of each chip are the same ground: the interval stays as wide."""
    intersection, union = draw_blocks(np.random.default_rng(5), 18)
    names = [str(index) for index in range(18)]
    once = ratio_interval(sum_by_block(intersection, names), sum_by_block(union, names))
    again = ratio_interval(
        sum_by_block(np.tile(intersection, 100), names * 100), sum_by_block(np.tile(union, 100), names * 100)
    )
    assert again.value == pytest.approx(once.value, rel=1e-12)
    assert again.low == pytest.approx(once.low, rel=1e-9)
    assert again.n_blocks == 18


@pytest.mark.parametrize(
    ("over", "under", "why"),
    [
        ([1.0] * 7, [2.0] * 7, "7 blocks"),
        ([5.0] * 9, [5.0] * 9, "no spread follows"),
        ([4.0] * 9, [5.0] * 9, "do not differ"),
        ([0.0] * 9, [0.0] * 9, "nothing to divide by"),
    ],
)
def test_withheld_where_it_would_be_a_guess(over: list[float], under: list[float], why: str) -> None:
    found = ratio_interval(over, under)
    assert why in found.withheld
    assert found.low is None


def test_blocks_without_anything_to_count_are_no_blocks() -> None:
    over, under = draw_blocks(np.random.default_rng(3), 10)
    found = ratio_interval([*over, 0.0, 0.0], [*under, 0.0, 0.0])
    assert found == ratio_interval(over, under)
    assert found.n_blocks == 10


def test_a_difference_is_drawn_together() -> None:
    """Two models that share their hard blocks: the difference is known far better than either score."""
    rng = np.random.default_rng(2)
    intersection, union = draw_blocks(rng, 18)
    better = np.minimum(intersection * (1 + 0.01 * rng.random(18)), union)
    one = ratio_interval(better, union)
    apart = difference_interval((better, union), (intersection, union))
    assert apart.value == pytest.approx((better.sum() - intersection.sum()) / union.sum())
    assert apart.low is not None
    assert apart.high is not None
    assert one.low is not None
    assert one.high is not None
    assert 0 < apart.low < apart.value < apart.high
    assert apart.high - apart.low < 0.1 * (one.high - one.low)


def test_a_ratio_of_areas_may_exceed_one() -> None:
    over, under = draw_blocks(np.random.default_rng(8), 12)
    found = ratio_interval(1.3 * under + 0.1 * over, under, bounded=False)
    assert found.low is not None
    assert found.high is not None
    assert 1.3 < found.low < found.value < found.high < 1.5
