"""Hyper-parameters of any kind as plain data: dicts, lists, strings and numbers, bounded in size.

Neighbours: `checkpoint_values` has placeholders for the classes that a file names; here they become readable.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.learn.checkpoint_values import Inert, TensorRecord

MAX_PLAIN_NODES: Final = 100_000
"""Most values that plain data may have once shared references are written out."""

MAX_PLAIN_DEPTH: Final = 40
"""Deepest nesting of plain data."""

_HINT: Final = "download it again, or ask its author for a safetensors file"


class _Budget:
    def __init__(self) -> None:
        self.left = MAX_PLAIN_NODES

    def spend(self, depth: int) -> None:
        self.left -= 1
        if self.left < 0 or depth > MAX_PLAIN_DEPTH:
            raise CheckpointError(
                f"the hyper-parameters have more than {MAX_PLAIN_NODES} values or {MAX_PLAIN_DEPTH} levels", _HINT
            )


def to_plain(value: Any) -> Any:
    """JSON-like data of anything that a checkpoint may hold: dicts with string keys, lists, strings, numbers, None.

    Paths become strings, NumPy scalars numbers, numbers that are not finite the strings `inf` and `nan`, Namespaces and
    OmegaConf objects dicts; any other class becomes `{"class": name, ...}` and a tensor a short description.

    Raises:
        CheckpointError: If it would be larger or deeper than any real hyper-parameters (shared references are written
            out, so that a small file could otherwise grow without end).
    """
    return _plain(value, _Budget(), 0)


def _plain(value: Any, budget: _Budget, depth: int) -> Any:
    budget.spend(depth)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates cannot be printed
    if isinstance(value, int) and value.bit_length() > 64:
        return f"integer of {value.bit_length()} bits"  # Python refuses to print very long ones
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Inert):
        return _plain_inert(value, budget, depth)
    if isinstance(value, dict):
        return {str(_plain(k, budget, depth + 1)): _plain(v, budget, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v, budget, depth + 1) for v in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value[:200]).decode("latin-1")
    if isinstance(value, TensorRecord):
        return f"tensor {value.storage.dtype} {value.shape}"
    if isinstance(value, type) and issubclass(value, Inert):
        return value.class_name
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"tensor {getattr(value, 'dtype', '')} {tuple(shape)}"
    return str(value)[:200] if type(value).__module__ == "torch" else type(value).__qualname__


def _plain_inert(value: Inert, budget: _Budget, depth: int) -> Any:
    name, state = value.class_name, value.state
    if name.startswith("pathlib.") and name.endswith("Path"):
        kind = PureWindowsPath if "Windows" in name else PurePosixPath
        return str(kind(*[part for part in value.args if isinstance(part, str)]))
    if re.fullmatch(r"numpy\.(_core|core)\.multiarray\.scalar", name):
        return _numpy_scalar(value)
    if name in ("__builtin__.set", "builtins.set", "__builtin__.frozenset", "builtins.frozenset"):
        return _plain(value.args[0] if value.args else [], budget, depth + 1)
    if name == "_codecs.encode" and value.args and isinstance(value.args[0], str):
        return value.args[0][:200]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
        state = state[0]
    if isinstance(state, dict) and name.startswith("omegaconf."):
        return _plain(state.get("_content", state.get("_val")), budget, depth + 1)
    if value.entries:
        return _plain(value.entries, budget, depth + 1)
    if value.elements:
        return _plain(value.elements, budget, depth + 1)
    if isinstance(state, dict) and (name == "argparse.Namespace" or not value.args):
        return _plain(state, budget, depth + 1)
    if len(value.args) == 1 and isinstance(value.args[0], str | int | float):
        return value.args[0]  # an enumeration's member
    return {"class": name, "args": _plain(list(value.args), budget, depth + 1)} if value.args else {"class": name}


def _numpy_scalar(value: Inert) -> Any:
    """The number that `numpy.core.multiarray.scalar(dtype, bytes)` stands for."""
    try:
        kind, raw = value.args
        code = str(kind.args[0])
        order = kind.state[1] if isinstance(kind.state, tuple) else "<"
        content = raw.args[0].encode("latin-1") if isinstance(raw, Inert) else bytes(raw)
        if not re.fullmatch(r"[biuf][1248]", code) or order not in ("<", ">", "|", "="):
            return {"class": value.class_name}
        number = np.frombuffer(content, dtype=np.dtype(order + code), count=1)[0].item()
        return str(number) if isinstance(number, float) and not math.isfinite(number) else number
    except (AttributeError, IndexError, TypeError, ValueError):
        return {"class": value.class_name}
