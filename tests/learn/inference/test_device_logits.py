"""Logits that stay on the device: the same sums to the last bit, checked, in order, and with room made for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_network_segmenter import SPEC, make_batch, make_segmenter

from cryosentinel_core.errors import ModelError, NonFiniteOutput
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.learn.inference import batch_size as batching
from cryosentinel_core.learn.inference.batch_size import keep_free
from cryosentinel_core.learn.inference.device_logits import DeviceArrays, DeviceLogits, pool_logits, put_in_order
from cryosentinel_core.learn.inference.ensemble import EnsembleSegmenter
from cryosentinel_core.learn.inference.network_segmenter import NetworkSegmenter
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.segment.arrays import HOST
from cryosentinel_core.segment.segmenter import Engine
from cryosentinel_core.segment.window_blending import LogitCanvas

CPU = torch.device("cpu")
TENSORS = DeviceArrays(CPU, lambda take: take())


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    blended=st.booleans(),
    with_spread=st.booleans(),
    inference=st.booleans(),
)
def test_sums_of_tensors_are_sums_of_arrays(
    seed: int, scale: float, blended: bool, with_spread: bool, inference: bool
) -> None:
    """Windows of 8 px every 2 to 8, some over the grid's edge, pixels that no window covers."""
    rng = np.random.default_rng(seed)
    grid = Grid(epsg=32643, row=3, col=5, height=21, width=17)
    canvases = [
        LogitCanvas(grid, 8, blended=blended, with_spread=with_spread, arrays=arrays) for arrays in (HOST, TENSORS)
    ]
    for row in range(0, 24, int(rng.integers(2, 9))):
        for col in range(0, 20, int(rng.integers(2, 9))):
            window = (rng.normal(0, scale, (2, 8, 8)) ** [[[1]], [[2]]]).astype(np.float32)
            with torch.inference_mode(inference):
                tensor = torch.from_numpy(window.copy()) * 1
            for canvas, own in zip(canvases, (window, tensor), strict=True):
                canvas.add((row, col), own[0], own[1] if with_spread else None)
    on_host, on_device = canvases
    assert on_device.mean().dtype == np.float32
    np.testing.assert_array_equal(on_device.mean(), on_host.mean())
    if with_spread:
        np.testing.assert_array_equal(on_device.spread(), on_host.spread())


def test_what_is_kept_is_a_copy() -> None:
    for arrays, one in ((HOST, np.ones(3, np.float32)), (TENSORS, torch.ones(3))):
        kept = arrays.copy(one)
        one[:] = 2
        assert arrays.get(kept).tolist() == [1, 1, 1]
        assert arrays.get(arrays.put(np.arange(3, dtype=np.float32))).tolist() == [0, 1, 2]


def test_rows_come_back_in_order() -> None:
    parts = [
        (np.array([1, 4]), torch.tensor([[1.0], [4.0]])),
        (np.array([0, 2, 3]), torch.tensor([[0.0], [2.0], [3.0]])),
    ]
    assert put_in_order(parts).ravel().tolist() == [0, 1, 2, 3, 4]
    assert put_in_order(parts[1:]) is parts[1][1]


def test_values_not_finite_are_counted_for_the_network_that_gave_them() -> None:
    good, bad = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
    bad[1, 1] = torch.nan
    bad[0, 0, 0] = torch.inf
    answer = DeviceLogits(good, (*DeviceLogits.of("a", good).broken, *DeviceLogits.of("b", bad).broken))
    for asked in (answer.fetch(), answer.hold()):
        with pytest.raises(NonFiniteOutput, match="b returned 4 values"):
            asked()
    assert DeviceLogits.of("a", good).hold()() is good
    assert DeviceLogits.of("a", good).fetch()().shape == (2, 3, 3)


def test_pooling_by_counting() -> None:
    """Members 1 and 3 of one network, 5 and 7 of the other: mean 4, variance 5."""
    first, second = (torch.full((1, 2, 1, 1), value) for value in (2.0, 6.0))
    first[:, 1] = second[:, 1] = 1
    assert pool_logits([first, second], has_spread=True).ravel().tolist() == [4, 5]
    assert pool_logits([first[:, 0], second[:, 0]], has_spread=False).ravel().tolist() == [4]
    rng = np.random.default_rng(0)
    members = rng.normal(3, 2, (3, 4, 5, 6, 6))  # (models, flips, N, H, W)
    answers = [np.stack([own.mean(axis=0), own.var(axis=0)], axis=1).astype(np.float32) for own in members]
    pooled = pool_logits([torch.from_numpy(answer) for answer in answers], has_spread=True)
    assert pooled.dtype == torch.float32
    np.testing.assert_allclose(pooled[:, 0], members.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(pooled[:, 1], members.var(axis=(0, 1)), rtol=1e-4)


def test_room_is_made_by_smaller_batches() -> None:
    segmenter = make_segmenter(make_random_weights(SPEC, seed=2), batch_size=4)
    tries: list[int] = []

    def take() -> torch.Tensor:
        tries.append(segmenter.batch_size)
        if segmenter.batch_size > least:
            raise torch.cuda.OutOfMemoryError("no room")
        return torch.zeros(1)

    least = 1
    assert segmenter.passes.with_room(take).tolist() == [0]
    assert tries == [4, 2, 1]
    least = 0
    with pytest.raises(ModelError, match="does not fit the GPU's memory"):
        segmenter.passes.with_room(take)


def test_memory_is_held_while_sizes_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def empty(n: int, **settings: Any) -> None:
        asked.append(n)
        if n > 2**30:
            raise torch.cuda.OutOfMemoryError("no room")

    monkeypatch.setattr(batching.torch, "empty", empty)
    with keep_free(512, CPU):
        assert not asked
    for mib in (512, 2048):
        with keep_free(mib, torch.device("cuda")):
            assert asked[-1] == mib * 2**20


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("n_networks", [1, 2])
def test_a_network_leaves_what_it_would_have_sent(
    n_networks: int, spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [
        make_segmenter(make_random_weights(SPEC, seed=seed), tta=True, spread=spread, sha256=str(seed) * 64)
        for seed in range(n_networks)
    ]
    segmenter = networks[0] if n_networks == 1 else EnsembleSegmenter(networks)
    assert isinstance(segmenter, Engine)
    assert segmenter.arrays is HOST, "a CPU's logits are where sums are kept anyway"
    staged = segmenter.stage(make_batch(2))
    wanted = segmenter.begin(staged)()
    np.testing.assert_array_equal(segmenter.begin_on_device(staged)(), wanted)
    monkeypatch.setattr(NetworkSegmenter, "leave", lambda self, answer: answer.hold())  # as on a GPU
    left = segmenter.begin_on_device(staged)()
    assert isinstance(left, torch.Tensor)
    np.testing.assert_array_equal(left.numpy(), wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sums_on_a_gpu_are_those_of_the_host() -> None:
    segmenter = make_segmenter(make_random_weights(SPEC, seed=2), device="cuda", tta=True, spread=True)
    grid = Grid(epsg=32643, row=0, col=0, height=300, width=448)
    canvases = [LogitCanvas(grid, 224, blended=True, with_spread=True, arrays=a) for a in (HOST, segmenter.arrays)]
    staged = segmenter.stage(make_batch(3))
    windows = segmenter.begin(staged)(), segmenter.begin_on_device(staged)()
    for row, address in enumerate([(0, 0), (0, 112), (112, 0)]):
        for canvas, own in zip(canvases, windows, strict=True):
            canvas.add(address, own[row][0], own[row][1])
    np.testing.assert_array_equal(canvases[1].mean(), canvases[0].mean())
    np.testing.assert_array_equal(canvases[1].spread(), canvases[0].spread())
