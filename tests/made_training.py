"""A small data set of chips with lakes, and the settings of a run over it that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_chips import lake_chip, make_dataset

from cryosentinel_core.learn.model_spec import BACKBONES, BackboneShape
from cryosentinel_core.settings.train import TrainSettings

STUB = "terramind_v1_stub"
"""An encoder of all parts and next to no size, for what is asked of the run and not of the network."""


@contextmanager
def stub_backbone() -> Iterator[None]:
    """Within it `STUB` can be built: a step takes a fifth of what it takes with the smallest that is published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, STUB, BackboneShape(depth=4, width=32, heads=2, gated=False))
        yield


TINY: dict[str, Any] = {
    "run_name": "tiny",
    "data": {"batch_size": 2},
    "model": {
        "backbone": "terramind_v1_tiny",
        "backbone_pretrained": False,
        "decoder_kwargs": {"decoder_channels": 8},
        "lr": 1e-3,
        "backbone_lr_mult": 1.0,
        "warmup_steps": 2,
        "val_tta": False,
        "test_tta": False,
    },
    "trainer": {
        "max_epochs": 2,
        "accelerator": "cpu",
        "precision": "32-true",
        "log_every_n_steps": 2,
        "checkpoint_every_n_steps": 1,
        "snapshot_epochs": [1, 2],
        "ema": {"decay": 0.5},
        "swa": {"swa_epoch_start": 2, "annealing_epochs": 1},
    },
}


def make_chips(root: Path, n_train: int = 6, n_val: int = 2, n_test: int = 1) -> Path:
    """Chips with a lake and without, each its own place of it; the split is said by the column alone."""
    chips = []
    for number in range(n_train + n_val + n_test):
        chip = lake_chip(number % 8)
        along = np.roll(np.arange(224), 37 * number)
        dry = number % 3 == 2
        chips.append(
            replace(
                chip,
                chip_id=f"c{number}",
                split="train" if number < n_train else "val" if number < n_train + n_val else "test",
                s2=np.ascontiguousarray(chip.s2[:, along]),
                s1=np.ascontiguousarray(chip.s1[:, along]),
                mask=np.zeros_like(chip.mask) if dry else np.ascontiguousarray(chip.mask[along]),
                water_frac=0.0 if dry else float(chip.mask.mean()),
                lat=None,
                lon=None,
            )
        )
    return make_dataset(root, chips)


def tiny_settings(data_dir: Path, **changes: Any) -> TrainSettings:
    """`TINY` with some keys changed, as `trainer__max_epochs=3`."""
    values = {name: dict(one) if isinstance(one, dict) else one for name, one in TINY.items()}
    values["data"]["data_dir"] = data_dir
    for key, value in changes.items():
        block, _, name = key.partition("__")
        if name:
            values.setdefault(block, {})[name] = value
        else:
            values[block] = value
    return TrainSettings.model_validate(values)
