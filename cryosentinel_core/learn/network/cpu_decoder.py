"""The decoder's large maps on a CPU: image by image, in two pieces of memory, by Winograd's algorithm.

A map of 256 channels over a full window takes 49 MiB. As published, and as PyTorch runs it, a batch has several such maps for each
image, each in fresh memory, whose pages the operating system has to clear: an eighth of a tiny network's time. Here the maps of one
image take turns in two pieces, and only its logits remain. Neighbours: `decoder` holds the weights and the small
maps; `winograd` the convolution; `lake_network` asks whether it suits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.network.memory import take
from cryosentinel_core.learn.network.winograd import WinogradConv

if TYPE_CHECKING:
    from cryosentinel_core.learn.network.decoder import ConvNorm, UperNet

LEAST_CHANNELS: Final = 128
"""Below, Winograd's transforms cost what the products save (with 64 channels it is as fast as PyTorch's own)."""


class CpuDecoder:
    """A UperNet for inference in float32 on a CPU; equal to `UperNet.forward` to rounding.

    Args:
        decoder: Whose weights must not change any more; its small maps are left to it.

    Raises:
        ModelError: If its batch norms are not folded.
    """

    def __init__(self, decoder: UperNet) -> None:
        self._decoder = decoder
        if any(isinstance(module, nn.BatchNorm2d) for module in decoder.modules()):
            raise ModelError("the decoder's batch norms are not folded", "call fold_batch_norms first")
        lateral: ConvNorm = decoder.lateral_convs[0]  # type: ignore[assignment]
        self._lateral_weight = lateral.conv.weight.detach()[:, :, 0, 0].t().contiguous()
        self._lateral_bias = _bias_of(lateral)
        self._first, self._second = (_by_winograd(conv) for conv in decoder.fpn_convs[:2])
        self._last = WinogradConv(*decoder.base_kernel)

    def suits(self, levels: list[Tensor]) -> bool:
        """True if maps are better decoded here: on a CPU, in the weights' own type, wide enough, and no gradient wanted.

        Args:
            levels: As `UperNet.forward` takes them.
        """
        return (
            not torch.compiler.is_compiling()
            and not torch.is_grad_enabled()
            and levels[0].device.type == "cpu"
            and levels[0].dtype == self._lateral_weight.dtype
            and self._lateral_weight.shape[1] >= LEAST_CHANNELS
            and not torch.is_autocast_enabled("cpu")
        )

    def decode(self, levels: list[Tensor]) -> Iterator[Tensor]:
        """The decoded map of one image after the other.

        Args:
            levels: As `UperNet.forward` takes them.

        Yields:
            (1, channels, H, W), channels last, in memory that the next one is written into.
        """
        decoder = self._decoder
        finest, *coarser = decoder.build_pyramid(levels) if decoder.scale_modules else levels
        merged = decoder.merge(coarser)
        smooth = [self._second(merged[0]).relu_(), decoder.fpn_convs[2](merged[1]), merged[2]]
        n, _, height, width = finest.shape
        # The last rows and columns of tiles reach over the edge of maps whose sides are no multiples of a tile's.
        size = self._first.padded_size(height, width)
        memory = finest.new_empty(size), finest.new_empty(size)
        for i in range(n):
            yield self._decode_image(finest[i], merged[0][i : i + 1], [level[i : i + 1] for level in smooth], memory)

    def _decode_image(
        self, finest: Tensor, above: Tensor, coarser: list[Tensor], memory: tuple[Tensor, Tensor]
    ) -> Tensor:
        """One image.

        Args:
            finest: (C, H, W) of the pyramid.
            above: (1, channels, h, w), the merged level above it.
            coarser: Three smoothed levels (1, channels, h_l, w_l).
            memory: Two pieces, flat.
        """
        one, other = memory
        channels, (height, width) = self._lateral_weight.shape[1], finest.shape[1:]
        lateral = take((height * width, channels), one, above)
        torch.addmm(self._lateral_bias, finest.flatten(1).t(), self._lateral_weight, out=lateral)
        enlarged = take((1, height, width, channels), other, above).permute(0, 3, 1, 2)
        torch.ops.aten.upsample_bilinear2d.out(above, [height, width], self._decoder.align_corners, out=enlarged)
        enlarged.permute(0, 2, 3, 1).view_as(lateral).add_(lateral.relu_())
        smooth = self._first(enlarged, one).relu_()
        return self._decoder.finish(self._last(smooth, other), coarser, one)


def _by_winograd(conv: nn.Module) -> WinogradConv:
    inner = conv.conv
    assert isinstance(inner, nn.Conv2d)
    return WinogradConv(inner.weight, inner.bias)


def _bias_of(conv: ConvNorm) -> Tensor:
    weight, bias = conv.conv.weight, conv.conv.bias
    return weight.new_zeros(len(weight)) if bias is None else bias.detach()
