"""The UperNet decoder of the published weights, parameter for parameter as terratorch 1.2.11 names them.

It is kept here because later versions of terratorch dropped `scale_modules`, which the published weights need, and
because its last convolution can be done exactly at a fraction of the cost (see `enlargement`). Neighbours: `lake_network` puts it
behind the encoder; `enlargement` holds the algebra; `cpu_decoder` does the same with less memory and time for inference on a CPU.

Source: Xiao et al. (2018), Unified Perceptual Parsing for Scene Understanding; MMSegmentation's UPerHead.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryosentinel_core.learn.network.enlargement import add_convolved, tap_matrices

POOL_SCALES: Final = (1, 2, 3, 6)
"""Sides in pixels of the maps that the coarsest level is pooled to."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU: (N, C, H, W) -> (N, O, H, W)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels_out)
        self.act = nn.ReLU(inplace=True)  # of the norm's output, which nothing else needs

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, H, W)."""
        return self.finish(self.conv(x))

    def finish(self, convolved: Tensor) -> Tensor:
        """Norm and activation after the convolution."""
        out: Tensor = self.act(self.norm(convolved))
        return out


class PyramidStages(nn.Module):
    """Four maps of one size -> sizes x 4, x 2, x 1 and x 1/2, with C/4, C/2, C and C channels.

    The same stages `fpn1` to `fpn4` serve as a neck and, with `scale_modules`, again at the start of the decoder.
    """

    def __init__(self, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.fpn1 = nn.Sequential(
            nn.ConvTranspose2d(c1, c1 // 2, 2, 2),
            nn.BatchNorm2d(c1 // 2),
            nn.GELU(),
            nn.ConvTranspose2d(c1 // 2, c1 // 4, 2, 2),
        )
        self.fpn2 = nn.Sequential(nn.ConvTranspose2d(c2, c2 // 2, 2, 2))
        self.fpn3 = nn.Sequential(nn.Identity())
        self.fpn4 = nn.Sequential(nn.MaxPool2d(kernel_size=2, stride=2))
        self.out_channels = (c1 // 4, c2 // 2, c3, c4)

    def build_pyramid(self, levels: list[Tensor]) -> list[Tensor]:
        """The four maps, finest first."""
        stages = (self.fpn1, self.fpn2, self.fpn3, self.fpn4)
        return [stage(level) for stage, level in zip(stages, levels, strict=True)]


class LearnedPyramid(PyramidStages):
    """The stages as a neck of their own (terratorch's `LearnedInterpolateToPyramidal`)."""

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """The four maps, finest first."""
        return self.build_pyramid(levels)


class PoolStage(nn.Sequential):
    """Average to `scale` x `scale` pixels, then mix channels."""

    def __init__(self, scale: int, channels_in: int, channels_out: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(scale), ConvNorm(channels_in, channels_out, 1))


class UperNet(PyramidStages):
    """Feature pyramid with a pooling pyramid at its top: four maps -> one map of the finest size.

    Args:
        channels_in: Channels of the four incoming maps, finest first.
        channels: Width of the decoder.
        scale_modules: Whether the incoming maps pass through a learned pyramid of the decoder's own first.
        align_corners: As in `torch.nn.functional.interpolate`; terratorch uses True.
    """

    def __init__(
        self,
        channels_in: tuple[int, int, int, int],
        channels: int = 256,
        *,
        scale_modules: bool = True,
        align_corners: bool = True,
    ) -> None:
        super().__init__(channels_in)
        self.scale_modules = scale_modules
        if not scale_modules:
            del self.fpn1, self.fpn2, self.fpn3, self.fpn4
            self.out_channels = channels_in
        self.align_corners = align_corners
        *finer, top = self.out_channels
        self.psp_modules = nn.ModuleList([PoolStage(scale, top, channels) for scale in POOL_SCALES])
        self.bottleneck = ConvNorm(top + len(POOL_SCALES) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList([ConvNorm(c, channels, 1) for c in finer])
        self.fpn_convs = nn.ModuleList([ConvNorm(channels, channels, 3) for _ in finer])
        self.fpn_bottleneck = ConvNorm(4 * channels, channels, 3)
        self._matrices: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}

    def forward(self, levels: list[Tensor]) -> Tensor:
        """The decoder by its exact short cut.

        Args:
            levels: Four maps (N, C_i, H_i, W_i), finest first once the own pyramid is applied.

        Returns:
            (N, channels, H, W) of the finest map; equal to `forward_plain` to rounding.
        """
        finest, *coarser = self.build_levels(levels)
        weight, bias = self.base_kernel
        base = F.conv2d(finest.contiguous(memory_format=torch.channels_last), weight, bias, padding=1)
        return self.finish(base, coarser)

    @property
    def base_kernel(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the last convolution over the finest level alone."""
        last = self.fpn_bottleneck.conv
        return last.weight[:, : last.in_channels // 4], last.bias

    def finish(self, base: Tensor, coarser: list[Tensor], memory: Tensor | None = None) -> Tensor:
        """Add the last convolution over the three coarser levels, then its norm and its ReLU.

        Args:
            base: (N, channels, H, W), the convolution over the finest level; overwritten where no gradient is recorded.
            coarser: The other three, as `build_levels` gives them.
            memory: See `add_convolved`.
        """
        weights = torch.split(self.fpn_bottleneck.conv.weight, base.shape[1], dim=1)
        rows = [self._taps(level.shape[2], base.shape[2], base) for level in coarser]
        columns = [self._taps(level.shape[3], base.shape[3], base) for level in coarser]
        return self.fpn_bottleneck.finish(add_convolved(base, coarser, list(weights[1:]), rows, columns, memory))

    def forward_plain(self, levels: list[Tensor]) -> Tensor:
        """The decoder as published: enlarge, concatenate, convolve. For comparison."""
        maps = self.build_levels(levels)
        enlarged = [maps[0], *(self._enlarge(level, maps[0]) for level in maps[1:])]
        out: Tensor = self.fpn_bottleneck(torch.cat(enlarged, dim=1))
        return out

    def build_levels(self, levels: list[Tensor]) -> list[Tensor]:
        """All that comes before the last convolution: four maps of `channels` channels, finest first."""
        finest, *coarser = self.build_pyramid(levels) if self.scale_modules else levels
        merged = self.merge(coarser)
        lateral = self.lateral_convs[0](finest)
        merged = [self._enlarge(merged[0], lateral).add_(lateral), *merged]
        return [*(conv(x) for conv, x in zip(self.fpn_convs, merged[:-1], strict=True)), merged[-1]]

    def merge(self, coarser: list[Tensor]) -> list[Tensor]:
        """The three coarser maps of the pyramid, each with what the ones above it know: three maps of `channels` channels."""
        merged = [self._pool(coarser[-1])]
        for conv, level in zip(self.lateral_convs[:0:-1], coarser[-2::-1], strict=True):
            lateral = conv(level)
            merged.insert(0, self._enlarge(merged[0], lateral).add_(lateral))
        return merged

    def _pool(self, top: Tensor) -> Tensor:
        pooled = [self._enlarge(stage(top), top) for stage in self.psp_modules]
        out: Tensor = self.bottleneck(torch.cat([top, *pooled], dim=1))
        return out

    def _enlarge(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=self.align_corners)

    def _taps(self, size_in: int, size_out: int, like: Tensor) -> Tensor:
        key = (size_in, size_out, like.dtype, like.device)
        if key not in self._matrices:
            taps = tap_matrices(size_in, size_out, align_corners=self.align_corners, dtype=like.dtype)
            self._matrices[key] = taps.to(like.device)
        return self._matrices[key]
