"""What a training step costs on a CPU: the loader alone, the step by part, and terratorch's own training task on the same batch.

    python benchmarks/train.py --decoder-channels 64 --batch 4 --threads 2

The loader is timed from memory and from disk, chips a second, gathering and standardising. Steps are in float32 in both; ours has six
losses (terratorch's task cross-entropy, by default), so that the comparison favours terratorch's. Times are the best of the rounds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, ModelSpec
from cryosentinel_core.learn.network.lake_network import build_network
from cryosentinel_core.learn.training.batch import standardise_chips
from cryosentinel_core.learn.training.feed import ChipArrays, Feed
from cryosentinel_core.learn.training.losses import compute_losses
from cryosentinel_core.learn.training.parameter_groups import RateSettings, make_groups
from cryosentinel_core.learn.training.training_recipe import loss_settings
from cryosentinel_core.settings.train import TrainSettings

CPU = torch.device("cpu")


def make_arrays(folder: Path, n: int) -> ChipArrays:
    """Made-up chips in mapped files."""
    rng = np.random.default_rng(1)
    mask = np.zeros((n, 224, 224), dtype=np.uint8)
    mask[:, 60:120, 80:160] = 1
    parts: dict[str, Any] = {
        "s2": rng.integers(1, 6000, (n, 12, 224, 224)).astype(np.uint16),
        "s1": rng.normal(-12, 4, (n, 2, 224, 224)).astype(np.float32),
        "dem": rng.integers(3000, 5000, (n, 1, 224, 224)).astype(np.int16),
        "mask": mask,
    }
    for name, array in parts.items():
        array.tofile(folder / name)
        parts[name] = np.memmap(folder / name, dtype=array.dtype, mode="r", shape=array.shape)
    return ChipArrays(**parts)


def time_loader(arrays: ChipArrays, place: Any, batch: int, rounds: int) -> float:
    """Chips a second, gathered and standardised."""
    feed = Feed(arrays, place, CPU)
    rows = torch.randperm(len(arrays))
    best = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        pieces = rows.split(batch)
        for i, piece in enumerate(pieces):
            following = pieces[i + 1] if i + 1 < len(pieces) else piece[:0]
            chips = feed.gather(piece, lambda following=following: following)
            standardise_chips(chips, PUBLISHED_NORMALISATION, ("S2L2A", "S1GRD", "DEM"))
        best = max(best, len(rows) / (time.perf_counter() - began))
    feed.close()
    return best


def time_ours(spec: ModelSpec, chips: Any, rounds: int) -> dict[str, float]:
    """Seconds of each part of a step, the best of some rounds."""
    network = build_network(spec)
    groups = [{"params": list(one.parameters), "lr": one.peak} for one in make_groups(network, RateSettings())]
    optimizer = torch.optim.AdamW(groups)
    settings = loss_settings(TrainSettings().model)
    best: dict[str, float] = {}
    for _ in range(rounds + 1):
        stamps = [time.perf_counter()]
        logits = network(chips.inputs)
        stamps.append(time.perf_counter())
        loss = compute_losses(logits, chips.label, chips.valid, settings)["total"]
        stamps.append(time.perf_counter())
        loss.backward()
        stamps.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        stamps.append(time.perf_counter())
        for name, start, stop in zip(("forward", "losses", "backward", "AdamW"), stamps, stamps[1:], strict=False):
            best[name] = min(best.get(name, 1e9), stop - start)
        best["step"] = min(best.get("step", 1e9), stamps[-1] - stamps[0])
    return best


def time_terratorch(spec: ModelSpec, chips: Any, rounds: int) -> float:
    """Seconds of a step of terratorch's segmentation task with the published network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from terratorch.tasks import SemanticSegmentationTask

        task = SemanticSegmentationTask(
            model_factory="EncoderDecoderFactory",
            model_args={
                "backbone": spec.backbone, "backbone_pretrained": False, "backbone_modalities": list(spec.modalities),
                "necks": [
                    {"name": "SelectIndices", "indices": list(spec.neck_indices)},
                    {"name": "ReshapeTokensToImage", "remove_cls_token": False},
                    {"name": "LearnedInterpolateToPyramidal"},
                ],
                "decoder": "UperNetDecoder", "decoder_channels": spec.decoder_channels, "decoder_scale_modules": True,
                "num_classes": 2,
            },
            loss="ce",
            ignore_index=-100,
        )  # fmt: skip
    task.log = lambda *_, **__: None
    task.log_dict = lambda *_, **__: None
    task.train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-4)
    batch = {"image": chips.inputs, "mask": chips.label.long()}
    best = 1e9
    for _ in range(rounds + 1):
        began = time.perf_counter()
        task.training_step(dict(batch), 0).backward()
        optimizer.step()
        optimizer.zero_grad()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="terramind_v1_tiny")
    parser.add_argument("--decoder-channels", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--chips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--terratorch", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spec = ModelSpec(backbone=args.backbone, decoder_channels=args.decoder_channels)
    with tempfile.TemporaryDirectory() as folder:
        arrays = make_arrays(Path(folder), args.chips)
        report: dict[str, Any] = {
            f"loader from {words}, chips a second": time_loader(arrays, place, args.batch, args.rounds)
            for place, words in (("device", "memory"), ("disk", "disk"))
        }
        stored = Feed(arrays, "disk", CPU).gather(torch.arange(args.batch))
        chips = standardise_chips(stored, PUBLISHED_NORMALISATION, spec.modalities)
    ours = time_ours(spec, chips, args.rounds)
    report["our step, s"] = ours
    if args.terratorch:
        report["terratorch's step, s"] = time_terratorch(spec, chips, args.rounds)
        report["times as fast"] = report["terratorch's step, s"] / ours["step"]
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
