"""A 3 x 3 convolution by Winograd's minimal filtering: a quarter of the multiplications, equal to rounding.

Two thirds of a tiny network's time on a CPU go into two convolutions of 256 channels over the full window, and PyTorch's own
computes them directly. Here the map is cut into tiles of 6 x 6 pixels that overlap by 2; each is transformed, multiplied with the
transformed kernel (36 products of matrices, one for each place in a tile) and transformed back to 4 x 4 pixels of the result:

    Y = A' [ (G g G') * (B' d B) ] A

with g a kernel, d a tile, and ' for transposed. The transforms are products of matrices, too. The interpolation points 0, 1, -1, 1/2,
-2 and infinity err less than the usual 0, +-1, +-2: 1.1e-6 of the result's standard deviation against 1.6e-6, direct convolution
0.4e-6 (256 channels, what a ReLU leaves of standard normal input). Neighbours: `cpu_decoder` uses it.

Sources: Lavin and Gray (2016), Fast algorithms for convolutional neural networks, CVPR. Barabasz et al. (2020), Error analysis and
improving the accuracy of Winograd convolution for deep neural networks, ACM Transactions on Mathematical Software 46(4).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from cryosentinel_core.learn.network.memory import take

OUT_PX: Final = 4
"""Side of what a tile gives."""

IN_PX: Final = OUT_PX + 2
"""Side of what a tile takes."""

OUTPUT_TRANSFORM: Final = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 1 / 2, -2, 0),
    (0, 1, 1, 1 / 4, 4, 0),
    (0, 1, -1, 1 / 8, -8, 1),
)
"""A': powers of the points, and infinity."""

KERNEL_TRANSFORM: Final = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
"""G: powers of the points over the products of their distances to the others."""

INPUT_TRANSFORM: Final = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 1, -5 / 2, 1 / 2, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
"""B': coefficients of the polynomials that are 0 at all points but one."""

TILES_AT_ONCE: Final = 112
"""Tiles whose transforms lie in memory together, 4 MiB of 256 channels: what a core's cache holds."""


class WinogradConv:
    """`conv2d(x, weight, bias, padding=1)` of one kernel, for inference on a CPU.

    Each image of a batch is computed by itself, so that its bits depend neither on the others nor on its place among them.

    Args:
        weight: (O, C, 3, 3); copied in its transformed form, 4 times as large.
        bias: (O,); None for none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        out_channels, channels = weight.shape[:2]
        kernel = torch.tensor(KERNEL_TRANSFORM, dtype=torch.float64)
        moved = torch.einsum("ai,ocij,bj->abco", kernel, weight.detach().double(), kernel)
        self._kernel = moved.reshape(IN_PX**2, channels, out_channels).to(weight.dtype).contiguous()
        self._bias = weight.new_zeros(out_channels) if bias is None else bias.detach().clone()
        self._before, self._after = (
            torch.kron(one, one).to(weight.dtype)
            for one in (torch.tensor(rows, dtype=torch.float64) for rows in (INPUT_TRANSFORM, OUTPUT_TRANSFORM))
        )

    def __call__(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """The convolution.

        Args:
            x: (N, C, H, W), of any layout in memory; channels last saves a copy.
            memory: Flat, that the result is written into if it is large enough, so that none need be taken; must not be x's own.

        Returns:
            (N, O, H, W), channels last.
        """
        n, _, height, width = x.shape
        rows, columns = -(-height // OUT_PX), -(-width // OUT_PX)
        shape = n, rows, OUT_PX, columns, OUT_PX, self._kernel.shape[2]
        out = take(shape, memory, x)
        work = _Work(self._kernel, columns, min(rows, _rows_at_once(columns)))
        for image, result in zip(x.permute(0, 2, 3, 1), out, strict=True):
            for first in range(0, rows, work.n_rows):
                self._convolve_strip(image, result[first : first + work.n_rows], first * OUT_PX - 1, work)
        whole = out.view(n, rows * OUT_PX, columns * OUT_PX, -1)
        return whole[:, :height, :width].permute(0, 3, 1, 2)

    def padded_size(self, height: int, width: int) -> int:
        """Count of numbers that the result of one image takes in memory: whole tiles."""
        return -(-height // OUT_PX) * -(-width // OUT_PX) * OUT_PX**2 * self._kernel.shape[2]

    def _convolve_strip(self, image: Tensor, out: Tensor, top: int, work: _Work) -> None:
        """Some rows of tiles of one image.

        Args:
            image: (H, W, C).
            out: (rows of tiles, 4, tiles along, 4, O), written.
            top: Row of the image where the first tile begins; -1 for the border of zeros.
            work: Memory for it.
        """
        n_rows = len(out)
        work.fill(image, top)
        tiles = work.tiles[:, :, :n_rows]
        tiles.copy_(work.windows[:, :, :n_rows])
        # Where rows are missing at the map's lower end the strides of all arrays stay, so that nothing is computed in another order.
        torch.mm(self._before, work.tiles.view(IN_PX**2, -1), out=work.moved.view(IN_PX**2, -1))
        torch.bmm(work.moved, self._kernel, out=work.products)
        torch.mm(self._after, work.products.view(IN_PX**2, -1), out=work.results.view(OUT_PX**2, -1))
        placed = work.results.view(OUT_PX, OUT_PX, work.n_rows, -1, out.shape[-1]).permute(2, 0, 3, 1, 4)
        torch.add(placed[:n_rows], self._bias, out=out)


class _Work:
    """Memory for one strip of tiles, used again from strip to strip.

    Attributes:
        n_rows: Rows of tiles in a strip.
        windows: (6, 6, rows, tiles along, C), the overlapping tiles of the padded strip, a view.
        tiles: The same, copied.
        moved: (36, tiles, C), transformed.
        products: (36, tiles, O).
        results: (16, tiles, O), transformed back.
    """

    def __init__(self, kernel: Tensor, columns: int, n_rows: int) -> None:
        places, channels, out_channels = kernel.shape
        self.n_rows = n_rows
        height, width = n_rows * OUT_PX + 2, columns * OUT_PX + 2
        self._padded = kernel.new_zeros(height, width, channels)
        along, down = channels, width * channels
        self.windows = self._padded.as_strided(
            (IN_PX, IN_PX, n_rows, columns, channels), (down, along, OUT_PX * down, OUT_PX * along, 1)
        )
        self.tiles = kernel.new_zeros(IN_PX, IN_PX, n_rows, columns, channels)
        n_tiles = n_rows * columns
        self.moved = kernel.new_empty(places, n_tiles, channels)
        self.products = kernel.new_empty(places, n_tiles, out_channels)
        self.results = kernel.new_empty(OUT_PX**2, n_tiles, out_channels)

    def fill(self, image: Tensor, top: int) -> None:
        """Copy the image's rows from `top` on into the padded strip, zeros where there are none."""
        height, width = image.shape[:2]
        first, last = max(top, 0), min(top + len(self._padded), height)
        self._padded[: first - top].zero_()
        self._padded[first - top : last - top, 1 : width + 1] = image[first:last]
        self._padded[last - top :].zero_()


def _rows_at_once(columns: int) -> int:
    """Rows of tiles in a strip: as many as a core's cache holds, more where there are more cores."""
    return max(1, round(TILES_AT_ONCE * max(1.0, torch.get_num_threads() / 2) / columns))
