"""What is kept of a run, and when: rows of the log, autosaves, snapshots, the best checkpoint, and when to stop.

One callback does it in one order, so that a checkpoint always holds the whole of one moment. Neighbours: `task` computes; `ema` keeps
the average; `recorder` says who writes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cryosentinel_core.learn.training.ema import STATE_KEY, MovingAverage
from cryosentinel_core.learn.training.generators import get_generators, set_generators
from cryosentinel_core.learn.training.recorder import Figure, Recorder
from cryosentinel_core.learn.training.resume_position import Position
from cryosentinel_core.learn.training.task import SUM_NAMES, LakeTask
from cryosentinel_core.reporter import Reporter


@dataclass(frozen=True, kw_only=True)
class KeepSettings:
    """When what is kept.

    Attributes:
        save_steps: Optimiser steps between autosaves; one is made after each epoch in any case.
        log_steps: Optimiser steps between rows of the log.
        val_epochs: Epochs between validations.
        snapshot_epochs: Epochs, counted from 1, after which a plain snapshot of raw and averaged weights is kept.
        patience: Epochs without a better score after which the run ends; None for never.
        earliest_stop: Epochs that are done in any case: until the averaging phase has annealed.
        ema_at_validation: Whether the average is judged, or the raw weights.
        ema_at_test: Likewise.
    """

    save_steps: int = 500
    log_steps: int = 25
    val_epochs: int = 1
    snapshot_epochs: tuple[int, ...] = ()
    patience: int | None = 15
    earliest_stop: int = 0
    ema_at_validation: bool = True
    ema_at_test: bool = True


@dataclass
class Standing:
    """How the run stands so far; all of it lies in checkpoints.

    Attributes:
        best_iou: Highest validation score; -1 before the first.
        best_name: Its checkpoint.
        since_best: Validations since.
        best_scores: All of its scores.
        snapshots: Names of the snapshots.
        stopped_epoch: Epoch, from 1, after which it was stopped early; 0 if it was not.
        test_scores: Of the test split; empty until the run is done.
    """

    best_iou: float = -1.0
    best_name: str = ""
    since_best: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    snapshots: list[str] = field(default_factory=list)
    stopped_epoch: int = 0
    test_scores: dict[str, float] = field(default_factory=dict)


class RunKeeper(Callback):
    """Keeps a run.

    Args:
        recorder: Writes.
        settings: When.
        average: The moving average; None for none.
        reporter: Hears of progress.
        identity: Plain data that a run that goes on must share: settings, data.

    Attributes:
        standing: How the run stands.
    """

    def __init__(
        self,
        recorder: Recorder,
        settings: KeepSettings,
        average: MovingAverage | None,
        reporter: Reporter,
        identity: Mapping[str, Any],
    ) -> None:
        self.recorder, self.settings, self.average, self.reporter = recorder, settings, average, reporter
        self.identity = dict(identity)
        self.standing = Standing()
        self._restored: dict[str, Any] | None = None
        self._step = 0
        self._clock = time.perf_counter()
        self._outdone = ""
        self._moment: dict[str, Any] = {}

    # Rows of the log and autosaves

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take up where a checkpoint left off."""
        task = _task(module)
        self._step, self._clock = trainer.global_step, time.perf_counter()
        if self._restored is None:
            return
        own, self._restored = self._restored, None
        if own["position"]["batch"] == 0:
            trainer.fit_loop.epoch_loop.restarting = False  # the next epoch is begun, not gone on with
        trainer.should_stop = bool(self.standing.stopped_epoch)
        task.sums = None if own["sums"] is None else torch.tensor(own["sums"], dtype=torch.float64, device=task.device)
        task.n_summed = own["n_summed"]
        self.recorder.forget_after(own["position"]["step"], kept_rows=own["n_rows"])
        set_generators(own["generators"])

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log and save after optimiser steps, and when told to stop.

        Never after an epoch's last batch, as the epoch's end does both.
        """
        task = _task(module)
        n = trainer.num_training_batches
        size = task.order.settings.batch_size * trainer.world_size
        self.reporter.progress(f"epoch {trainer.current_epoch + 1}: chips", (batch_idx + 1) * size, int(n) * size)
        if trainer.global_step == self._step or batch_idx + 1 >= n:
            self._step = trainer.global_step
            return
        self._step = trainer.global_step
        if self._step % self.settings.log_steps == 0:
            self._log_losses(trainer, task)
        if self._step % self.settings.save_steps == 0 or trainer.received_sigterm:
            self._save_last(trainer, task, Position(epoch=trainer.current_epoch, batch=batch_idx + 1, step=self._step))

    def _log_losses(self, trainer: Trainer, task: LakeTask) -> None:
        """A row of mean losses since the last one."""
        if task.sums is None or not task.n_summed:
            return
        sums = task.sums if trainer.world_size == 1 else trainer.strategy.reduce(task.sums, reduce_op="mean")
        assert isinstance(sums, torch.Tensor)
        now = time.perf_counter()
        n_chips = task.n_summed * task.order.settings.batch_size * trainer.world_size
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        row: dict[str, Figure] = {"kind": "train", "epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {f"loss_{name}" if name != "total" else "loss": value / task.n_summed
                for name, value in zip(SUM_NAMES, sums.tolist(), strict=True)}  # fmt: skip
        row |= {"lr_low": min(rates), "lr_high": max(rates), "chips_per_second": n_chips / max(now - self._clock, 1e-9)}
        self._write(trainer, row)
        task.sums, task.n_summed, self._clock = None, 0, now

    def _write(self, trainer: Trainer, row: Mapping[str, Figure]) -> None:
        if trainer.is_global_zero:
            self.recorder.log(row)

    # The end of an epoch

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log, validate, keep what is to be kept, decide whether to stop, save."""
        task, epoch = _task(module), trainer.current_epoch + 1
        self._log_losses(trainer, task)
        if epoch % self.settings.val_epochs == 0 and len(task.rows.val):
            self._validate(trainer, task, epoch)
        if epoch in self.settings.snapshot_epochs:
            name = f"snapshot-epoch{epoch:03d}-step{trainer.global_step:06d}.ckpt"
            self._save(trainer, name, self.weights(trainer, task, {"snapshot_epoch": epoch}))
            self.standing.snapshots.append(name)
        patience = self.settings.patience
        if patience is not None and self.standing.since_best >= patience and epoch >= self.settings.earliest_stop:
            trainer.should_stop, self.standing.stopped_epoch = True, epoch
            self.reporter.note(f"no better score for {patience} validations: stopped after epoch {epoch}")
        if (trainer.should_stop or epoch == trainer.max_epochs) and len(task.rows.test):
            self._test(trainer, task, epoch)
        self._save_last(trainer, task, Position(epoch=epoch, batch=0, step=trainer.global_step))
        if (
            self._outdone and trainer.is_global_zero
        ):  # only now: until then a run that goes on may still call it the best
            self.recorder.remove(self._outdone)
        self._outdone, self._clock = "", time.perf_counter()

    def _validate(self, trainer: Trainer, task: LakeTask, epoch: int) -> None:
        began = time.perf_counter()
        scores = self.judge(task, task.rows.val, tta=task.settings.val_tta, averaged=self.settings.ema_at_validation)
        seconds = time.perf_counter() - began
        self._write(trainer, {"kind": "val", "epoch": epoch, "step": trainer.global_step, **scores, "seconds": seconds})
        self.reporter.note(f"epoch {epoch}: validation IoU {scores['iou']:.4f}, loss {scores['loss']:.4f}")
        standing = self.standing
        if scores["iou"] <= standing.best_iou:
            standing.since_best += 1
            return
        before = standing.best_name
        name = f"step{trainer.global_step:06d}-iou{scores['iou']:.3f}.ckpt"
        self._save(trainer, name, self.weights(trainer, task, {"scores": scores}))
        standing.best_iou, standing.best_name, standing.since_best = scores["iou"], name, 0
        standing.best_scores = scores
        if before and before != name:
            self._outdone = before

    def judge(self, task: LakeTask, rows: torch.Tensor, *, tta: bool, averaged: bool) -> dict[str, float]:
        """Scores of the averaged weights, or of the raw ones."""
        size = task.order.settings.batch_size
        if self.average is None or not averaged:
            return task.judge(rows, tta=tta, batch_size=size)
        with self.average.swapped_in(task):
            return task.judge(rows, tta=tta, batch_size=size)

    def _test(self, trainer: Trainer, task: LakeTask, epoch: int) -> None:
        """Judge the test split, once."""
        scores = self.judge(task, task.rows.test, tta=task.settings.test_tta, averaged=self.settings.ema_at_test)
        self._write(trainer, {"kind": "test", "epoch": epoch, "step": trainer.global_step, **scores})
        self.standing.test_scores = scores

    # Checkpoints

    def weights(self, trainer: Trainer, task: LakeTask, about: Mapping[str, Any]) -> dict[str, Any]:
        """A checkpoint of weights alone: raw ones, and their average beside them."""
        content: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "pytorch-lightning_version": version("lightning"),
            "state_dict": task.state_dict(),
            "hyper_parameters": task.settings.hyper_parameters,
            "cryosentinel": {"kind": "weights", "identity": self.identity, **about},
        }
        if self.average is not None:
            content["callbacks"] = {STATE_KEY: self.average.state_dict()}
        return content

    def _save(self, trainer: Trainer, name: str, content: Mapping[str, Any]) -> None:
        if trainer.is_global_zero:
            self.recorder.save(name, content)
        trainer.strategy.barrier("checkpoint")

    def _save_last(self, trainer: Trainer, task: LakeTask, position: Position) -> None:
        """The whole of this moment."""
        sums = task.sums
        self._moment = {
            "kind": "run",
            "position": position.as_dict(),
            "standing": asdict(self.standing),
            "sums": None if sums is None else sums.tolist(),
            "n_summed": task.n_summed,
            "n_rows": self.recorder.n_rows,
            "generators": get_generators(),
            "identity": self.identity,
        }
        trainer.save_checkpoint(self.recorder.last)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        checkpoint["cryosentinel"] = self._moment

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember what Lightning does not restore; nothing in a checkpoint that is not ours."""
        own = checkpoint.get("cryosentinel")
        if isinstance(own, dict) and own.get("kind") == "run":
            self._restored, self.standing = own, Standing(**own["standing"])


def _task(module: LightningModule) -> LakeTask:
    assert isinstance(module, LakeTask)
    return module
