"""Enlargement as matrices, and the convolution done before it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.learn.network.enlargement import add_convolved, interpolation_matrix, tap_matrices


@settings(deadline=None, max_examples=60)
@given(size_in=st.integers(1, 30), size_out=st.integers(1, 70), align_corners=st.booleans())
def test_matrix_equals_interpolate(size_in: int, size_out: int, align_corners: bool) -> None:
    x = torch.randn(1, 2, size_in, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(x, size=size_out, mode="linear", align_corners=align_corners)
    matrix = interpolation_matrix(size_in, size_out, align_corners=align_corners, dtype=torch.float64)
    torch.testing.assert_close(x @ matrix.t(), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix.sum(1), torch.ones(size_out, dtype=torch.float64))


def test_bfloat16_rows_still_sum_to_one() -> None:
    matrix = interpolation_matrix(56, 224, align_corners=True, dtype=torch.bfloat16)
    assert torch.equal(matrix.double().sum(1), torch.ones(224, dtype=torch.float64))


def test_tap_matrices_by_hand() -> None:
    # two samples enlarged to three: a, (a + b) / 2, b; the taps see one row up, the same, one row down
    taps = tap_matrices(2, 3, align_corners=True, dtype=torch.float64).tolist()
    assert taps[0] == [[0, 0], [1, 0], [0.5, 0.5]]
    assert taps[1] == [[1, 0], [0.5, 0.5], [0, 1]]
    assert taps[2] == [[0.5, 0.5], [0, 1], [0, 0]]


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 2),
    channels=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    out_channels=st.integers(1, 6),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    smaller=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=3),
    align_corners=st.booleans(),
)
def test_sum_equals_convolution_of_enlargements(
    n: int,
    channels: list[int],
    out_channels: int,
    size: tuple[int, int],
    smaller: list[tuple[int, int]],
    align_corners: bool,
) -> None:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    levels = [random(n, c, *hw) for c, hw in zip(channels, smaller, strict=False)]
    weights = [random(out_channels, c, 3, 3) for c in channels]
    base = random(n, out_channels, *size)
    wanted = base
    for level, weight in zip(levels, weights, strict=True):
        enlarged = F.interpolate(level, size=size, mode="bilinear", align_corners=align_corners)
        wanted = wanted + F.conv2d(enlarged, weight, padding=1)
    rows, columns = (
        [tap_matrices(x.shape[a], size[a - 2], align_corners=align_corners, dtype=x.dtype) for x in levels]
        for a in (2, 3)
    )
    found = add_convolved(base, levels, weights, rows, columns)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    seed = torch.randn(found.shape, dtype=torch.float64, generator=generator)
    inputs = [base, *levels, *weights]
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, seed), torch.autograd.grad(wanted, inputs, seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    with torch.no_grad():
        in_place = add_convolved(base.detach().clone(), levels, weights, rows, columns)
    torch.testing.assert_close(in_place, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_is_no_larger_than_that_of_the_plain_way(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 32, 14, 14, dtype=torch.float64, generator=generator)
    weight = torch.randn(16, 32, 3, 3, dtype=torch.float64, generator=generator) / 17
    exact = F.conv2d(F.interpolate(x, size=(56, 56), mode="bilinear", align_corners=True), weight, padding=1)
    x, weight = x.to(dtype), weight.to(dtype)
    plain = F.conv2d(F.interpolate(x, size=(56, 56), mode="bilinear", align_corners=True), weight, padding=1)
    taps = tap_matrices(14, 56, align_corners=True, dtype=dtype)
    ours = add_convolved(torch.zeros(1, 16, 56, 56, dtype=dtype), [x], [weight], [taps], [taps])

    def error(y: torch.Tensor) -> float:
        return float((y.double() - exact).square().mean().sqrt() / exact.std())

    assert error(ours) < 2 * error(plain)


def test_rows_are_padded_for_bf16_alone() -> None:
    """219 rows become 224, of zeros: sums in bf16 stay those of the plain convolution to its rounding, in float32 nothing is added."""
    generator = torch.Generator().manual_seed(3)
    levels = [torch.randn(2, 4, side, side, generator=generator) for side in (56, 14, 3)]
    weights = [torch.randn(8, 4, 3, 3, generator=generator) for _ in levels]
    base = torch.randn(2, 8, 224, 224, generator=generator)
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        taps = [tap_matrices(level.shape[2], 224, align_corners=True, dtype=dtype) for level in levels]
        parts = [level.to(dtype) for level in levels], [weight.to(dtype) for weight in weights]
        for gradient in (False, True):
            with torch.set_grad_enabled(gradient):
                found[dtype, gradient] = add_convolved(base.to(dtype).clone(), *parts, taps, taps).float()
    wanted = base + sum(
        F.conv2d(F.interpolate(level, size=(224, 224), mode="bilinear", align_corners=True), weight, padding=1)
        for level, weight in zip(levels, weights, strict=True)
    )
    for (dtype, _), sums in found.items():
        tolerance = 1e-4 if dtype == torch.float32 else 0.03
        assert float((sums - wanted).square().mean().sqrt()) < tolerance * float(wanted.std())
