"""`<weights>.calibration.json`: what was learned of a set of weights, beside them, and known by a digest of their tensors.

The digest is of names, types, shapes and numbers alone, so that a checkpoint and its safetensors copy share one, and a moving
average has another than the weights that it lies beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryosentinel_core.errors import CheckpointError, InputError
from cryosentinel_core.io.workspace import read_json, write_json
from cryosentinel_core.learn.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor


def calibration_path(weights: Path) -> Path:
    """Where the calibration of a file of weights lies."""
    return weights.with_name(f"{weights.name}.calibration.json")


def digest_of_tensors(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of the tensors by name."""
    import torch

    found = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        found.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def digest_of_weights(path: Path, weights: Literal["model", "ema"]) -> str:
    """The digest of the tensors of a file.

    Raises:
        CheckpointError: If the file is damaged, unsafe or of another network.
    """
    from cryosentinel_core.io.weights.checkpoint import read_checkpoint

    return digest_of_tensors(read_checkpoint(path, weights=weights).state_dict)


def find_calibration(path: Path, state_dict: Mapping[str, Tensor]) -> Calibration | None:
    """The calibration beside a file of weights, if it is of these tensors; None if there is none or it is of others.

    Raises:
        CheckpointError: If the file beside the weights is no calibration.
    """
    beside = calibration_path(path)
    if not beside.is_file():
        return None
    try:
        found = Calibration.from_dict(read_json(beside) or {})
    except InputError as error:
        raise CheckpointError(f"{beside} is {error.message}", "take it away, or calibrate again") from error
    return found if found.tensors_sha256 == digest_of_tensors(state_dict) else None


def write_calibration(path: Path, calibration: Calibration) -> Path:
    """Write a calibration beside its weights, whole or not at all.

    Raises:
        OutputWrite: If the disk refuses.
    """
    beside = calibration_path(path)
    write_json(beside, calibration.as_dict())
    return beside
