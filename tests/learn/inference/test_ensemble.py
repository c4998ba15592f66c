"""Several networks as one segmenter: means and variances over all members, names, what may not be averaged, batches."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_network_segmenter import SPEC, make_batch, take

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.ensemble import EnsembleSegmenter
from cryosentinel_core.learn.inference.flip_passes import Passes
from cryosentinel_core.learn.inference.network_parts import ComputingSettings, KnownWeights
from cryosentinel_core.learn.inference.network_segmenter import NetworkSegmenter
from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, PUBLISHED_RECIPE, ModelSpec
from cryosentinel_core.learn.network.lake_network import load_network
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.segment.segmenter import Engine, MemberSegmenter, Segmenter

TWO_SENSORS = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=16, modalities=("S2L2A", "DEM"))


@pytest.fixture(scope="module")
def weights() -> list[dict[str, torch.Tensor]]:
    return [make_random_weights(SPEC, seed=seed) for seed in (1, 2, 3)]


def make(weights: dict[str, torch.Tensor], name: str, spec: ModelSpec = SPEC, **settings: Any) -> NetworkSegmenter:
    """A network named and hashed after a letter."""
    how = {"device": "cpu", "precision": "float32", "batch_size": 2, "tta": False, "threads": 1, **settings}
    known = {"normalisation": PUBLISHED_NORMALISATION, "recipe": PUBLISHED_RECIPE}
    known |= {key: how.pop(key) for key in ("normalisation", "recipe", "copy") if key in how}
    known_weights = KnownWeights(stem=name, file_sha256=name * 64, **known)
    network = load_network(spec, {key: value.clone() for key, value in weights.items()})
    return NetworkSegmenter(network, known_weights, ComputingSettings(**how))


def test_logits_are_averaged_and_models_spread(weights: list[dict[str, torch.Tensor]]) -> None:
    batch = make_batch(3)
    ensemble = EnsembleSegmenter([make(own, name) for own, name in zip(weights, "abc", strict=True)])
    assert isinstance(ensemble, Segmenter)
    assert isinstance(ensemble, Engine)
    assert isinstance(ensemble, MemberSegmenter)
    alone = np.stack([make(own, "a").segment(batch) for own in weights])
    found = ensemble.segment(batch)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, alone.mean(axis=0), rtol=1e-5, atol=1e-5)
    both = EnsembleSegmenter([make(own, name, spread=True) for own, name in zip(weights, "abc", strict=True)])
    answer = both.segment(batch)
    np.testing.assert_array_equal(answer[:, 0], found)
    np.testing.assert_allclose(answer[:, 1], alone.var(axis=0), rtol=1e-3, atol=1e-5)
    assert answer[:, 1].mean() > 1e-4
    np.testing.assert_array_equal(both.segment(take(batch, [2])), answer[[2]])


def test_the_order_of_asking_changes_nothing(weights: list[dict[str, torch.Tensor]]) -> None:
    networks = [make(own, name) for own, name in zip(weights, "bca", strict=True)]
    one, other = EnsembleSegmenter(networks), EnsembleSegmenter(networks[::-1])
    assert (one.name, one.digest, one.members) == (other.name, other.digest, other.members)
    batch = make_batch(2)
    np.testing.assert_array_equal(one.segment(batch), other.segment(batch))
    joined = hashlib.sha256("\n".join(name * 64 for name in "abc").encode()).hexdigest()
    assert one.name == f"a-3-{joined[:8]}"
    assert one.members == {f"{name}-{name * 8}": name * 64 for name in "abc"}
    fewer = EnsembleSegmenter(networks[:2])
    assert fewer.digest != one.digest
    assert fewer.name.startswith("b-2-")
    assert EnsembleSegmenter([make(own, n, spread=True) for own, n in zip(weights, "abc", strict=True)]).name == (
        f"{one.name}-spread"
    )
    average = EnsembleSegmenter([make(own, n, copy="ema", spread=True) for own, n in zip(weights, "ab", strict=False)])
    joined = hashlib.sha256("\n".join(f"{name * 64}-ema" for name in "ab").encode()).hexdigest()
    assert average.name == f"a-2-{joined[:8]}-ema-spread"


def test_statistics_may_differ_and_nothing_else(weights: list[dict[str, torch.Tensor]]) -> None:
    first = make(weights[0], "a")
    shifted = replace(
        PUBLISHED_NORMALISATION,
        dem=replace(PUBLISHED_NORMALISATION.dem, means=(PUBLISHED_NORMALISATION.dem.means[0] + 500,)),
    )
    other = make(weights[1], "b", normalisation=shifted)
    ensemble = EnsembleSegmenter([first, other])
    batch = make_batch(1)
    wanted = (first.segment(batch) + other.segment(batch)) / np.float32(2)
    np.testing.assert_array_equal(ensemble.segment(batch), wanted)
    season = replace(PUBLISHED_RECIPE, radar="gamma0-rtc")
    blind = make(make_random_weights(TWO_SENSORS, seed=5), "d", TWO_SENSORS)
    for unlike, message in (
        (make(weights[1], "b", recipe=season), r"recipe's radar \S+ and gamma0-rtc"),
        (make(weights[1], "b", recipe=None), "recipe's season .* and not known"),
        (blind, "modalities S2L2A S1GRD DEM and S2L2A DEM"),
        (make(weights[1], "b", tta=True), "flips False and True"),
        (make(weights[1], "a"), "is given twice"),
    ):
        with pytest.raises(ModelError, match=message):
            EnsembleSegmenter([first, unlike])
    with pytest.raises(ModelError, match="ensemble of 1"):
        EnsembleSegmenter([first])


def test_one_batch_size_suits_all(weights: list[dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [make(own, name, batch_size=None) for own, name in zip(weights, "abc", strict=True)]
    for network in networks:
        network.passes._finds_batch = True
    sizes = iter([32, 8, 16])
    monkeypatch.setattr(
        "cryosentinel_core.learn.inference.flip_passes.find_batch_size", lambda rate_of, most: next(sizes)
    )
    order: list[Passes] = []
    monkeypatch.setattr(Passes, "choose_compiling", lambda self, n: order.append(self))
    ensemble = EnsembleSegmenter(networks)
    ensemble.prepare_for(10_000)
    assert [network.batch_size for network in networks] == [8, 8, 8]
    assert ensemble.batch_size == ensemble.conditions["batch_size"] == 8
    assert ensemble.peak_device_mib is None
    assert order == [network.passes for network in networks]
    networks[1].passes.limit_batch(1)
    ensemble.segment(make_batch(1))
    assert [network.batch_size for network in networks] == [1, 1, 1], "where one ran out of memory, all follow"
