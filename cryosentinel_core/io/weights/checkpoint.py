"""Checkpoint files in, sound weights out.

Whatever a checkpoint holds is data: `torch.load(weights_only=True)` reads it first, and what that refuses for unknown
classes is read by `unpickle`, which imports and calls nothing. Weights leave this room only when every key, shape and
value was found sound. Neighbours: `unpickle` parses; `state_dicts` names and checks the tensors; `checkpoint_write` is the way
out; `learn.network.lake_network` knows which tensors an architecture has; `model_files` finds the file and builds a segmenter from it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from cryosentinel_core.errors import CheckpointError, ConfigError, ModelError
from cryosentinel_core.io.weights.state_dicts import (
    DAMAGED_HINT,
    check_weights,
    leave_out_training_parts,
    listed,
    materialise,
    strip_prefixes,
)
from cryosentinel_core.io.weights.unpickle import Archive, inspect_archive, read_as_data
from cryosentinel_core.learn.checkpoint_values import TensorRecord
from cryosentinel_core.learn.hyper_parameters import spec_of_hyper_parameters, statistics_of_hyper_parameters
from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, PUBLISHED_RECIPE, ModelSpec, Normalisation
from cryosentinel_core.learn.plain_values import to_plain
from cryosentinel_core.stack.recipe import Recipe

METADATA_KEY: Final = "cryosentinel"
"""Entry of a safetensors file's metadata that holds architecture, statistics, recipe and origin as JSON."""

_USUAL_NAMES: Final = ("model_state_dict", "model_state", "model", "network", "net", "weights", "params")
"""Names under which training loops keep the weights beside their own state, in the order in which they are looked for."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Sound weights and what is known of them.

    Attributes:
        path: The file.
        sha256: Of the file, hexadecimal.
        layout: `lightning`, `state-dict` or `safetensors`.
        weights: Which set was read: the `model` as trained, or its `ema`.
        state_dict: Name -> tensor, complete, finite, named as `learn.network.lake_network` names them.
        spec: Architecture.
        normalisation: Statistics that the weights were trained with.
        normalisation_source: `checkpoint` where the file carries them, else `published`.
        recipe: How the stacks that they were trained on were made.
        hyper_parameters: As plain data.
        training: Epoch, step, version of the trainer, callbacks: what the file says.
        ingredients: Names or digests of the checkpoints that were averaged, for a soup.
        source_sha256: Of the file that this one was converted from; empty for an original.
        has_ema: Whether the file holds an exponential moving average as well.
        left_out: Part of the file that inference does not need, as `criterion` -> number of its weights.
    """

    path: Path
    sha256: str
    layout: Literal["lightning", "state-dict", "safetensors"]
    weights: Literal["model", "ema"]
    state_dict: Mapping[str, Tensor]
    spec: ModelSpec
    normalisation: Normalisation
    normalisation_source: Literal["checkpoint", "published"]
    recipe: Recipe
    hyper_parameters: dict[str, Any]
    training: dict[str, Any]
    ingredients: tuple[Any, ...] = ()
    source_sha256: str = ""
    has_ema: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<stem>-<first 8 of the SHA-256>`, so that two models never overwrite each other's results."""
        return f"{self.path.stem}-{self.sha256[:8]}"


def read_checkpoint(path: Path, *, weights: Literal["model", "ema"] = "model") -> Checkpoint:
    """Weights and what is known of them, from a `.ckpt` or a `.safetensors` file.

    Args:
        path: The file; its kind is told by its content, not by its name.
        weights: `model` for the weights as trained, `ema` for their exponential moving average.

    Raises:
        CheckpointError: If the file is missing, damaged, unsafe, of another network, or holds values that are not
            finite; the message lists what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no file {path}", "give the path of a .ckpt or .safetensors file, or an hf:// reference")
    with path.open("rb") as file:
        magic = file.read(9)
    if magic[:4] == b"PK\x03\x04":
        return _read_torch(path, weights)
    if magic[8:9] == b"{":
        return _read_safetensors(path, weights)
    if magic[:1] == b"\x80":
        raise CheckpointError(
            f"{path} is a bare pickle (written by PyTorch before 1.6, or by something else): it is not read",
            "save it again with a current PyTorch, or convert it to safetensors where it comes from",
        )
    raise CheckpointError(f"{path} is neither a PyTorch checkpoint nor a safetensors file", DAMAGED_HINT)


def _read_torch(path: Path, weights: Literal["model", "ema"]) -> Checkpoint:
    archive = inspect_archive(path)
    content = _load_archive(path, archive)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {_kind(content)}, not a dict of weights", DAMAGED_HINT)
    is_lightning = isinstance(content.get("state_dict"), dict)
    raw, has_ema = _choose_weights(path, content, weights) if is_lightning else (_bare_weights(content), False)
    if weights == "ema" and not is_lightning:
        raise CheckpointError(f"{path} holds bare weights and no moving average", "leave out --weights ema")
    needed, left_out = leave_out_training_parts(strip_prefixes(path, raw))
    state_dict = materialise(path, archive, needed)
    found = to_plain(content.get("hyper_parameters") or {}) if is_lightning else {}
    hyper = found if isinstance(found, dict) else {}
    spec = _spec(path, hyper, state_dict)
    check_weights(path, spec, state_dict)
    statistics = _statistics(path, hyper)
    return Checkpoint(
        path=path,
        sha256=sha256_of(path),
        layout="lightning" if is_lightning else "state-dict",
        weights=weights,
        state_dict=state_dict,
        spec=spec,
        normalisation=statistics or PUBLISHED_NORMALISATION,
        normalisation_source="checkpoint" if statistics else "published",
        recipe=_recipe(path, hyper.get("recipe")),
        hyper_parameters=hyper,
        training=_training(content) if is_lightning else {},
        ingredients=_ingredients(content, hyper) if is_lightning else (),
        has_ema=has_ema,
        left_out=left_out,
    )


def _bare_weights(content: dict[Any, Any]) -> dict[Any, Any]:
    """The weights of a file that is no Lightning checkpoint: under one of the usual names, else the file's own dict."""
    for name in _USUAL_NAMES:
        inner = content.get(name)
        if isinstance(inner, dict) and any(isinstance(value, Tensor | TensorRecord) for value in inner.values()):
            return inner
    return content


def _load_archive(path: Path, archive: Archive) -> Any:
    """The archive's object: by PyTorch's restricted loader, else as data.

    The mapped loader does not look at the records' lengths, so that the data-only reader, which does, goes over the
    file in any case.
    """
    as_data = read_as_data(path, archive)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        return as_data
    except Exception as error:  # PyTorch's loader raises nearly anything on damaged files
        reason = str(error).splitlines()[0][:200] if str(error) else ""
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {reason}", DAMAGED_HINT) from error


def _choose_weights(path: Path, content: dict[Any, Any], weights: str) -> tuple[dict[Any, Any], bool]:
    """The set of weights asked for, completed by the buffers that a moving average leaves out."""
    state_dict = content["state_dict"]
    raw = content.get("current_model_state")
    if isinstance(raw, dict):  # Lightning's EMAWeightAveraging: the average is in state_dict, the raw weights beside it
        return (state_dict if weights == "ema" else raw), True
    shadow = _shadow(content)
    if weights == "model":
        return state_dict, shadow is not None
    if shadow is None:
        raise CheckpointError(f"{path} holds no moving average of its weights", "leave out --weights ema")
    known = strip_prefixes(path, state_dict)
    average = strip_prefixes(path, shadow)
    unknown = sorted(average.keys() - known.keys())
    if unknown or not average:
        raise CheckpointError(
            f"{path}: the moving average has {len(unknown)} unknown keys: {listed(unknown)}", DAMAGED_HINT
        )
    return {**known, **average}, True


def _shadow(content: dict[Any, Any]) -> dict[Any, Any] | None:
    """The EMA callback's own copy of the weights, if there is one."""
    callbacks = content.get("callbacks")
    for key, state in callbacks.items() if isinstance(callbacks, dict) else ():
        if isinstance(key, str) and "ema" in key.lower() and isinstance(state, dict):
            shadow = state.get("shadow")
            if isinstance(shadow, dict):
                return shadow
    return None


def _kind(value: Any) -> str:
    return str(getattr(value, "class_name", type(value).__name__))


def _spec(path: Path, hyper: dict[str, Any], state_dict: Mapping[str, Tensor]) -> ModelSpec:
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    try:
        return spec_of_hyper_parameters(hyper, shapes)
    except ModelError as error:
        raise CheckpointError(f"{path}: {error.message}", error.hint) from error


def _statistics(path: Path, hyper: dict[str, Any]) -> Normalisation | None:
    try:
        return statistics_of_hyper_parameters(hyper)
    except ModelError as error:
        raise CheckpointError(f"{path}: {error.message}", error.hint) from error


def _recipe(path: Path, data: Any) -> Recipe:
    """The recipe that the file declares, else the published one."""
    if not isinstance(data, dict):
        return PUBLISHED_RECIPE
    try:
        return Recipe.from_dict(data)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message}", error.hint) from error


def _training(content: dict[Any, Any]) -> dict[str, Any]:
    """Training as the file tells it, as plain data."""
    found: dict[str, Any] = {}
    for key in ("epoch", "global_step", "pytorch-lightning_version"):
        if key in content:
            found[key] = to_plain(content[key])
    callbacks = content.get("callbacks")
    if isinstance(callbacks, dict):
        found["callbacks"] = sorted(str(key) for key in callbacks)
    return found


def _ingredients(content: dict[Any, Any], hyper: dict[str, Any]) -> tuple[Any, ...]:
    """Ingredients that a soup was averaged from; empty for other weights."""
    for source in (content, hyper):
        for key in ("soup", "ingredients", "soup_ingredients"):
            plain = to_plain(source[key]) if key in source else None
            if isinstance(plain, dict):
                plain = plain.get("ingredients", [plain])
            if isinstance(plain, list) and plain:
                return tuple(plain)
    return ()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path, weights: Literal["model", "ema"]) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    if weights == "ema":
        raise CheckpointError(f"{path} holds one set of weights and no moving average", "leave out --weights ema")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            state_dict = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}", DAMAGED_HINT) from error
    about = _about(path, metadata)
    hyper = about.get("hyper_parameters", {})
    spec = _spec(path, about["model"], state_dict)
    check_weights(path, spec, state_dict)
    try:
        normalisation = Normalisation.from_dict(about["normalisation"])
    except ModelError as error:
        raise CheckpointError(f"{path}: {error.message}", error.hint) from error
    return Checkpoint(
        path=path,
        sha256=sha256_of(path),
        layout="safetensors",
        weights="model",
        state_dict=state_dict,
        spec=spec,
        normalisation=normalisation,
        normalisation_source="checkpoint",
        recipe=_recipe(path, about["recipe"]),
        hyper_parameters=to_plain(hyper) if isinstance(hyper, dict) else {},
        training=to_plain(about.get("training", {})),
        ingredients=tuple(about.get("ingredients", ())),
        source_sha256=str(about.get("source_sha256", "")),
    )


def _about(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The metadata's JSON; a file without statistics and recipe is refused, since none may be made up for it."""
    try:
        about = json.loads(metadata[METADATA_KEY])
        complete = all(isinstance(about[key], dict) for key in ("model", "normalisation", "recipe"))
    except (KeyError, TypeError, ValueError, RecursionError):
        complete = False
    if not complete:
        raise CheckpointError(
            f"{path} does not say which statistics, recipe and architecture its weights want",
            "make it with `cryosentinel model convert` from the original checkpoint",
        )
    return dict(about)
