"""Counts of pixels against labels: scikit-learn-free oracles, counted by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryosentinel_core.chips.metrics import Counts, count_pixels

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
