"""terratorch's own model, for tests that hold ours against it; they are skipped where terratorch has no such decoder."""

from __future__ import annotations

import warnings

import pytest
import torch

from cryosentinel_core.model_spec import ModelSpec


def build_reference(spec: ModelSpec) -> torch.nn.Module:
    """terratorch's own model with the published settings; where `scale_modules` is off, so do later versions build it."""
    scaled = {"decoder_scale_modules": True} if spec.scale_modules else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factory = pytest.importorskip("terratorch.models").EncoderDecoderFactory()
        try:
            model: torch.nn.Module = factory.build_model(
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
        except TypeError as error:
            pytest.skip(f"this terratorch has no scale_modules: {error}")
    return model.eval()
