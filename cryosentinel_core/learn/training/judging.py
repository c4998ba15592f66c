"""Scores of a network over some chips of a feed, unaugmented, each once.

Neighbours: `task` judges while it trains, `workflows.soup` what it has averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cryosentinel_core.learn.inference.flip_passes import FLIPS
from cryosentinel_core.learn.model_spec import Normalisation
from cryosentinel_core.learn.training.batch import standardise_chips
from cryosentinel_core.learn.training.feed import Feed
from cryosentinel_core.learn.training.losses import LossSettings, compute_losses
from cryosentinel_core.learn.training.validation_scores import Tally

Network = Callable[[dict[str, Tensor]], Tensor]


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How chips are judged.

    Attributes:
        normalisation: Statistics of the weights.
        modalities: Of the network.
        losses: Of the loss that is reported beside the scores.
        tta: Whether logits of four flips are averaged.
    """

    normalisation: Normalisation
    modalities: tuple[str, ...]
    losses: LossSettings
    tta: bool


def split_rows(rows: Tensor, size: int) -> list[Tensor]:
    """Rows in pieces of `size`, the last one shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@torch.no_grad()
def tally_chips(network: Network, feed: Feed, pieces: Sequence[Tensor], settings: JudgeSettings, tally: Tally) -> Tally:
    """Count some batches.

    Args:
        network: In evaluation mode, under whatever precision.
        feed: Of the chips.
        pieces: Rows of each batch.
        settings: How.
        tally: That is added to.
    """
    for number, piece in enumerate(pieces):
        following = pieces[number + 1] if number + 1 < len(pieces) else piece[:0]
        stored = feed.gather(piece, lambda rows=following: rows)  # type: ignore[misc]
        chips = standardise_chips(stored, settings.normalisation, settings.modalities)
        logits = average_flips(network, chips.inputs, tta=settings.tta)
        loss = compute_losses(logits, chips.label, chips.valid, settings.losses)["total"]
        tally.add(logits, chips.label, chips.valid, loss)
    return tally


def average_flips(network: Network, inputs: dict[str, Tensor], *, tta: bool) -> Tensor:
    """Mean logits (N, H, W) float32 over the four flips, or those of the chips as they are."""
    total: Tensor | None = None
    flips = FLIPS if tta else FLIPS[:1]
    for axes in flips:
        logits = network({name: x.flip(axes) for name, x in inputs.items()}).float().flip(axes)
        total = logits if total is None else total + logits
    assert total is not None
    return total / len(flips)


@torch.no_grad()
def estimate_batch_norms(network: nn.Module, feed: Feed, pieces: Sequence[Tensor], settings: JudgeSettings) -> int:
    """Batch-norm statistics anew, in place: the plain mean over some batches, each weighing the same.

    Args:
        network: Whose statistics are replaced; left in evaluation mode.
        feed: Of the chips.
        pieces: Rows of each batch, of the training split.
        settings: How chips are standardised.

    Returns:
        Batch norms that there are.

    Source: Izmailov et al. (2018), Averaging weights leads to wider optima and better generalization.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.eval()
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for piece in pieces:
        chips = standardise_chips(feed.gather(piece), settings.normalisation, settings.modalities)
        network(chips.inputs)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.eval()
    return len(norms)
