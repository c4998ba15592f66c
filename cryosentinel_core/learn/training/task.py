"""The fit as Lightning sees it: one step of training, one pass of judging, and the optimiser.

Batches are not handed in by a loader: a step asks the feed for the chips that seed, epoch and place in the epoch say, so that
a run can be entered anywhere. Neighbours: `batch_order`, `feed`, `batch`, `augment` and `losses` do the work; `run_keeper` decides
what is kept of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.model_spec import Normalisation
from cryosentinel_core.learn.network.lake_network import LakeNetwork
from cryosentinel_core.learn.training.augment import AugmentSettings, augment
from cryosentinel_core.learn.training.batch import TrainingChips, standardise_chips
from cryosentinel_core.learn.training.batch_order import Order
from cryosentinel_core.learn.training.feed import Feed
from cryosentinel_core.learn.training.judging import JudgeSettings, split_rows, tally_chips
from cryosentinel_core.learn.training.losses import TERMS, LossSettings, compute_losses
from cryosentinel_core.learn.training.parameter_groups import ParameterGroup, RateSettings, make_groups
from cryosentinel_core.learn.training.schedule import Schedule
from cryosentinel_core.learn.training.validation_scores import Tally

BETAS: Final = (0.9, 0.999)
"""Of AdamW."""

SUM_NAMES: Final = (*TERMS, "total")
"""What is summed up between two rows of the log."""


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What a step does.

    Attributes:
        normalisation: Statistics that chips are standardised with.
        losses: Of the loss.
        augment: None for no augmentation at all.
        rates: Peaks and decay of parameter groups.
        schedule: Of the rates.
        val_tta: Whether validation averages the logits of four flips.
        test_tta: Whether the test does.
        hyper_parameters: Plain data that go into checkpoints: architecture, statistics, recipe, settings.
    """

    normalisation: Normalisation
    losses: LossSettings
    augment: AugmentSettings | None
    rates: RateSettings
    schedule: Schedule
    val_tta: bool = True
    test_tta: bool = True
    hyper_parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of the feed by split.

    Attributes:
        train: Rows that the order's numbers stand for.
        val: Validation.
        test: Test.
    """

    train: Tensor
    val: Tensor
    test: Tensor


class Steps(Sequence[int]):
    """What Lightning counts batches with: numbers, and a state that it need not keep."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        return range(self._n)[index]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._n))

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a step knows its place by itself."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class LakeTask(LightningModule):
    """Training of a lake network.

    Args:
        network: To be trained, in place.
        settings: What a step does.
        feed: Where chips come from; None for a task that only knows its parameter groups.
        order: Which chips, when; its numbers count `rows.train`.
        rows: Of the feed.

    Attributes:
        sums: Losses since the last row of the log, by `SUM_NAMES`, on the device.
        n_summed: Micro-batches in them.
    """

    def __init__(
        self, network: LakeNetwork, settings: TaskSettings, feed: Feed | None, order: Order, rows: Rows
    ) -> None:
        super().__init__()
        self.model = network
        self.settings, self.feed, self.order, self.rows = settings, feed, order, rows
        self.sums: Tensor | None = None
        self.n_summed = 0
        self._groups: list[ParameterGroup] | None = None

    @property
    def groups(self) -> list[ParameterGroup]:
        """Parameter groups, in the optimiser's order."""
        if self._groups is None:
            self._groups = make_groups(self.model, self.settings.rates)
        return self._groups

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the groups; rates are set before each step."""
        described = [
            {"params": list(group.parameters), "lr": group.peak, "weight_decay": group.weight_decay, "name": group.name}
            for group in self.groups
        ]
        return torch.optim.AdamW(described, lr=self.settings.rates.lr, betas=BETAS)

    def rates_at(self, step: int, epoch: int) -> list[float]:
        """Learning rate of each group."""
        highest = max(group.peak for group in self.groups)
        return [self.settings.schedule.rate(group.peak, step, epoch, highest=highest) for group in self.groups]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates."""
        optimizer = self.trainer.optimizers[0]
        for group, rate in zip(
            optimizer.param_groups, self.rates_at(self.trainer.global_step, self.current_epoch), strict=True
        ):
            group["lr"] = rate

    def chips_at(self, epoch: int, index: int) -> TrainingChips:
        """The chips of a micro-batch of this process, standardised and augmented."""
        if self.feed is None:
            raise ModelError("this task has no chips")
        n = self.trainer.world_size if self._trainer is not None else 1
        number = index * n + (self.global_rank if n > 1 else 0)
        stored = self.feed.gather(self._rows(epoch, number), partial(self._rows, epoch, number + n))
        chips = standardise_chips(stored, self.settings.normalisation, self.model.spec.modalities)
        if self.settings.augment is None:
            return chips
        return augment(chips, self.settings.augment, self.order.dice(epoch, number))

    def _rows(self, epoch: int, number: int) -> Tensor:
        return self.rows.train[self.order.rows_of_batch(epoch, number)]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a micro-batch."""
        chips = self.chips_at(self.current_epoch, batch_idx)
        found = compute_losses(self.model(chips.inputs), chips.label, chips.valid, self.settings.losses)
        zero = found["total"].new_zeros(())
        now = torch.stack([found.get(name, zero).detach() for name in SUM_NAMES]).double()
        self.sums = now if self.sums is None else self.sums + now
        self.n_summed += 1
        return found["total"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put plain hyper-parameters where readers of checkpoints look for them."""
        checkpoint["hyper_parameters"] = self.settings.hyper_parameters

    def judge(self, rows: Tensor, *, tta: bool, batch_size: int) -> dict[str, float]:
        """Scores over some chips, unaugmented, each once, shared among the processes.

        Args:
            rows: Of the feed.
            tta: Whether logits of four flips are averaged.
            batch_size: Chips at a time.
        """
        if self.feed is None:
            raise ModelError("this task has no chips")
        was_training = self.training
        self.eval()
        how = JudgeSettings(
            normalisation=self.settings.normalisation,
            modalities=self.model.spec.modalities,
            losses=self.settings.losses,
            tta=tta,
        )
        n, rank = self.trainer.world_size, self.global_rank
        pieces = split_rows(rows, batch_size)[rank::n]
        with self.trainer.precision_plugin.forward_context():
            tally = tally_chips(self.model, self.feed, pieces, how, Tally(self.device))
        self.train(was_training)
        sums = tally.sums if n == 1 else self.trainer.strategy.reduce(tally.sums, reduce_op="sum")
        assert isinstance(sums, Tensor)
        return tally.scores(sums)
