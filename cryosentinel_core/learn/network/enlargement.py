"""Bilinear enlargement as two thin matrices, and a 3 x 3 convolution that is done before it instead of after it.

Convolution and enlargement are both linear. The last convolution of a UperNet runs over four concatenated levels, three
of which are enlargements of small maps: for each of its nine taps the channels can be mixed on the small map, and the
result be enlarged afterwards, with the tap's shift and the zeros beyond the border folded into the matrices. That is the
same sum in another order (equal to rounding), with a fraction of the multiplications.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import torch
from torch import Tensor

from cryosentinel_core.learn.network.memory import take

ALIGNMENT: Final = 32
"""Rows that a product of matrices in bf16 is padded to a multiple of."""


def interpolation_matrix(size_in: int, size_out: int, *, align_corners: bool, dtype: torch.dtype) -> Tensor:
    """Matrix M with `M @ x` = `F.interpolate(x, size_out, mode="linear")` along one axis.

    Args:
        size_in: Samples before.
        size_out: Samples after.
        align_corners: As in `torch.nn.functional.interpolate`.
        dtype: Floating type of the result; positions are computed in float64.

    Returns:
        (size_out, size_in), rows sum to 1.
    """
    out = torch.arange(size_out, dtype=torch.float64)
    if align_corners:
        position = out * ((size_in - 1) / (size_out - 1)) if size_out > 1 else torch.zeros_like(out)
    else:
        position = ((out + 0.5) * (size_in / size_out) - 0.5).clamp(min=0.0)
    low = position.floor().long().clamp(max=size_in - 1)
    high = (low + 1).clamp(max=size_in - 1)
    share = (position - low).clamp(0.0, 1.0)
    if dtype == torch.bfloat16:
        share = (share * 256).round() / 256  # both shares are then exact in 8 bits, and rows still sum to 1
    matrix = torch.zeros(size_out, size_in, dtype=torch.float64)
    rows = torch.arange(size_out)
    matrix.index_put_((rows, low), 1.0 - share, accumulate=True)
    matrix.index_put_((rows, high), share, accumulate=True)
    return matrix.to(dtype)


def tap_matrices(size_in: int, size_out: int, *, align_corners: bool, dtype: torch.dtype) -> Tensor:
    """Enlargement seen by the three taps of a convolution padded by one zero on each side.

    Args:
        size_in: Samples before.
        size_out: Samples after.
        align_corners: As in `torch.nn.functional.interpolate`.
        dtype: Floating type of the result.

    Returns:
        (3, size_out, size_in): row y of tap t is row y + t - 1 of the interpolation matrix, or zeros beyond the border.
    """
    matrix = interpolation_matrix(size_in, size_out, align_corners=align_corners, dtype=dtype)
    padded = torch.nn.functional.pad(matrix, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + size_out] for tap in range(3)])


def add_convolved(
    base: Tensor,
    levels: list[Tensor],
    weights: list[Tensor],
    rows: list[Tensor],
    columns: list[Tensor],
    memory: Tensor | None = None,
) -> Tensor:
    """`base + sum of conv2d(interpolate(level, (H, W), mode="bilinear"), weight, padding=1)`, without enlarging first.

    Args:
        base: (N, O, H, W); overwritten where no gradient is recorded.
        levels: Small maps, each (N, C_l, h_l, w_l).
        weights: For each level (O, C_l, 3, 3).
        rows: For each level (3, H, h_l) from `tap_matrices`, in the dtype and on the device of the level.
        columns: For each level (3, W, w_l).
        memory: Flat, to be overwritten, so that none need be taken; used if no gradient is recorded and it is large enough.

    Returns:
        (N, O, H, W) in channels-last memory, differentiable in base, levels and weights.
    """
    n, o, height, width = base.shape
    stacked = torch.cat([taps.permute(1, 0, 2).reshape(height, -1) for taps in rows], dim=1)  # (H, sum of 3 h_l)
    n_rows = stacked.shape[1]
    if base.dtype == torch.bfloat16:  # 219 rows are no multiple of what tensor cores take at once; zeros add nothing
        stacked = torch.nn.functional.pad(stacked, (0, -n_rows % ALIGNMENT))
    flat = base.permute(0, 2, 3, 1).reshape(n, height, width * o)
    products = (pair for one in zip(levels, weights, columns, strict=True) for pair in _widen(*one))
    if torch.is_grad_enabled():
        widened = torch.cat([torch.bmm(first, second) for first, second in products])
        if stacked.shape[1] > n_rows:
            widened = torch.nn.functional.pad(widened, (0, 0, 0, 0, 0, (stacked.shape[1] - n_rows) * n))
    else:
        widened = _multiply_into(take((stacked.shape[1] * n, width, o), memory, base), products)
        widened[n_rows * n :].zero_()
    add = torch.baddbmm if torch.is_grad_enabled() else torch.Tensor.baddbmm_
    out = add(flat, stacked.expand(n, -1, -1), widened.reshape(-1, n, width * o).transpose(0, 1))
    return out.reshape(n, height, width, o).permute(0, 3, 1, 2)


def _multiply_into(out: Tensor, products: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The batched products of pairs, each written behind the one before: `out`, without a copy of them all."""
    start = 0
    for first, second in products:
        torch.bmm(first, second, out=out[start : start + len(first)])
        start += len(first)
    return out


def _widen(level: Tensor, weight: Tensor, taps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each row tap the factors of its product (h * N, W, O): columns enlarged, and channels mixed on the small map.

    Rows come before images, so that the products of all levels lie one behind the other in one piece.
    """
    n, c, h, w = level.shape
    o = weight.shape[0]
    flat = level.permute(2, 0, 3, 1).reshape(h * n * w, c)
    columns = taps.permute(1, 2, 0).reshape(1, -1, w * 3).expand(h * n, -1, -1)  # (h * N, W, w x column tap)
    for row_tap in range(3):
        mixing = weight[:, :, row_tap].permute(1, 2, 0).reshape(c, 3 * o)  # (C, column tap x O)
        yield columns, (flat @ mixing).reshape(h * n, w * 3, o)
