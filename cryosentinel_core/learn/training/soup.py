"""Averages of networks' weights: uniform, or greedy by a score.

Neighbours: `io.weights` reads the ingredients and writes the soup; `batch_norms` makes statistics anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cryosentinel_core.errors import SoupMismatch
from cryosentinel_core.learn.model_spec import ModelSpec, Normalisation
from cryosentinel_core.stack.recipe import Recipe

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """Weights that may go into a soup, and what they must share with the others.

    Attributes:
        name: Of the file.
        sha256: Of the file.
        weights: `model` or `ema`: which set of the file.
        state: Name -> tensor.
        spec: Architecture.
        normalisation: Statistics.
        recipe: Of the stacks.
    """

    name: str
    sha256: str
    weights: str
    state: State
    spec: ModelSpec
    normalisation: Normalisation
    recipe: Recipe

    def as_dict(self) -> dict[str, str]:
        """Plain data for the soup's record."""
        return {"name": self.name, "sha256": self.sha256, "weights": self.weights}


def check_alike(ingredients: Sequence[Ingredient]) -> None:
    """Refuse to mix unlike networks.

    Raises:
        SoupMismatch: Naming the two files and what is different in them.
    """
    if not ingredients:
        raise SoupMismatch("a soup of nothing", "give checkpoints, or a run's folder with snapshots")
    first = ingredients[0]
    for other in ingredients[1:]:
        for words, one, two in (
            ("architecture", first.spec, other.spec),
            ("normalisation", first.normalisation, other.normalisation),
            ("recipe", first.recipe, other.recipe),
            ("tensors", _shapes(first.state), _shapes(other.state)),
        ):
            if one != two:
                raise SoupMismatch(
                    f"{first.name} and {other.name} differ in {words}",
                    "average snapshots of one run, or of runs that differ in nothing but their seed",
                )


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def average_states(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of some weights, in float64, rounded once to each tensor's own type.

    Batch-norm statistics are averaged like weights. Whole numbers, as counts of batches, are not averaged: the first's are kept.

    Args:
        states: Name -> tensor, alike in names and shapes.
    """
    found: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            found[name] = first.clone()
            continue
        total = torch.zeros(first.shape, dtype=torch.float64)
        for state in states:
            total += state[name].double()
        found[name] = (total / len(states)).to(first.dtype)
    return found


@dataclass(frozen=True, kw_only=True)
class GreedyChoice:
    """What a greedy soup was made of.

    Attributes:
        members: Positions of the ingredients, in the order in which they were taken.
        score: Of the soup on the selection split.
        singles: Score of each ingredient by itself.
    """

    members: tuple[int, ...]
    score: float
    singles: tuple[float, ...]


def choose_greedily(states: Sequence[State], judge: Callable[[State], float]) -> GreedyChoice:
    """Begin with the best, then take each further one that does not lower the score.

    Args:
        states: Of the ingredients.
        judge: Score of some weights on the selection split; higher is better. What is reported must be measured on another.

    Returns:
        The choice; its score is never below the best single one's.

    Source: Wortsman et al. (2022), Model soups, algorithm 1.
    """
    singles = tuple(judge(state) for state in states)
    order = sorted(range(len(states)), key=lambda i: (-singles[i], i))
    members, best = [order[0]], singles[order[0]]
    for candidate in order[1:]:
        score = judge(average_states([states[i] for i in [*members, candidate]]))
        if score >= best:
            members, best = [*members, candidate], score
    return GreedyChoice(members=tuple(members), score=best, singles=singles)
