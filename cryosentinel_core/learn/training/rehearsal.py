"""One batch of a run, tried: shapes, memory, seconds, and what that makes of the whole run.

Neighbours: `fit` is the run itself; `workflows.train` prints this for `--dry-run`.
"""

from __future__ import annotations

import resource
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from cryosentinel_core.learn.inference.devices import choose_device
from cryosentinel_core.learn.training.fit import MachineSettings
from cryosentinel_core.learn.training.judging import average_flips
from cryosentinel_core.learn.training.losses import compute_losses
from cryosentinel_core.learn.training.task import LakeTask

STEPS: Final = 2
"""Steps tried; the last one is timed."""

_AUTOCAST: Final = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a run will take.

    Attributes:
        groups: Of each parameter group name, tensors, numbers, peak rate, rate at the end, weight decay.
        shapes: Of a batch: modality, label, valid -> shape.
        device: That it was tried on.
        place: Where chips lie.
        memory_mib: Peak of the device's memory; of the process on a CPU.
        step_seconds: Of a step.
        steps_per_epoch: Optimiser steps.
        epoch_seconds: Of an epoch, its validation included.
        hours: Of the run.
        losses: Of the batch, before anything was learnt.
    """

    groups: list[dict[str, Any]]
    shapes: dict[str, list[int]]
    device: str
    place: str
    memory_mib: float
    step_seconds: float
    steps_per_epoch: int
    epoch_seconds: float
    hours: float
    losses: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def as_text(self) -> str:
        """In words."""
        lines = ["group              tensors      numbers  peak rate  decay"]
        lines += [
            f"{one['name']:17} {one['tensors']:8} {one['numbers']:12} {one['peak']:10.3e} {one['weight_decay']:6g}"
            for one in self.groups
        ]
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in self.shapes.items())
        lines += [
            f"a batch: {shapes}",
            f"loss: {', '.join(f'{name} {value:.3f}' for name, value in self.losses.items())}",
            f"chips lie on: {self.place} ({self.device}); memory {self.memory_mib:.0f} MiB",
            f"{self.step_seconds:.2f} s a step, {self.steps_per_epoch} steps and {self.epoch_seconds:.0f} s an epoch with validation, "
            f"{self.hours:.2f} hours in all",
        ]
        return "\n".join(lines)


def rehearse(task: LakeTask, machine: MachineSettings) -> Rehearsal:
    """Try a batch, with gradients and an optimiser step; the network is changed by it.

    Args:
        task: Ready to be trained.
        machine: Where, in what arithmetic; several devices are not tried.
    """
    device = choose_device({"gpu": "cuda", "cuda": "cuda", "cpu": "cpu"}.get(machine.accelerator, "auto"))
    task.to(device)
    optimizer = task.configure_optimizers()
    autocast = _AUTOCAST.get(machine.precision)
    n_batches = task.order.n_batches()
    seconds, losses = 0.0, dict[str, float]()
    for number in range(STEPS):
        began = _now(device)
        chips = task.chips_at(0, number % max(n_batches, 1))
        with torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            found = compute_losses(task.model(chips.inputs), chips.label, chips.valid, task.settings.losses)
        torch.autograd.backward(found["total"])
        optimizer.step()
        optimizer.zero_grad()
        seconds = _now(device) - began
        losses = losses or {name: float(value.detach()) for name, value in found.items()}
    judging = _time_judging(task, chips.inputs, device) * len(task.rows.val) / max(len(chips), 1)
    steps = -(-n_batches // machine.accumulate_grad_batches)
    epoch = n_batches * seconds + judging
    last = task.rates_at(steps * machine.max_epochs, machine.max_epochs - 1)
    shapes = {**{name: list(x.shape) for name, x in chips.inputs.items()}, "label": list(chips.label.shape)}
    assert task.feed is not None
    return Rehearsal(
        groups=[
            {"name": one.name, "tensors": len(one.parameters), "numbers": one.n_numbers, "peak": one.peak,
             "last": rate, "weight_decay": one.weight_decay}
            for one, rate in zip(task.groups, last, strict=True)
        ],
        shapes=shapes,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        place=task.feed.place,
        memory_mib=_peak_mib(device),
        step_seconds=seconds,
        steps_per_epoch=steps,
        epoch_seconds=epoch,
        hours=epoch * machine.max_epochs / 3600,
        losses=losses,
    )  # fmt: skip


def _time_judging(task: LakeTask, inputs: dict[str, Tensor], device: torch.device) -> float:
    """Seconds that validation of a batch takes."""
    task.eval()
    began = _now(device)
    with torch.no_grad():
        average_flips(task.model, inputs, tta=task.settings.val_tta)
    seconds = _now(device) - began
    task.train()
    return seconds


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
