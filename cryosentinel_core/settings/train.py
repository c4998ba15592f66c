"""Settings of `train`: the keys of the published configurations, and our own beside them.

The defaults are the published fine-tune's, so that they are the bundled recipe: a file or a flag says only what is different.
Keys that
have no meaning here (workers, caches of shards) are taken and do nothing; `NO_EFFECT` names them. Neighbours: `train_parts` has the
blocks below `data`; `workflows.train` hands each room its part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from cryosentinel_core.settings.frozen import Frozen
from cryosentinel_core.settings.train_parts import (
    CopyPasteSettings,
    EmaSettings,
    FeedSettings,
    JitterSettings,
    MosaicSettings,
    RescaleSettings,
    SamplerSettings,
    SwaSettings,
)

NO_EFFECT: Final = (
    "data.num_workers",
    "data.pin_memory",
    "data.persistent_workers",
    "data.shard_cache_size",
    "model.log_predictions_every_n_steps",
    "trainer.ema.skip_buffers",
)
"""Keys of published configurations that do nothing here."""

RESUMABLE: Final = (
    "data.data_dir",
    *NO_EFFECT,
    "feed.place",
    "feed.cache_dir",
    "trainer.accelerator",
    "trainer.checkpoint_every_n_steps",
    "trainer.ema.cpu_shadow",
    "trainer.log_every_n_steps",
    "trainer.max_epochs",
    "trainer.snapshot_epochs",
    "run_test",
    "output_dir",
    "run_name",
    "init",
)
"""Keys that may change when a run is gone on with; any other is refused by its name."""


class DataSettings(Frozen):
    """Which chips, in which batches, changed how.

    Attributes:
        data_dir: Folder of shards, `<region>/<year>/shard_*.parquet`.
        regions: Only these; None for all.
        years: Only these; None for all.
        batch_size: Chips of a micro-batch, on each device; batch norm over maps pooled to a pixel needs two.
        num_workers: No effect.
        augment: Whether chips are changed at all.
        rot90: Also transpose chips.
        include_unknown_in_train: Chips whose split is `UNKNOWN` train.
        shard_cache_size: No effect.
        pin_memory: No effect; see `feed.place`.
        persistent_workers: No effect.
        shuffle_train: Without a sampler: draw chips in random order; must be on.
        norm_stats_path: Band statistics as JSON; None for the data set's own, the initial weights' or TerraMind's.
        use_block_split: Split by blocks of degrees where chip centres are known, else by the column.
        block_size_deg: Side of a block; None, also in the next three: what the data set was cut with, else as published.
        block_buffer_deg: Chips nearer to a block's edge are left out.
        block_salt: Part of the hash that gives blocks their split.
        block_rule: `published`, or `extents`, which also leaves out chips that touch ground of another split.
        spectral_jitter: Gain of standardised values.
        shift_px: Move each chip by up to so many pixels, so that lakes lie anywhere within the network's patches; 0 as published.
        multi_scale: Enlargement and reduction.
        copy_paste: Water of another chip.
        mosaic: Quarters of four chips.
        hard_neg_sampler: Chips with and without water; None draws each chip once an epoch.
        hard_neg_water_frac_threshold: Share of water from which a chip has water.
        modality_dropout: Probability that a chip goes without radar or heights; 0 as published.
        exclude: A file of chips that are left out, or None.
    """

    data_dir: Path | None = None
    regions: tuple[str, ...] | None = None
    years: tuple[int, ...] | None = None
    batch_size: int = Field(default=8, ge=2)
    num_workers: int = 0
    augment: bool = True
    rot90: bool = False
    include_unknown_in_train: bool = True
    shard_cache_size: int = 50
    pin_memory: bool = False
    persistent_workers: bool = False
    shuffle_train: Literal[True] = True
    norm_stats_path: Path | None = None
    use_block_split: bool = True
    block_size_deg: float | None = Field(default=None, ge=0.001, le=90)
    block_buffer_deg: float | None = Field(default=None, ge=0)
    block_salt: str | None = None
    block_rule: Literal["published", "extents"] | None = None
    spectral_jitter: JitterSettings | None = JitterSettings()
    shift_px: int = Field(default=0, ge=0, le=112)
    multi_scale: RescaleSettings | None = RescaleSettings()
    copy_paste: CopyPasteSettings | None = CopyPasteSettings()
    mosaic: MosaicSettings | None = None
    hard_neg_sampler: SamplerSettings | None = SamplerSettings()
    hard_neg_water_frac_threshold: float = Field(default=0.002, ge=0, le=1)
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    exclude: Path | None = None


class ModelSettings(Frozen):
    """The network, its rates and its loss.

    Attributes:
        backbone: A TerraMind encoder.
        modalities: In their order.
        decoder: Must be `UperNetDecoder`.
        decoder_channels: Width of the decoder, if `decoder_kwargs` does not say it.
        decoder_kwargs: `decoder_channels`, `decoder_scale_modules`.
        backbone_pretrained: Begin with TerraMind's own weights, unless `init` names others.
        freeze_backbone_layers: So many first blocks, and the embeddings, are not trained.
        lr: Peak of neck, decoder and head.
        backbone_lr_mult: Factor for the encoder.
        llrd_decay: Factor from each encoder block to the one before it; 0 for one rate.
        llrd_n_blocks: Must be None or the encoder's depth.
        weight_decay: Of AdamW.
        decay_rule: `published`, or `matrices`: no norm, bias or embedding decays.
        adam_betas: Must be 0.9 and 0.999.
        warmup_steps: Of the schedule.
        max_steps: Where the cosine would reach 0; None for the run's own steps, 20000 as published.
        loss_type: `mega`, all six terms by their weights, or `bce_dice_boundary`.
        w_bce: Weight of the cross-entropy; likewise the others.
        focal_alpha: Weight of water in the focal term.
        focal_gamma: Its exponent.
        tversky_alpha: Weight of false positives.
        tversky_beta: Weight of false negatives.
        lovasz_per_image: A mean over images.
        pos_weight_max: Largest weight of water.
        label_smoothing: In the cross-entropy.
        ohem_keep_ratio: Share of pixels that the cross-entropy keeps.
        ohem_min_kept: At least so many.
        dice_variant: Must be `flat`.
        ignore_index: Must be None: invalid pixels are told by the data.
        invalid_pixels: `published`, or `ignored`: then they count neither in the weight of water nor in the boundary's distances.
        val_tta: Average the logits of four flips in validation.
        test_tta: In the test.
        compile_model: Compile the network.
        activation_checkpointing: Compute the encoder's blocks twice to save memory.
        log_predictions_every_n_steps: No effect.
    """

    backbone: str = "terramind_v1_large"
    modalities: tuple[str, ...] = ("S2L2A", "S1GRD", "DEM")
    decoder: str = "UperNetDecoder"
    decoder_channels: int | tuple[int, ...] | None = None
    decoder_kwargs: dict[str, Any] | None = None
    backbone_pretrained: bool = True
    freeze_backbone_layers: int = Field(default=0, ge=0)
    lr: float = Field(default=6e-5, gt=0)
    backbone_lr_mult: float = Field(default=0.25, ge=0)
    llrd_decay: float = Field(default=0.9, ge=0, le=1)
    llrd_n_blocks: int | None = None
    weight_decay: float = Field(default=1e-4, ge=0)
    decay_rule: Literal["published", "matrices"] = "published"
    adam_betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = Field(default=500, ge=0)
    max_steps: int | None = Field(default=None, ge=1)
    loss_type: Literal["mega", "bce_dice_boundary"] = "mega"
    w_bce: float = Field(default=0.5, ge=0)
    w_focal: float = Field(default=1.0, ge=0)
    w_dice: float = Field(default=1.0, ge=0)
    w_tversky: float = Field(default=0.5, ge=0)
    w_boundary: float = Field(default=0.5, ge=0)
    w_lovasz: float = Field(default=0.3, ge=0)
    focal_alpha: float = Field(default=0.25, ge=0, le=1)
    focal_gamma: float = Field(default=2.0, ge=0)
    tversky_alpha: float = Field(default=0.25, ge=0)
    tversky_beta: float = Field(default=0.75, ge=0)
    lovasz_per_image: bool = True
    pos_weight_max: float = Field(default=100.0, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ohem_keep_ratio: float = Field(default=0.5, gt=0, le=1)
    ohem_min_kept: int = Field(default=4096, ge=1)
    dice_variant: Literal["flat"] = "flat"
    ignore_index: None = None
    invalid_pixels: Literal["published", "ignored"] = "published"
    val_tta: bool = True
    test_tta: bool = True
    compile_model: bool = False
    activation_checkpointing: bool = False
    log_predictions_every_n_steps: int = 0

    @field_validator("decoder")
    @classmethod
    def _decoder_is_upernet(cls, value: str) -> str:
        if value != "UperNetDecoder":
            raise ValueError("wanted UperNetDecoder: no other decoder is built")
        return value

    @field_validator("adam_betas")
    @classmethod
    def _betas_are_published(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value != (0.9, 0.999):
            raise ValueError("wanted 0.9 and 0.999")
        return value

    @model_validator(mode="after")
    def _decoder_is_described(self) -> ModelSettings:
        known = {"decoder_channels", "decoder_scale_modules"}
        unknown = sorted(set(self.decoder_kwargs or {}) - known)
        if unknown:
            raise ValueError(f"decoder_kwargs has {', '.join(unknown)}, wanted {' and '.join(sorted(known))} alone")
        if isinstance(self.decoder_channels, tuple):
            raise ValueError("decoder_channels is a list, which is for a UNetDecoder: wanted one number")
        return self

    @property
    def width(self) -> int:
        """Channels of the decoder."""
        given = (self.decoder_kwargs or {}).get("decoder_channels", self.decoder_channels)
        return 256 if given is None else int(given)

    @property
    def scale_modules(self) -> bool:
        """Whether the decoder has a pyramid of its own."""
        return bool((self.decoder_kwargs or {}).get("decoder_scale_modules", True))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Term -> weight."""
        plain = {"bce": self.w_bce, "dice": self.w_dice, "boundary": self.w_boundary}
        if self.loss_type == "bce_dice_boundary":
            return plain
        return {**plain, "focal": self.w_focal, "tversky": self.w_tversky, "lovasz": self.w_lovasz}


class TrainerSettings(Frozen):
    """How long, where, and what is kept.

    Attributes:
        max_epochs: Of the run.
        accelerator: `auto`, `gpu` or `cpu`.
        devices: How many, or `auto`.
        num_nodes: Machines.
        strategy: Of Lightning, as `ddp`.
        precision: `bf16-mixed`, `32-true` and others of Lightning's.
        gradient_clip_val: Largest norm of the gradient.
        accumulate_grad_batches: Micro-batches to an optimiser step.
        log_every_n_steps: Rows of the log.
        check_val_every_n_epoch: Validations.
        early_stopping_patience: Validations without a better score; None for never. A run does not end before its SWA phase
            has annealed.
        checkpoint_every_n_steps: Autosaves within an epoch.
        snapshot_epochs: Epochs, from 1, after which a snapshot is kept; None for 12, 14, 17, 22 and 30 of 30, scaled to the run.
        ema: The moving average; None for none.
        swa: The flat phase; None for none.
    """

    max_epochs: int = Field(default=30, ge=1)
    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"
    precision: str = "bf16-mixed"
    gradient_clip_val: float | None = 1.0
    accumulate_grad_batches: int = Field(default=1, ge=1)
    log_every_n_steps: int = Field(default=25, ge=1)
    check_val_every_n_epoch: int = Field(default=1, ge=1)
    early_stopping_patience: int | None = Field(default=15, ge=1)
    checkpoint_every_n_steps: int = Field(default=500, ge=1)
    snapshot_epochs: tuple[int, ...] | None = None
    ema: EmaSettings | None = EmaSettings()
    swa: SwaSettings | None = SwaSettings()

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Epochs, from 1, after which a snapshot is kept."""
        if self.snapshot_epochs is not None:
            return tuple(sorted(epoch for epoch in set(self.snapshot_epochs) if epoch <= self.max_epochs))
        scaled = {max(1, round(epoch * self.max_epochs / 30)) for epoch in (12, 14, 17, 22, 30)}
        return tuple(sorted(scaled))


class TrainSettings(Frozen):
    """A training run.

    Attributes:
        run_name: Folder of the run.
        output_dir: Folder that it lies in.
        seed: Of order and augmentation, and of new weights unless `weights_seed` says otherwise.
        weights_seed: Of new weights.
        run_test: Judge the test split at the end.
        init: A checkpoint to begin with, `hf://...`, `terramind` for TerraMind's own weights, or `none`; None as
            `model.backbone_pretrained` says.
        data: Which chips.
        model: The network and its loss.
        trainer: How long and where.
        feed: Where decoded chips lie.
    """

    run_name: str = Field(default="lakes", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    output_dir: Path = Path("runs")
    seed: int = Field(default=42, ge=0)
    weights_seed: int | None = Field(default=None, ge=0)
    run_test: bool = True
    init: str | None = None
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    trainer: TrainerSettings = TrainerSettings()
    feed: FeedSettings = FeedSettings()

    @property
    def initial_weights(self) -> str:
        """`terramind`, `none`, a path or an `hf://` reference."""
        return self.init or ("terramind" if self.model.backbone_pretrained else "none")
