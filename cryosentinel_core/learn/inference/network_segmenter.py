"""A network as a segmenter: stored chips in, finite logits out.

Names, digests, devices and which precision are chosen here; windows, blending and files are not. Neighbours: `flip_passes` runs the
network; `segmenter` says what the corridor expects; `io.weights.model_files` builds one from a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.device_logits import DeviceArrays, DeviceLogits, put_in_order
from cryosentinel_core.learn.inference.devices import choose_device
from cryosentinel_core.learn.inference.flip_passes import FLIPS, Passes
from cryosentinel_core.learn.inference.network_parts import ComputingSettings, KnownWeights
from cryosentinel_core.learn.inference.precision import bf16_error, choose_precision, store_in_bf16
from cryosentinel_core.learn.inference.staging import StagedChips, Standardiser, allocate, send_rows, stage_chips
from cryosentinel_core.learn.model_spec import choose_modalities
from cryosentinel_core.learn.network.lake_network import LakeNetwork, fold_batch_norms
from cryosentinel_core.segment.arrays import HOST, Arrays
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.units import CELL_PX

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cryosentinel_core.stack.recipe import Recipe

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
        weights: What is known of them.
        how: Device, precision, batches and what is looked at.

    Raises:
        ModelError: If the device is not there, or the weights know no such modality.
    """

    def __init__(self, network: LakeNetwork, weights: KnownWeights, how: ComputingSettings) -> None:
        self.device = choose_device(how.device)
        self.weights = weights
        self._standardise = Standardiser(weights.normalisation, self.device)
        self.spec = network.spec
        self.modalities = choose_modalities(network.spec.modalities, how.modalities)
        self.tta = how.tta
        self._has_spread = how.spread
        network.eval().requires_grad_(False)
        fold_batch_norms(network)
        self.network = network.to(self.device)
        self.network.use_cpu_decoder(wanted=self.device.type == "cpu" and how.precision != "bf16")
        self.passes = Passes(self.network, self.device, how)
        self.passes.precision = (
            choose_precision(self.network, self.device) if how.precision == "auto" else how.precision
        )
        self._is_open = True
        if how.precision != "auto" or self.precision == "float32":
            self.fix_precision()

    @property
    def precision(self) -> Literal["float32", "bf16"]:
        """Precision of the arithmetic, as it is now."""
        return self.passes.precision

    @property
    def is_precision_open(self) -> bool:
        """True while bf16 may be chosen: the fixed probe spoke for it, and the windows of the job were not asked yet."""
        return self._is_open

    def use_precision(self, precision: Literal["float32", "bf16"]) -> None:
        """Compute in this precision from now on.

        Raises:
            ModelError: If it is fixed that the network computes in the other.
        """
        if precision != self.precision and not self._is_open:
            raise ModelError(f"the weights are set up for {self.precision}, not {precision}")
        self.passes.precision = precision

    def fix_precision(self) -> None:
        """Keep the precision as it is for good: in bf16 the weights are stored in it from now on."""
        if not self._is_open:
            return
        self._is_open = False
        if self.precision == "bf16":
            self.network.use_cpu_decoder(wanted=False)
            store_in_bf16(self.network)
            if self.device.type == "cuda":  # the layout of tensor cores: else cuDNN turns each map there and back
                self.network.to(memory_format=torch.channels_last)

    def bf16_error(self, batch: ChipBatch) -> float:
        """Error of bf16 on some chips, see `precision.bf16_error`; only while the precision is open.

        Args:
            batch: N chips of 224 x 224 px; each is computed twice, without flips.

        Raises:
            ModelError: If the precision is fixed.
        """
        if not self._is_open:
            raise ModelError(f"the weights are set up for {self.precision}: there is nothing to compare")
        with self.passes.settings():
            singles = (
                {name: x[at : at + 1] for name, x in chips.items()}
                for rows, chips in self._groups(self.stage(batch))
                for at in range(len(rows))
            )
            return bf16_error(self.network, singles, self.device)

    @property
    def name(self) -> str:
        """`<stem>-<first 8 of the weights' SHA-256>`, with `-spread` behind it where the spread is given."""
        return f"{self.weights.name}{SPREAD_SUFFIX if self._has_spread else ''}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights' file, with `-ema` behind it for the moving average."""
        return self.weights.sha256

    @property
    def has_spread(self) -> bool:
        """True if the variance over the flips comes beside their mean."""
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
            "sha256": self.weights.sha256,
            "normalisation": self.weights.normalisation.to_dict(),
            "tta": self.tta,
            "precision": self.precision,
        }
        if self._has_spread:
            parts["spread"] = _SPREAD_VERSION
        if self.modalities != self.spec.modalities:
            parts["modalities"] = self.modalities
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
        return self.passes.batch_size

    @property
    def recipe(self) -> Recipe | None:
        """The stack recipe that the weights were trained on."""
        return self.weights.recipe

    def prepare_for(self, n_windows: int) -> None:
        """Choose what depends on the size of the job: a batch size on a GPU that is automatic, whether to compile, and the precision.

        A batch size found before is kept, unless the job was what bounded it and this one is larger; what is compiled
        stays so.

        Args:
            n_windows: That will be asked for.

        Raises:
            ModelError: If not even one window fits the GPU's memory, or compiling was asked for and failed.
        """
        self.fix_precision()
        self.passes.choose_batch_size(n_windows)
        self.passes.choose_compiling(n_windows)

    @property
    def is_network(self) -> bool:
        """True."""
        return True

    @property
    def error_model(self) -> UncertaintyModel:
        """As calibrated; else half a pixel along the perimeter, as is customary."""
        return NETWORK_ERRORS if self.weights.calibration is None else self.weights.calibration.error_model

    @property
    def calibrated_threshold(self) -> float | None:
        """Probability whose areas are unbiased; None where the weights were not calibrated."""
        return None if self.weights.calibration is None else self.weights.calibration.threshold

    @property
    def cpu_threads(self) -> int | None:
        """Threads of a call on a CPU; None on a GPU, where they change nothing."""
        return self.passes.threads or torch.get_num_threads() if self.device.type == "cpu" else None

    def use_threads(self, threads: int) -> None:
        """Compute with so many threads from now on."""
        self.passes.threads = threads

    @property
    def conditions(self) -> dict[str, Any]:
        """Device, precision, batch size, compiling, flips and threads, as they are now."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "device": name,
            "precision": self.precision,
            "batch_size": self.passes.batch_size,
            "is_compiled": self.passes.is_compiled,
            "n_flips": len(FLIPS) if self.tta else 1,
            "threads": self.passes.threads or torch.get_num_threads(),
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

    def compute(self, staged: StagedChips) -> DeviceLogits:
        """The logits on the device; on a GPU they are queued, and this returns while it still computes.

        Args:
            staged: From `stage`.
        """
        with self.passes.settings():
            parts = [(rows, self.passes.run(chips)) for rows, chips in self._groups(staged)]
            return DeviceLogits.of(self.name, put_in_order(parts))

    def begin(self, staged: StagedChips) -> Callable[[], NDArray[np.float32]]:
        """Start computing, as `segment`; on a GPU this returns while it still computes.

        Args:
            staged: From `stage`.

        Returns:
            A function that waits for the logits and raises what `segment` raises.
        """
        answer = self.compute(staged)
        with self.passes.on_device():
            return answer.fetch()

    def begin_on_device(self, staged: StagedChips) -> Callable[[], Any]:
        """Start computing as `begin` does; the logits are left for a canvas that keeps its sums in `arrays`."""
        return self.leave(self.compute(staged))

    def leave(self, answer: DeviceLogits) -> Callable[[], Any]:
        """An answer for a canvas that keeps its sums in `arrays`: on a GPU as it is, else fetched."""
        with self.passes.on_device():
            return answer.hold() if self.device.type == "cuda" else answer.fetch()

    @property
    def arrays(self) -> Arrays:
        """The GPU's memory, or the host's."""
        return DeviceArrays(self.device, self.passes.with_room) if self.device.type == "cuda" else HOST

    def _groups(self, staged: StagedChips) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
        """Chips with radar, then chips without, each with their rows in the batch."""
        everything = np.arange(len(staged))
        has_radar = staged.has_radar & ("S1GRD" in self.modalities)
        chips = self._standardise(staged)
        for rows, absent in ((everything[has_radar], False), (everything[~has_radar], True)):
            if len(rows):
                names = [name for name in self.modalities if not (absent and name == "S1GRD")]
                if len(rows) == len(staged):
                    yield rows, {name: chips[name] for name in names}
                else:
                    at = send_rows(rows, self.device)
                    yield rows, {name: chips[name][at] for name in names}
