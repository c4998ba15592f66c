"""Devices by the names that users give them, and which there are.

Neighbours: `network_segmenter` computes on one; `engine.device_processes` starts a process for each of several.
"""

from __future__ import annotations

import torch

from cryosentinel_core.errors import ModelError


def choose_device(device: str) -> torch.device:
    """The device to compute on.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ModelError: If it is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}", "use auto, cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r} was asked for, and there is no GPU", "use --device auto or cpu")
    return chosen


def list_devices(device: str) -> list[str]:
    """Every GPU by its number where `auto` or `cuda` finds several; else the device as it is called."""
    n_cards = torch.cuda.device_count() if device in ("auto", "cuda") and torch.cuda.is_available() else 0
    return [f"cuda:{number}" for number in range(n_cards)] if n_cards > 1 else [device]
