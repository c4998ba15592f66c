"""A network as a segmenter: stored chips in, finite logits out.

Standardising, flips, batches, precision and devices are settled here; windows, blending and files are not. Neighbours:
`model` is the network; `segmenter` says what the corridor expects; `io.model_files` builds one from a file.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from cryosentinel_core.arrays import HOST, Arrays
from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.answers import Answer, DeviceArrays, put_in_order
from cryosentinel_core.learn.batching import (
    CPU_BATCH,
    FIRST_BATCH,
    SUMS_MIB,
    find_batch_size,
    keep_free,
    largest_batch,
    no_room,
)
from cryosentinel_core.learn.compiling import Compiling, pays_to_compile
from cryosentinel_core.learn.devices import choose_device
from cryosentinel_core.learn.model import LakeNetwork, fold_batch_norms
from cryosentinel_core.learn.precision import (
    Precision,
    bf16_error,
    choose_precision,
    exact_matmul,
    make_probe,
    store_in_bf16,
)
from cryosentinel_core.learn.staging import StagedChips, allocate, stage_chips, standardise
from cryosentinel_core.segmenter import ChipBatch
from cryosentinel_core.units import CELL_PX

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cryosentinel_core.model_spec import Normalisation
    from cryosentinel_core.recipe import Recipe

FLIPS: Final[tuple[tuple[int, ...], ...]] = ((), (-1,), (-2,), (-2, -1))
"""Axes reversed in each of the four views: identity, horizontal, vertical, both."""

_FINGERPRINT_VERSION: Final = 1
"""Raised whenever the arithmetic here changes what comes out."""

_SPREAD_VERSION: Final = 1
"""Raised whenever the spread is computed otherwise; part of the digest only where it is given."""

SPREAD_SUFFIX: Final = "-spread"
"""Behind the name of a segmenter that gives the spread, so that results with and without it lie side by side."""


class NetworkSegmenter:
    """TerraMind and UperNet behind the `Segmenter` protocol.

    Every call computes whole batches of `batch_size` chips (the last is padded), with a fixed number of threads, so
    that on one CPU in float32 a window's logits are the same bits whichever windows it is computed with.

    Args:
        network: Weights loaded; it is taken over, folded and moved.
        normalisation: Statistics of the weights.
        name: Name for folders and tables.
        sha256: Of the weights' file.
        recipe: The stack recipe that the weights were trained on; None if unknown altogether.
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        precision: `float32`, `bf16`, or `auto` (see `choose_precision`): then bf16 stays open until `prepare_for` or
            `close_precision`, so that `bf16_error` can be asked for real windows before.
        batch_size: Chips per forward pass; None for 4 on a CPU, and on a GPU for what `prepare_for` finds.
        tta: Whether the logits of four flips are averaged.
        threads: Threads per call on a CPU; None leaves PyTorch's setting alone.
        compiling: Whether `prepare_for` has the network compiled by `torch.compile` (minutes, for large jobs on a GPU):
            `on`, `off`, or `auto` (on a GPU where `pays_to_compile`).
        spread: Whether the variance over the flips is given beside their mean: answers are then (N, 2, 224, 224), and the name
            ends in `-spread`, since what it leads to is another result.

    Raises:
        ModelError: If the device is not there or a number is out of range.
    """

    def __init__(
        self,
        network: LakeNetwork,
        *,
        normalisation: Normalisation,
        name: str,
        sha256: str,
        recipe: Recipe | None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | None = CPU_BATCH,
        tta: bool = True,
        threads: int | None = None,
        compiling: Compiling = "off",
        spread: bool = False,
    ) -> None:
        if (batch_size is not None and batch_size < 1) or (threads is not None and threads < 1):
            raise ModelError(f"batch size {batch_size} and threads {threads} must be at least 1")
        self.device = choose_device(device)
        self.normalisation = normalisation
        self.spec = network.spec
        self.tta = tta
        self._has_spread = spread
        self.threads = threads
        self._name, self._sha256, self._recipe = name, sha256, recipe
        self._finds_batch = batch_size is None and self.device.type == "cuda"
        self._batch_size = batch_size or (FIRST_BATCH if self._finds_batch else CPU_BATCH)
        self._tried_to = 0
        network.eval().requires_grad_(False)
        fold_batch_norms(network)
        self.network = network.to(self.device)
        self.network.use_frugal_decoder(wanted=self.device.type == "cpu" and precision != "bf16")
        self.precision: Literal["float32", "bf16"] = (
            choose_precision(self.network, self.device) if precision == "auto" else precision
        )
        self._is_open = True
        if precision != "auto" or self.precision == "float32":
            self.close_precision()
        self._compiling = "off" if compiling == "auto" and self.device.type != "cuda" else compiling
        self._call: Callable[[dict[str, Tensor]], Tensor] = self.network

    @property
    def is_precision_open(self) -> bool:
        """Whether the fixed probe spoke for bf16, and nobody has yet settled whether the windows of the job do too."""
        return self._is_open

    def use_precision(self, precision: Literal["float32", "bf16"]) -> None:
        """Compute in this precision from now on.

        Raises:
            ModelError: If it is settled that the network computes in the other.
        """
        if precision != self.precision and not self._is_open:
            raise ModelError(f"the weights are set up for {self.precision}, not {precision}")
        self.precision = precision

    def close_precision(self) -> None:
        """Settle the precision as it is, once and for all: in bf16 the weights are stored in it from now on."""
        if not self._is_open:
            return
        self._is_open = False
        if self.precision == "bf16":
            self.network.use_frugal_decoder(wanted=False)
            store_in_bf16(self.network)
            if self.device.type == "cuda":  # the layout of tensor cores: else cuDNN turns each map there and back
                self.network.to(memory_format=torch.channels_last)

    def bf16_error(self, batch: ChipBatch) -> float:
        """What bf16 would cost on some chips, see `precision.bf16_error`; only while the precision is open.

        Args:
            batch: N chips of 224 x 224 px; each is computed twice, without flips.

        Raises:
            ModelError: If the precision is settled.
        """
        if not self._is_open:
            raise ModelError(f"the weights are set up for {self.precision}: there is nothing to compare")
        with self._settings():
            singles = (
                {name: x[at : at + 1] for name, x in chips.items()}
                for rows, chips in self._groups(self.stage(batch))
                for at in range(len(rows))
            )
            return bf16_error(self.network, singles, self.device)

    @property
    def name(self) -> str:
        """`<stem>-<first 8 of the weights' SHA-256>`, with `-spread` behind it where the spread is given."""
        return f"{self._name}{SPREAD_SUFFIX}" if self._has_spread else self._name

    @property
    def sha256(self) -> str:
        """Of the weights' file."""
        return self._sha256

    @property
    def has_spread(self) -> bool:
        """Whether the variance over the flips comes beside their mean."""
        return self._has_spread

    @property
    def members(self) -> dict[str, str]:
        """Empty: one model."""
        return {}

    @property
    def digest(self) -> str:
        """SHA-256 of the weights' SHA-256 and all settings that change logits by more than rounding."""
        parts: dict[str, Any] = {
            "version": _FINGERPRINT_VERSION,
            "sha256": self._sha256,
            "normalisation": self.normalisation.to_dict(),
            "tta": self.tta,
            "precision": self.precision,
        }
        if self._has_spread:
            parts["spread"] = _SPREAD_VERSION
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def window_px(self) -> int:
        """Side of a window: 224, TerraMind's pretraining size."""
        return CELL_PX

    @property
    def halo_px(self) -> int:
        """None: the network sees its window and no more."""
        return 0

    @property
    def blended(self) -> bool:
        """Overlapping windows differ and are blended."""
        return True

    @property
    def batch_size(self) -> int:
        """Chips per forward pass; it shrinks where a GPU's memory does not suffice."""
        return self._batch_size

    @property
    def recipe(self) -> Recipe | None:
        """The stack recipe that the weights were trained on."""
        return self._recipe

    def prepare_for(self, n_windows: int) -> None:
        """Settle what depends on the size of the job: a batch size on a GPU that is automatic, whether to compile, and the precision.

        A batch size found before is kept, unless the job was what bounded it and this one is larger; what is compiled
        stays so.

        Args:
            n_windows: That will be asked for.

        Raises:
            ModelError: If not even one window fits the GPU's memory, or compiling was asked for and failed.
        """
        self.close_precision()
        self.settle_batch(n_windows)
        self.settle_compiling(n_windows)

    def settle_batch(self, n_windows: int) -> None:
        """The batch size part of `prepare_for`; none once compiled."""
        most = largest_batch(n_windows)
        if self.is_compiled:
            return
        if self._finds_batch and self._tried_to < most and (self._tried_to in (0, self._batch_size)):
            with keep_free(SUMS_MIB, self.device):
                self._batch_size, self._tried_to = find_batch_size(self._measure_rate, most), most

    def settle_compiling(self, n_windows: int) -> None:
        """The compiling part of `prepare_for`, for the batch size as it is."""
        if self.is_compiled:
            return
        if self._compiling == "on" or (
            self._compiling == "auto" and pays_to_compile(n_windows, self._measure_rate(self._batch_size))
        ):
            self._compile()

    def limit_batch(self, n: int) -> None:
        """Go on with batches of at most `n` chips."""
        self._batch_size = min(self._batch_size, n)

    @property
    def is_compiled(self) -> bool:
        """Whether windows go through a compiled network."""
        return self._call is not self.network

    def _compile(self) -> None:
        """Compile for the batch size, and try it; where that fails and nobody insists, all stays as it was."""
        self._call = torch.compile(self.network, dynamic=False)
        try:
            self._measure_rate(self._batch_size)
        except RuntimeError as error:
            self._call = self.network
            if self._compiling == "on":
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ModelError(f"torch.compile failed: {first[:200]}", "use --compile off") from error
            self._compiling = "off"

    def _measure_rate(self, n: int) -> float:
        """Windows a second in batches of `n`, flips and all, the second of two passes over chips of noise."""
        probe = make_probe(self.spec.modalities, self.device)
        chips = {name: x.expand(n, -1, -1, -1).contiguous() for name, x in probe.items()}
        seconds = 1.0
        with self._settings():
            for _ in range(2):
                began = time.perf_counter()
                self._average_flips(chips)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                seconds = time.perf_counter() - began
        return n / max(seconds, 1e-9)

    @property
    def conditions(self) -> dict[str, Any]:
        """Device, precision, batch size, compiling, flips and threads, as they are now."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "device": name,
            "precision": self.precision,
            "batch_size": self._batch_size,
            "is_compiled": self.is_compiled,
            "n_flips": len(FLIPS) if self.tta else 1,
            "threads": self.threads or torch.get_num_threads(),
        }

    @property
    def peak_device_mib(self) -> float | None:
        """Most memory that PyTorch has taken of the GPU, MiB; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else None

    def segment(self, batch: ChipBatch) -> NDArray[np.float32]:
        """Logits of water for each window.

        A window without a single finite radar pixel is computed without radar, as if the batch had none: the encoder
        then averages over the modalities that there are.

        Args:
            batch: N chips of 224 x 224 px; any N.

        Returns:
            (N, 224, 224) float32, finite; with `has_spread` (N, 2, 224, 224), mean and population variance over the flips.

        Raises:
            NonFiniteOutput: If the network returns NaN or infinity.
        """
        return self.begin(self.stage(batch))()

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Host memory for chips, pinned if the device is a GPU; not set to anything."""
        return allocate(shape, dtype, self.device)

    def stage(self, batch: ChipBatch) -> StagedChips:
        """The batch on its way to the device, in pinned memory if that is a GPU; for any thread."""
        return stage_chips(batch, self.device)

    def compute(self, staged: StagedChips) -> Answer:
        """The logits on the device; on a GPU they are queued, and this returns while it still computes.

        Args:
            staged: From `stage`.
        """
        with self._settings():
            parts = [(rows, self._run(chips)) for rows, chips in self._groups(staged)]
            return Answer.of(self.name, put_in_order(parts))

    def begin(self, staged: StagedChips) -> Callable[[], NDArray[np.float32]]:
        """Start computing, as `segment`; on a GPU this returns while it still computes.

        Args:
            staged: From `stage`.

        Returns:
            A function that waits for the logits and raises what `segment` raises.
        """
        answer = self.compute(staged)
        with self.on_device():
            return answer.fetch()

    def begin_on_device(self, staged: StagedChips) -> Callable[[], Any]:
        """As `begin`, the logits left for a canvas that keeps its sums in `arrays`."""
        return self.leave(self.compute(staged))

    def leave(self, answer: Answer) -> Callable[[], Any]:
        """An answer for a canvas that keeps its sums in `arrays`: on a GPU as it is, else fetched."""
        with self.on_device():
            return answer.hold() if self.device.type == "cuda" else answer.fetch()

    @property
    def arrays(self) -> Arrays:
        """The GPU's memory, or the host's."""
        return DeviceArrays(self.device, self.with_room) if self.device.type == "cuda" else HOST

    def with_room(self, take: Callable[[], Tensor]) -> Tensor:
        """Call something that takes memory of a GPU; where that does not suffice, halve the batch and try again.

        Raises:
            ModelError: If it does not suffice for single windows.
        """
        while True:
            try:
                return take()
            except torch.cuda.OutOfMemoryError as error:
                if self._batch_size == 1:
                    raise no_room() from error
                self._batch_size //= 2
                torch.cuda.empty_cache()

    def on_device(self) -> AbstractContextManager[None]:
        """PyTorch's current device for the time of a call, where that is a GPU."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _groups(self, staged: StagedChips) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
        """Chips with radar, then chips without, each with their rows in the batch."""
        everything = np.arange(len(staged))
        has_radar = staged.has_radar & ("S1GRD" in self.spec.modalities)
        chips = standardise(staged, self.normalisation, self.device)
        for rows, absent in ((everything[has_radar], False), (everything[~has_radar], True)):
            if len(rows):
                names = [name for name in self.spec.modalities if not (absent and name == "S1GRD")]
                if len(rows) == len(staged):
                    yield rows, {name: chips[name] for name in names}
                else:
                    at = torch.from_numpy(rows).to(self.device)
                    yield rows, {name: chips[name][at] for name in names}

    def _run(self, chips: dict[str, Tensor]) -> Tensor:
        """Logits (N, [2,] H, W) float32 on the device, batch after batch; a batch is halved where memory does not suffice."""
        n = chips["S2L2A"].shape[0]
        done: list[Tensor] = []
        while (start := sum(map(len, done))) < n:
            done.append(self.with_room(lambda: self._run_batch(chips, start)))
        return torch.cat(done) if len(done) > 1 else done[0]

    def _run_batch(self, chips: dict[str, Tensor], start: int) -> Tensor:
        """Logits of the batch that begins at a row."""
        stop = min(start + self._batch_size, chips["S2L2A"].shape[0])
        part = {name: pad_batch(x[start:stop], self._batch_size) for name, x in chips.items()}
        return self._average_flips(part)[: stop - start]

    def _average_flips(self, chips: dict[str, Tensor]) -> Tensor:
        """Mean logits (N, H, W) float32 over the four flips, or of the identity alone; (N, 2, H, W) with their variance."""
        total: Tensor | None = None
        views: list[Tensor] = []
        flips = FLIPS if self.tta else FLIPS[:1]
        for axes in flips:
            logits = self._forward({name: x.flip(axes) for name, x in chips.items()}).float().flip(axes)
            total = logits if total is None else total + logits
            if self._has_spread:
                views.append(logits)
        assert total is not None
        mean = total / len(flips)
        if not self._has_spread:
            return mean
        variance = torch.stack([(view - mean).square() for view in views]).mean(dim=0)
        return torch.stack([mean, variance], dim=1)

    def _forward(self, chips: dict[str, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self._call(chips)

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Threads and exactness for the time of a call; both are put back."""
        before = torch.get_num_threads()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(self.on_device())
            if self.device.type == "cuda" and self.precision == "float32":
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            stack.enter_context(exact_matmul())
            try:
                if self.threads is not None:
                    torch.set_num_threads(self.threads)
                yield
            finally:
                if self.threads is not None:
                    torch.set_num_threads(before)


def pad_batch(x: Tensor, size: int) -> Tensor:
    """The batch (N, ...) filled up to `size` with copies of its last chip, so that every pass has one shape."""
    missing = size - x.shape[0]
    return x if missing <= 0 else torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
