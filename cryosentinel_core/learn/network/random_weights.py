"""Checkpoints with seeded random weights in the published layout, for tests, demonstrations and benchmarks."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from cryosentinel_core.learn.inference.precision import make_probe
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network.lake_network import build_network, load_network

HEAD_GAIN: Final = 60.0
"""Factor on a fresh head's weights, so that the logits of random weights have a standard deviation of the order of 1."""


def make_random_weights(spec: ModelSpec, seed: int = 0) -> dict[str, Tensor]:
    """A full state dict of the architecture, the same for the same seed.

    Batch-norm statistics and biases are random too, so that nothing cancels by being 0 or 1; the head is
    scaled and its bias set so that logits have both signs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build_network(spec).state_dict()
    generator = torch.Generator().manual_seed(seed + 1)
    for key in sorted(state):
        value = state[key]
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif key.endswith("running_mean") or (key.endswith("bias") and not key.startswith("encoder")):
            value.normal_(0.0, 0.05, generator=generator)
        elif key.endswith("norm.weight"):
            value.uniform_(0.8, 1.2, generator=generator)
    head = state["head.head.2.weight"]
    head.sub_(head.mean()).mul_(HEAD_GAIN)
    state["head.head.2.bias"].zero_()
    probe = make_probe(spec.modalities, torch.device("cpu"))
    with torch.inference_mode():
        mean = float(load_network(spec, state)(probe).mean())
    state["head.head.2.bias"].fill_(-round(mean, 1))  # rounded, so that it is the same on every machine
    return state


def make_random_checkpoint(
    spec: ModelSpec, *, seed: int = 0, compiled: bool = False, ema: bool = False
) -> dict[str, Any]:
    """A Lightning checkpoint of plain types in the published layout.

    Args:
        spec: Architecture.
        seed: Of the weights.
        compiled: Whether keys start with `model._orig_mod.`, as a compiled model's do, instead of `model.`.
        ema: Whether an EMA callback keeps a shadow of the parameters (1.01 times the weights, buffers left out).
    """
    state = make_random_weights(spec, seed)
    prefix = "model._orig_mod." if compiled else "model."
    buffers = ("running_mean", "running_var", "num_batches_tracked", "pos_emb")
    shadow = {f"{prefix}{k}": v * 1.01 for k, v in state.items() if not k.endswith(buffers)}
    return {
        "epoch": 30,
        "global_step": 16_050,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"{prefix}{key}": value for key, value in state.items()},
        "hyper_parameters": {
            "backbone": spec.backbone,
            "modalities": list(spec.modalities),
            "decoder": "UperNetDecoder",
            "decoder_kwargs": {"decoder_channels": spec.decoder_channels, "decoder_scale_modules": spec.scale_modules},
            "lr": 6e-5,
        },
        "callbacks": {"EMA": {"decay": 0.999, "shadow": shadow}} if ema else {},
    }
