"""A network's passes over standardised chips: flips, batches of a size that fits, precision, threads, compiled or not.

Nothing here knows of stored chips, names or files. Neighbours: `network_segmenter` makes a segmenter of it; `batch_size` and
`compiling` say what pays; `precision` what is borne.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Final, Literal

import torch
from torch import Tensor

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.batch_size import (
    CPU_BATCH,
    FIRST_BATCH,
    SUMS_MIB,
    find_batch_size,
    keep_free,
    largest_batch,
    most_windows,
    no_room,
    try_with_memory,
)
from cryosentinel_core.learn.inference.compiling import pays_to_compile
from cryosentinel_core.learn.inference.network_parts import ComputingSettings
from cryosentinel_core.learn.inference.precision import exact_matmul, make_probe
from cryosentinel_core.learn.network.lake_network import LakeNetwork

FLIPS: Final[tuple[tuple[int, ...], ...]] = ((), (-1,), (-2,), (-2, -1))
"""Axes reversed in each of the four views: identity, horizontal, vertical, both."""


class Passes:
    """Batches of one size through one network.

    Args:
        network: In evaluation mode, on the device.
        device: That it is on.
        how: Batch size, flips, threads, compiling and spread are taken of it.

    Attributes:
        precision: Of the arithmetic; may change from call to call while the weights are float32.
        threads: As given; may change from call to call.
    """

    def __init__(self, network: LakeNetwork, device: torch.device, how: ComputingSettings) -> None:
        self.network, self.device = network, device
        self.precision: Literal["float32", "bf16"] = "float32"
        self._finds_batch = how.batch_size is None and device.type == "cuda"
        self.batch_size = how.batch_size or (FIRST_BATCH if self._finds_batch else CPU_BATCH)
        if device.type == "cuda":
            self.limit_batch(most_windows(network.spec.decoder_channels))
        self._tried_to = 0
        self._tta, self.threads, self._has_spread = how.tta, how.threads, how.spread
        self._compiling = "off" if how.compiling == "auto" and device.type != "cuda" else how.compiling
        self._call: Callable[[dict[str, Tensor]], Tensor] = network

    def choose_batch_size(self, n_windows: int) -> None:
        """Find the batch size for a job where it is automatic; none once compiled.

        A size found before is kept, unless the job was what bounded it and this one is larger.

        Raises:
            ModelError: If not even one window fits the GPU's memory.
        """
        most = min(largest_batch(n_windows), most_windows(self.network.spec.decoder_channels))
        if self.is_compiled:
            return
        if self._finds_batch and self._tried_to < most and (self._tried_to in (0, self.batch_size)):
            with keep_free(SUMS_MIB, self.device):
                self.batch_size, self._tried_to = find_batch_size(self.measure_rate, most), most

    def choose_compiling(self, n_windows: int) -> None:
        """Compile for the batch size as it is, where that is wanted; what is compiled stays so.

        Raises:
            ModelError: If compiling was asked for and failed.
        """
        if self.is_compiled:
            return
        if self._compiling == "on" or (
            self._compiling == "auto" and pays_to_compile(n_windows, self.measure_rate(self.batch_size))
        ):
            self._compile()

    def limit_batch(self, n: int) -> None:
        """Go on with batches of at most `n` chips."""
        self.batch_size = min(self.batch_size, n)

    @property
    def is_compiled(self) -> bool:
        """True if windows go through a compiled network."""
        return self._call is not self.network

    def _compile(self) -> None:
        """Compile for the batch size, and try it; where that fails and nobody insists, all stays as it was.

        One window goes through the network before: what it makes once and keeps (the matrices of enlargement) would otherwise be made
        while it is traced, and then be there at the next call, which therefore would be compiled again.
        """
        with self.settings():
            self._forward(make_probe(self.network.spec.modalities, self.device))
        self._call = torch.compile(self.network, dynamic=False)
        try:
            self.measure_rate(self.batch_size)
        except RuntimeError as error:
            self._call = self.network
            if self._compiling == "on":
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ModelError(f"torch.compile failed: {first[:200]}", "use --compile off") from error
            self._compiling = "off"

    def measure_rate(self, n: int) -> float:
        """Windows a second in batches of `n`, flips and all, the second of two passes over chips of noise."""
        probe = make_probe(self.network.spec.modalities, self.device)
        chips = {name: x.expand(n, -1, -1, -1).contiguous() for name, x in probe.items()}
        seconds = 1.0
        with self.settings():
            for _ in range(2):
                began = time.perf_counter()
                self._average_flips(chips)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                seconds = time.perf_counter() - began
        return n / max(seconds, 1e-9)

    def on_device(self) -> AbstractContextManager[None]:
        """PyTorch's current device for the time of a call, where that is a GPU."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def with_room(self, take: Callable[[], Tensor]) -> Tensor:
        """Call something that takes memory of a GPU; where that does not suffice, halve the batch and try again.

        Raises:
            ModelError: If it does not suffice for single windows.
        """
        while (taken := try_with_memory(take)) is None:
            if self.batch_size == 1:
                raise no_room()
            self.batch_size //= 2
        return taken

    def run(self, chips: dict[str, Tensor]) -> Tensor:
        """Logits (N, [2,] H, W) float32 on the device, batch after batch; a batch is halved where memory does not suffice."""
        n = chips["S2L2A"].shape[0]
        done: list[Tensor] = []
        while (start := sum(map(len, done))) < n:
            done.append(self.with_room(lambda: self._run_batch(chips, start)))
        return torch.cat(done) if len(done) > 1 else done[0]

    def _run_batch(self, chips: dict[str, Tensor], start: int) -> Tensor:
        """Logits of the batch that begins at a row."""
        stop = min(start + self.batch_size, chips["S2L2A"].shape[0])
        part = {name: pad_batch(x[start:stop], self.batch_size) for name, x in chips.items()}
        return self._average_flips(part)[: stop - start]

    def _average_flips(self, chips: dict[str, Tensor]) -> Tensor:
        """Mean logits (N, H, W) float32 over the four flips, or of the identity alone; (N, 2, H, W) with their variance."""
        total: Tensor | None = None
        views: list[Tensor] = []
        flips = FLIPS if self._tta else FLIPS[:1]
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
    def settings(self) -> Iterator[None]:
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
