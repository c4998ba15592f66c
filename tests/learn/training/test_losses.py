"""The six terms against the released code's numbers, and against counts that a reader can make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cryosentinel_core.learn.training.distances import by_passes, signed_distances
from cryosentinel_core.learn.training.losses import (
    PUBLISHED_WEIGHTS,
    TERMS,
    LossSettings,
    compute_losses,
    weigh_water,
)

SETTINGS = LossSettings(weights=PUBLISHED_WEIGHTS)

TIES = ("huge_logits", "zero_logits_ties", "near_perfect", "logits_about_zero")


@pytest.fixture(scope="module")
def published(shared_data: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    folder = shared_data / "published-fixtures"
    with np.load(folder / "losses.npz") as arrays:
        return json.loads((folder / "losses.json").read_text())["cases"], dict(arrays)


def of_case(arrays: dict[str, np.ndarray], name: str) -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.from_numpy(arrays[f"{name}__logits"])[:, 0].clone().requires_grad_(True)
    label = torch.from_numpy(arrays[f"{name}__mask"]).float()
    valid = arrays.get(f"{name}__valid")
    return logits, label, torch.ones_like(label, dtype=torch.bool) if valid is None else torch.from_numpy(valid)


def test_terms_and_gradients_are_the_released_ones(
    published: tuple[dict[str, Any], dict[str, np.ndarray]],
) -> None:
    cases, arrays = published
    assert len(cases) == 20
    for name, case in cases.items():
        logits, label, valid = of_case(arrays, name)
        found = compute_losses(logits, label, valid, SETTINGS)
        for term in TERMS:
            assert float(found[term].detach()) == pytest.approx(case["terms"][term], rel=1e-5, abs=1e-6), (name, term)
        assert float(found["total"].detach()) == pytest.approx(case["total"], rel=1e-5, abs=1e-6), name
        assert float(weigh_water(label, valid, SETTINGS)) == pytest.approx(case["pos_weight"], rel=1e-6), name
        found["total"].backward()
        assert logits.grad is not None
        if name in TIES:
            continue
        wanted = torch.from_numpy(arrays[f"{name}__grad"])[:, 0]
        wrong = ~torch.isclose(logits.grad, wanted, rtol=1e-4, atol=1e-8)
        assert int(wrong.sum()) <= 12, (name, int(wrong.sum()), float((logits.grad - wanted).abs().max()))


def test_gradients_where_pixels_tie(published: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    """There the cut of the hardest pixels, or the Lovasz order, falls among equals: the other four terms are compared."""
    _, arrays = published
    weights = {**PUBLISHED_WEIGHTS, "bce": 0.0, "lovasz": 0.0}
    for name in TIES:
        logits, label, valid = of_case(arrays, name)
        compute_losses(logits, label, valid, LossSettings(weights=weights))["total"].backward()
        wanted = torch.from_numpy(arrays[f"{name}__grad_without_bce_and_lovasz"])
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad, wanted.reshape(logits.shape), rtol=1e-4, atol=1e-8)


def test_distances_are_the_released_ones(published: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    _, arrays = published
    for name in ("one_pixel", "lakes_no_valid_mask", "rectangles_at_edges"):
        water = torch.from_numpy(arrays[f"{name}__mask"]) > 0
        wanted = torch.from_numpy(arrays[f"{name}__signed_distance"])
        torch.testing.assert_close(signed_distances(water), wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(by_passes(water), wanted, rtol=0, atol=1e-5)


def test_distances_by_tensors_are_scipy_s() -> None:
    rng = np.random.default_rng(5)
    water = torch.from_numpy(rng.random((6, 40, 56)) < np.array([0.001, 0.02, 0.5, 0.98, 0.0, 1.0])[:, None, None])
    torch.testing.assert_close(by_passes(water), signed_distances(water), rtol=0, atol=1e-5)


def test_distances_by_hand() -> None:
    water = torch.tensor([[[0, 0, 0, 1, 1]]], dtype=torch.bool)
    assert by_passes(water).tolist() == [[[3.0, 2.0, 1.0, -1.0, -2.0]]]
    assert by_passes(torch.ones(1, 2, 2, dtype=torch.bool)).abs().max() == 0


def test_float32_under_autocast() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 32, 32, generator=generator)
    label = (torch.rand(2, 32, 32, generator=generator) < 0.3).float()
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    plain = compute_losses(logits, label, valid, SETTINGS)["total"]
    with torch.autocast("cpu", torch.bfloat16):
        under = compute_losses(logits, label, valid, SETTINGS)["total"]
    assert under.dtype == torch.float32
    assert float(under) == float(plain)


def test_what_the_released_code_counts_of_invalid_pixels_can_be_mended() -> None:
    """One water pixel in a row of eight valid ones; the other row, all water, is invalid."""
    label = torch.zeros(1, 2, 8)
    label[0, 0, 3] = 1
    label[0, 1] = 1
    valid = torch.tensor([[[True] * 8, [False] * 8]])
    mended = LossSettings(weights=PUBLISHED_WEIGHTS, masks_all=True)
    assert float(weigh_water(label, valid, SETTINGS)) == 1.0  # 7 without, 9 with
    assert float(weigh_water(label, valid, mended)) == 7.0
    logits = torch.zeros(1, 2, 8)
    weights = {"boundary": 1.0}
    far = compute_losses(logits, label, valid, LossSettings(weights=weights, masks_all=True))["boundary"]
    # Distances along the row from column 3: 3 2 1 -1 1 2 3 4, each times 0.5.
    assert float(far) == pytest.approx((3 + 2 + 1 - 1 + 1 + 2 + 3 + 4) * 0.5 / 8)
    near = compute_losses(logits, label, valid, LossSettings(weights=weights))["boundary"]
    assert float(near) == pytest.approx((7 * 1 - 1) * 0.5 / 8)


def test_a_chip_without_water_still_teaches() -> None:
    """Every term but the boundary's pushes invented water down."""
    label = torch.zeros(1, 16, 16)
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    for term in TERMS:
        logits = torch.full((1, 16, 16), 0.5, requires_grad=True)
        compute_losses(logits, label, valid, LossSettings(weights={term: 1.0}))["total"].backward()
        assert logits.grad is not None
        assert (float(logits.grad.sum()) > 0) == (term != "boundary"), term
