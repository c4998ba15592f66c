"""The six terms of the training loss, in float32, equal to the released code's in value and gradient.

Pixels that are not valid take part in no term, as released; two things of the released code count them all the same, the weight of
water and the distances of the boundary term, and `Losses.masks_all` mends both. Neighbours: `distances` makes the maps of the boundary
term; `task` calls this under autocast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from cryosentinel_core.learn.training.distances import signed_distances

TERMS: Final = ("bce", "focal", "dice", "tversky", "boundary", "lovasz")
"""Names of the terms, in the order in which they are added up."""

SMOOTH: Final = 1.0
"""Added to numerator and denominator of Dice and Tversky."""

PUBLISHED_WEIGHTS: Final = {"bce": 0.5, "focal": 1.0, "dice": 1.0, "tversky": 0.5, "boundary": 0.5, "lovasz": 0.3}
"""Weights of the published fine-tune."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights and shapes of the terms; the defaults are the published fine-tune's.

    Attributes:
        weights: Term -> weight; a term that is absent or 0 is not computed.
        focal_alpha: Weight of water in the focal term; the rest has 1 - alpha.
        focal_gamma: Its exponent.
        tversky_alpha: Weight of false positives.
        tversky_beta: Weight of false negatives.
        lovasz_per_image: Whether the Lovasz term is a mean over images, or one over the batch's pixels.
        pos_weight_max: Largest weight of water in the cross-entropy.
        label_smoothing: Labels are drawn towards 0.5 by this share, in the cross-entropy alone.
        ohem_keep_ratio: Share of the batch's valid pixels that the cross-entropy keeps, the hardest ones.
        ohem_min_kept: At least so many.
        masks_all: Leave invalid pixels out of the weight of water and the boundary's distances, too, which the released code does not.
    """

    weights: Mapping[str, float]
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    tversky_alpha: float = 0.25
    tversky_beta: float = 0.75
    lovasz_per_image: bool = True
    pos_weight_max: float = 100.0
    label_smoothing: float = 0.0
    ohem_keep_ratio: float = 0.5
    ohem_min_kept: int = 4096
    masks_all: bool = False


def compute_losses(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> dict[str, Tensor]:
    """The terms, unweighted, and their weighted sum under `total`.

    Args:
        logits: (N, H, W), of any floating type; computed in float32 whatever autocast says.
        label: (N, H, W), 1 water, 0 none; fractions are allowed where labels are fractional cover.
        valid: (N, H, W) bool, True where data are good.
        settings: Weights and shapes.

    Returns:
        Term -> scalar, of the terms with a weight other than 0, and `total`. Without a valid pixel all are 0.

    Source: Berman et al. (2018), The Lovasz-softmax loss; Kervadec et al. (2019), Boundary loss for highly unbalanced segmentation;
    Lin et al. (2017), Focal loss; Salehi et al. (2017), Tversky loss; Shrivastava et al. (2016), hard example mining.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, label = logits.float(), label.float()
        found = {
            name: _COMPUTE[name](logits, label, valid, settings)
            for name in TERMS
            if settings.weights.get(name, 0.0) != 0.0
        }
        total = logits.new_zeros(()) + sum(settings.weights[name] * value for name, value in found.items())
        return {**found, "total": total}


def weigh_water(label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    """Weight of water in the cross-entropy: pixels without over pixels with, both at least 1, clipped to 1 .. `pos_weight_max`."""
    counted = valid if settings.masks_all else torch.ones_like(valid)
    water = ((label > 0.5) & counted).sum().clamp(min=1).float()
    rest = ((label <= 0.5) & counted).sum().clamp(min=1).float()
    return (rest / water).clamp(1.0, settings.pos_weight_max)


def _cross_entropy(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    """Mean over the hardest valid pixels of the batch: max(min_kept, ratio x n) of the n valid ones, at most n."""
    target = label * (1 - settings.label_smoothing) + 0.5 * settings.label_smoothing
    weight = weigh_water(label, valid, settings)
    loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
    hard = torch.where(valid, loss, torch.full_like(loss, -1.0)).flatten().sort(descending=True).values
    n = valid.sum()
    kept = torch.minimum(n, (n * settings.ohem_keep_ratio).long().clamp(min=settings.ohem_min_kept))
    ranks = torch.arange(hard.numel(), device=hard.device)
    return torch.where(ranks < kept, hard, torch.zeros_like(hard)).sum() / kept.clamp(min=1)


def _focal(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    p = torch.sigmoid(logits)
    miss = p * (1 - label) + (1 - p) * label
    alpha = settings.focal_alpha * label + (1 - settings.focal_alpha) * (1 - label)
    return _mean_over(alpha * miss.pow(settings.focal_gamma) * entropy, valid)


def _dice(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    p, truth = torch.sigmoid(logits) * valid, label * valid
    score = (2 * (p * truth).sum() + SMOOTH) / (p.sum() + truth.sum() + SMOOTH)
    return (1 - score) * valid.any()


def _tversky(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    p, truth = torch.sigmoid(logits) * valid, label * valid
    both = (p * truth).sum()
    false_positives, false_negatives = (p * (1 - truth) * valid).sum(), ((1 - p) * truth).sum()
    wrong = settings.tversky_alpha * false_positives + settings.tversky_beta * false_negatives
    return (1 - (both + SMOOTH) / (both + wrong + SMOOTH)) * valid.any()


def _boundary(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    """Mean over valid pixels of probability x signed distance to the label's edge, in pixels."""
    truth = (label > 0.5) & valid if settings.masks_all else label > 0.5
    return _mean_over(torch.sigmoid(logits) * signed_distances(truth), valid)


def _lovasz(logits: Tensor, label: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    """Lovasz hinge; invalid pixels are put behind all others of their image, where they weigh nothing."""
    if not settings.lovasz_per_image:
        logits, label, valid = (x.reshape(1, -1) for x in (logits, label, valid))
    logits, label, valid = (x.flatten(1) for x in (logits, label, valid))
    errors = torch.where(valid, 1 - logits * (2 * label - 1), torch.full_like(logits, float("-inf")))
    errors, order = errors.sort(dim=1, descending=True)
    truth = (label * valid).gather(1, order)
    water = truth.sum(dim=1, keepdim=True)
    intersection = water - truth.cumsum(dim=1)
    union = water + (1 - truth).cumsum(dim=1)
    jaccard = 1 - intersection / union
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return (F.relu(errors) * steps).sum(dim=1).mean()


def _mean_over(values: Tensor, valid: Tensor) -> Tensor:
    """Sum over valid pixels of the batch, over how many there are."""
    return torch.where(valid, values, torch.zeros_like(values)).sum() / valid.sum().clamp(min=1)


_COMPUTE: Final = {
    "bce": _cross_entropy,
    "focal": _focal,
    "dice": _dice,
    "tversky": _tversky,
    "boundary": _boundary,
    "lovasz": _lovasz,
}
