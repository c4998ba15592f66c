"""The network: TerraMind's encoder, necks, UperNet and a head of one logit, with terratorch's parameter names.

A state dict of terratorch 1.2.11's `EncoderDecoderFactory` with these settings loads here key for key. Neighbours:
`terramind` brings the encoder, `decoder` the rest; `network_segmenter` runs it over chips; `io.weights.checkpoint` reads its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cryosentinel_core.errors import CheckpointError, ModelError
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network.cpu_decoder import CpuDecoder
from cryosentinel_core.learn.network.decoder import ConvNorm, LearnedPyramid, PyramidStages, UperNet
from cryosentinel_core.learn.network.terramind import build_encoder, encode_blocks


class SelectBlocks(nn.Module):
    """Choice of the encoder's blocks that the decoder sees: the neck's first part in terratorch; `encode` does without."""

    def __init__(self, indices: tuple[int, ...]) -> None:
        super().__init__()
        self.indices = indices

    def forward(self, blocks: list[Tensor]) -> list[Tensor]:
        """The chosen blocks' tokens, in order."""
        return [blocks[i] for i in self.indices]


class TokensToMaps(nn.Module):
    """Token lists (N, h * w, C) -> maps (N, C, h, w) with h = w; there is no class token."""

    def forward(self, blocks: list[Tensor]) -> list[Tensor]:
        """One map for each token list."""
        side = round(blocks[0].shape[1] ** 0.5)
        return [x.transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side) for x in blocks]


class LogitHead(nn.Module):
    """One logit from the decoder's channels: (N, C, H, W) -> (N, 1, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Identity(), nn.Identity(), nn.Conv2d(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 1, H, W)."""
        out: Tensor = self.head(x)
        return out


class LakeNetwork(nn.Module):
    """Standardised chips in, logits of water out."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.shape.width
        pyramid = LearnedPyramid((width, width, width, width))
        self.encoder = build_encoder(spec)
        c1, c2, c3, c4 = pyramid.out_channels
        self.decoder = UperNet((c1, c2, c3, c4), spec.decoder_channels, scale_modules=spec.scale_modules)
        self.head = LogitHead(spec.decoder_channels)
        self.neck = nn.Sequential(SelectBlocks(spec.neck_indices), TokensToMaps(), pyramid)
        self._cpu_decoder: CpuDecoder | None = None

    def forward(self, chips: dict[str, Tensor]) -> Tensor:
        """Logits of water.

        Args:
            chips: Modality -> (N, C, H, W), standardised, finite, in the order of `spec.modalities`; a modality other
                than S2L2A may be absent (the encoder averages over those that there are; it was never trained so).

        Returns:
            (N, H, W) logits.
        """
        maps = self.encode(chips)
        if self._cpu_decoder is not None and self._cpu_decoder.suits(maps):
            return torch.cat([self.finish(decoded, chips) for decoded in self._cpu_decoder.decode(maps)])
        return self.finish(self.decoder(maps), chips)

    def use_cpu_decoder(self, *, wanted: bool = True) -> None:
        """Decode image by image from now on where that suits, or no more; the weights must not change meanwhile.

        Raises:
            ModelError: If batch norms are not folded.
        """
        self._cpu_decoder = CpuDecoder(self.decoder) if wanted else None

    def forward_plain(self, chips: dict[str, Tensor]) -> Tensor:
        """Same as `forward`, with the decoder's last convolution as published. For comparison."""
        return self.finish(self.decoder.forward_plain(self.encode(chips)), chips)

    def encode(self, chips: dict[str, Tensor]) -> list[Tensor]:
        """Four maps of the encoder's tokens, finest first, through the neck."""
        _, to_maps, pyramid = self.neck
        maps: list[Tensor] = pyramid(to_maps(encode_blocks(self.encoder, chips, self.spec.neck_indices)))
        return maps

    def finish(self, decoded: Tensor, chips: dict[str, Tensor]) -> Tensor:
        """The head, and the enlargement to the chip's size where the decoder's finest map is smaller."""
        logits = self.head(decoded)
        size = chips["S2L2A"].shape[-2:]
        if logits.shape[-2:] != size:
            logits = nn.functional.interpolate(logits, size=size, mode="bilinear")
        out: Tensor = logits[:, 0]
        return out


class _EmptyParameters(TorchFunctionMode):
    """Within it, tensors made to be filled (parameters) have a shape and no memory, and filling them costs nothing."""

    FACTORIES = (torch.empty, torch.zeros, torch.ones)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.FACTORIES and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def build_network(spec: ModelSpec) -> LakeNetwork:
    """A network with random weights, in training mode."""
    return LakeNetwork(spec)


def load_network(spec: ModelSpec, state_dict: Mapping[str, Tensor]) -> LakeNetwork:
    """A network with the given weights, in evaluation mode, on the CPU in float32.

    No memory is spent on random weights first, and tensors that are float32 already are used where they lie (so a
    memory-mapped checkpoint is read only once).

    Args:
        spec: Architecture.
        state_dict: Name -> tensor, as `io.weights.checkpoint` reads it.

    Raises:
        CheckpointError: If a key is missing or unexpected, or a shape differs; all of them are listed.
    """
    with _EmptyParameters():
        network = LakeNetwork(spec)
    check_state_dict(network, state_dict)
    cast = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in state_dict.items()}
    network.load_state_dict(cast, strict=True, assign=True)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise ModelError(
            "the network has tensors that no checkpoint fills", "this is a fault of ours: please report it"
        )
    return network.eval().requires_grad_(False)


def shapes_of(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a state dict of this architecture."""
    with _EmptyParameters():
        network = LakeNetwork(spec)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def count_parameters(spec: ModelSpec) -> dict[str, int]:
    """Trained numbers by part of the network, and `total`; statistics and fixed embeddings are left out."""
    with _EmptyParameters():
        network = LakeNetwork(spec)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in sorted(network.named_children())}
    return {**counts, "total": sum(counts.values())}


def check_state_dict(network: LakeNetwork, state_dict: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit.

    Raises:
        CheckpointError: With all missing and unexpected keys and all wrong shapes.
    """
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    missing = sorted(wanted.keys() - state_dict.keys())
    unexpected = sorted(state_dict.keys() - wanted.keys())
    wrong = [
        f"{key} {tuple(state_dict[key].shape)} instead of {shape}"
        for key, shape in sorted(wanted.items())
        if key in state_dict and tuple(state_dict[key].shape) != shape
    ]
    faults = [
        f"{len(names)} {title}: {', '.join(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if names
    ]
    if faults:
        raise CheckpointError(
            f"the weights do not fit {network.spec.backbone}: {'; '.join(faults)}",
            "is this a checkpoint of another network, or of other decoder settings?",
        )


def fold_batch_norms(network: LakeNetwork) -> None:
    """Fold every batch norm of an evaluated network into the convolution before it, in place (exact to rounding).

    Raises:
        ModelError: If the network is in training mode, where batch norm depends on the batch.
    """
    if network.training:
        raise ModelError("batch norm cannot be folded in training mode", "call network.eval() first")
    for module in network.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            _fold(module.conv, module.norm, channel_axis=0)
            module.norm = nn.Identity()
        elif isinstance(module, PyramidStages) and hasattr(module, "fpn1"):
            norm = module.fpn1[1]
            if isinstance(norm, nn.BatchNorm2d):
                _fold(module.fpn1[0], norm, channel_axis=1)
                module.fpn1[1] = nn.Identity()


def _fold(conv: nn.Module, norm: nn.BatchNorm2d, channel_axis: int) -> None:
    """Fold in float64: w' = w s, b' = (b - mean) s + beta with s = gamma / sqrt(var + eps)."""
    weight, bias = conv.weight, conv.bias
    assert isinstance(weight, Tensor)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shape = [1, 1, 1, 1]
    shape[channel_axis] = -1
    old = bias.double() if isinstance(bias, Tensor) else torch.zeros_like(scale)
    folded = (old - norm.running_mean.double()) * scale + norm.bias.double()
    conv.weight = nn.Parameter((weight.double() * scale.reshape(shape)).to(weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(folded.to(weight.dtype), requires_grad=False)
