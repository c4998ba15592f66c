"""Chips on their way to the network: drawn, gathered, standardised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cryosentinel_core.learn.inference.staging import standardise
from cryosentinel_core.learn.model_spec import MODALITIES, PRETRAINING_NORMALISATION, PUBLISHED_NORMALISATION
from cryosentinel_core.learn.training.batch import StoredChips, standardise_chips
from cryosentinel_core.learn.training.batch_order import Order, OrderSettings, weigh_chips
from cryosentinel_core.learn.training.feed import ChipArrays, Feed
from cryosentinel_core.segment.segmenter import ChipBatch

CPU = torch.device("cpu")


def test_radar_that_is_not_finite_is_the_same_in_training_and_in_prediction() -> None:
    s1 = np.full((1, 2, 224, 224), -12.0, np.float32)
    s1[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    s2, dem = np.full((1, 12, 224, 224), 900, np.uint16), np.full((1, 1, 224, 224), 3500, np.int16)
    stored = StoredChips(
        s2=torch.from_numpy(s2.view(np.int16)), s1=torch.from_numpy(s1), dem=torch.from_numpy(dem),
        mask=torch.zeros(1, 224, 224, dtype=torch.uint8),
    )  # fmt: skip
    trained = standardise_chips(stored, PUBLISHED_NORMALISATION, MODALITIES).inputs
    plain = np.zeros((1, 224, 224), np.float32)
    batch = ChipBatch(
        s2=s2, s1=s1, dem=dem.astype(np.float32), valid=plain == 0, shadow=plain, snow=plain, water=plain,
        addresses=np.zeros((1, 2), np.int64),
    )  # fmt: skip
    predicted = standardise(batch, PUBLISHED_NORMALISATION, torch.device("cpu"))
    for name in MODALITIES:
        assert torch.equal(trained[name], predicted[name]), name
    mean, std = PUBLISHED_NORMALISATION.s1.means[0], PUBLISHED_NORMALISATION.s1.stds[0]
    wanted = [(value - mean) / std for value in (-25.0, 5.0, -30.0)]
    np.testing.assert_allclose(predicted["S1GRD"][0, 0, 0, :3].numpy(), wanted, rtol=1e-6)


def test_a_chip_is_standardised_as_released(shared_data: Path) -> None:
    with np.load(shared_data / "published-fixtures" / "standardise.npz") as arrays:
        stored = StoredChips(
            s2=torch.from_numpy(arrays["in_s2"].view(np.int16))[None],
            s1=torch.from_numpy(arrays["in_s1"])[None],
            dem=torch.from_numpy(arrays["in_dem"])[None],
            mask=torch.from_numpy(arrays["in_mask"])[None],
        )
        for name, statistics in (("v3", PUBLISHED_NORMALISATION), ("terramind", PRETRAINING_NORMALISATION)):
            chips = standardise_chips(stored, statistics, MODALITIES)
            np.testing.assert_array_equal(chips.valid[0].numpy(), arrays["valid_mask"])
            for modality in MODALITIES:
                found, wanted = chips.inputs[modality][0].numpy(), arrays[f"{name}_{modality}"]
                np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-6)


def test_sampler_weights_are_the_released_ones(shared_data: Path) -> None:
    published = json.loads((shared_data / "published-fixtures" / "sampler.json").read_text())
    water = np.array(published["water_frac"])
    for case in (one for one in published.values() if isinstance(one, dict) and "weights" in one):
        weights = weigh_chips(water, ratio=3.0, threshold=case["threshold"])
        np.testing.assert_allclose(weights, case["weights"], rtol=1e-12)
        np.testing.assert_allclose(weights / weights.sum(), case["probability"], rtol=1e-12)


def test_one_kind_of_chip_weighs_alike() -> None:
    assert weigh_chips(np.array([0.0, 0.001]), ratio=3.0, threshold=0.002).tolist() == [1, 1]
    assert weigh_chips(np.array([np.nan, 0.5]), ratio=3.0, threshold=0.002).tolist() == [1, 3]


def test_order_is_a_function_of_seed_epoch_and_place() -> None:
    water = np.tile([0.0, 0.1, 0.0, 0.0], 100)
    settings = OrderSettings(seed=42, batch_size=8)
    one, other = Order(water, settings), Order(water, settings)
    forward = {(epoch, n): one.rows_of_batch(epoch, n) for epoch in (0, 1) for n in range(one.n_batches())}
    for (epoch, n), rows in reversed(forward.items()):
        assert torch.equal(other.rows_of_batch(epoch, n), rows)
    assert torch.equal(one.dice(1, 3).get_state(), other.dice(1, 3).get_state())
    assert not torch.equal(one.dice(1, 3).get_state(), one.dice(1, 4).get_state())
    assert not torch.equal(forward[0, 0], forward[1, 0])
    assert not torch.equal(forward[0, 0], Order(water, OrderSettings(seed=43, batch_size=8)).rows_of_batch(0, 0))
    drawn = torch.cat(list(forward.values()))
    assert np.mean(water[drawn.numpy()] > 0) == pytest.approx(0.75, abs=0.06)


def test_without_a_sampler_each_chip_is_drawn_once() -> None:
    order = Order(np.zeros(10), OrderSettings(seed=1, batch_size=4, ratio=None))
    assert sorted(order.rows_of_epoch(3).tolist()) == list(range(10))
    assert order.n_batches() == 2
    assert order.n_batches(n_processes=2) == 1


@pytest.mark.parametrize("place", ["device", "pinned", "disk"])
def test_every_place_gives_the_same_chips(tmp_path: Path, place: str) -> None:
    rng = np.random.default_rng(1)
    made = {
        "s2": rng.integers(0, 65_536, (70, 12, 4, 4)).astype(np.uint16),
        "s1": rng.normal(size=(70, 2, 4, 4)).astype(np.float32),
        "dem": rng.integers(-9, 9, (70, 1, 4, 4)).astype(np.int16),
        "mask": rng.integers(0, 2, (70, 4, 4)).astype(np.uint8),
    }
    mapped = {}
    for name, array in made.items():
        array.tofile(tmp_path / name)
        mapped[name] = np.memmap(tmp_path / name, dtype=array.dtype, mode="r", shape=array.shape)
    feed = Feed(ChipArrays(**mapped), place, CPU)  # type: ignore[arg-type]
    rows, following = torch.tensor([3, 69, 3]), torch.tensor([0, 1])
    for asked, then in ((rows, following), (following, rows), (torch.tensor([5]), following)):
        chips = feed.gather(asked, lambda then=then: then)  # type: ignore[misc]
        index = asked.numpy()
        np.testing.assert_array_equal(chips.s2.numpy().view(np.uint16), made["s2"][index])
        np.testing.assert_array_equal(chips.s1.numpy(), made["s1"][index])
        np.testing.assert_array_equal(chips.dem.numpy(), made["dem"][index])
        np.testing.assert_array_equal(chips.mask.numpy(), made["mask"][index])
    feed.close()
