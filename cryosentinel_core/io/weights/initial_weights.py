"""What a training run begins with: a checkpoint of a whole network, TerraMind's own encoder, or nothing.

Neighbours: `checkpoint` reads whole networks, `whole_checkpoint` the encoder's file, `hub` fetches; `workflows.train`
builds the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights.checkpoint import read_checkpoint, sha256_of
from cryosentinel_core.io.weights.model_files import resolve_model
from cryosentinel_core.io.weights.whole_checkpoint import read_content
from cryosentinel_core.learn.model_spec import ModelSpec, Normalisation
from cryosentinel_core.learn.network.lake_network import LakeNetwork, build_network, load_network
from cryosentinel_core.stack.recipe import Recipe

TERRAMIND: Final = "terramind"
NONE: Final = "none"

TERRAMIND_FILES: Final[dict[str, str]] = {
    f"terramind_v1_{size}": f"hf://ibm-esa-geospatial/TerraMind-1.0-{size}/TerraMind_v1_{size}.pt"
    for size in ("tiny", "small", "base", "large")
}
"""Where TerraMind's own weights lie, as terratorch 1.2.11 names them."""


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """A network to begin with, and what is known of its weights.

    Attributes:
        network: In training mode, all its parameters trained.
        source: What was asked for.
        sha256: Of the file; empty for new weights.
        normalisation: Statistics of the weights; None where they have none.
        recipe: Of the stacks that they were trained on; None likewise.
        seen_block_sizes_deg: Block sizes of the splits that they were trained by.
    """

    network: LakeNetwork
    source: str
    sha256: str
    normalisation: Normalisation | None
    recipe: Recipe | None
    seen_block_sizes_deg: tuple[float, ...]


def begin_network(reference: str, spec: ModelSpec, *, seed: int, cache_dir: Path | None = None) -> InitialWeights:
    """A network of an architecture with the weights asked for; what they do not hold is new, by the seed.

    Args:
        reference: `none`, `terramind`, a path or `hf://...`.
        spec: The architecture.
        seed: Of new weights.
        cache_dir: The hub's cache; None for its default.

    Raises:
        CheckpointError: If the weights are of another architecture.
        ModelError: If the file is not there or the hub cannot be reached.
    """
    if reference not in (NONE, TERRAMIND):
        return _from_checkpoint(reference, spec, cache_dir)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(spec)
    sha256 = ""
    if reference == TERRAMIND:
        path = resolve_model(TERRAMIND_FILES[spec.backbone], cache_dir=cache_dir)
        sha256 = sha256_of(path)
        load_encoder(network, read_content(path), path)
    return InitialWeights(
        network=network, source=reference, sha256=sha256, normalisation=None, recipe=None, seen_block_sizes_deg=()
    )


def _from_checkpoint(reference: str, spec: ModelSpec, cache_dir: Path | None) -> InitialWeights:
    found = read_checkpoint(resolve_model(reference, cache_dir=cache_dir))
    if found.spec != spec:
        ours, theirs = spec.to_dict(), found.spec.to_dict()
        unlike = ", ".join(
            f"{name} {theirs[name]} instead of {ours[name]}" for name in ours if ours[name] != theirs[name]
        )
        raise CheckpointError(
            f"{reference} is of another network: {unlike}", "set model.backbone and model.decoder_kwargs as it has them"
        )
    copied = {name: value.clone() for name, value in found.state_dict.items()}
    network = load_network(spec, copied).train().requires_grad_(True)
    sizes = found.hyper_parameters.get("seen_block_sizes_deg")
    return InitialWeights(
        network=network,
        source=reference,
        sha256=found.sha256,
        normalisation=found.normalisation,
        recipe=found.recipe,
        seen_block_sizes_deg=tuple(float(x) for x in sizes if isinstance(x, int | float))
        if isinstance(sizes, list)
        else (),
    )


def load_encoder(network: LakeNetwork, content: Mapping[str, Any], path: Path) -> None:
    """Fill a network's encoder from TerraMind's own file, which also holds parts that are not used here.

    Raises:
        CheckpointError: If a tensor of the encoder is missing, of another shape, or not finite.
    """
    wanted = network.encoder.state_dict()
    found = {name: value for name, value in content.items() if name in wanted and isinstance(value, Tensor)}
    wrong = sorted(
        name
        for name, value in wanted.items()
        if name not in found or found[name].shape != value.shape or not bool(torch.isfinite(found[name].float()).all())
    )
    if wrong:
        raise CheckpointError(
            f"{path} lacks {len(wanted) - len(found)} of the encoder's {len(wanted)} tensors, or has them otherwise: "
            f"{', '.join(wrong[:5])}",
            "is it the file of another backbone?",
        )
    network.encoder.load_state_dict({name: value.to(wanted[name].dtype) for name, value in found.items()})
