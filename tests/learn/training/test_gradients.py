"""The exact decoder's short cut has the plain decoder's gradients; blocks computed twice, the same as once."""

from __future__ import annotations

import torch
from torch import Tensor

from cryosentinel_core.learn.inference.precision import make_probe
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network.lake_network import LakeNetwork, build_network, load_network
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.learn.training.training_recipe import shape_network
from cryosentinel_core.settings.train import ModelSettings

SPEC = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=8)


def chips() -> dict[str, Tensor]:
    probe = make_probe(SPEC.modalities, torch.device("cpu"))
    return {name: torch.cat([x, x.flip(-1) * 0.5]) for name, x in probe.items()}


def network() -> LakeNetwork:
    """In training mode but for batch norms, whose statistics would differ in the last bits of a batch's sums."""
    made = load_network(SPEC, {name: value.clone() for name, value in make_random_weights(SPEC, 3).items()})
    return made.requires_grad_(True)


def gradients(made: LakeNetwork, logits: Tensor) -> dict[str, Tensor]:
    torch.autograd.backward((logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).mean())
    return {name: p.grad for name, p in made.named_parameters() if p.grad is not None}


def test_the_short_cut_s_gradients_are_the_plain_decoder_s() -> None:
    one, other = network(), network()
    short, plain = gradients(one, one(chips())), gradients(other, other.forward_plain(chips()))
    assert short.keys() == plain.keys() == dict(one.named_parameters()).keys()
    for name, wanted in plain.items():
        scale = float(wanted.abs().max())
        assert float((short[name] - wanted).abs().max()) <= 2e-4 * scale + 1e-9, name


def test_blocks_computed_twice_give_the_same() -> None:
    one, other = network(), network()
    shape_network(other, ModelSettings(backbone="terramind_v1_tiny", activation_checkpointing=True))
    assert one.state_dict().keys() == other.state_dict().keys()
    once, twice = gradients(one, one(chips())), gradients(other, other(chips()))
    for name, wanted in once.items():
        assert torch.equal(twice[name], wanted), name


def test_frozen_blocks_stay_as_they_are() -> None:
    made = build_network(SPEC)
    shape_network(made, ModelSettings(backbone="terramind_v1_tiny", freeze_backbone_layers=3))
    frozen = {name for name, parameter in made.named_parameters() if not parameter.requires_grad}
    assert all(
        name.startswith(("encoder.encoder_embeddings", *(f"encoder.encoder.{i}." for i in range(3)))) for name in frozen
    )
    assert any(name.startswith("encoder.encoder.2.") for name in frozen)
