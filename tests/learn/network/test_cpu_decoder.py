"""The frugal decoder against the decoder as published."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoder import make_decoder

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.precision import make_probe
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network import cpu_decoder as frugal
from cryosentinel_core.learn.network.cpu_decoder import CpuDecoder
from cryosentinel_core.learn.network.decoder import UperNet
from cryosentinel_core.learn.network.lake_network import LakeNetwork, build_network, fold_batch_norms

WIDE = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=128)


@settings(max_examples=25)
@given(
    width=st.sampled_from([4, 8, 12]),
    channels=st.integers(1, 7),
    side=st.sampled_from([2, 3, 4, 6, 7]),
    scale_modules=st.booleans(),
    align_corners=st.booleans(),
    n=st.integers(1, 3),
)
def test_equals_the_published_decoder(
    width: int, channels: int, side: int, scale_modules: bool, align_corners: bool, n: int
) -> None:
    plain = (
        make_decoder((width, width, width, width), channels, scale_modules=scale_modules).eval().requires_grad_(False)
    )
    plain.align_corners = align_corners
    decoder = copy.deepcopy(plain)
    fold_batch_norms(decoder)
    sides = (side,) * 4 if scale_modules else (side * 4, side * 2, side, max(1, side // 2))
    generator = torch.Generator().manual_seed(3)
    levels = [torch.randn(n, width, s, s, dtype=torch.float64, generator=generator) for s in sides]
    with torch.inference_mode():
        found = [image.clone() for image in CpuDecoder(decoder).decode(levels)]
    torch.testing.assert_close(torch.cat(found), plain.forward_plain(levels), rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def network() -> LakeNetwork:
    """Tiny, with 128 channels in its decoder, folded."""
    torch.manual_seed(5)
    built = build_network(WIDE).eval().requires_grad_(False)
    fold_batch_norms(built)
    return built


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    decode = CpuDecoder.decode
    monkeypatch.setattr(
        CpuDecoder, "decode", lambda self, levels: (calls.append(len(levels[0])), decode(self, levels))[1]
    )
    return calls


def test_the_network_decodes_frugally_where_it_suits(network: LakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    chips = {name: x.expand(2, -1, -1, -1) * torch.tensor([1.0, 0.5])[:, None, None, None]
             for name, x in make_probe(WIDE.modalities, torch.device("cpu")).items()}  # fmt: skip
    frugal_one = copy.deepcopy(network)
    frugal_one.use_cpu_decoder()
    with torch.inference_mode():
        wanted = network(chips)
        assert not calls
        found = frugal_one(chips)
        assert calls == [2]
        assert (found - wanted).square().mean().sqrt() < 1e-5 * wanted.std()
        alone = frugal_one({name: x[1:] for name, x in chips.items()})
        assert (alone[0] - found[1]).abs().max() < 1e-4 * wanted.std()
        calls.clear()
        with torch.autocast("cpu", torch.bfloat16):
            frugal_one(chips)
    with torch.enable_grad():
        frugal_one(chips)
    frugal_one.use_cpu_decoder(wanted=False)
    with torch.inference_mode():
        assert torch.equal(frugal_one(chips), wanted)
    assert not calls


def test_it_suits_wide_decoders_in_their_own_type(network: LakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = CpuDecoder(network.decoder)
    levels = [torch.zeros(1, 48, 8, 8)]
    with torch.inference_mode():
        assert decoder.suits(levels)
        assert not decoder.suits([levels[0].double()])
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert not decoder.suits(levels)
        monkeypatch.undo()
        monkeypatch.setattr(frugal, "LEAST_CHANNELS", 129)
        assert not decoder.suits(levels)


def test_norms_must_be_folded() -> None:
    with pytest.raises(ModelError, match="not folded"):
        CpuDecoder(UperNet((4, 4, 4, 4), 4).eval())
