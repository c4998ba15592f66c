"""Which arithmetic a network bears on a device: float32, or bfloat16 where a probe says that it costs little.

Neighbours: `network_segmenter` asks once for each network that it runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from cryosentinel_core.learn.model_spec import BANDS_OF_MODALITY
from cryosentinel_core.learn.network.lake_network import LakeNetwork
from cryosentinel_core.units import BF16_TOLERANCE, CELL_PX

Precision = Literal["auto", "float32", "bf16"]


def store_in_bf16(network: nn.Module) -> None:
    """Keep the weights of all matrix products in bfloat16; norms, embeddings and the head stay in float32."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and not name.startswith("head"):
            module.to(torch.bfloat16)


def has_bf16(device: torch.device) -> bool:
    """True if matrix products in bfloat16 run on the device's own instructions."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def exact_matmul() -> Iterator[None]:
    """Products of float32 matrices in float32 for a while: importing all of terratorch lowers that for the process, on CPUs too."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_precision(network: LakeNetwork, device: torch.device) -> Literal["float32", "bf16"]:
    """bf16 where the device has it and the network bears it, else float32.

    The network bears it if, on a fixed chip of seeded smooth noise, the root mean square difference between its logits
    in bf16 and in float32 is at most `BF16_TOLERANCE` of their standard deviation. The chip is the same for everyone,
    so that the choice depends on weights and device. `bf16_error` is for the windows of an area.
    """
    if not has_bf16(device):
        return "float32"
    exact, rough = _in_both(network, make_probe(network.spec.modalities, device), device)
    return "bf16" if bool(_rms(rough - exact) <= BF16_TOLERANCE * exact.std()) else "float32"


def bf16_error(network: LakeNetwork, chips: Iterable[dict[str, Tensor]], device: torch.device) -> float:
    """Error of bf16 on some chips: root mean square difference from float32, over the logits' standard deviation or over 1.

    The larger of the two divides: windows of nothing but bare rock have nearly the same logit everywhere, and to be off by a share of
    next to nothing means nothing. On a blurred shore a logit changes by more than 1 from one pixel to the next.

    Args:
        network: Weights in float32.
        chips: Batches of modality -> (N, C, H, W) float32, standardised.
        device: Where all of it lies.

    Returns:
        The error; infinite where bf16 gives a number that is not finite. 0 without a chip.
    """
    pairs = [tuple(x.cpu() for x in _in_both(network, batch, device)) for batch in chips]
    if not pairs:
        return 0.0
    exact, rough = (torch.cat([x.flatten() for x in side]) for side in zip(*pairs, strict=True))
    error = float(_rms(rough - exact) / exact.std().clamp(min=1.0))
    return error if math.isfinite(error) else math.inf


def _in_both(network: LakeNetwork, chips: dict[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits in float32 and in bf16, both as float32."""
    with torch.inference_mode(), exact_matmul(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = network(chips).float()
        with torch.autocast(device.type, torch.bfloat16):
            return exact, network(chips).float()


def _rms(difference: Tensor) -> Tensor:
    return difference.square().mean().sqrt()


def make_probe(modalities: tuple[str, ...], device: torch.device) -> dict[str, Tensor]:
    """One standardised chip of smooth noise with a flat patch in it, the same on every machine."""
    generator = torch.Generator().manual_seed(20_170_101)
    probe: dict[str, Tensor] = {}
    for name in modalities:
        coarse = torch.randn(1, len(BANDS_OF_MODALITY[name]), 14, 14, generator=generator)
        smooth = nn.functional.interpolate(coarse, size=(CELL_PX, CELL_PX), mode="bicubic", align_corners=False)
        smooth[:, :, 80:140, 60:150] = -1.5
        probe[name] = smooth.to(device)
    return probe
