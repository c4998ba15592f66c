"""The exponential moving average of the trained parameters, as a callback; buffers stay the live network's.

Its state lies in checkpoints as the published ones have it, `callbacks["EMA"]["shadow"]`, so that `--weights ema` reads it. Unlike the
released code it is restored when a run is gone on with. Batch-norm statistics in a checkpoint are the live network's, for both sets of
weights. Neighbours: `task` validates with it; `run_state` saves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

STATE_KEY: Final = "EMA"


class MovingAverage(Callback):
    """Shadow weights: `decay` times themselves plus (1 - `decay`) times the weights, after each optimiser step.

    It begins with the weights after the first step.

    Args:
        decay: Of the average.
        on_cpu: Whether it lies in the host's memory, as published, to save that of a GPU.
    """

    def __init__(self, decay: float, *, on_cpu: bool = False) -> None:
        self.decay, self._on_cpu = decay, on_cpu
        self.shadow: dict[str, Tensor] = {}
        self._step = 0

    @property
    def state_key(self) -> str:
        """As in published checkpoints."""
        return STATE_KEY

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the weights after an optimiser step; batches that only accumulate gradients change nothing."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            self.update(module)

    @torch.no_grad()
    def update(self, module: LightningModule) -> None:
        """Take in the weights as they are now."""
        for name, parameter in _trained(module):
            value = parameter.detach().float()
            if name not in self.shadow:
                self.shadow[name] = value.to("cpu" if self._on_cpu else parameter.device, copy=True)
            else:
                held = self.shadow[name]
                held.mul_(self.decay).add_(value.to(held.device), alpha=1 - self.decay)

    @contextmanager
    def swapped_in(self, module: LightningModule) -> Iterator[None]:
        """The module with the average for its parameters, for a while; as it is where there is no average yet."""
        held: dict[str, Tensor] = {}
        try:
            with torch.no_grad():
                for name, parameter in _trained(module):
                    if name in self.shadow:
                        held[name] = parameter.detach().clone()
                        parameter.copy_(self.shadow[name].to(parameter.dtype))
            yield
        finally:
            with torch.no_grad():
                for name, parameter in _trained(module):
                    if name in held:
                        parameter.copy_(held[name])

    def state_dict(self) -> dict[str, Any]:
        """Decay, and the average by name."""
        return {"decay": self.decay, "shadow": {name: value.clone() for name, value in self.shadow.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The average of a checkpoint; its decay stays this run's."""
        shadow = state.get("shadow")
        if isinstance(shadow, dict):
            self.shadow = {
                _without_wrappers(str(name)): value.float().clone()
                for name, value in shadow.items()
                if isinstance(value, Tensor)
            }

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Bring a restored average to where it belongs."""
        self._step = trainer.global_step
        device = torch.device("cpu") if self._on_cpu else module.device
        self.shadow = {name: value.to(device) for name, value in self.shadow.items()}


def _trained(module: LightningModule) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield _without_wrappers(name), parameter


def _without_wrappers(name: str) -> str:
    """A parameter's name without a compiler's part in it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
