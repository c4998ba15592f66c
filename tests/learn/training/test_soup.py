"""Averages of weights: of copies, of unlike ones, greedy ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cryosentinel_core.errors import SoupMismatch
from cryosentinel_core.learn.model_spec import PRETRAINING_NORMALISATION, PUBLISHED_NORMALISATION, ModelSpec
from cryosentinel_core.learn.network.random_weights import make_random_weights
from cryosentinel_core.learn.training.soup import Ingredient, average_states, check_alike, choose_greedily
from cryosentinel_core.stack.recipe import Recipe

SPEC = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=8)


@pytest.fixture(scope="module")
def states() -> list[dict[str, Tensor]]:
    return [make_random_weights(SPEC, seed) for seed in range(3)]


def ingredient(state: dict[str, Tensor]) -> Ingredient:
    return Ingredient(
        name="a.ckpt", sha256="0", weights="model", state=state, spec=SPEC, normalisation=PUBLISHED_NORMALISATION,
        recipe=Recipe(),
    )  # fmt: skip


def test_a_soup_of_copies_is_the_copy(states: list[dict[str, Tensor]]) -> None:
    for k in (1, 2, 3, 5):
        soup = average_states([states[0]] * k)
        assert all(torch.equal(soup[name], value) for name, value in states[0].items()), k


def test_a_soup_is_the_mean(states: list[dict[str, Tensor]]) -> None:
    soup = average_states(states)
    assert soup.keys() == states[0].keys()
    for name, value in soup.items():
        each = [state[name] for state in states]
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.equal(value, torch.stack([one.double() for one in each]).mean(dim=0).float()), name
        else:
            assert torch.equal(value, each[0]), name
    assert any(not value.is_floating_point() for value in soup.values())


def test_whole_numbers_are_not_averaged() -> None:
    one, other = {"n": torch.tensor(3)}, {"n": torch.tensor(8)}
    assert average_states([one, other])["n"].tolist() == 3


def test_unlike_ingredients_are_refused(states: list[dict[str, Tensor]]) -> None:
    first = ingredient(states[0])
    check_alike([first, ingredient(states[1])])
    wider = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=9)
    cut = dict(list(states[0].items())[1:])
    for other, words in (
        (replace(first, spec=wider), "architecture"),
        (replace(first, normalisation=PRETRAINING_NORMALISATION), "normalisation"),
        (replace(first, recipe=Recipe(radar="none", radar_filter="none")), "recipe"),
        (replace(first, state=cut), "tensors"),
    ):
        with pytest.raises(SoupMismatch, match=f"differ in {words}"):
            check_alike([first, other])
    with pytest.raises(SoupMismatch, match="nothing"):
        check_alike([])


def test_a_greedy_soup_is_never_below_its_best() -> None:
    """Score: minus the distance of the mean from 4. 3 is the best; with 6 its mean is nearer; with 9 farther."""
    states = [{"w": torch.tensor([value])} for value in (9.0, 3.0, 6.0, 100.0)]
    choice = choose_greedily(states, lambda state: -abs(float(state["w"]) - 4.0))
    assert choice.members == (1,) or choice.score >= max(choice.singles)
    assert choice.members == (1, 2)
    assert choice.score == -0.5
    assert choice.singles == (-5.0, -1.0, -2.0, -96.0)
