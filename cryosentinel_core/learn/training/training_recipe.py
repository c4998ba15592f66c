"""From a run's settings to the parts of its fit: task, machine, what is kept.

Neighbours: `settings.train` has the keys, each module here its own part of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint

from cryosentinel_core.learn.inference.devices import choose_device
from cryosentinel_core.learn.training.augment import AugmentSettings
from cryosentinel_core.learn.training.batch_order import Order, OrderSettings
from cryosentinel_core.learn.training.feed import ChipArrays, Feed, choose_place
from cryosentinel_core.learn.training.fit import MachineSettings, count_processes
from cryosentinel_core.learn.training.losses import LossSettings
from cryosentinel_core.learn.training.parameter_groups import RateSettings
from cryosentinel_core.learn.training.run_keeper import KeepSettings
from cryosentinel_core.learn.training.schedule import Schedule, swa_start_epoch
from cryosentinel_core.learn.training.task import LakeTask, Rows, TaskSettings

if TYPE_CHECKING:
    from cryosentinel_core.learn.model_spec import Normalisation
    from cryosentinel_core.learn.network.lake_network import LakeNetwork
    from cryosentinel_core.settings.train import DataSettings, ModelSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class ChipSet:
    """Decoded chips and the rows of each split.

    Attributes:
        arrays: Part -> (N, ...).
        rows: `train`, `val`, `test` -> rows.
        water_frac: (N,) share of water.
        host_free_bytes: Of the machine's memory.
    """

    arrays: Mapping[str, NDArray[Any]]
    rows: Mapping[str, NDArray[np.int64]]
    water_frac: NDArray[np.float64]
    host_free_bytes: int = 0


def make_task(
    settings: TrainSettings,
    network: LakeNetwork,
    normalisation: Normalisation,
    chips: ChipSet,
    hyper_parameters: dict[str, Any],
) -> LakeTask:
    """The task of a run; the network is frozen, compiled and checkpointed in place as settings say.

    Args:
        settings: Of the run.
        network: To be trained.
        normalisation: Statistics to standardise with.
        chips: Decoded.
        hyper_parameters: For checkpoints.
    """
    shape_network(network, settings.model)
    order = Order(chips.water_frac[chips.rows["train"]], order_settings(settings.data, settings.seed))
    device = choose_device({"gpu": "cuda", "cuda": "cuda", "cpu": "cpu"}.get(settings.trainer.accelerator, "auto"))
    arrays = ChipArrays(**dict(chips.arrays))
    place = settings.feed.place
    if place == "auto":
        place = choose_place(arrays.n_bytes, device, chips.host_free_bytes)
    rows = Rows(**{name: torch.from_numpy(np.asarray(chips.rows[name])) for name in ("train", "val", "test")})
    if not settings.run_test:
        rows = Rows(train=rows.train, val=rows.val, test=rows.test[:0])
    task = TaskSettings(
        normalisation=normalisation,
        losses=loss_settings(settings.model),
        augment=augment_settings(settings.data),
        rates=rate_settings(settings.model),
        schedule=make_schedule(settings, order),
        val_tta=settings.model.val_tta,
        test_tta=settings.model.test_tta,
        hyper_parameters=hyper_parameters,
    )
    return LakeTask(network, task, Feed(arrays, place, device), order, rows)


def shape_network(network: LakeNetwork, model: ModelSettings) -> None:
    """Freeze first blocks, compute blocks twice, compile: in place, so that no name changes."""
    blocks = network.encoder.encoder
    assert isinstance(blocks, nn.ModuleList)
    if model.freeze_backbone_layers:
        embeddings = network.encoder.encoder_embeddings
        assert isinstance(embeddings, nn.Module)
        embeddings.requires_grad_(False)
        for block in list(blocks)[: model.freeze_backbone_layers]:
            block.requires_grad_(False)
    if model.activation_checkpointing:
        for block in blocks:
            _compute_twice(block)
    if model.compile_model:
        network.compile()


def _compute_twice(block: nn.Module) -> None:
    inner = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return inner(*args, **kwargs)
        return checkpoint(inner, *args, use_reentrant=False, **kwargs)

    block.forward = forward


def order_settings(data: DataSettings, seed: int) -> OrderSettings:
    """How chips are drawn."""
    sampler = data.hard_neg_sampler
    return OrderSettings(
        seed=seed,
        batch_size=data.batch_size,
        ratio=None if sampler is None else sampler.positive_to_negative_ratio,
        threshold=data.hard_neg_water_frac_threshold,
        n_draws=None if sampler is None else sampler.num_samples,
    )


def loss_settings(model: ModelSettings) -> LossSettings:
    """Weights and shapes of the loss."""
    return LossSettings(
        weights=model.loss_weights,
        focal_alpha=model.focal_alpha,
        focal_gamma=model.focal_gamma,
        tversky_alpha=model.tversky_alpha,
        tversky_beta=model.tversky_beta,
        lovasz_per_image=model.lovasz_per_image,
        pos_weight_max=model.pos_weight_max,
        label_smoothing=model.label_smoothing,
        ohem_keep_ratio=model.ohem_keep_ratio,
        ohem_min_kept=model.ohem_min_kept,
        masks_all=model.invalid_pixels == "ignored",
    )


def augment_settings(data: DataSettings) -> AugmentSettings | None:
    """What is done to chips; None for nothing."""
    if not data.augment:
        return None
    jitter, scale, paste, mosaic = data.spectral_jitter, data.multi_scale, data.copy_paste, data.mosaic
    return AugmentSettings(
        flips=True,
        rot90=data.rot90,
        jitter_p=jitter.p if jitter else 0.0,
        jitter_eps=(jitter.eps_s2, jitter.eps_s1, jitter.eps_dem) if jitter else (0.0, 0.0, 0.0),
        shift_px=data.shift_px,
        scale_p=scale.p if scale else 0.0,
        scale_range=(scale.scale_min, scale.scale_max) if scale else (1.0, 1.0),
        mosaic_p=mosaic.p if mosaic else 0.0,
        mosaic_jitter=mosaic.jitter if mosaic else 0.0,
        paste_p=paste.p if paste else 0.0,
        paste_min_water_px=paste.min_donor_water_pixels if paste else 32,
        paste_relative_heights=bool(paste and paste.relative_heights),
        drop_p=data.modality_dropout,
    )


def rate_settings(model: ModelSettings) -> RateSettings:
    """Peaks and decay."""
    return RateSettings(
        lr=model.lr,
        backbone_lr_mult=model.backbone_lr_mult,
        llrd_decay=model.llrd_decay,
        weight_decay=model.weight_decay,
        decay_rule=model.decay_rule,
    )


def steps_per_epoch(settings: TrainSettings, order: Order) -> int:
    """Optimiser steps of an epoch, by all processes together.

    Raises:
        ConfigError: If the machine cannot do what is asked.
    """
    n_batches = order.n_batches(count_processes(machine_settings(settings)))
    return math.ceil(n_batches / settings.trainer.accumulate_grad_batches)


def make_schedule(settings: TrainSettings, order: Order) -> Schedule:
    """Warm-up, cosine and flat phase."""
    trainer, swa = settings.trainer, settings.trainer.swa
    steps = max(1, steps_per_epoch(settings, order))
    return Schedule(
        warmup_steps=settings.model.warmup_steps,
        max_steps=settings.model.max_steps or steps * trainer.max_epochs,
        steps_per_epoch=steps,
        swa_start=None if swa is None else swa_start_epoch(swa.swa_epoch_start, trainer.max_epochs),
        annealing_epochs=swa.annealing_epochs if swa else 0,
        swa_lr=swa.swa_lrs if swa else 0.0,
        keep_decay=bool(swa and swa.keep_decay),
        linear=bool(swa and swa.annealing_strategy == "linear"),
    )


def machine_settings(settings: TrainSettings) -> MachineSettings:
    """Where, in what arithmetic, for how long."""
    trainer = settings.trainer
    return MachineSettings(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy=trainer.strategy,
        precision=trainer.precision,
        gradient_clip_val=trainer.gradient_clip_val,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        max_epochs=trainer.max_epochs,
        ema_decay=None if trainer.ema is None else trainer.ema.decay,
        ema_on_cpu=bool(trainer.ema and trainer.ema.cpu_shadow),
    )


def keep_settings(settings: TrainSettings) -> KeepSettings:
    """What is kept when; a run does not end early before its flat phase has been reached and annealed."""
    trainer, swa = settings.trainer, settings.trainer.swa
    earliest = 0 if swa is None else swa_start_epoch(swa.swa_epoch_start, trainer.max_epochs) + 1 + swa.annealing_epochs
    return KeepSettings(
        save_steps=trainer.checkpoint_every_n_steps,
        log_steps=trainer.log_every_n_steps,
        val_epochs=trainer.check_val_every_n_epoch,
        snapshot_epochs=trainer.snapshots,
        patience=trainer.early_stopping_patience,
        earliest_stop=min(earliest, trainer.max_epochs),
        ema_at_validation=bool(trainer.ema and trainer.ema.apply_at_validation),
        ema_at_test=bool(trainer.ema and trainer.ema.apply_at_test),
    )
