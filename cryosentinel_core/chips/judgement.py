"""The figures of an evaluation, drawn from what `validation_scores` kept: plain data, nothing rounded.

Ratios are ratios of totals: counts are summed over chips before anything is divided, as the published protocol does. Every
interval draws blocks (`bootstrap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.bootstrap import Estimate, difference_interval, ratio_interval
from cryosentinel_core.chips.metrics import LAKE_CLASSES_M2, RELIABILITY_BINS, smoothed_iou
from cryosentinel_core.chips.scores import FN, FP, TP, Scores
from cryosentinel_core.chips.split import TRAIN, BlockSplit
from cryosentinel_core.units import PIXEL_M

PER_CHIP_RULE: Final = "(I + 1) / (U + 1): an empty chip answered empty counts 1, as the released code has it"
"""How single chips are scored, in words."""

CLEAR_CLASSES: Final = (0, 2, 4, 8)
"""Lower bounds of the classes of clear observations."""


def judge(scores: Scores, *, confidence: float = 0.95) -> dict[str, Any]:
    """All figures of one model over some chips.

    Args:
        scores: What was counted.
        confidence: Of the intervals.

    Returns:
        Plain data for JSON: `n_chips`, `n_blocks`, `threshold`, `global_iou`, `precision`, `recall`, `per_chip_iou`,
        `sweep`, `regions`, `years`, `lakes`, `area`, `reliability`, `clear_observations` (None where no chip says).
    """
    counts = scores.headline
    return {
        "n_chips": len(scores),
        "n_blocks": len(set(scores.blocks)),
        "n_without_pixels": int((counts.sum(axis=1) == 0).sum()),
        "threshold": scores.threshold,
        "global_iou": _iou(scores, counts, confidence).as_dict(),
        "precision": _ratio(scores, counts[:, TP], counts[:, TP] + counts[:, FP], confidence).as_dict(),
        "recall": _ratio(scores, counts[:, TP], counts[:, TP] + counts[:, FN], confidence).as_dict(),
        "per_chip_iou": {"rule": PER_CHIP_RULE, **per_chip(scores, confidence).as_dict()},
        "sweep": [
            {"threshold": level, **_iou(scores, scores.counts[:, index], confidence).as_dict()}
            for index, level in enumerate(scores.thresholds)
        ],
        "regions": _grouped(scores, [facts.region for facts in scores.facts], confidence),
        "years": _grouped(scores, [str(facts.year) for facts in scores.facts], confidence),
        "lakes": _judge_lakes(scores, confidence),
        "area": _judge_area(scores, confidence),
        "reliability": _judge_reliability(scores),
        "clear_observations": _judge_clear(scores, confidence),
    }


def compare(first: Scores, second: Scores, *, confidence: float = 0.95) -> Estimate:
    """How much better the first model's global IoU is than the second's, over the same chips.

    Args:
        first: Of one model.
        second: Of another, the same chips in the same order.
        confidence: Of the interval.
    """
    parts = []
    for scores in (first, second):
        totals = scores.by_block(scores.headline)
        parts.append((totals[:, TP], _union(totals)))
    return difference_interval(parts[0], parts[1], confidence=confidence)


def per_chip(scores: Scores, confidence: float) -> Estimate:
    """Mean of the chips' own IoU; see `PER_CHIP_RULE`."""
    counts = scores.headline
    return _ratio(scores, smoothed_iou(counts[:, TP], _union(counts)), np.ones(len(counts)), confidence)


def iou_of_some(scores: Scores, which: NDArray[np.bool_], confidence: float = 0.95) -> Estimate:
    """The global IoU over some of the chips.

    Args:
        scores: What was counted.
        which: (N,) bool, True for the chips that count.
        confidence: Of the interval.
    """
    return _iou(scores, np.where(which[:, None], scores.headline, 0), confidence)


def _union(counts: NDArray[Any]) -> NDArray[Any]:
    """(N,) pixels of water by either of (N, 4) counts."""
    return np.asarray(counts[:, TP] + counts[:, FP] + counts[:, FN])


def _iou(scores: Scores, counts: NDArray[Any], confidence: float) -> Estimate:
    return _ratio(scores, counts[:, TP], _union(counts), confidence)


def _ratio(
    scores: Scores, over: NDArray[Any], under: NDArray[Any], confidence: float, bounded: bool = True
) -> Estimate:
    """A ratio of totals of (N,) values, its interval drawn from blocks."""
    return ratio_interval(scores.by_block(over), scores.by_block(under), bounded=bounded, confidence=confidence)


def _grouped(scores: Scores, names: Sequence[str], confidence: float) -> dict[str, Any]:
    """Figures by region or year."""
    found: dict[str, Any] = {}
    for name in sorted(set(names)):
        which = np.array([one == name for one in names])
        counts = scores.headline[which].sum(axis=0)
        blocks = {block for block, kept in zip(scores.blocks, which, strict=True) if kept}
        found[name] = {
            "n_chips": int(which.sum()),
            "n_blocks": len(blocks),
            "intersection": int(counts[TP]),
            "union": int(_union(counts[None])[0]),
            "global_iou": iou_of_some(scores, which, confidence).as_dict(),
        }
    return found


def _judge_lakes(scores: Scores, confidence: float) -> list[dict[str, Any]]:
    """Recall of labelled lakes and precision of answered ones, a size class each, then all together."""
    totals = scores.lakes_by_block()
    rows = []
    tops: list[float | None] = [*LAKE_CLASSES_M2[1:], None]
    kinds: list[tuple[float, float | None, NDArray[np.float64]]] = [
        (low, high, totals[:, index]) for index, (low, high) in enumerate(zip(LAKE_CLASSES_M2, tops, strict=True))
    ]
    for low, high, one in [*kinds, (0.0, None, totals.sum(axis=1))]:
        labelled, found, answered, true = (one[:, column] for column in range(4))
        rows.append(
            {
                "from_m2": low,
                "below_m2": high,
                "n_labelled": int(labelled.sum()),
                "n_found": int(found.sum()),
                "recall": ratio_interval(found, labelled, confidence=confidence).as_dict(),
                "n_answered": int(answered.sum()),
                "n_true": int(true.sum()),
                "precision": ratio_interval(true, answered, confidence=confidence).as_dict(),
            }
        )
    return rows


def _judge_area(scores: Scores, confidence: float) -> dict[str, Any]:
    """Answered area over labelled area, as burned and as outlined before burning."""
    counts = scores.headline
    answered = counts[:, TP] + counts[:, FP]
    pixel_m2 = float(PIXEL_M * PIXEL_M)
    return {
        "answered_m2": float(answered.sum()) * pixel_m2,
        "burned_m2": float((counts[:, TP] + counts[:, FN]).sum()) * pixel_m2,
        "outlined_m2": float(scores.outlined_px.sum()) * pixel_m2,
        "over_burned": _ratio(scores, answered, counts[:, TP] + counts[:, FN], confidence, bounded=False).as_dict(),
        "over_outlined": _ratio(scores, answered, scores.outlined_px, confidence, bounded=False).as_dict(),
    }


def _judge_reliability(scores: Scores) -> dict[str, Any]:
    """Share of water by probability, the expected calibration error and the Brier score."""
    pixels, probability, water, square = scores.reliability.T
    total = pixels.sum()
    filled = pixels > 0
    mean = np.divide(probability, pixels, out=np.zeros_like(pixels), where=filled)
    share = np.divide(water, pixels, out=np.zeros_like(pixels), where=filled)
    return {
        "bins": [
            {
                "from": index / RELIABILITY_BINS,
                "n_pixels": int(pixels[index]),
                "mean_probability": float(mean[index]),
                "water_share": float(share[index]),
            }
            for index in np.flatnonzero(filled).tolist()
        ],
        "expected_calibration_error": float((pixels * np.abs(mean - share)).sum() / total) if total else None,
        "brier_score": float(square.sum() / total) if total else None,
    }


def _judge_clear(scores: Scores, confidence: float) -> list[dict[str, Any]] | None:
    """Global IoU by the chips' number of clear observations; None where no chip says."""
    clear = np.array([np.nan if facts.n_clear is None else facts.n_clear for facts in scores.facts], dtype=float)
    if not np.isfinite(clear).any():
        return None
    rows = []
    bounds = [*CLEAR_CLASSES, np.inf]
    for low, high in pairwise(bounds):
        which = (clear >= low) & (clear < high)
        rows.append(
            {
                "from": low,
                "below": None if np.isinf(high) else high,
                "n_chips": int(which.sum()),
                "global_iou": iou_of_some(scores, which, confidence).as_dict(),
            }
        )
    return rows


def judge_seen(scores: Scores, splits: Sequence[BlockSplit], *, confidence: float = 0.95) -> dict[str, Any] | None:
    """How many of the chips lie in training ground of splits that the weights were trained by.

    Args:
        scores: What was counted.
        splits: Those splits, see `BlockSplit.of_size` where only a size is known.
        confidence: Of the intervals.

    Returns:
        Plain data for JSON; None where nothing is known of the training or a chip has no centre.
    """
    if not splits or any(facts.lat is None or facts.lon is None for facts in scores.facts):
        return None
    lat = np.array([facts.lat for facts in scores.facts], dtype=float)
    lon = np.array([facts.lon for facts in scores.facts], dtype=float)
    seen = np.zeros(len(scores), dtype=bool)
    for split in splits:
        seen |= split.assign(lat, lon) == TRAIN
    return {
        "sizes_deg": sorted({split.size_deg for split in splits}),
        "n_chips": len(scores),
        "n_seen": int(seen.sum()),
        "n_unseen": int((~seen).sum()),
        "unseen_global_iou": iou_of_some(scores, ~seen, confidence).as_dict(),
        "seen_global_iou": iou_of_some(scores, seen, confidence).as_dict(),
    }


def rows_of_scores(scores: Scores, others: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """A row a chip for `per_chip_<split>.parquet`.

    Args:
        scores: Of the model.
        others: Name -> scores of another over the same chips, whose counts get columns of that ending.
    """
    rows = []
    headline, burned = scores.headline, scores.outlined_px
    extra = {name: other.headline for name, other in others.items()}
    for index, facts in enumerate(scores.facts):
        row: dict[str, Any] = {
            "chip_id": facts.chip_id,
            "region": facts.region,
            "year": facts.year,
            "lat": facts.lat,
            "lon": facts.lon,
            "block": facts.block,
            "n_clear": facts.n_clear,
            "n_valid": int(headline[index].sum()),
            "outlined_px": float(burned[index]),
        }
        for suffix, counts in [("", headline), *((f"_{name}", one) for name, one in extra.items())]:
            tp, fp, fn, _ = (int(value) for value in counts[index])
            union = tp + fp + fn
            row |= {
                f"tp{suffix}": tp,
                f"fp{suffix}": fp,
                f"fn{suffix}": fn,
                f"iou{suffix}": tp / union if union else None,
                f"iou_smoothed{suffix}": float(smoothed_iou(tp, union)),
            }
        rows.append(row)
    return rows
