"""What a run begins with: TerraMind's own encoder as terratorch loads it, a whole network, or new weights by the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from terratorch_reference import build_reference
from torch import Tensor

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights import initial_weights
from cryosentinel_core.io.weights.checkpoint import sha256_of
from cryosentinel_core.io.weights.initial_weights import begin_network
from cryosentinel_core.io.weights.model_files import write_random_checkpoint
from cryosentinel_core.learn.model_spec import ModelSpec

SPEC = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=8)


@pytest.fixture
def encoder_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as TerraMind's own: terratorch's encoder under its own names, and parts that only the generative model has."""
    torch.manual_seed(5)
    encoder = build_reference(SPEC).encoder
    content = {
        name: value + torch.randn_like(value)
        for name, value in encoder.state_dict().items()
        if value.is_floating_point()
    }
    content |= {name: value for name, value in encoder.state_dict().items() if not value.is_floating_point()}
    content["decoder.0.attn.qkv.weight"] = torch.zeros(6, 2)
    path = tmp_path / "TerraMind_v1_tiny.pt"
    torch.save(content, path)
    monkeypatch.setitem(initial_weights.TERRAMIND_FILES, "terramind_v1_tiny", str(path))
    return path


def test_the_encoder_is_terramind_s_and_the_decoder_is_new_by_the_seed(encoder_file: Path) -> None:
    content: dict[str, Tensor] = torch.load(encoder_file, weights_only=True)
    one, two, other = (begin_network("terramind", SPEC, seed=seed) for seed in (3, 3, 4))
    state = one.network.encoder.state_dict()
    assert set(state) == set(content) - {"decoder.0.attn.qkv.weight"}
    assert all(torch.equal(value, content[name]) for name, value in state.items())
    assert (one.source, one.sha256) == ("terramind", sha256_of(encoder_file))
    assert (one.normalisation, one.recipe, one.seen_block_sizes_deg) == (None, None, ())
    same, unlike = (
        [torch.equal(a, b) for a, b in zip(one.network.parameters(), begun.network.parameters(), strict=True)]
        for begun in (two, other)
    )
    assert all(same)
    assert not all(unlike)
    assert all(parameter.requires_grad for parameter in one.network.parameters())


def test_an_encoder_that_lacks_a_tensor_or_is_not_finite_is_refused(encoder_file: Path) -> None:
    content: dict[str, Tensor] = torch.load(encoder_file, weights_only=True)
    name = next(name for name in content if name.endswith("qkv.weight") and not name.startswith("decoder"))
    for spoilt, told in (
        ({key: value for key, value in content.items() if key != name}, "lacks 1 of the encoder's"),
        ({**content, name: content[name][:-1]}, name),
        ({**content, name: content[name] * float("nan")}, name),
    ):
        torch.save(spoilt, encoder_file)
        with pytest.raises(CheckpointError, match="encoder's") as error:
            begin_network("terramind", SPEC, seed=3)
        assert told in error.value.message
        assert "another backbone" in error.value.hint


def test_a_whole_network_of_another_architecture_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = write_random_checkpoint(tmp_path / "soup.ckpt", "terramind_v1_tiny", seed=4, decoder_channels=8)
    begun = begin_network(str(path), SPEC, seed=3)
    assert begun.sha256 == sha256_of(path)
    with pytest.raises(CheckpointError, match="decoder_channels 8 instead of 16"):
        begin_network(str(path), ModelSpec(backbone="terramind_v1_tiny", decoder_channels=16), seed=3)
