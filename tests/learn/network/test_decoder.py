"""The decoder's short cut against the decoder as published."""

from __future__ import annotations

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cryosentinel_core.learn.network.decoder import ConvNorm, LearnedPyramid, UperNet


def make_decoder(channels_in: tuple[int, int, int, int], channels: int, *, scale_modules: bool) -> UperNet:
    torch.manual_seed(0)
    decoder = UperNet(channels_in, channels, scale_modules=scale_modules).double()
    for module in decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return decoder


@settings(deadline=None, max_examples=20)
@given(
    width=st.sampled_from([4, 8, 12]),
    channels=st.integers(1, 7),
    side=st.sampled_from([2, 3, 4, 6, 7]),
    scale_modules=st.booleans(),
    training=st.booleans(),
    n=st.integers(2, 3),
)
def test_short_cut_equals_plain_in_value_and_gradient(
    width: int, channels: int, side: int, scale_modules: bool, training: bool, n: int
) -> None:
    # in float64; in training mode batch norm takes its statistics from the batch, and the gradient runs through them
    decoder = make_decoder((width, width, width, width), channels, scale_modules=scale_modules).train(training)
    sides = (side, side, side, side) if scale_modules else (side * 4, side * 2, side, max(1, side // 2))
    generator = torch.Generator().manual_seed(3)
    levels = [torch.randn(n, width, s, s, dtype=torch.float64, generator=generator).requires_grad_() for s in sides]
    inputs = [*levels, *decoder.parameters()]
    ours, plain = decoder(levels), decoder.forward_plain(levels)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)
    seed = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    found = torch.autograd.grad(ours, inputs, seed, allow_unused=True)
    wanted = torch.autograd.grad(plain, inputs, seed, allow_unused=True)
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_pyramid_sizes_and_channels() -> None:
    pyramid = LearnedPyramid((16, 16, 16, 16))
    maps = pyramid([torch.zeros(2, 16, 14, 14) for _ in range(4)])
    assert [tuple(m.shape) for m in maps] == [(2, 4, 56, 56), (2, 8, 28, 28), (2, 16, 14, 14), (2, 16, 7, 7)]
    decoder = UperNet(pyramid.out_channels, 5).eval()
    assert [tuple(m.shape[2:]) for m in decoder.build_levels(maps)] == [(224, 224), (56, 56), (14, 14), (3, 3)]
    assert decoder(maps).shape == (2, 5, 224, 224)


def test_short_cut_is_what_runs() -> None:
    # the last convolution must not see the concatenated levels: break its plain path and run
    decoder = UperNet((4, 4, 4, 4), 3).eval()
    broken = copy.deepcopy(decoder)

    def refuse(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError(f"plain convolution over {tuple(x.shape)}")

    broken.fpn_bottleneck.forward = refuse  # type: ignore[method-assign]
    assert isinstance(decoder.fpn_bottleneck, ConvNorm)
    levels = [torch.ones(1, 4, 4, 4) for _ in range(4)]
    with torch.no_grad():
        torch.testing.assert_close(broken(levels), decoder.forward_plain(levels))
