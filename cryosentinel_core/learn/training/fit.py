"""A run from its first step, or from a checkpoint, to its end, by Lightning's trainer.

Neighbours: `task` is what is trained; `run_keeper` what is kept; `resume_position` where a run is entered.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cryosentinel_core.errors import CheckpointError, ConfigError, ModelError
from cryosentinel_core.learn.training.ema import MovingAverage
from cryosentinel_core.learn.training.generators import seeded
from cryosentinel_core.learn.training.recorder import Recorder
from cryosentinel_core.learn.training.resume_position import Position, set_loops
from cryosentinel_core.learn.training.run_keeper import KeepSettings, RunKeeper, Standing
from cryosentinel_core.learn.training.task import LakeTask, Steps
from cryosentinel_core.reporter import Reporter


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """Where and in what arithmetic a run computes; names as in Lightning.

    Attributes:
        accelerator: `auto`, `cpu` or `gpu`.
        devices: How many, or `auto`.
        num_nodes: Machines.
        strategy: `auto`, `ddp` and so on.
        precision: `bf16-mixed`, `32-true` and so on.
        gradient_clip_val: Largest norm of the gradient; None for no limit.
        accumulate_grad_batches: Micro-batches to an optimiser step.
        max_epochs: Epochs in all.
        ema_decay: Of the moving average; None for none.
        ema_on_cpu: Whether it lies in the host's memory.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "bf16-mixed"
    gradient_clip_val: float | None = 1.0
    accumulate_grad_batches: int = 1
    max_epochs: int = 30
    ema_decay: float | None = 0.999
    ema_on_cpu: bool = False


@dataclass(frozen=True, kw_only=True)
class FitStart:
    """Where a run begins: at its first step, or at a checkpoint.

    Attributes:
        identity: Plain data that goes into checkpoints beside them.
        seed: Of the process's generators, which are put back at the end.
        resume: A checkpoint to go on from.
        check: Called with the identity in it; raises where the run must not go on.
    """

    identity: Mapping[str, Any]
    seed: int
    resume: Path | None = None
    check: Callable[[Mapping[str, Any]], None] | None = None


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run came to.

    Attributes:
        epochs: Done.
        steps: Optimiser steps done.
        standing: Best score, checkpoints kept.
        test_scores: Of the test split; empty where it was not judged.
    """

    epochs: int
    steps: int
    standing: Standing
    test_scores: dict[str, float]


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoint files by a run's recorder: written whole and read back, read as data.

    What Lightning hands from one process to another by way of files of its own is left to it.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write below the run's folder."""
        if Path(path) == self._recorder.last:
            self._recorder.save(Path(path).name, checkpoint)
        else:
            super().save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read as data, whatever is asked for."""
        return self._recorder.read(Path(path))


def make_trainer(machine: MachineSettings, keeper: RunKeeper, root: Path) -> Trainer:
    """Lightning's trainer with our callbacks, and none of its own.

    Raises:
        ConfigError: If the machine cannot do what is asked.
    """
    return _make_trainer(
        machine,
        callbacks=[keeper] if keeper.average is None else [keeper.average, keeper],
        plugins=[CheckpointFiles(keeper.recorder)],
        default_root_dir=root,
    )


def count_processes(machine: MachineSettings) -> int:
    """Processes of a run over all machines, one a device: Lightning's own count where `devices` is not a number of them.

    Raises:
        ConfigError: If the machine cannot do what is asked.
    """
    if isinstance(machine.devices, int) and machine.devices > 0:
        return machine.devices * machine.num_nodes
    with _quiet():
        return _make_trainer(machine).world_size


def _make_trainer(machine: MachineSettings, **more: Any) -> Trainer:
    try:
        return Trainer(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.num_nodes,
            strategy=machine.strategy,
            precision=machine.precision,  # type: ignore[arg-type]
            gradient_clip_val=machine.gradient_clip_val,
            accumulate_grad_batches=machine.accumulate_grad_batches,
            max_epochs=machine.max_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            **more,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(
            f"trainer: {str(error).splitlines()[0]}",
            "see accelerator, devices, strategy and precision below `trainer:`",
        ) from error


def fit(
    task: LakeTask,
    machine: MachineSettings,
    keep: KeepSettings,
    recorder: Recorder,
    start: FitStart,
    *,
    reporter: Reporter,
) -> FitResult:
    """Train.

    Args:
        task: Network, feed and settings.
        machine: Where, and for how long.
        keep: What is kept when.
        recorder: Who keeps it.
        start: Where it begins.
        reporter: Hears of progress.

    Raises:
        ConfigError: If the machine cannot do what is asked.
        ModelError: If the loss is not finite, memory does not suffice, or the process is told to stop.
        KeyboardInterrupt: If it is interrupted.
    """
    average = None if machine.ema_decay is None else MovingAverage(machine.ema_decay, on_cpu=machine.ema_on_cpu)
    keeper = RunKeeper(recorder, keep, average, reporter, start.identity)
    with _quiet(), seeded(start.seed):
        trainer = make_trainer(machine, keeper, recorder.last.parent.parent)
        n_batches = task.order.n_batches(trainer.world_size)
        if not n_batches:
            n = task.order.settings.batch_size * trainer.world_size
            raise ConfigError(
                f"a batch of {n} chips is larger than the {task.order.n_draws} chips of an epoch",
                "give a smaller data.batch_size, or more chips",
            )
        if start.resume is not None:
            _enter(task, trainer, n_batches, start.check)
        try:
            trainer.fit(task, train_dataloaders=Steps(n_batches), ckpt_path=start.resume)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                "the GPU's memory does not suffice for a step",
                "try a smaller data.batch_size, model.activation_checkpointing=true or feed.place=pinned",
            ) from error
        except SystemExit as error:  # how Lightning leaves; its status would say that all is done
            if not isinstance(error, SIGTERMException):
                kept = f"go on with --resume {recorder.last}" if recorder.last.exists() else "nothing was saved yet"
                reporter.warn(f"interrupted after step {trainer.global_step}: {kept}")
                raise KeyboardInterrupt from error
            raise ModelError(
                f"told to stop (SIGTERM) after step {trainer.global_step}; the run is saved in {recorder.last}",
                "go on with --resume",
            ) from error
    standing = keeper.standing
    if trainer.world_size > 1:  # this process may only have started those that trained
        standing = Standing(**recorder.read(recorder.last)["cryosentinel"]["standing"])
    return FitResult(
        epochs=trainer.current_epoch, steps=trainer.global_step, standing=standing, test_scores=standing.test_scores
    )


def _enter(task: LakeTask, trainer: Trainer, n_batches: int, check: Callable[[Mapping[str, Any]], None] | None) -> None:
    """Have the loops set to the checkpoint's place once it is read."""
    fresh = trainer.fit_loop.state_dict()

    def on_load_checkpoint(checkpoint: dict[str, Any]) -> None:
        own = checkpoint.get("cryosentinel")
        if check is not None and isinstance(own, dict) and isinstance(own.get("identity"), dict):
            check(own["identity"])
        position = Position.of_checkpoint(checkpoint, n_batches)
        checkpoint["loops"] = {"fit_loop": set_loops(fresh, position, n_batches)}
        checkpoint["lr_schedulers"] = []
        checkpoint["state_dict"] = {
            ".".join(part for part in name.split(".") if part != "_orig_mod"): value
            for name, value in checkpoint["state_dict"].items()
        }
        check_optimizer(task, checkpoint)

    task.on_load_checkpoint = on_load_checkpoint  # type: ignore[method-assign]


def check_optimizer(task: LakeTask, checkpoint: Mapping[str, Any]) -> None:
    """Refuse an optimiser's state whose groups are not this task's.

    Raises:
        CheckpointError: If it has other groups.
    """
    states = checkpoint.get("optimizer_states")
    groups = states[0].get("param_groups", []) if isinstance(states, list) and states else []
    sizes = [len(group["params"]) for group in groups]
    wanted = [len(group.parameters) for group in task.groups]
    if sizes != wanted:
        raise CheckpointError(
            f"the checkpoint's optimiser has {len(sizes)} groups of {sum(sizes)} tensors, this run {len(wanted)} of {sum(wanted)}",
            "go on with the settings that the run was begun with, or begin a new one with --init",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice to its own users is not for ours."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
