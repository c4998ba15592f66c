"""Every parameter in exactly one group, with the released learning rate and decay, compiled or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network.lake_network import LakeNetwork, _EmptyParameters, build_network
from cryosentinel_core.learn.training.parameter_groups import ParameterGroup, RateSettings, make_groups

TINY = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=16)


def empty_network(backbone: str) -> LakeNetwork:
    with _EmptyParameters():
        return LakeNetwork(ModelSpec(backbone=backbone))


@pytest.mark.parametrize("backbone", ["terramind_v1_tiny", "terramind_v1_large"])
def test_rates_are_the_released_ones(shared_data: Path, backbone: str) -> None:
    published = json.loads((shared_data / "published-fixtures" / "lr_groups.json").read_text())["backbones"][backbone]
    network = empty_network(backbone)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = make_groups(network, RateSettings())
    found = {
        names[id(parameter)]: (group.name, group.peak, group.weight_decay)
        for group in groups
        for parameter in group.parameters
    }
    wanted = {name: (one["group"], one["lr"], one["wd"]) for name, one in published["parameters"].items()}
    assert found.keys() == wanted.keys()
    for name, (group, rate, decay) in wanted.items():
        assert found[name][0] == group, name
        assert found[name][1] == pytest.approx(rate, rel=1e-12), name
        assert found[name][2] == decay, name
    assert [group.name for group in groups] == [one["name"] for one in published["groups"]]
    order = [names[id(parameter)] for group in groups for parameter in group.parameters]
    by_group = [name for one in published["groups"] for name in wanted if wanted[name][0] == one["name"]]
    assert order == by_group, "the published optimiser's state is kept by place"


def described(groups: list[ParameterGroup]) -> list[tuple[str, float, float, list[int]]]:
    return [(one.name, one.peak, one.weight_decay, [id(p) for p in one.parameters]) for one in groups]


def test_a_wrapper_changes_nothing() -> None:
    network = build_network(TINY)
    plain = described(make_groups(network, RateSettings()))
    compiled = torch.compile(network, backend="eager")
    assert any("_orig_mod" in name for name, _ in compiled.named_parameters())
    assert described(make_groups(compiled, RateSettings())) == plain
    network.compile(backend="eager")
    assert described(make_groups(network, RateSettings())) == plain


@pytest.mark.parametrize("rule", ["published", "matrices"])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_each_parameter_is_in_one_group(rule: str, decay: float) -> None:
    network = build_network(TINY)
    network.encoder.encoder[0].requires_grad_(False)
    groups = make_groups(network, RateSettings(llrd_decay=decay, decay_rule=rule))  # type: ignore[arg-type]
    held = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(held) == sorted(id(parameter) for parameter in network.parameters() if parameter.requires_grad)
    assert len(held) == len(set(held))
    rates = {group.peak for group in groups if group.name != "decoder" and group.name != "decoder_nd"}
    assert len(rates) == (12 if decay else 1)


def test_matrices_alone_decay_by_the_other_rule() -> None:
    for group in make_groups(build_network(TINY), RateSettings(decay_rule="matrices")):
        if group.weight_decay:
            assert all(parameter.ndim > 1 and parameter.shape[:2] != (1, 1) for parameter in group.parameters)


def test_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match="no lake network"):
        make_groups(nn.Linear(2, 2), RateSettings())
