"""The whole content of a checkpoint as data: weights, optimiser, counters, whatever wrote it.

PyTorch's restricted loader first; what it refuses for unknown classes is read by our own, in which classes are placeholders.
Nothing in
a file is ever called. Neighbours: `checkpoint` reads the weights alone and checks them; `run_folder` goes on from what is read here.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights.unpickle import Archive, inspect_archive, read_as_data
from cryosentinel_core.learn.checkpoint_values import Inert, TensorRecord
from cryosentinel_core.learn.plain_values import to_plain

_HINT: Final = "go on from another checkpoint of the run, or begin anew"
_MAX_DEPTH: Final = 40


def read_content(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, by name; tensors on the CPU.

    Raises:
        CheckpointError: If the file is missing, damaged, unsafe or no dict.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}", "give a run's folder, or a .ckpt file")
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise CheckpointError(f"{path} is no PyTorch checkpoint", _HINT)
    archive = inspect_archive(path)
    as_data = read_as_data(path, archive)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        content = _materialise(as_data, archive, np.memmap(path, mode="c", dtype=np.uint8), 0)
    except Exception as error:  # PyTorch's loader raises nearly anything on damaged files
        reason = str(error).splitlines()[0][:200] if str(error) else ""
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {reason}", _HINT) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no dict", _HINT)
    return {str(key): value for key, value in content.items()}


def _materialise(value: Any, archive: Archive, content: Any, depth: int) -> Any:
    """Plain containers with tensors in place of their records, and descriptions in place of unknown classes."""
    if depth > _MAX_DEPTH:
        raise CheckpointError("the checkpoint is nested too deeply", _HINT)
    if isinstance(value, TensorRecord):
        return _tensor(value, archive, content)
    if isinstance(value, dict):
        return {key: _materialise(inner, archive, content, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        done = [_materialise(inner, archive, content, depth + 1) for inner in value]
        return tuple(done) if isinstance(value, tuple) else done
    if isinstance(value, Inert) and value.entries:
        return _materialise(value.entries, archive, content, depth + 1)
    return to_plain(value) if isinstance(value, Inert) else value


def _tensor(record: TensorRecord, archive: Archive, content: Any) -> Tensor:
    storage = record.storage
    dtype: torch.dtype = getattr(torch, storage.dtype)
    if storage.numel == 0 or 0 in record.shape:
        return torch.empty(record.shape, dtype=dtype)
    start, _ = archive.offsets[f"{archive.root}data/{storage.key}"]
    flat = torch.frombuffer(content, dtype=dtype, count=storage.numel, offset=start)
    return flat.as_strided(record.shape, record.stride, record.offset).clone()
