"""Parameter groups: layer-wise decay of the learning rate, and which weights decay.

Everything is decided by what a parameter is part of (which block, which kind of module), never by what it is called: a wrapper such as
a compiler's changes names. Neighbours: `schedule` moves the rates; `task` makes the optimiser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.network.decoder import ConvNorm
from cryosentinel_core.learn.network.lake_network import LakeNetwork

DecayRule = Literal["published", "matrices"]
"""Which weights decay: as released, or those of matrices and convolutions alone (no norm, no bias, no embedding)."""


@dataclass(frozen=True, kw_only=True)
class RateSettings:
    """How peaks and decay are given out; the defaults are the published fine-tune's.

    Attributes:
        lr: Peak of neck, decoder and head.
        backbone_lr_mult: The encoder's last block has `lr` times this, times `llrd_decay`.
        llrd_decay: Factor from each block to the one before it; 0 for one rate in the whole encoder.
        weight_decay: Of those weights that decay.
        decay_rule: Which ones do.
    """

    lr: float = 6e-5
    backbone_lr_mult: float = 0.25
    llrd_decay: float = 0.9
    weight_decay: float = 1e-4
    decay_rule: DecayRule = "published"


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters with one peak and one decay.

    Attributes:
        name: `backbone_body`, `block_<i>` or `decoder`, with `_nd` behind it where weights do not decay.
        peak: Learning rate before the schedule.
        weight_decay: Of AdamW.
        parameters: The tensors themselves.
    """

    name: str
    peak: float
    weight_decay: float
    parameters: tuple[nn.Parameter, ...]

    @property
    def n_numbers(self) -> int:
        """Numbers in all its tensors."""
        return sum(parameter.numel() for parameter in self.parameters)


def make_groups(network: nn.Module, settings: RateSettings) -> list[ParameterGroup]:
    """Every trained parameter in exactly one group, in the order of the published optimiser, whose state is kept by place.

    Args:
        network: A `LakeNetwork`, also inside a compiler's wrapper.
        settings: Peaks and decay.

    Raises:
        ModelError: If it is no such network.
    """
    lakes = _unwrap(network)
    resting = {id(parameter) for parameter in _without_decay(lakes, settings.decay_rule)}
    part_of = _parts(lakes)
    found: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in lakes.parameters():
        if parameter.requires_grad:
            key = part_of.get(id(parameter), "decoder"), id(parameter) not in resting
            found.setdefault(key, []).append(parameter)
    n_blocks = lakes.spec.shape.depth
    return [
        ParameterGroup(
            name=part if decays else f"{part}_nd",
            peak=_peak(part, n_blocks, settings),
            weight_decay=settings.weight_decay if decays else 0.0,
            parameters=tuple(parameters),
        )
        for (part, decays), parameters in found.items()
    ]


def _unwrap(network: nn.Module) -> LakeNetwork:
    while not isinstance(network, LakeNetwork):
        inner = getattr(network, "_orig_mod", None) or getattr(network, "module", None)
        if not isinstance(inner, nn.Module):
            raise ModelError(f"{type(network).__name__} is no lake network: its learning rates are not known")
        network = inner
    return network


def _parts(network: LakeNetwork) -> dict[int, str]:
    """id of each of the encoder's parameters -> the part that it belongs to."""
    encoder = network.encoder
    blocks = encoder.encoder
    if not isinstance(blocks, nn.ModuleList) or len(blocks) != network.spec.shape.depth:
        raise ModelError("the encoder's blocks were not found", "use terratorch 1.2.9 or later")
    part_of = {id(parameter): "backbone_body" for parameter in encoder.parameters()}
    for i, block in enumerate(blocks):
        part_of |= {id(parameter): f"block_{i}" for parameter in block.parameters()}
    return part_of


def _peak(part: str, n_blocks: int, settings: RateSettings) -> float:
    if part == "decoder":
        return settings.lr
    top = settings.lr * settings.backbone_lr_mult
    if not settings.llrd_decay:
        return top
    depth = n_blocks + 1 if part == "backbone_body" else n_blocks - int(part.removeprefix("block_"))
    return float(top * settings.llrd_decay**depth)


def _without_decay(network: LakeNetwork, rule: DecayRule) -> Iterator[Tensor]:
    """Parameters whose weights do not decay.

    As released these are all biases, the encoder's last norm, and the norms behind the decoder's convolutions; the norms
    within blocks, those of the pyramids' first stage and all embeddings do decay there.
    """
    for module in network.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            yield bias
        if isinstance(module, ConvNorm):
            yield from module.norm.parameters()
        if rule == "matrices":
            plain = dict(module.named_parameters(recurse=False))
            is_matrix = isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
            yield from (parameter for name, parameter in plain.items() if not (is_matrix and name == "weight"))
    norm = network.encoder.encoder_norm
    assert isinstance(norm, nn.Module)
    yield from norm.parameters()
