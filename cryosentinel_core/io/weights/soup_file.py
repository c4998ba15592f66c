"""A soup as a checkpoint. Neighbours: `learn.training.soup` averages, `verified_write` writes, `checkpoint` reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cryosentinel_core.io.weights.checkpoint import Checkpoint


def make_content(state: Mapping[str, Tensor], first: Checkpoint, about: Mapping[str, Any]) -> dict[str, Any]:
    """A soup's checkpoint in the layout of a run's own: what the ingredients have in common, and which they were."""
    hyper = {
        **first.spec.to_dict(),
        "decoder_kwargs": {
            "decoder_channels": first.spec.decoder_channels,
            "decoder_scale_modules": first.spec.scale_modules,
        },
        **first.hyper_parameters,
        "recipe": first.recipe.as_dict(),
    }
    if first.normalisation_source == "checkpoint":
        hyper["normalisation"] = first.normalisation.to_dict()
    return {
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "hyper_parameters": hyper,
        "epoch": first.training.get("epoch", 0),
        "global_step": first.training.get("global_step", 0),
        "soup": dict(about),
    }
