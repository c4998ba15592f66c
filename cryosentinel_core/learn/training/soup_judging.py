"""Chips at hand while weights are averaged: to judge by, and to estimate batch-norm statistics with.

Neighbours: `soup` averages, `judging` counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosentinel_core.learn.inference.devices import choose_device
from cryosentinel_core.learn.network.lake_network import LakeNetwork, load_network
from cryosentinel_core.learn.training.batch_order import Order
from cryosentinel_core.learn.training.feed import ChipArrays, Feed, choose_place
from cryosentinel_core.learn.training.judging import JudgeSettings, estimate_batch_norms, split_rows, tally_chips
from cryosentinel_core.learn.training.soup import GreedyChoice, State, choose_greedily
from cryosentinel_core.learn.training.training_recipe import loss_settings, order_settings
from cryosentinel_core.learn.training.validation_scores import Tally

if TYPE_CHECKING:
    from cryosentinel_core.learn.model_spec import ModelSpec, Normalisation
    from cryosentinel_core.settings.train import TrainSettings


class Kitchen:
    """Judges weights of one architecture on the chips of a data set, in float32.

    Args:
        run: Settings of the run that the weights are of.
        spec: Architecture.
        normalisation: Statistics of the weights.
        arrays: Decoded chips.
        rows: `train`, `val`, `test` -> rows.
        water_frac: (N,) share of water of each chip.
        host_free_bytes: Of the machine's memory.
    """

    def __init__(
        self,
        run: TrainSettings,
        spec: ModelSpec,
        normalisation: Normalisation,
        *,
        arrays: Mapping[str, NDArray[Any]],
        rows: Mapping[str, NDArray[np.int64]],
        water_frac: NDArray[np.float64],
        host_free_bytes: int,
    ) -> None:
        self._run, self._spec, self._rows, self._water_frac = run, spec, rows, water_frac
        self._device = choose_device("auto")
        chips = ChipArrays(**dict(arrays))
        self._feed = Feed(chips, choose_place(chips.n_bytes, self._device, host_free_bytes), self._device)
        self._how = JudgeSettings(
            normalisation=normalisation,
            modalities=spec.modalities,
            losses=loss_settings(run.model),
            tta=run.model.val_tta,
        )

    @property
    def has_validation(self) -> bool:
        """Whether there are chips to choose and judge by."""
        return bool(len(self._rows["val"]))

    def judge(self, state: State) -> dict[str, float]:
        """Scores on the validation split."""
        return self._judge(state, "val")

    def judge_test(self, state: State) -> dict[str, float]:
        """Scores on the test split; empty where there is none."""
        return self._judge(state, "test") if len(self._rows["test"]) else {}

    def choose(self, states: Sequence[State]) -> GreedyChoice:
        """A greedy choice by validation IoU."""
        return choose_greedily(states, lambda state: self.judge(state)["iou"])

    def estimate(self, state: State, n_batches: int) -> dict[str, Tensor]:
        """The weights with batch-norm statistics of training chips, drawn as the run draws them in its first epochs."""
        network = self._network(state)
        train = torch.from_numpy(np.asarray(self._rows["train"]))
        order = Order(self._water_frac[self._rows["train"]], order_settings(self._run.data, self._run.seed))
        per_epoch = max(1, order.n_batches())
        pieces = [train[order.rows_of_batch(n // per_epoch, n % per_epoch)] for n in range(n_batches)]
        estimate_batch_norms(network, self._feed, pieces, self._how)
        return {name: value.cpu() for name, value in network.state_dict().items()}

    def close(self) -> None:
        """End the feed."""
        self._feed.close()

    def _judge(self, state: State, split: str) -> dict[str, float]:
        network = self._network(state)
        rows = torch.from_numpy(np.asarray(self._rows[split]))
        pieces = split_rows(rows, self._run.data.batch_size)
        tally = tally_chips(network, self._feed, pieces, self._how, Tally(self._device))
        return tally.scores(tally.sums)

    def _network(self, state: State) -> LakeNetwork:
        copied = {name: value.clone() for name, value in state.items()}
        return load_network(self._spec, copied).to(self._device)
