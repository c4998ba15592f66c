"""The network as a segmenter: standardising, batches, flips, radar, precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryosentinel_core.errors import ModelError, NonFiniteOutput
from cryosentinel_core.learn.inference import precision
from cryosentinel_core.learn.inference.network_parts import ComputingSettings, KnownWeights
from cryosentinel_core.learn.inference.network_segmenter import NetworkSegmenter
from cryosentinel_core.learn.inference.precision import choose_precision, make_probe
from cryosentinel_core.learn.inference.staging import standardise
from cryosentinel_core.learn.model_spec import MODALITIES, PUBLISHED_NORMALISATION, PUBLISHED_RECIPE, ModelSpec
from cryosentinel_core.learn.network.lake_network import load_network
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.segment.segmenter import AdjustablePrecision, ChipBatch, MemberSegmenter, Segmenter, has_spread

SPEC = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=16)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return make_random_weights(SPEC, seed=2)


def make_segmenter(weights: dict[str, torch.Tensor], spec: ModelSpec = SPEC, **settings: Any) -> NetworkSegmenter:
    how = {"device": "cpu", "precision": "float32", "batch_size": 3, "tta": False, "threads": 1, **settings}
    known = KnownWeights(
        stem="tiny",
        file_sha256=how.pop("sha256", "0" * 64),
        normalisation=PUBLISHED_NORMALISATION,
        recipe=PUBLISHED_RECIPE,
    )
    network = load_network(spec, {key: value.clone() for key, value in weights.items()})
    return NetworkSegmenter(network, known, ComputingSettings(**how))


def make_batch(n: int, *, radar: bool = True, seed: int = 0) -> ChipBatch:
    rng = np.random.default_rng(seed)
    flat = np.zeros((n, 224, 224), np.float32)
    return ChipBatch(
        s2=rng.integers(1, 6000, (n, 12, 224, 224)).astype(np.uint16),
        s1=rng.normal(-12, 4, (n, 2, 224, 224)).astype(np.float32) if radar else None,
        dem=rng.normal(4000, 300, (n, 1, 224, 224)).astype(np.float32),
        valid=np.ones((n, 224, 224), bool),
        shadow=flat,
        snow=flat,
        water=flat,
        addresses=np.zeros((n, 2), np.int64),
    )


def take(batch: ChipBatch, rows: list[int]) -> ChipBatch:
    parts: dict[str, NDArray[Any] | None] = {
        name: None if value is None else value[rows] for name, value in vars(batch).items()
    }
    return ChipBatch(**parts)  # type: ignore[arg-type]


def test_standardising_by_hand() -> None:
    batch = make_batch(1)
    assert batch.s1 is not None
    batch.s2[0, 0, 0, :3] = (0, 20_000, 65_535)
    batch.s1[0, 0, 0, :3] = (np.nan, np.inf, -9.25)
    batch.dem[0, 0, 0, :4] = (np.nan, -32_000, 9_500, 4_299.8)
    chips = standardise(batch, PUBLISHED_NORMALISATION, torch.device("cpu"))
    assert list(chips) == list(MODALITIES)
    np.testing.assert_allclose(chips["S2L2A"][0, 0, 0, :3], (np.array([0, 16_000, 16_000]) - 857.6) / 626.3, rtol=1e-6)
    np.testing.assert_allclose(chips["S1GRD"][0, 0, 0, :3], [(-25 + 9.25) / 5.9, (5 + 9.25) / 5.9, 0], atol=1e-6)
    np.testing.assert_allclose(
        chips["DEM"][0, 0, 0, :4], (np.array([-500, -500, 9_000, 4_299.8]) - 4_299.8) / 901.0, atol=1e-5
    )
    wanted = (batch.s2[0, 11].clip(0, 16_000) - 2217.2) / 851.3
    np.testing.assert_allclose(chips["S2L2A"][0, 11], wanted, rtol=1e-5, atol=1e-6)


def test_stored_chips_are_left_as_they_are(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(2)
    before = {name: np.copy(value) for name, value in vars(batch).items()}
    make_segmenter(weights).segment(batch)
    for name, value in vars(batch).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("decoder_channels", [16, 128])  # the wider one is decoded frugally
def test_a_window_has_the_same_bits_in_any_company(decoder_channels: int) -> None:
    spec = replace(SPEC, decoder_channels=decoder_channels)
    segmenter = make_segmenter(make_random_weights(spec, seed=2), spec, tta=True)
    batch = make_batch(5)
    whole = segmenter.segment(batch)
    assert whole.shape == (5, 224, 224)
    assert whole.dtype == np.float32
    assert whole.std() > 0.1
    for rows in ([4], [3, 1], [4, 3, 2, 1, 0]):
        np.testing.assert_array_equal(segmenter.segment(take(batch, rows)), whole[rows])


def test_batch_sizes_and_threads_differ_by_rounding_only(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(3)
    wanted = make_segmenter(weights).segment(batch)
    for settings in ({"batch_size": 1}, {"batch_size": 2}, {"threads": 2}):
        found = make_segmenter(weights, **settings).segment(batch)
        assert np.abs(found - wanted).max() < 1e-4 * wanted.std()


def test_flips_are_averaged_in_logits(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(1)
    plain = make_segmenter(weights)
    total = np.zeros((224, 224), np.float64)
    for axes in ((), (-1,), (-2,), (-2, -1)):
        flipped = ChipBatch(
            **{
                name: value if name == "addresses" or value is None else np.ascontiguousarray(np.flip(value, axes))
                for name, value in vars(batch).items()
            }
        )
        total += np.flip(plain.segment(flipped)[0], axes)
    found = make_segmenter(weights, tta=True).segment(batch)[0]
    np.testing.assert_allclose(found, total / 4, atol=1e-4)
    assert np.abs(found - plain.segment(batch)[0]).max() > 1e-3


def test_the_variance_of_flips_beside_the_same_mean(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(4)
    plain, alone = make_segmenter(weights, tta=True), make_segmenter(weights)
    both = make_segmenter(weights, tta=True, spread=True)
    assert isinstance(both, MemberSegmenter)
    assert (has_spread(both), has_spread(plain)) == (True, False)
    assert both.members == plain.members == {}
    assert both.name == f"{plain.name}-spread"
    assert both.digest != plain.digest
    found = both.segment(batch)
    assert found.shape == (4, 2, 224, 224)
    np.testing.assert_array_equal(found[:, 0], plain.segment(batch))
    views = []
    for axes in ((), (-1,), (-2,), (-2, -1)):
        flipped = ChipBatch(
            **{
                name: value if name == "addresses" or value is None else np.ascontiguousarray(np.flip(value, axes))
                for name, value in vars(batch).items()
            }
        )
        views.append(np.flip(alone.segment(flipped), axes))
    np.testing.assert_allclose(found[:, 1], np.var(views, axis=0), rtol=1e-2, atol=1e-5)
    assert found[:, 1].mean() > 1e-4
    for rows in ([3], [2, 0]):
        np.testing.assert_array_equal(both.segment(take(batch, rows)), found[rows])


def test_flipped_chips_give_flipped_logits_exactly(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(1)
    flipped = ChipBatch(
        **{
            name: value if name == "addresses" or value is None else np.ascontiguousarray(value[..., ::-1])
            for name, value in vars(batch).items()
        }
    )
    segmenter = make_segmenter(weights, tta=True)
    np.testing.assert_allclose(segmenter.segment(flipped)[0][:, ::-1], segmenter.segment(batch)[0], atol=1e-4)


def test_without_radar_the_encoder_runs_on_what_there_is(weights: dict[str, torch.Tensor]) -> None:
    segmenter = make_segmenter(weights)
    batch = make_batch(3)
    assert batch.s1 is not None
    absent = segmenter.segment(replace(batch, s1=None))
    chips = standardise(batch, PUBLISHED_NORMALISATION, torch.device("cpu"))
    with torch.inference_mode():
        wanted = segmenter.network({"S2L2A": chips["S2L2A"], "DEM": chips["DEM"]}).numpy()
    np.testing.assert_allclose(absent, wanted, atol=1e-4)
    s1 = batch.s1.copy()
    s1[1] = np.nan  # one window of the batch has no radar at all
    mixed = segmenter.segment(replace(batch, s1=s1))
    full = segmenter.segment(batch)
    np.testing.assert_array_equal(mixed[1], absent[1])
    np.testing.assert_array_equal(mixed[[0, 2]], full[[0, 2]])
    assert np.abs(full[1] - absent[1]).max() > 1e-3


def test_one_missing_pixel_does_not_spread(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(1)
    assert batch.s1 is not None
    batch.s1[0, :, 5, 5] = np.nan
    batch.dem[0, :, 100, 100] = np.nan
    assert np.isfinite(make_segmenter(weights).segment(batch)).all()


def test_values_not_finite_are_an_error(weights: dict[str, torch.Tensor]) -> None:
    segmenter = make_segmenter(weights)
    with torch.no_grad():
        segmenter.network.head.head[2].bias.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(NonFiniteOutput) as caught:
        segmenter.segment(make_batch(1))
    assert "50176" in caught.value.message


def test_lowered_matrix_precision_of_the_process_changes_no_bit(weights: dict[str, torch.Tensor]) -> None:
    """Some libraries lower it when they are imported; what was set is put back."""
    batch = make_batch(1)
    wanted = make_segmenter(weights).segment(batch)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        np.testing.assert_array_equal(make_segmenter(weights).segment(batch), wanted)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_bf16_errs_no_more_than_the_published_decoder_in_bf16(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(2)
    segmenter = make_segmenter(weights)
    exact = segmenter.segment(batch)
    rough = make_segmenter(weights, precision="bf16").segment(batch)
    chips = standardise(batch, PUBLISHED_NORMALISATION, torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        plain = segmenter.network.forward_plain(chips).float().numpy()

    def error(logits: NDArray[np.float32]) -> float:
        return float(np.sqrt(np.square(logits - exact).mean()) / exact.std())

    assert 1e-6 < error(rough) < 1.25 * error(plain)
    assert error(rough) < 0.1


def test_automatic_precision(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(SPEC, weights)
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    assert choose_precision(network, torch.device("cpu")) == "float32"
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    assert choose_precision(network, torch.device("cpu")) == "bf16"
    monkeypatch.setattr(precision, "BF16_TOLERANCE", 1e-9)
    assert choose_precision(network, torch.device("cpu")) == "float32"


@pytest.fixture
def open_segmenter(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> NetworkSegmenter:
    """Of `auto` where there is bf16 and the probe bears it."""
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    return make_segmenter(weights, precision="auto")


def test_auto_is_open_until_settled(open_segmenter: NetworkSegmenter, weights: dict[str, torch.Tensor]) -> None:
    """While open either precision gives the answer and the digest of a network that was made for it."""
    batch = make_batch(1)
    assert isinstance(open_segmenter, AdjustablePrecision)
    assert (open_segmenter.is_precision_open, open_segmenter.precision) == (True, "bf16")
    for name in ("float32", "bf16"):
        open_segmenter.use_precision(name)  # type: ignore[arg-type]
        made = make_segmenter(weights, precision=name)
        assert not made.is_precision_open
        assert open_segmenter.digest == made.digest
        np.testing.assert_array_equal(open_segmenter.segment(batch), made.segment(batch))
    open_segmenter.fix_precision()
    assert not open_segmenter.is_precision_open
    np.testing.assert_array_equal(open_segmenter.segment(batch), made.segment(batch))
    open_segmenter.use_precision("bf16")
    with pytest.raises(ModelError, match="bf16, not float32"):
        open_segmenter.use_precision("float32")
    with pytest.raises(ModelError, match="nothing to compare"):
        open_segmenter.bf16_error(batch)


def test_an_open_network_that_settles_for_float32(
    open_segmenter: NetworkSegmenter, weights: dict[str, torch.Tensor]
) -> None:
    open_segmenter.use_precision("float32")
    open_segmenter.prepare_for(1)
    assert not open_segmenter.is_precision_open
    assert {p.dtype for p in open_segmenter.network.parameters()} == {torch.float32}
    batch = make_batch(1)
    np.testing.assert_array_equal(open_segmenter.segment(batch), make_segmenter(weights).segment(batch))


@pytest.mark.parametrize("factor", [1.0, 1e-3], ids=["a share of the spread", "or of 1"])
def test_the_error_of_bf16_on_some_chips(open_segmenter: NetworkSegmenter, factor: float) -> None:
    """By hand, with and without radar together."""
    batch = make_batch(3)
    assert batch.s1 is not None
    batch.s1[1] = np.nan
    with torch.no_grad():
        dict(open_segmenter.network.named_parameters())["head.head.2.weight"].mul_(factor)
    logits = {}
    for name in ("float32", "bf16"):
        open_segmenter.use_precision(name)  # type: ignore[arg-type]
        logits[name] = open_segmenter.segment(batch)
    exact = logits["float32"]
    assert (exact.std() > 1) == (factor == 1)
    by_hand = float(np.sqrt(np.square(logits["bf16"] - exact).mean())) / max(1.0, exact.std())
    assert open_segmenter.bf16_error(batch) == pytest.approx(by_hand, rel=0.05)
    assert by_hand > 0


def test_bf16_that_is_not_finite_is_never_borne(
    open_segmenter: NetworkSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = open_segmenter.network.forward

    def overflowing(chips: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = forward(chips)
        return logits * float("inf") if torch.is_autocast_enabled("cpu") else logits

    monkeypatch.setattr(open_segmenter.network, "forward", overflowing)
    assert open_segmenter.bf16_error(make_batch(1)) == float("inf")


def test_the_probe_is_fixed() -> None:
    a, b = (make_probe(MODALITIES, torch.device("cpu")) for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in MODALITIES)
    assert a["S2L2A"].shape == (1, 12, 224, 224)


def test_protocol_and_digest(weights: dict[str, torch.Tensor]) -> None:
    segmenter = make_segmenter(weights)
    assert isinstance(segmenter, Segmenter)
    assert (segmenter.window_px, segmenter.halo_px, segmenter.blended) == (224, 0, True)
    assert segmenter.recipe == PUBLISHED_RECIPE
    assert segmenter.digest == make_segmenter(weights, batch_size=1).digest
    assert segmenter.digest != make_segmenter(weights, tta=True).digest
    assert segmenter.digest != make_segmenter(weights, precision="bf16").digest


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}, {"device": "abacus"}])
def test_settings_that_cannot_be(weights: dict[str, torch.Tensor], wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        make_segmenter(weights, **wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelError, match="no GPU"):
        make_segmenter(weights, device="cuda")


def test_the_layout_of_weights_changes_rounding_only(weights: dict[str, torch.Tensor]) -> None:
    """On a GPU in bf16 they lie channels last."""
    batch = make_batch(2)
    exact = make_segmenter(weights).segment(batch)
    other = make_segmenter(weights)
    other.network.to(memory_format=torch.channels_last)
    assert any(
        p.ndim == 4 and not p.is_contiguous() and p.is_contiguous(memory_format=torch.channels_last)
        for p in other.network.decoder.parameters()
    )
    assert np.abs(other.segment(batch) - exact).max() < 1e-4 * exact.std()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu(weights: dict[str, torch.Tensor]) -> None:
    batch = make_batch(2)
    exact = make_segmenter(weights).segment(batch)
    found = make_segmenter(weights, device="cuda").segment(batch)
    assert np.abs(found - exact).max() < 1e-3 * exact.std()
