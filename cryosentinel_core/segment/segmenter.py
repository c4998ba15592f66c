"""Protocol of segmenters: chips in, logits out.

The corridor knows lakes only through this protocol, so that a network, the water index and a constant fake in a test are
one thing to it. Neighbours: `windows` cuts the chips, `window_blending` blends the logits;
`water_index` and `learn.inference.network_segmenter` implement it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from cryosentinel_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cryosentinel_core.segment.arrays import Arrays
    from cryosentinel_core.segment.error_model import UncertaintyModel
    from cryosentinel_core.stack.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ChipBatch:
    """N chips of one size, as stored, with what is known of their pixels.

    H = W = window + 2 x halo of the segmenter that they were cut for. Axis order (N, C, H, W); row 0 is north, column 0 west.

    Attributes:
        s2: (N, 12, H, W) uint16, reflectance x 10,000 in the order of `bands.S2_BANDS`, offset removed; 0 in all = nodata.
        s1: (N, 2, H, W) float32, VV and VH in dB, NaN = nodata; None where the stack holds no radar.
        dem: (N, 1, H, W) float32, metres, NaN = nodata.
        valid: (N, H, W) bool, True where optical and terrain data are good (radar has its own NaN).
        shadow: (N, H, W) float32, share 0..1 of the usable dates on which terrain shadow fell there.
        snow: (N, H, W) float32, share 0..1 of the clear dates on which snow or ice lay there.
        water: (N, H, W) float32, share 0..1 of the clear, snow-free dates on which the scene's own index said water;
            NaN where there was none.
        addresses: (N, 2) int64, lattice (row, col) of the upper left pixel of each window (without halo).
    """

    s2: NDArray[np.uint16]
    s1: NDArray[np.float32] | None
    dem: NDArray[np.float32]
    valid: NDArray[np.bool_]
    shadow: NDArray[np.float32]
    snow: NDArray[np.float32]
    water: NDArray[np.float32]
    addresses: NDArray[np.int64]

    def __post_init__(self) -> None:
        n, _, h, w = self.s2.shape
        shapes = {
            "s2": (self.s2.shape, (n, 12, h, w)),
            "s1": ((n, 2, h, w) if self.s1 is None else self.s1.shape, (n, 2, h, w)),
            "dem": (self.dem.shape, (n, 1, h, w)),
            "valid": (self.valid.shape, (n, h, w)),
            "shadow": (self.shadow.shape, (n, h, w)),
            "snow": (self.snow.shape, (n, h, w)),
            "water": (self.water.shape, (n, h, w)),
            "addresses": (self.addresses.shape, (n, 2)),
        }
        for name, (seen, wanted) in shapes.items():
            if seen != wanted:
                raise InputError(f"chip batch: {name} has shape {seen}, wanted {wanted}")

    def __len__(self) -> int:
        return int(self.s2.shape[0])


@runtime_checkable
class Segmenter(Protocol):
    """Anything that turns chips into logits of "this pixel is a lake"."""

    @property
    def name(self) -> str:
        """Name for folders and tables: `water-index`, or `<stem>-<first 8 of the weights' SHA-256>`."""
        ...

    @property
    def digest(self) -> str:
        """Identity of the answer: version and parameters, or the weights' full SHA-256 and inference settings."""
        ...

    @property
    def window_px(self) -> int:
        """Side of the window whose logits come back."""
        ...

    @property
    def halo_px(self) -> int:
        """Pixels needed around the window on each side."""
        ...

    @property
    def blended(self) -> bool:
        """True if overlapping windows are to be blended; False if the answer is the same whichever window asks."""
        ...

    @property
    def batch_size(self) -> int:
        """Chips per call; the last batch is padded up to it."""
        ...

    @property
    def recipe(self) -> Recipe | None:
        """The stack recipe that it was made for; None if any will do."""
        ...

    @property
    def is_network(self) -> bool:
        """True for a trained network, which is less sure without the radar that it was trained with."""
        ...

    @property
    def error_model(self) -> UncertaintyModel:
        """Constants of how far its outlines are off."""
        ...

    def segment(self, batch: ChipBatch) -> NDArray[np.float32]:
        """Logits of water for each window of a batch.

        Args:
            batch: N chips of side `window_px + 2 * halo_px`.

        Returns:
            (N, window_px, window_px) float32, finite; the natural logarithm of the odds of water.
        """
        ...


@runtime_checkable
class MemberSegmenter(Protocol):
    """A segmenter that averages members (flips, models)."""

    @property
    def has_spread(self) -> bool:
        """True if its answer is (N, 2, H, W) float32: mean and population variance of the members' logits; else the mean alone."""
        ...

    @property
    def members(self) -> dict[str, str]:
        """Name -> SHA-256 of the weights of each model, where there are several; empty for one."""
        ...


@runtime_checkable
class CalibratedSegmenter(Protocol):
    """A segmenter whose areas may have been calibrated; `error_model` is then that of the calibrated threshold."""

    @property
    def calibrated_threshold(self) -> float | None:
        """Probability whose areas are unbiased; None where nobody has calibrated it."""
        ...


def has_spread(segmenter: Segmenter) -> bool:
    """True if a segmenter gives the variance of its members beside their mean."""
    return isinstance(segmenter, MemberSegmenter) and segmenter.has_spread


@runtime_checkable
class Engine(Protocol):
    """A segmenter that computes on a device; nothing of this changes an answer by more than rounding.

    `begin(stage(batch))()` is `segment(batch)`, in three steps that may run side by side for three batches. The batch's arrays must
    stay as they are until the answer is there; then they may be used again for another. An engine looks at bands and terrain alone:
    the shares of dates may be NaN in what it gets.
    """

    @property
    def conditions(self) -> dict[str, Any]:
        """Plain data: `device`, `precision` (as settings take it), `batch_size` and the like, as they are now."""
        ...

    @property
    def peak_device_mib(self) -> float | None:
        """Most memory of the device that was taken, MiB; None if it shares the host's."""
        ...

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Host memory, not set to anything, that chips travel to the device from without another copy."""
        ...

    def stage(self, batch: ChipBatch) -> Any:
        """A batch on its way to the device; may run in another thread while the device computes."""
        ...

    def begin(self, staged: Any) -> Callable[[], NDArray[np.float32]]:
        """Start computing; the returned function waits for the logits (N, window_px, window_px) float32, finite."""
        ...

    @property
    def arrays(self) -> Arrays:
        """Arrays that `begin_on_device` leaves logits in, and sums of them are best kept in."""
        ...

    def begin_on_device(self, staged: Any) -> Callable[[], Any]:
        """Start computing as `begin` does; the logits are left in `arrays`."""
        ...

    def prepare_for(self, n_windows: int) -> None:
        """Choose what depends on the size of the job, as the batch size; called before its first window."""
        ...


@runtime_checkable
class ThreadedSegmenter(Protocol):
    """A segmenter whose last bits depend on the number of CPU threads that it computes with."""

    @property
    def cpu_threads(self) -> int | None:
        """Threads of one call; None where it computes elsewhere, and they change nothing."""
        ...

    def use_threads(self, threads: int) -> None:
        """Compute with so many threads from now on."""
        ...


@runtime_checkable
class AdjustablePrecision(Protocol):
    """A segmenter that may compute in bf16 if the windows of the job bear it; its precision changes at will until it is fixed."""

    @property
    def is_precision_open(self) -> bool:
        """True until `fix_precision`, if bf16 may be chosen."""
        ...

    def use_precision(self, precision: Literal["float32", "bf16"]) -> None:
        """Compute in this precision from now on; it is part of `digest`."""
        ...

    def fix_precision(self) -> None:
        """Keep the precision as it is for good."""
        ...

    def bf16_error(self, batch: ChipBatch) -> float:
        """Root mean square error of bf16 on some chips, as a share of the logits' standard deviation or of 1; only while open."""
        ...
