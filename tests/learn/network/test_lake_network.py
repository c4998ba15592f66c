"""Our network against terratorch's own, key for key and logit for logit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from terratorch_reference import build_reference

from cryosentinel_core.errors import CheckpointError, ModelError
from cryosentinel_core.learn.model_spec import BACKBONES, MODALITIES, ModelSpec
from cryosentinel_core.learn.network.lake_network import (
    build_network,
    check_state_dict,
    fold_batch_norms,
    load_network,
    shapes_of,
)
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.learn.network.terramind import encode_blocks

TINY = ModelSpec(backbone="terramind_v1_tiny")


def make_chips(n: int, modalities: tuple[str, ...] = MODALITIES) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    bands = {"S2L2A": 12, "S1GRD": 2, "DEM": 1}
    return {name: torch.randn(n, bands[name], 224, 224, generator=generator) for name in modalities}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return make_random_weights(TINY, seed=1)


@pytest.fixture(scope="module")
def reference(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    model = build_reference(TINY)
    model.load_state_dict(weights, strict=True)
    return model


@pytest.mark.parametrize("modalities", [MODALITIES, ("S2L2A", "DEM")])
def test_logits_equal_those_of_terratorch(
    reference: Any, weights: dict[str, torch.Tensor], modalities: tuple[str, ...]
) -> None:
    network = load_network(TINY, weights)
    chips = make_chips(1, modalities)
    with torch.inference_mode():
        wanted = reference(dict(chips)).output
        found = network(chips)
        fold_batch_norms(network)
        folded = network(chips)
    spread = float(wanted.std())
    assert spread > 0.1
    assert float((found - wanted).abs().max()) < 1e-4 * spread
    assert float((folded - wanted).abs().max()) < 1e-4 * spread


@pytest.mark.parametrize("backbone", ["terramind_v1_small", "terramind_v1_base", "terramind_v1_large"])
@pytest.mark.slow
def test_keys_and_shapes_of_every_backbone_are_those_of_terratorch(backbone: str) -> None:
    spec = ModelSpec(backbone=backbone)
    wanted = {key: tuple(value.shape) for key, value in build_reference(spec).state_dict().items()}
    assert shapes_of(spec) == wanted


def test_keys_and_shapes_are_those_of_terratorch(reference: Any) -> None:
    assert shapes_of(TINY) == {key: tuple(value.shape) for key, value in reference.state_dict().items()}


def test_light_import_leaves_terratorch_whole() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from cryosentinel_core.learn.network.terramind import build_encoder\n"
        "from cryosentinel_core.learn.model_spec import ModelSpec\n"
        "encoder = build_encoder(ModelSpec(backbone='terramind_v1_tiny'))\n"
        "loaded = [m for m in sys.modules if m.split('.')[0] in ('torchgeo', 'lightning', 'rasterio', 'terratorch.tasks')]\n"
        "assert not loaded, loaded[:5]\n"
        "assert 'terratorch' not in sys.modules\n"
        "import terratorch.registry\n"
        "built = terratorch.registry.BACKBONE_REGISTRY.build(\n"
        "    'terramind_v1_tiny', pretrained=False, modalities=['S2L2A', 'S1GRD', 'DEM'])\n"
        "assert type(built) is type(encoder)\n"
        "assert [k for k in built.state_dict()] == [k for k in encoder.state_dict()]\n"
        "print('whole')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.stdout.strip().endswith("whole"), done.stderr[-2000:]


def test_loading_uses_the_given_tensors(weights: dict[str, torch.Tensor]) -> None:
    network = load_network(TINY, weights)
    key = "encoder.encoder.3.mlp.fc1.weight"
    assert network.state_dict()[key].data_ptr() == weights[key].data_ptr()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_weights_that_do_not_fit_are_listed(weights: dict[str, torch.Tensor]) -> None:
    damaged = dict(weights)
    del damaged["head.head.2.bias"]
    damaged["head.extra"] = torch.zeros(1)
    damaged["neck.2.fpn2.0.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        check_state_dict(build_network(TINY), damaged)
    for name in ("head.head.2.bias", "head.extra", "neck.2.fpn2.0.bias (3,) instead of (96,)"):
        assert name in caught.value.message


def test_batch_norm_is_not_folded_in_training(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelError):
        fold_batch_norms(load_network(TINY, weights).train())


def test_random_weights_are_seeded() -> None:
    spec = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=8)
    a, b, c = (make_random_weights(spec, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["head.head.2.weight"], c["head.head.2.weight"])


def test_spec_refuses_what_cannot_be_built() -> None:
    for wrong in (
        {"backbone": "resnet50"},
        {"modalities": ("S1GRD", "S2L2A", "DEM")},
        {"modalities": ("DEM",)},
        {"decoder_channels": 0},
        {"neck_indices": (5, 11, 17, 23)},
        {"neck_indices": (2, 5, 5, 11)},
    ):
        with pytest.raises(ModelError):
            ModelSpec(**{"backbone": "terramind_v1_tiny", **wrong})  # type: ignore[arg-type]
    assert BACKBONES["terramind_v1_large"].neck_indices == (5, 11, 17, 23)
    assert BACKBONES["terramind_v1_tiny"].neck_indices == (2, 5, 8, 11)


@pytest.mark.parametrize("modalities", [MODALITIES, ("S2L2A", "DEM"), ("S2L2A",)])
@pytest.mark.parametrize("indices", [(2, 5, 8, 11), (0, 1, 4, 9)])
def test_needed_blocks_alone_are_the_same_bits(
    weights: dict[str, torch.Tensor], modalities: tuple[str, ...], indices: tuple[int, ...]
) -> None:
    """As the encoder's own forward gives them, the last with its norm."""
    encoder = load_network(TINY, weights).encoder
    chips = make_chips(2, modalities)
    with torch.inference_mode():
        wanted = encoder(dict(chips))
        found = encode_blocks(encoder, chips, indices)
    assert len(found) == len(indices)
    assert all(torch.equal(one, wanted[index]) for one, index in zip(found, indices, strict=True))
