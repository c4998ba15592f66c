"""A network's passes: batches that fit, threads, compiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_network_segmenter import SPEC, make_batch, make_segmenter

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference import flip_passes as passes
from cryosentinel_core.learn.inference.batch_size import most_windows
from cryosentinel_core.learn.inference.network_parts import ComputingSettings
from cryosentinel_core.learn.network.random_weights import make_random_weights


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return make_random_weights(SPEC, seed=2)


def test_threads_are_put_back(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    segmenter = make_segmenter(weights, threads=before + 1)
    seen: list[int] = []
    monkeypatch.setattr(
        segmenter.passes, "_forward", lambda chips: seen.append(torch.get_num_threads()) or chips["DEM"][:, 0]
    )
    segmenter.segment(make_batch(1))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_memory_shortage_halves_the_batch(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = make_segmenter(weights, batch_size=4)
    sizes: list[int] = []

    def forward(chips: dict[str, torch.Tensor]) -> torch.Tensor:
        sizes.append(len(chips["DEM"]))
        if len(chips["DEM"]) > 1:
            raise torch.cuda.OutOfMemoryError("no room")
        return chips["DEM"][:, 0]

    monkeypatch.setattr(segmenter.passes, "_forward", forward)
    batch = make_batch(3)
    logits = segmenter.segment(batch)
    assert sizes == [4, 2, 1, 1, 1]
    assert segmenter.batch_size == 1
    np.testing.assert_allclose(logits, (batch.dem[:, 0] - 4299.8) / 901.0, atol=1e-5)


def test_an_automatic_batch_is_the_largest_that_fits(
    weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU with room for ten windows, where each pass costs the same whatever its size."""
    segmenter = make_segmenter(weights, batch_size=None, tta=True)
    assert segmenter.batch_size == 4
    segmenter.prepare_for(10_000)
    assert segmenter.batch_size == 4, "a CPU's batch depends neither on the job nor on the machine"
    segmenter.passes._finds_batch = True
    sizes: list[int] = []
    now = [0.0]
    room = [10]

    def forward(chips: dict[str, torch.Tensor]) -> torch.Tensor:
        sizes.append(len(chips["DEM"]))
        assert {name: x.shape[1:] for name, x in chips.items()} == {
            "S2L2A": (12, 224, 224), "S1GRD": (2, 224, 224), "DEM": (1, 224, 224)
        }  # fmt: skip
        if len(chips["DEM"]) > room[0]:
            raise torch.cuda.OutOfMemoryError("no room")
        now[0] += 1.0
        return chips["DEM"][:, 0]

    monkeypatch.setattr(segmenter.passes, "_forward", forward)
    monkeypatch.setattr(passes.time, "perf_counter", lambda: now[0])
    segmenter.prepare_for(64)
    assert sizes == [4] * 8, "two passes of four flips, and no batch of more than a sixteenth of the job"
    segmenter.prepare_for(5_000)
    assert sizes[8:] == [4] * 8 + [8] * 8 + [16]
    assert segmenter.batch_size == 8
    segmenter.prepare_for(10_000)
    assert len(sizes) == 25, "found once"
    room[0] = 3  # another process has taken memory since
    segmenter.segment(make_batch(2))
    assert segmenter.batch_size == 2
    assert segmenter.conditions["batch_size"] == 2


def test_compiling_is_weighed_against_the_job(
    weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten windows a second: 60 s of compiling pay from 4,000 windows on, if they save 15 %."""
    calls: list[int] = []

    def fake_compile(network: Any, *, dynamic: bool) -> Any:
        assert not dynamic

        def call(chips: dict[str, torch.Tensor]) -> torch.Tensor:
            calls.append(len(chips["DEM"]))
            return chips["DEM"][:, 0]

        return call

    monkeypatch.setattr(torch, "compile", fake_compile)
    segmenter = make_segmenter(weights, compiling="auto")
    segmenter.prepare_for(10**9)
    assert not segmenter.passes.is_compiled, "never by itself on a CPU"
    segmenter.passes._compiling = "auto"
    with monkeypatch.context() as patch:
        patch.setattr(segmenter.passes, "measure_rate", lambda n: 10.0)
        segmenter.prepare_for(3_999)
        assert not segmenter.passes.is_compiled
        segmenter.prepare_for(4_001)
    assert segmenter.passes.is_compiled
    assert segmenter.conditions["is_compiled"]
    digest = segmenter.digest
    segmenter.segment(make_batch(2))
    assert calls == [3], "through the compiled network, in whole batches"
    asked = make_segmenter(weights, compiling="on")
    asked.prepare_for(1)
    assert asked.passes.is_compiled
    assert asked.digest == digest == make_segmenter(weights).digest


def test_compiling_that_fails(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: Any, *, dynamic: bool) -> Any:
        def call(chips: dict[str, torch.Tensor]) -> torch.Tensor:
            raise RuntimeError("no compiler\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ModelError, match="no compiler"):
        make_segmenter(weights, compiling="on").prepare_for(1)
    segmenter = make_segmenter(weights)
    segmenter.passes._compiling = "auto"
    monkeypatch.setattr(passes, "pays_to_compile", lambda n_windows, rate: True)
    segmenter.prepare_for(1)
    assert not segmenter.passes.is_compiled
    assert np.isfinite(segmenter.segment(make_batch(1))).all()


def test_an_explicit_batch_on_a_gpu_is_limited(weights: dict[str, torch.Tensor]) -> None:
    """Nothing is computed: a device's name suffices."""
    network = make_segmenter(weights).network
    limit = most_windows(SPEC.decoder_channels)

    def size_on(device: str) -> int:
        return passes.Passes(network, torch.device(device), ComputingSettings(batch_size=10 * limit)).batch_size

    assert size_on("cuda") == limit
    assert size_on("cpu") == 10 * limit, "a CPU's batch is part of its last bits"


def test_what_the_network_keeps_is_made_before_it_is_traced(
    weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first call fills it while tracing, and the second is compiled again."""
    segmenter = make_segmenter(weights, compiling="on", batch_size=2)
    decoder = segmenter.network.decoder
    decoder._matrices.clear()
    kept: list[int] = []

    def compile_network(network: Any, **_: Any) -> Any:
        kept.append(len(decoder._matrices))
        return lambda chips: network(chips)

    monkeypatch.setattr(torch, "compile", compile_network)
    segmenter.prepare_for(1)
    assert segmenter.passes.is_compiled
    assert kept == [len(decoder._matrices)]
    assert kept[0] > 0
