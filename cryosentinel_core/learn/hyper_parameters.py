"""Architecture and statistics that a checkpoint's hyper-parameters describe, however its trainer laid them out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.model_spec import BACKBONES, MODALITIES, ModelSpec, Normalisation

_STATISTICS_KEYS: Final = ("normalisation", "normalization", "dataset_stats", "stats", "statistics")
_MAX_DEPTH: Final = 4
_BLOCK: Final = re.compile(r"encoder\.encoder\.(\d{1,3})\.")
_EMBEDDINGS: Final = {"S2L2A": ".untok_sen2l2a@", "S1GRD": ".untok_sen1grd@", "DEM": ".untok_dem@"}
"""Modality -> what names of its embedding's weights contain."""


def _nested(data: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The dict itself, then the dicts in it, breadth before depth as far as it matters here."""
    yield data
    if depth < _MAX_DEPTH:
        for value in data.values():
            if isinstance(value, dict):
                yield from _nested(value, depth + 1)


def spec_of_hyper_parameters(hyper: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSpec:
    """The architecture that hyper-parameters describe; what they leave open is read off the weights' shapes, else as published.

    Understood are `backbone`, `modalities` (or `backbone_modalities`), `decoder`, `decoder_kwargs` (keys with or
    without `decoder_` before them, also beside it) and the indices of a `SelectIndices` neck, at the top or within a
    nested dict. Where they are silent on encoder, modalities or decoder, the weights' own shapes decide.

    Args:
        hyper: Plain data.
        shapes: Name -> shape of the weights.

    Raises:
        ModelError: If they describe a network that cannot be built here.
    """
    found = next((part for part in _nested(hyper) if isinstance(part.get("backbone"), str)), {})
    decoder = str(found.get("decoder", "UperNetDecoder"))
    if "upernet" not in decoder.lower():
        raise ModelError(f"the decoder is {decoder!r}, wanted UperNetDecoder", "only UperNet decoders can be run")
    inner = found.get("decoder_kwargs")
    kwargs = {k: v for k, v in found.items() if isinstance(k, str) and k.startswith("decoder_")}
    kwargs |= inner if isinstance(inner, dict) else {}
    options = {str(k).removeprefix("decoder_"): v for k, v in kwargs.items()}
    channels, scale = options.get("channels"), options.get("scale_modules")
    if type(channels) is not int:
        channels = shapes.get("decoder.fpn_bottleneck.conv.weight", (256,))[0]
    if not isinstance(scale, bool):
        scale = not shapes or "decoder.fpn1.0.weight" in shapes
    return ModelSpec(
        backbone=str(found["backbone"]) if found else backbone_of_shapes(shapes),
        modalities=_modalities(found) or modalities_of_shapes(shapes),
        decoder_channels=channels,
        scale_modules=scale,
        neck_indices=_neck_indices(found),
    )


def backbone_of_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The encoder that weights belong to, by their number of blocks, their width and whether they are gated.

    Args:
        shapes: Name -> shape of the weights; without any of an encoder it is the published one.

    Raises:
        ModelError: If no TerraMind encoder has such weights.
    """
    blocks = {int(found[1]) for name in shapes if (found := _BLOCK.match(name))}
    if not blocks:
        return "terramind_v1_large"
    width = (shapes.get("encoder.encoder.0.norm1.weight") or (0,))[0]
    gated = "encoder.encoder.0.mlp.fc3.weight" in shapes
    for name, shape in BACKBONES.items():
        if (shape.depth, shape.width, shape.gated) == (len(blocks), width, gated):
            return name
    raise ModelError(
        f"the encoder has {len(blocks)} {'gated ' if gated else ''}blocks of width {width}, as no TerraMind encoder has",
        f"encoders are {', '.join(BACKBONES)}",
    )


def modalities_of_shapes(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The modalities that weights have embeddings of; all where none can be told.

    Args:
        shapes: Name -> shape of the weights.
    """
    named = {name for name, key in _EMBEDDINGS.items() if any(key in weight for weight in shapes)}
    return tuple(name for name in MODALITIES if name in named) if "S2L2A" in named else MODALITIES


def _modalities(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that hyper-parameters name; empty if they are silent."""
    given = found.get("modalities", found.get("backbone_modalities"))
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ModelError(f"modalities are {given!r}, wanted a list of names out of {MODALITIES}")
    return tuple(given)


def _neck_indices(found: Mapping[str, Any]) -> tuple[int, ...]:
    direct = found.get("neck_indices", found.get("select_indices"))
    necks = found.get("necks")
    for neck in necks if isinstance(necks, list) else []:
        if isinstance(neck, dict) and neck.get("name") == "SelectIndices":
            direct = neck.get("indices")
    return tuple(direct) if isinstance(direct, list) and all(type(i) is int for i in direct) else ()


def statistics_of_hyper_parameters(hyper: Mapping[str, Any]) -> Normalisation | None:
    """The statistics that hyper-parameters carry in the published JSON shape, or None.

    Raises:
        ModelError: If they carry some that cannot be used.
    """
    for part in _nested(hyper):
        for key in _STATISTICS_KEYS:
            stats = part.get(key)
            if isinstance(stats, dict) and "S2L2A" in stats:
                return Normalisation.from_dict(stats)
    return None
