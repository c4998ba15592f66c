"""Several networks as one segmenter: their logits averaged, and their spread over flips and networks where asked for.

All networks are held on the device together; each standardises the same stored chips with its own statistics. Neighbours:
`network_segmenter` is one network; `io.weights.model_files` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.device_logits import DeviceLogits, pool_logits
from cryosentinel_core.learn.inference.network_segmenter import SPREAD_SUFFIX, NetworkSegmenter
from cryosentinel_core.learn.inference.staging import StagedChips
from cryosentinel_core.segment.arrays import Arrays
from cryosentinel_core.segment.error_model import UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cryosentinel_core.stack.recipe import Recipe

_FINGERPRINT_VERSION: Final = 1
"""Raised whenever networks are averaged otherwise."""


class EnsembleSegmenter:
    """Networks behind the `Segmenter` protocol, in an order of their own, so that the order of asking changes nothing.

    Mean and variance over all members (models times flips) follow from each model's:

        mean = sum(m) / n        variance = sum(v + (m - mean)^2) / n        over the n models

    Args:
        networks: Two or more, on one device, alike in precision, flips and whether they give the spread.

    Raises:
        ModelError: If there are fewer than two, two have the same weights, or they differ in what they look at.
    """

    def __init__(self, networks: Sequence[NetworkSegmenter]) -> None:
        self._networks = sorted(networks, key=lambda network: (network.name, network.sha256))
        check_alike(self._networks)
        self._align()

    @property
    def name(self) -> str:
        """`<stem of the first>-<how many>-<first 8 of a SHA-256 over theirs>`, with `-ema` or `-spread` as one network's."""
        first = self._networks[0]
        hashes = "\n".join(sorted(network.sha256 for network in self._networks))
        known, n = first.weights, len(self._networks)
        kind = f"{known.suffix}{SPREAD_SUFFIX if first.has_spread else ''}"
        return f"{known.stem}-{n}-{hashlib.sha256(hashes.encode()).hexdigest()[:8]}{kind}"

    @property
    def digest(self) -> str:
        """SHA-256 of the networks' digests."""
        parts = {"version": _FINGERPRINT_VERSION, "networks": [network.digest for network in self._networks]}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def is_precision_open(self) -> bool:
        """True while the networks' precision may change."""
        return all(network.is_precision_open for network in self._networks)

    def use_precision(self, precision: Literal["float32", "bf16"]) -> None:
        """Compute in this precision from now on, as of one network.

        Raises:
            ModelError: If it is fixed otherwise.
        """
        for network in self._networks:
            network.use_precision(precision)

    def fix_precision(self) -> None:
        """Keep the precision as it is for good."""
        for network in self._networks:
            network.fix_precision()

    def bf16_error(self, batch: ChipBatch) -> float:
        """Error of bf16 on some chips, for the network that bears it worst.

        Raises:
            ModelError: If the precision is fixed.
        """
        return max(network.bf16_error(batch) for network in self._networks)

    @property
    def members(self) -> dict[str, str]:
        """Name -> SHA-256 of each network's weights."""
        return {network.name: network.sha256 for network in self._networks}

    @property
    def has_spread(self) -> bool:
        """True if the variance over all members comes beside their mean."""
        return self._networks[0].has_spread

    @property
    def window_px(self) -> int:
        """Side of a window."""
        return self._networks[0].window_px

    @property
    def halo_px(self) -> int:
        """None, as of one network."""
        return self._networks[0].halo_px

    @property
    def blended(self) -> bool:
        """Overlapping windows differ and are blended."""
        return self._networks[0].blended

    @property
    def batch_size(self) -> int:
        """Chips per pass of each network: the largest that suits all."""
        return min(network.batch_size for network in self._networks)

    @property
    def recipe(self) -> Recipe | None:
        """The stack recipe that all were trained on."""
        return self._networks[0].recipe

    @property
    def is_network(self) -> bool:
        """True."""
        return True

    @property
    def error_model(self) -> UncertaintyModel:
        """Same as of one network."""
        return self._networks[0].error_model

    @property
    def cpu_threads(self) -> int | None:
        """Threads of a call on a CPU; None on a GPU."""
        return self._networks[0].cpu_threads

    def use_threads(self, threads: int) -> None:
        """Compute with so many threads from now on."""
        for network in self._networks:
            network.use_threads(threads)

    @property
    def conditions(self) -> dict[str, Any]:
        """Conditions of one network, and `n_models`."""
        return {**self._networks[0].conditions, "batch_size": self.batch_size, "n_models": len(self._networks)}

    @property
    def peak_device_mib(self) -> float | None:
        """Most memory that PyTorch has taken of the GPU, all networks together, MiB; None on a CPU."""
        return self._networks[0].peak_device_mib

    def prepare_for(self, n_windows: int) -> None:
        """Choose one batch size that suits all networks, with all of them in memory; then compile where that pays.

        Args:
            n_windows: That will be asked for.

        Raises:
            ModelError: If not even one window fits the GPU's memory, or compiling was asked for and failed.
        """
        self.fix_precision()
        for network in self._networks:
            network.passes.choose_batch_size(n_windows)
        self._align()
        for network in self._networks:
            network.passes.choose_compiling(n_windows)

    def segment(self, batch: ChipBatch) -> NDArray[np.float32]:
        """Mean logits of water for each window, as of one network.

        Args:
            batch: N chips of 224 x 224 px; any N.

        Returns:
            (N, 224, 224) float32, finite; with `has_spread` (N, 2, 224, 224), mean and population variance over all members.

        Raises:
            NonFiniteOutput: If a network returns NaN or infinity.
        """
        return self.begin(self.stage(batch))()

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Host memory for chips, as of one network."""
        return self._networks[0].allocate(shape, dtype)

    def stage(self, batch: ChipBatch) -> StagedChips:
        """The batch on its way to the device, once for all networks."""
        return self._networks[0].stage(batch)

    def begin(self, staged: StagedChips) -> Callable[[], NDArray[np.float32]]:
        """Start computing, network after network; the returned function waits for their average."""
        answer = self._compute(staged)
        with self._networks[0].passes.on_device():
            return answer.fetch()

    def begin_on_device(self, staged: StagedChips) -> Callable[[], Any]:
        """Start computing as `begin` does; the logits are left for a canvas that keeps its sums in `arrays`."""
        return self._networks[0].leave(self._compute(staged))

    def _compute(self, staged: StagedChips) -> DeviceLogits:
        """The average of all networks' logits."""
        answers = [network.compute(staged) for network in self._networks]
        self._align()
        with torch.inference_mode():
            logits = pool_logits([answer.logits for answer in answers], has_spread=self.has_spread)
        return DeviceLogits(logits, tuple(broken for answer in answers for broken in answer.broken))

    @property
    def arrays(self) -> Arrays:
        """Same as of one network."""
        return self._networks[0].arrays

    def _align(self) -> None:
        """One batch size for all: a network whose own is larger would only pad."""
        for network in self._networks:
            network.passes.limit_batch(self.batch_size)


def check_alike(networks: Sequence[NetworkSegmenter]) -> None:
    """Networks that may be averaged: unlike weights, the same window, modalities and recipe; statistics may differ.

    Raises:
        ModelError: If they may not, naming two of them and what differs.
    """
    if len(networks) < 2:
        raise ModelError(f"an ensemble of {len(networks)} models", "give --model at least twice")
    first = networks[0]
    for place, network in enumerate(networks):
        if network.sha256 in [other.sha256 for other in networks[:place]]:
            raise ModelError(f"{network.name} is given twice", "an ensemble takes different weights; give each once")
        found = _differences(first, network)
        if found:
            raise ModelError(
                f"{first.name} and {network.name} cannot be averaged: {'; '.join(found)}",
                "an ensemble takes models of the same window, modalities and stack recipe; run them one by one",
            )


def _differences(first: NetworkSegmenter, second: NetworkSegmenter) -> list[str]:
    """Differences that keep two networks from being averaged, in words."""
    pairs = {
        "window": (first.window_px, second.window_px),
        "modalities": (" ".join(first.spec.modalities), " ".join(second.spec.modalities)),
        "precision": (first.precision, second.precision),
        "flips": (first.tta, second.tta),
        "spread": (first.has_spread, second.has_spread),
    }
    one, other = ({} if recipe is None else recipe.as_dict() for recipe in (first.recipe, second.recipe))
    for name in sorted({*one, *other}):
        pairs[f"recipe's {name}"] = (one.get(name, "not known"), other.get(name, "not known"))
    return [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]
