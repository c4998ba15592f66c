"""Winograd's convolution against PyTorch's own, and its matrices against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.learn.network import winograd
from cryosentinel_core.learn.network.winograd import INPUT_TRANSFORM, KERNEL_TRANSFORM, OUTPUT_TRANSFORM, WinogradConv


def exact(rows: tuple[tuple[float, ...], ...]) -> list[list[Fraction]]:
    return [[Fraction(x).limit_denominator(100) for x in row] for row in rows]


def test_the_matrices_filter_exactly() -> None:
    # both sides are bilinear in tile and kernel, so that pairs of unit vectors show it for all
    before, kernel, after = exact(INPUT_TRANSFORM), exact(KERNEL_TRANSFORM), exact(OUTPUT_TRANSFORM)
    for at in range(6):
        for tap in range(3):
            products = [before[k][at] * kernel[k][tap] for k in range(6)]
            found = [sum(a * b for a, b in zip(row, products, strict=True)) for row in after]
            assert found == [Fraction(int(out + tap == at)) for out in range(4)]


@settings(max_examples=40)
@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 5),
    out_channels=st.integers(1, 5),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    rows_at_once=st.integers(1, 3),
    has_bias=st.booleans(),
    is_last=st.booleans(),
    has_memory=st.booleans(),
)
def test_equals_the_direct_way(
    n: int,
    channels: int,
    out_channels: int,
    height: int,
    width: int,
    rows_at_once: int,
    has_bias: bool,
    is_last: bool,
    has_memory: bool,
) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight = (
        torch.randn(shape, dtype=torch.float64, generator=generator)
        for shape in ((n, channels, height, width), (out_channels, channels, 3, 3))
    )
    bias = torch.randn(out_channels, dtype=torch.float64, generator=generator) if has_bias else None
    if is_last:
        x = x.contiguous(memory_format=torch.channels_last)
    conv = WinogradConv(weight, bias)
    memory = torch.full((n * conv.padded_size(height, width),), torch.nan, dtype=torch.float64) if has_memory else None
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(winograd, "_rows_at_once", lambda columns: rows_at_once)
        found = conv(x, memory)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-12)
    if memory is not None:
        assert found.data_ptr() == memory.data_ptr()


def test_an_image_has_the_same_bits_in_any_company() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 32, 40, 56, generator=generator).contiguous(memory_format=torch.channels_last)
    conv = WinogradConv(torch.randn(48, 32, 3, 3, generator=generator), None)
    with torch.inference_mode():
        together = conv(x)
        for i in range(3):
            assert torch.equal(conv(x[i : i + 1])[0], together[i])
        assert torch.equal(conv(x.flip(0)).flip(0), together)


def test_its_error_in_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 256, 56, 56, generator=generator).relu()
    weight = torch.randn(256, 256, 3, 3, generator=generator) / 48
    wanted = F.conv2d(x.double(), weight.double(), padding=1)
    with torch.inference_mode():
        error = (WinogradConv(weight, None)(x).double() - wanted) / wanted.std()
    assert error.square().mean().sqrt() < 2e-6
    assert error.abs().max() < 5e-5


def test_strips_grow_with_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (1, 2, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append([winograd._rows_at_once(columns) for columns in (1, 14, 56, 1000)])
    assert found == [[112, 8, 2, 1], [112, 8, 2, 1], [448, 32, 8, 1]]
