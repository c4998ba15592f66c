"""A file's weights, named and shaped as the network's tensors are, or refused with what is wrong.

Neighbours: `checkpoint` reads the file around them; `unpickle` gives the records of what PyTorch's own loader refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights.unpickle import Archive
from cryosentinel_core.learn.checkpoint_values import TensorRecord
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network.lake_network import shapes_of

DAMAGED_HINT: Final = "download it again, or convert a sound checkpoint with `cryosentinel model convert`"
"""What to try where a file cannot be what it was when it was written."""

_PREFIXES: Final = ("module", "model", "_orig_mod")
_WRAPPERS: Final = ("module", "_orig_mod")
_TRAINING_PARTS: Final = frozenset(
    {
        "criterion", "loss", "losses", "loss_fn", "aux_head", "aux_heads", "auxiliary_head", "auxiliary_heads",
        "train_metrics", "val_metrics", "test_metrics", "metrics",
    }
)  # fmt: skip
"""First parts of names of weights that inference does not need."""


def leave_out_training_parts(named: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Weights without the parts that only training needs, and those parts with their numbers of weights."""
    counts = Counter(part for name in named if (part := name.partition(".")[0]) in _TRAINING_PARTS)
    return {name: value for name, value in named.items() if name.partition(".")[0] not in counts}, dict(counts)


def strip_prefixes(path: Path, state_dict: Mapping[Any, Any]) -> dict[str, Any]:
    """Weights named as the network names them.

    `module`, `model` and `_orig_mod` go from the front until none is left; `module` and `_orig_mod`, which only
    wrappers add, go from any depth. A part that merely contains one of the words (`model_head`) stays, and so does
    `model` behind another part.

    Raises:
        CheckpointError: If a key is not a string or two keys become one.
    """
    stripped: dict[str, Any] = {}
    for key, value in state_dict.items():
        if not isinstance(key, str):
            raise CheckpointError(f"{path}: a weight is named by a {type(key).__name__}, wanted a string", DAMAGED_HINT)
        parts = key.split(".")
        while len(parts) > 1 and parts[0] in _PREFIXES:
            parts = parts[1:]
        name = ".".join(part for part in parts if part not in _WRAPPERS)
        if name in stripped:
            raise CheckpointError(
                f"{path}: two weights are both {_shown(name)} once prefixes are stripped", DAMAGED_HINT
            )
        stripped[name] = value
    return stripped


def materialise(path: Path, archive: Archive, named: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors from records (mapped, not copied); what is no tensor is refused."""
    content: np.memmap[Any, Any] | None = None
    tensors: dict[str, Tensor] = {}
    strangers = sorted(k for k, v in named.items() if not (isinstance(v, TensorRecord) or _is_plain_tensor(v)))
    if strangers:
        raise CheckpointError(
            f"{path}: {len(strangers)} weights are no plain tensors: {listed(strangers)}", DAMAGED_HINT
        )
    for name, value in named.items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
            continue
        if content is None:
            content = np.memmap(path, mode="c", dtype=np.uint8)
        try:
            tensors[name] = _tensor_of(archive, content, value)
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise CheckpointError(
                f"{path}: {_shown(name)} is no sound tensor: {str(error)[:200]}", DAMAGED_HINT
            ) from error
    return tensors


def _is_plain_tensor(value: Any) -> bool:
    """True if a value is a dense tensor with its numbers in memory."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested)
    )


def _tensor_of(archive: Archive, content: np.memmap[Any, Any], record: TensorRecord) -> Tensor:
    storage = record.storage
    start, _ = archive.offsets[f"{archive.root}data/{storage.key}"]
    dtype: torch.dtype = getattr(torch, storage.dtype)
    if storage.numel == 0 or 0 in record.shape:
        return torch.empty(record.shape, dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype, count=storage.numel, offset=start)
    return flat.as_strided(record.shape, record.stride, record.offset)


def check_weights(path: Path, spec: ModelSpec, state_dict: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not exactly those of the architecture, or not finite.

    Raises:
        CheckpointError: Listing missing and unexpected keys, other shapes, other kinds of number, values not finite.
    """
    wanted = shapes_of(spec)
    common = sorted(wanted.keys() & state_dict.keys())
    shapes = [
        f"{k} {tuple(state_dict[k].shape)} instead of {wanted[k]}" for k in common if _shape(state_dict[k]) != wanted[k]
    ]
    counts = [k for k in common if state_dict[k].is_floating_point() == k.endswith("num_batches_tracked")]
    faults = {
        "missing": sorted(wanted.keys() - state_dict.keys()),
        "unexpected": sorted(state_dict.keys() - wanted.keys()),
        "of another shape": shapes,
        "of another kind of number": counts,
    }
    if not any(faults.values()):
        floats = [k for k in common if state_dict[k].is_floating_point()]
        faults["not finite"] = [k for k in floats if not bool(torch.isfinite(state_dict[k]).all())]
    if any(faults.values()):
        parts = [f"{len(names)} {title}: {listed(names)}" for title, names in faults.items() if names]
        raise CheckpointError(
            f"{path} does not fit {spec.backbone} with a UperNet of {spec.decoder_channels} channels; {'; '.join(parts)}",
            "is it a checkpoint of another network, or of other decoder settings?",
        )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def listed(names: list[str], most: int = 20) -> str:
    """Names of a file for a message, the first of them where there are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(_shown, names[:most])) + more


def _shown(name: str, most: int = 160) -> str:
    """A name of the file for a message: printable and short."""
    text = name[:most].encode("unicode_escape").decode("ascii")
    return text if len(name) <= most else f"{text}..."
