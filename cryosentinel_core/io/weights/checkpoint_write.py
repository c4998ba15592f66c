"""Checkpoint files out: whole or not at all, and the same bytes every time.

Neighbours: `checkpoint` reads them; `model_card` decides what is said in their metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.io.workspace import writing

_SAFETENSORS_DTYPES: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32",
}  # fmt: skip


def write_safetensors(path: Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata; equal input gives equal bytes (the library's own order of metadata varies).

    Args:
        path: Where to; the file appears there only when it is whole.
        state_dict: Name -> tensor; written in the order of names.
        metadata: Strings for the header.

    Raises:
        OutputWrite: If the disk refuses.

    Source: the safetensors format: 8 bytes length, JSON header, tensors.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for name in sorted(state_dict):
        tensor = state_dict[name]
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in sorted(state_dict):
            file.write(state_dict[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)


def write_torch(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint as PyTorch does; the file appears under its name only when it is whole.

    Raises:
        OutputWrite: If the disk refuses.
    """
    try:
        # An open file, since PyTorch writes a path's name into the archive.
        with writing(path) as temporary, temporary.open("wb") as file:
            torch.save(dict(content), file)
    except RuntimeError as error:
        raise OutputWrite(f"{path} could not be written: {error}", "is the disk full or read-only?") from error
