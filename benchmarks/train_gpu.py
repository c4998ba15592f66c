"""How fast a network is trained on a GPU: chips a second by batch size, compiled or not, against the published 14.

    python benchmarks/train_gpu.py --out rows.json

One command for a lent card: at most 150 s, its smoke part first. Chips are made up and lie on the card, as `feed.place:
device` has them;
a step is the run's own: gather, standardise, augment, network, six losses, backward, clip, AdamW, moving average. A part that
no longer
fits the time is left out, and the rows are written after each. `--device cpu --backbone terramind_v1_tiny` tries every line without a
card.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, ModelSpec
from cryosentinel_core.learn.network.lake_network import build_network
from cryosentinel_core.learn.training.augment import augment
from cryosentinel_core.learn.training.batch import standardise_chips
from cryosentinel_core.learn.training.batch_order import Order, OrderSettings
from cryosentinel_core.learn.training.distances import by_passes, signed_distances
from cryosentinel_core.learn.training.feed import ChipArrays, Feed
from cryosentinel_core.learn.training.losses import compute_losses
from cryosentinel_core.learn.training.parameter_groups import RateSettings, make_groups
from cryosentinel_core.learn.training.task import BETAS
from cryosentinel_core.learn.training.training_recipe import augment_settings, loss_settings
from cryosentinel_core.settings.train import TrainSettings

PUBLISHED_RATE = 14.0
"""Chips a second of the published fine-tune on an H100."""

GFLOP_A_CHIP = 3 * 533.0
"""Forward and backward, of the large backbone with the exact decoder."""

FINE_TUNE_CHIPS = 30 * 4283


def make_feed(n: int, device: torch.device) -> Feed:
    """Made-up chips with a lake each, on the device."""
    rng = np.random.default_rng(1)
    mask = np.zeros((n, 224, 224), dtype=np.uint8)
    for i, (row, col, side) in enumerate(rng.integers((10, 10, 8), (150, 150, 60), (n, 3))):
        mask[i, row : row + side, col : col + side] = 1
    chips = ChipArrays(
        s2=rng.integers(1, 6000, (n, 12, 224, 224)).astype(np.uint16),
        s1=rng.normal(-12, 4, (n, 2, 224, 224)).astype(np.float32),
        dem=rng.integers(3000, 5000, (n, 1, 224, 224)).astype(np.int16),
        mask=mask,
    )
    return Feed(chips, "device", device)


class Trial:
    """A network that is trained, step by step, in bf16."""

    def __init__(self, args: argparse.Namespace, feed: Feed, batch: int, *, compiled: bool) -> None:
        self.device = torch.device(args.device)
        settings = TrainSettings()
        torch.manual_seed(0)
        spec = ModelSpec(backbone=args.backbone, decoder_channels=args.decoder_channels)
        self.network = build_network(spec).to(self.device)
        if compiled:
            self.network.compile()
        self.losses, self.augment = loss_settings(settings.model), augment_settings(settings.data)
        self.feed = feed
        self.order = Order(np.full(args.chips, 0.1), OrderSettings(seed=1, batch_size=batch, ratio=None))
        groups = [
            {"params": list(one.parameters), "lr": one.peak, "weight_decay": one.weight_decay}
            for one in make_groups(self.network, RateSettings())
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=BETAS)
        self.shadow = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.batch, self.compiled, self.number = batch, compiled, 0

    def sync(self) -> float:
        """The time, once all that was queued is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def step(self, seconds: dict[str, float] | None = None) -> torch.Tensor:
        """One step; with a dict, its parts' seconds are added to it, at the price of waiting for each."""
        last = self.sync() if seconds is not None else 0.0

        def part(name: str) -> None:
            nonlocal last
            if seconds is not None:
                now = self.sync()
                seconds[name] = seconds.get(name, 0.0) + now - last
                last = now

        n = self.order.n_batches()
        rows = self.order.rows_of_batch(self.number // n, self.number % n)
        stored = self.feed.gather(rows)
        chips = standardise_chips(stored, PUBLISHED_NORMALISATION, self.network.spec.modalities)
        part("gather and standardise")
        if self.augment is not None:
            chips = augment(chips, self.augment, self.order.dice(0, self.number))
        part("augment")
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(chips.inputs)
        part("forward")
        loss = compute_losses(logits, chips.label, chips.valid, self.losses)["total"]
        part("losses")
        loss.backward()
        part("backward")
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        part("clip and AdamW")
        with torch.no_grad():
            torch._foreach_lerp_(self.shadow, [p.detach() for p in self.network.parameters()], 0.001)
        part("moving average")
        self.number += 1
        return loss.detach()

    def measure(self, seconds: float) -> dict[str, Any]:
        """Chips a second over some time, then the parts of three steps."""
        began = self.sync()
        first = float(self.step())
        warm = self.sync() - began
        self.step()
        began, steps = self.sync(), 0
        while self.sync() - began < seconds or steps < 2:
            last = self.step()
            steps += 1
        rate = steps * self.batch / (self.sync() - began)
        parts: dict[str, float] = {}
        for _ in range(3):
            self.step(parts)
        memory = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else None
        return {
            "batch": self.batch, "compiled": self.compiled, "chips_per_second": rate, "first_step_seconds": warm,
            "tflops": rate * GFLOP_A_CHIP / 1000, "times_published": rate / PUBLISHED_RATE,
            "fine_tune_minutes": FINE_TUNE_CHIPS / rate / 60, "peak_mib": memory,
            "ms_a_step": {name: 1000 * value / 3 for name, value in parts.items()}, "loss": [first, float(last)],
        }  # fmt: skip


def smoke(device: torch.device) -> dict[str, Any]:
    """Distances on the device are SciPy's, losses and gradients the CPU's."""
    generator = torch.Generator().manual_seed(3)
    label = (torch.rand(2, 64, 64, generator=generator) < 0.2).float()
    logits = torch.randn(2, 64, 64, generator=generator)
    valid = torch.rand(2, 64, 64, generator=generator) < 0.9
    settings = loss_settings(TrainSettings().model)
    found = []
    for place in (torch.device("cpu"), device):
        mine = logits.detach().clone().to(place).requires_grad_(True)
        total = compute_losses(mine, label.to(place), valid.to(place), settings)["total"]
        total.backward()
        assert mine.grad is not None
        found.append((float(total.detach()), mine.grad.cpu()))
    apart = float((by_passes((label > 0.5).to(device)).cpu() - signed_distances(label > 0.5)).abs().max())
    return {
        "distances_apart": apart,
        "loss_apart": abs(found[0][0] - found[1][0]),
        "gradient_apart": float((found[0][1] - found[1][1]).abs().max()),
        "is_sound": apart < 1e-4 and abs(found[0][0] - found[1][0]) < 1e-3,
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "backbone": args.backbone, "rows": []}

    def keep() -> None:
        report["seconds"] = time.perf_counter() - began
        args.out.write_text(json.dumps(report, indent=1))

    def left() -> float:
        return args.seconds - (time.perf_counter() - began)

    def attempt(what: str, needs: float, work: Callable[[], dict[str, Any]]) -> None:
        if left() < needs:
            report["rows"].append({"part": what, "left_out": f"{left():.0f} s left, wanted {needs:.0f}"})
        else:
            try:
                report["rows"].append({"part": what, **work()})
            except (torch.OutOfMemoryError, RuntimeError) as error:
                report["rows"].append({"part": what, "failed": str(error).splitlines()[0][:200]})
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        print(json.dumps(report["rows"][-1]), flush=True)
        keep()

    attempt("smoke", 0, lambda: smoke(device))
    feed = make_feed(args.chips, device)
    for batch in args.batches:
        attempt(f"batch {batch}", 8, lambda batch=batch: Trial(args, feed, batch, compiled=False).measure(args.window))
    if args.compile:
        attempt("batch 8 compiled", 60, lambda: Trial(args, feed, args.batches[0], compiled=True).measure(args.window))
    keep()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="terramind_v1_large")
    parser.add_argument("--decoder-channels", type=int, default=256)
    parser.add_argument("--chips", type=int, default=512, help="0.9 GB on the card")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--window", type=float, default=4.0, help="seconds a batch size is timed")
    parser.add_argument("--seconds", type=float, default=145.0, help="in all")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    report = run(args)
    if not report["rows"][0].get("is_sound"):
        sys.exit("the device's losses are not the CPU's")


if __name__ == "__main__":
    main()
