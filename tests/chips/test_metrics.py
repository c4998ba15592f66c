"""Counts of pixels against labels: scikit-learn-free oracles, counted by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize
from shapely import affinity

from cryosentinel_core.chips.metrics import (
    Counts,
    bin_logits,
    bin_probabilities,
    count_at_thresholds,
    count_lakes,
    count_pixels,
    logit_centres,
    smoothed_iou,
    undo_all_touched,
)

ROW = arrays(np.bool_, (6, 7))


def test_by_hand() -> None:
    answer = np.array([1, 1, 1, 0, 0, 0, 1, 0], dtype=bool)
    label = np.array([1, 1, 0, 1, 0, 0, 1, 1], dtype=bool)
    valid = np.array([1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    counts = count_pixels(answer, label, valid)
    assert counts == Counts(tp=2, fp=1, fn=1, tn=2)
    assert (counts.intersection, counts.union, counts.iou) == (2, 4, 0.5)


@settings(deadline=None, max_examples=50)
@given(answer=ROW, label=ROW, valid=ROW)
def test_against_brute_force(answer: np.ndarray, label: np.ndarray, valid: np.ndarray) -> None:
    counts = count_pixels(answer, label, valid)
    triples = list(zip(answer.flat, label.flat, valid.flat, strict=True))
    assert counts.tp == sum(a and b and v for a, b, v in triples)
    assert counts.fp == sum(a and not b and v for a, b, v in triples)
    assert counts.fn == sum(b and not a and v for a, b, v in triples)
    assert counts.tn == sum(v and not a and not b for a, b, v in triples)


@settings(deadline=None, max_examples=50)
@given(answer=ROW, label=ROW, valid=ROW, cut=st.integers(0, 6))
def test_counts_of_parts_add_up(answer: np.ndarray, label: np.ndarray, valid: np.ndarray, cut: int) -> None:
    parts = [count_pixels(answer[rows], label[rows], valid[rows]) for rows in (slice(None, cut), slice(cut, None))]
    assert parts[0] + parts[1] == count_pixels(answer, label, valid)


def test_the_score_of_all_is_no_mean_of_ratios() -> None:
    both = Counts(tp=90, fp=10) + Counts(fn=1)
    assert both.iou == pytest.approx(90 / 101)


def test_no_water_no_score() -> None:
    assert Counts(tn=5).iou is None
    assert Counts().iou is None
    assert Counts(fp=1).iou == 0.0


def test_thresholds_are_inclusive() -> None:
    """`sigmoid >= 0.5`: a logit of exactly 0 is water at one half."""
    logits = np.array([[0.0, -1e-6, 3.0, -3.0]], dtype=np.float32)
    label = np.array([[True, True, False, False]])
    counts = count_at_thresholds(logits, label, np.ones_like(label), (0.1, 0.5, 0.9))
    assert counts.tolist() == [[2, 1, 0, 1], [1, 1, 1, 1], [0, 1, 2, 1]]


def test_single_chips_are_smoothed_by_one() -> None:
    np.testing.assert_array_equal(smoothed_iou([0, 0, 9], [0, 3, 9]), [1.0, 0.25, 1.0])


def test_lakes_by_hand() -> None:
    """Two labelled lakes: one found by half, one missed; one answered lake of three pixels invented, one true."""
    label = np.zeros((6, 8), dtype=bool)
    label[0, 0:4] = label[5, 0:4] = True
    answer = np.zeros_like(label)
    answer[0, 0:2] = answer[3, 5:8] = True
    rows = count_lakes(answer, label, np.ones_like(label), pixel_area_m2=2500.0)
    assert rows.sum(axis=0).tolist() == [2, 1, 2, 1]
    assert rows[:, 0].tolist() == [0, 0, 2, 0, 0], "10,000 m2 begins a class"
    assert rows[:, 2].tolist() == [0, 2, 0, 0, 0]
    unseen = np.ones_like(label)
    unseen[5] = False
    assert count_lakes(answer, label, unseen, 2500.0).sum(axis=0).tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize(("radius_px", "most"), [(8, 0.02), (30, 0.004)])
def test_what_all_touched_adds_is_taken_off(radius_px: float, most: float) -> None:
    """Ellipses of known area, burned as labels are: 20 and 6 % too large, and right again on average."""
    rng = np.random.default_rng(0)
    burned, mended = [], []
    for _ in range(30):
        x, y = rng.uniform(100, 124, 2)
        ellipse = affinity.rotate(
            affinity.scale(shapely.Point(x, y).buffer(radius_px, 64), 1, 0.6), rng.uniform(0, 180)
        )
        label = rasterize([ellipse], (224, 224), all_touched=True).astype(bool)
        burned.append(label.sum() / ellipse.area - 1)
        mended.append(undo_all_touched(label) / ellipse.area - 1)
    assert np.mean(burned) > 0.05
    assert abs(np.mean(mended)) < most


def test_histograms_hold_every_valid_pixel() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 8, (30, 30)).astype(np.float32)
    label, valid = rng.random((30, 30)) < 0.3, rng.random((30, 30)) < 0.9
    bins = bin_logits(logits, label, valid)
    assert bins.sum(axis=1).tolist() == [(valid & ~label).sum(), (valid & label).sum()]
    inside = valid & (np.abs(logits) < 16)
    mean = (bins.sum(axis=0) * logit_centres()).sum() / bins.sum()
    assert mean == pytest.approx(np.clip(logits[valid], -16, 16).mean(), abs=0.03)
    assert inside.any()
    probability = 1 / (1 + np.exp(-logits[valid].astype(float)))
    sums = bin_probabilities(logits, label, valid).sum(axis=0)
    np.testing.assert_allclose(
        sums, [valid.sum(), probability.sum(), label[valid].sum(), ((probability - label[valid]) ** 2).sum()]
    )
