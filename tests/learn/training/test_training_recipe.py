"""From settings to the parts of a run."""

from __future__ import annotations

import numpy as np
import pytest
from lightning.pytorch.accelerators import CPUAccelerator

from cryosentinel_core.errors import ConfigError
from cryosentinel_core.learn.training.batch_order import Order, OrderSettings
from cryosentinel_core.learn.training.training_recipe import make_schedule, steps_per_epoch
from cryosentinel_core.settings.train import TrainSettings

ORDER = Order(np.full(24, 0.1), OrderSettings(seed=1, batch_size=2, ratio=None))


def settings_of(devices: int | str, **more: object) -> TrainSettings:
    trainer = {"accelerator": "cpu", "precision": "32-true", "max_epochs": 3, "devices": devices, **more}
    return TrainSettings.model_validate({"trainer": trainer})


@pytest.mark.parametrize("devices", ["auto", -1, "2", 2])
def test_the_schedule_counts_the_processes_that_lightning_starts(
    monkeypatch: pytest.MonkeyPatch, devices: int | str
) -> None:
    """Twelve batches of two chips are six steps of two processes, however the devices are asked for."""
    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 2))
    if devices == -1:
        with pytest.raises(ConfigError, match="devices"):
            steps_per_epoch(settings_of(devices), ORDER)
        return
    settings = settings_of(devices)
    assert steps_per_epoch(settings, ORDER) == 6
    assert make_schedule(settings, ORDER).max_steps == 18


def test_nodes_and_micro_batches() -> None:
    assert steps_per_epoch(settings_of("auto"), ORDER) == 12
    assert steps_per_epoch(settings_of(1, num_nodes=3), ORDER) == 4
    assert steps_per_epoch(settings_of(1, accumulate_grad_batches=5), ORDER) == 3
