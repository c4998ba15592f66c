"""Batch-norm statistics of a soup: estimated on chips as the run draws them."""

from __future__ import annotations

import numpy as np
import torch

from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, ModelSpec
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.learn.training.batch_order import Order
from cryosentinel_core.learn.training.soup_judging import Kitchen
from cryosentinel_core.learn.training.training_recipe import order_settings
from cryosentinel_core.settings.train import DataSettings, ModelSettings, SamplerSettings, TrainSettings

SPEC = ModelSpec(backbone="terramind_v1_tiny", modalities=("S2L2A",), decoder_channels=4)


def test_statistics_are_of_chips_drawn_as_the_run_draws_them() -> None:
    """One chip of eight has water, and the run draws it three times of four."""
    n, train = 10, np.arange(2, 10)
    water_frac = np.zeros(n)
    water_frac[5] = 0.1
    run = TrainSettings(
        data=DataSettings(batch_size=4, hard_neg_sampler=SamplerSettings(num_samples=80)),
        model=ModelSettings(modalities=("S2L2A",), val_tta=False),
    )
    arrays = {
        "s2": np.full((n, 12, 224, 224), 1000, np.uint16), "s1": np.zeros((n, 2, 224, 224), np.float32),
        "dem": np.zeros((n, 1, 224, 224), np.int16), "mask": np.zeros((n, 224, 224), np.uint8),
    }  # fmt: skip
    kitchen = Kitchen(
        run, SPEC, PUBLISHED_NORMALISATION, arrays=arrays, rows={"train": train, "val": train[:0], "test": train[:0]},
        water_frac=water_frac, host_free_bytes=2**33,
    )  # fmt: skip
    drawn: list[int] = []
    gather = kitchen._feed.gather

    def note(rows: torch.Tensor) -> object:
        drawn.extend(rows.tolist())
        return gather(rows)

    kitchen._feed.gather = note  # type: ignore[method-assign,assignment]
    kitchen.estimate(make_random_weights(SPEC), n_batches=3)
    kitchen.close()
    order = Order(water_frac[train], order_settings(run.data, run.seed))
    assert drawn == [int(train[i]) for batch in range(3) for i in order.rows_of_batch(0, batch)]
    assert drawn.count(5) > 4
