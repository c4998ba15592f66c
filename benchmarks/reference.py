"""terratorch's own model with the published settings: what benchmarks and tests hold ours against."""

from __future__ import annotations

import warnings

import torch

from cryosentinel_core.learn.model_spec import ModelSpec


def build_reference(spec: ModelSpec) -> torch.nn.Module:
    """terratorch's own model with random weights, in evaluation mode.

    Args:
        spec: Architecture; without `scale_modules` every version of terratorch builds it.

    Raises:
        TypeError: If this version has no `scale_modules` and the architecture needs it.
    """
    scaled = {"decoder_scale_modules": True} if spec.scale_modules else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from terratorch.models import EncoderDecoderFactory

        model: torch.nn.Module = EncoderDecoderFactory().build_model(
            task="segmentation",
            backbone=spec.backbone,
            backbone_pretrained=False,
            backbone_modalities=list(spec.modalities),
            necks=[
                {"name": "SelectIndices", "indices": list(spec.neck_indices)},
                {"name": "ReshapeTokensToImage", "remove_cls_token": False},
                {"name": "LearnedInterpolateToPyramidal"},
            ],
            decoder="UperNetDecoder",
            decoder_channels=spec.decoder_channels,
            num_classes=1,
            **scaled,
        )
    return model.eval()
