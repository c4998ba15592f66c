"""Checkpoints in the published layout, from file to logits, against terratorch's own model on the same windows.

The reference shares nothing with ours but the encoder: PyTorch reads the file, keys are stripped here, chips are
standardised in NumPy, terratorch builds the model and runs it.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from terratorch_reference import build_reference

from cryosentinel_core.io.weights.checkpoint import read_checkpoint
from cryosentinel_core.io.weights.model_card import convert_checkpoint
from cryosentinel_core.io.weights.model_files import load_segmenter, write_random_checkpoint
from cryosentinel_core.learn.inference.precision import has_bf16
from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, ModelSpec
from cryosentinel_core.segment.segmenter import ChipBatch

TINY, LARGE = "terramind_v1_tiny", "terramind_v1_large"
FLOAT32_BOUND = 1e-4
"""Largest difference of a logit in float32, as a share of the logits' standard deviation."""

BF16_BOUND = 0.04
"""Root mean square difference in bf16 from terratorch in float32, as a share of the logits' standard deviation."""

BF16_RATIO = 1.25
"""How much more ours may err in bf16 than terratorch under PyTorch's autocast."""

CPU = torch.device("cpu")


def make_windows(n: int, *, radar: bool = True) -> ChipBatch:
    """Stored chips of smooth ground with a dark lake, holes and saturated pixels in them."""
    rng = np.random.default_rng(11)
    rows, cols = np.mgrid[:224, :224]
    relief = np.sin(rows / 31.0) * np.cos(cols / 47.0)
    lake = np.hypot(rows - 120, cols - 90) < 45
    s2 = 1800 + 150 * np.arange(12)[:, None, None] + 600 * relief + rng.normal(0, 80, (n, 12, 224, 224))
    s2[:, :, lake] = 400 + rng.normal(0, 30, (n, 12, int(lake.sum())))
    s2[:, :, :3], s2[:, :, 3:5] = 0, 30_000
    s1 = np.where(lake, -22.0, -11.0) + rng.normal(0, 2, (n, 2, 224, 224))
    s1[:, :, 10:14, 20:30] = np.nan
    dem = (4000 + 300 * relief + rng.normal(0, 3, (n, 1, 224, 224))).astype(np.float32)
    dem[:, :, 200:203] = np.nan
    flat = np.zeros((n, 224, 224), np.float32)
    return ChipBatch(
        s2=s2.clip(0, 65_535).astype(np.uint16), s1=s1.astype(np.float32) if radar else None, dem=dem,
        valid=flat == 0, shadow=flat, snow=flat, water=flat, addresses=np.zeros((n, 2), np.int64),
    )  # fmt: skip


def standardised(batch: ChipBatch, modalities: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The published recipe in NumPy: S2 to 0..16,000, missing radar to -25 dB, missing terrain to -500 m; then (x - m) / s."""
    stats = PUBLISHED_NORMALISATION.to_dict()
    parts: dict[str, NDArray[Any]] = {"S2L2A": np.minimum(batch.s2, 16_000)}
    if batch.s1 is not None:
        parts["S1GRD"] = np.where(np.isfinite(batch.s1), batch.s1, -25.0)
    parts["DEM"] = np.clip(np.where(np.isnan(batch.dem), -500.0, batch.dem), -500, 9000)
    return {
        name: torch.from_numpy(
            (
                (parts[name] - np.array(stats[name]["means"])[:, None, None])
                / np.array(stats[name]["stds"])[:, None, None]
            ).astype(np.float32)
        )
        for name in modalities
        if name in parts
    }


def reference_logits(
    path: Path, spec: ModelSpec, batch: ChipBatch, *, ema: bool = False, tta: bool = False, bf16: bool = False
) -> Any:
    """Logits (N, 224, 224) of terratorch's model with the file's weights: in float32, and on request under autocast in bf16."""
    content = torch.load(path, weights_only=True, mmap=True)
    stored = dict(content["state_dict"])
    if ema:
        stored |= content["callbacks"]["EMA"]["shadow"]
    named = {key.split("_orig_mod.")[-1].removeprefix("model."): value for key, value in stored.items()}
    model = build_reference(spec)
    model.load_state_dict(named, strict=True)
    chips = standardised(batch, spec.modalities)
    views: list[list[int]] = [[], [-1], [-2], [-2, -1]] if tta else [[]]
    found = []
    for rough in (False, True) if bf16 else (False,):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=rough):
            outputs = [
                model({name: x.flip(axes) for name, x in chips.items()}).output.float().flip(axes) for axes in views
            ]
        found.append(torch.stack(outputs).mean(dim=0).numpy().reshape(len(batch), 224, 224))
    return found


def our_logits(path: Path, batch: ChipBatch, precision: Any, **settings: Any) -> NDArray[np.float32]:
    segmenter = load_segmenter(path, device="cpu", precision=precision, batch_size=1, **settings)
    return segmenter.segment(batch)


def rms(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(found - wanted).mean()) / wanted.std())


def assert_same_logits(
    path: Path, spec: ModelSpec, batch: ChipBatch, *, ema: bool = False, tta: bool = False, bf16: bool = False
) -> None:
    """In float32, and on request in bf16, of which one window's logits take minutes where the processor emulates it."""
    exact, *rough = reference_logits(path, spec, batch, ema=ema, tta=tta, bf16=bf16)
    gc.collect()  # of two large networks only one is in memory at a time
    assert exact.std() > 0.1
    settings: dict[str, Any] = {"tta": tta, "weights": "ema" if ema else "model"}
    found = our_logits(path, batch, "float32", **settings)
    assert np.abs(found - exact).max() < FLOAT32_BOUND * exact.std()
    gc.collect()
    for theirs in rough:
        error = rms(our_logits(path, batch, "bf16", **settings), exact)
        assert 1e-4 < error < BF16_BOUND, "bf16 is neither float32 nor noise"
        assert error < BF16_RATIO * rms(theirs, exact), "no worse than what autocast does to terratorch's own model"


VARIANTS: dict[str, dict[str, Any]] = {
    "plain keys": {},
    "compiled keys": {"compiled": True},
    "moving average": {"compiled": True, "ema": True},
    "four flips": {"tta": True},
    "no radar in the windows": {"radar": False},
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.slow
def test_tiny(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    ema = variant.get("ema", False)
    path = write_random_checkpoint(
        tmp_path / "soup.ckpt", TINY, seed=4, compiled=variant.get("compiled", False), ema=ema, decoder_channels=64
    )
    spec = ModelSpec(backbone=TINY, decoder_channels=64)
    batch = make_windows(1, radar=variant.get("radar", True))
    bf16 = has_bf16(CPU) or name == "plain keys"
    assert_same_logits(path, spec, batch, ema=ema, tta=variant.get("tta", False), bf16=bf16)
    if ema:
        model, average = (our_logits(path, batch, "float32", tta=False, weights=kind) for kind in ("model", "ema"))  # type: ignore[arg-type]
        assert rms(average, model) > 100 * FLOAT32_BOUND, "the average is another set of weights"


@pytest.mark.slow
def test_tiny_without_the_decoders_own_pyramid(tmp_path: Path) -> None:
    """The layout of later terratorch versions, which run it too."""
    from cryosentinel_core.io.weights.checkpoint_write import write_torch
    from cryosentinel_core.learn.network.random_weights import make_random_checkpoint

    spec = ModelSpec(backbone=TINY, decoder_channels=64, scale_modules=False)
    path = tmp_path / "soup.ckpt"
    write_torch(path, make_random_checkpoint(spec, seed=4, compiled=True))
    assert read_checkpoint(path).spec == spec
    assert_same_logits(path, spec, make_windows(1))


@pytest.mark.slow
def test_tiny_as_safetensors(tmp_path: Path) -> None:
    path = write_random_checkpoint(tmp_path / "soup.ckpt", TINY, seed=4, compiled=True, decoder_channels=64)
    (exact,) = reference_logits(path, ModelSpec(backbone=TINY, decoder_channels=64), make_windows(1))
    converted = convert_checkpoint(path, tmp_path / "soup.safetensors")
    found = our_logits(converted, make_windows(1), "float32", tta=False)
    assert np.abs(found - exact).max() < FLOAT32_BOUND * exact.std()


@pytest.mark.slow
def test_large(tmp_path: Path) -> None:
    """The published backbone and decoder at full size, compiled keys, a moving average beside the weights."""
    path = write_random_checkpoint(tmp_path / "soup.ckpt", LARGE, seed=4, compiled=True, ema=True)
    gc.collect()
    assert read_checkpoint(path).has_ema
    assert_same_logits(path, ModelSpec(), make_windows(1), bf16=has_bf16(CPU))
