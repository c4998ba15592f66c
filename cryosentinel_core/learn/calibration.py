"""What judging a network teaches about its areas: slope and intercept of its logits, the threshold whose areas are unbiased, and
how far its outlines are off.

Labels burned with all_touched and weighted losses make a network's lakes too large at one half, so that the threshold is
chosen on areas against polygons, not on overlap with labels. What then remains is split as `lakes.uncertainty` splits it: a part that
averages out along the shore, a part that a lake's whole shore has in common, and one that a whole block of ground has in common,
which is the systematic one. Constants are fitted by the interval score, which rewards narrow intervals and fines each miss, and
are judged on blocks that they were not fitted on. Neighbours: `calibration_pairs` measures lakes; `io.weights.calibration_files` keeps
the result beside the weights.

Sources: Platt (1999), in Advances in Large Margin Classifiers, 61-74 (slope and intercept); Gneiting and Raftery (2007), J. Am.
Stat. Assoc. 102, 359-378, section 6.2 (interval score); DerSimonian and Laird (1986), Control. Clin. Trials 7, 177-188 (variance
between groups).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from cryosentinel_core.chips.metrics import logit_centres
from cryosentinel_core.errors import InputError
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel

CALIBRATION_THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Probabilities at which outlines are drawn; between them areas are interpolated in logits."""

SIZE_BOUNDS_M2: Final = (0.0, 10_000.0, 50_000.0)
"""Lower bounds of the size classes in which coverage is told."""

MIN_LAKES: Final = 30
"""Fewer lakes fit no constants."""

N_FOLDS: Final = 5
_Z: Final = float(stats.norm.ppf(0.975))

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was learned of one set of weights.

    Attributes:
        tensors_sha256: Digest of the weights that it holds for.
        slope: Of calibrated logits over the network's.
        intercept: Of calibrated logits at a logit of 0.
        threshold: Probability (of the network, as it is) whose areas are unbiased.
        error_model: Constants of how far outlines at that threshold are off.
        evidence: What it rests on: lakes, blocks, coverage on held-out blocks.
    """

    tensors_sha256: str
    slope: float
    intercept: float
    threshold: float
    error_model: UncertaintyModel
    evidence: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise InputError(f"calibration: threshold is {self.threshold}, wanted 0 to 1")
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept)):
            raise InputError("calibration: slope or intercept is no number")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """The calibration of a file's data.

        Raises:
            InputError: If it is none.
        """
        try:
            numbers = {name: float(data[name]) for name in ("slope", "intercept", "threshold")}
            model = UncertaintyModel(**{str(name): float(value) for name, value in data["error_model"].items()})
            digest, evidence = str(data["tensors_sha256"]), dict(data.get("evidence") or {})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"no calibration: {type(error).__name__} {error}", "make it again") from error
        return cls(tensors_sha256=digest, error_model=model, evidence=evidence, **numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class LakePairs:
    """Lakes with a known polygon, and what was drawn of each at every threshold; NaN where it was not the same one lake.

    Attributes:
        block: (N,) text, ground that is drawn and held out together.
        true_m2: (N,) area of the polygon.
        area_m2: (N, T) area of the outline.
        perimeter_m: (N, T) of the outline.
        shore_m2: (N, T) random sigma that the shore's own displacement makes by `NETWORK_ERRORS`.
        thresholds: (T,) probabilities, ascending.
    """

    block: NDArray[np.str_]
    true_m2: Array
    area_m2: Array
    perimeter_m: Array
    shore_m2: Array
    thresholds: Array

    def __len__(self) -> int:
        """Lakes."""
        return len(self.true_m2)

    def take(self, which: NDArray[np.bool_]) -> LakePairs:
        """Some of the lakes."""
        names = ("block", "true_m2", "area_m2", "perimeter_m", "shore_m2")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def at(self, threshold: float) -> tuple[Array, Array, Array]:
        """(N,) area, perimeter and shore sigma at a threshold, NaN where a neighbouring one is; linear in logits."""
        levels, level = _logit(self.thresholds), float(_logit(np.array([threshold]))[0])
        upper = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
        share = float(np.clip((level - levels[upper - 1]) / (levels[upper] - levels[upper - 1]), 0.0, 1.0))
        parts = (self.area_m2, self.perimeter_m, self.shore_m2)
        ends = [(part[:, upper - 1], part[:, upper]) for part in parts]
        # At a threshold that outlines were drawn at, its own outlines are enough.
        if share in (0.0, 1.0):
            one, two, three = (pair[int(share)] for pair in ends)
        else:
            one, two, three = ((1.0 - share) * low + share * high for low, high in ends)
        return one, two, three


def fit_logits(histogram: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and intercept of the logits by maximum likelihood.

    Args:
        histogram: (2, bins) pixels without and with water, as `chips.metrics.bin_logits` counts them.

    Returns:
        (slope, intercept); (1, 0) where one side holds no pixel.
    """
    counts = histogram.astype(np.float64)
    if not (counts.sum(axis=1) > 0).all():
        return 1.0, 0.0
    centres, total = logit_centres(), counts.sum()

    def loss(parameters: Array) -> float:
        logits = parameters[0] * centres + parameters[1]
        return float((counts[0] * np.logaddexp(0.0, logits) + counts[1] * np.logaddexp(0.0, -logits)).sum() / total)

    found = optimize.minimize(loss, np.array([1.0, 0.0]), method="BFGS")
    return float(found.x[0]), float(found.x[1])


def fit_threshold(pairs: LakePairs) -> float:
    """The threshold at which outlines are as large as the polygons, in all: where the mean displacement of the shores is zero.

    Only lakes that are drawn at every threshold count, so that all thresholds are judged on the same ones. Where no threshold is
    unbiased, the nearest end.

    Raises:
        InputError: If fewer than `MIN_LAKES` lakes count.
    """
    whole = pairs.take(np.asarray(np.isfinite(pairs.area_m2).all(axis=1), dtype=bool))
    if len(whole) < MIN_LAKES:
        raise InputError(
            f"{len(whole)} lakes are drawn at every threshold, wanted at least {MIN_LAKES}",
            "give more chips, or an inventory that covers them",
        )
    error = whole.area_m2 - whole.true_m2[:, None]
    shift = error.sum(axis=0) / whole.perimeter_m.sum(axis=0)
    levels = _logit(pairs.thresholds)
    # Outlines shrink as the threshold rises; rounding aside, so does the shift.
    falling = np.minimum.accumulate(shift)
    level = float(np.interp(0.0, falling[::-1], levels[::-1]))
    return float(1.0 / (1.0 + np.exp(-level)))


def fit_errors(pairs: LakePairs, threshold: float) -> UncertaintyModel:
    """Constants of how far outlines at a threshold are off, on top of those of `NETWORK_ERRORS` that lakes alone do not tell.

    Args:
        pairs: Lakes with their polygons.
        threshold: That the outlines are drawn at.

    Raises:
        InputError: If fewer than `MIN_LAKES` lakes are drawn there.
    """
    area, perimeter, shore = pairs.at(threshold)
    kept = np.isfinite(area)
    if kept.sum() < MIN_LAKES:
        raise InputError(f"{int(kept.sum())} lakes at a threshold of {threshold:.2f}, wanted at least {MIN_LAKES}")
    error, perimeter, shore = (area - pairs.true_m2)[kept], perimeter[kept], shore[kept]
    systematic = _between_blocks(error / perimeter, pairs.block[kept])
    scale = float(np.sqrt(np.mean((error / perimeter) ** 2))) + 1e-6

    def score(logs: Array) -> float:
        factor, lake = np.exp(logs)
        sigma = np.sqrt((factor * shore) ** 2 + ((lake**2 + systematic**2) * perimeter**2))
        miss = np.maximum(np.abs(error) - _Z * sigma, 0.0)
        return float(np.mean((2.0 * _Z * sigma + 2.0 / 0.05 * miss) / perimeter))

    starts = [np.log([1.0, scale]), np.log([0.1, scale]), np.log([5.0, scale / 10.0])]
    found = min((optimize.minimize(score, start, method="Nelder-Mead") for start in starts), key=lambda one: one.fun)
    factor, lake = (float(value) for value in np.exp(np.clip(found.x, -12.0, 6.0)))
    return replace(
        NETWORK_ERRORS,
        displacement_m=factor * NETWORK_ERRORS.displacement_m,
        transition_share=factor * NETWORK_ERRORS.transition_share,
        lake_displacement_m=lake,
        systematic_displacement_m=systematic,
    )


def judge_held_out(pairs: LakePairs, n_folds: int = N_FOLDS) -> dict[str, Any]:
    """Coverage of 95 % intervals of areas in blocks that threshold and constants were not fitted on.

    Args:
        pairs: Lakes with their polygons.
        n_folds: Blocks are dealt into so many parts, each held out once; fewer where there are fewer blocks.

    Returns:
        Plain data: `n_lakes`, `n_blocks`, `bias_percent` of all areas together, and `classes`, each with its bounds, `n_lakes`,
        `coverage`, its own Clopper-Pearson interval, and `width_ratio`, mean width over the spread (2.5 to 97.5 %) of the errors.
    """
    names = sorted(set(pairs.block.tolist()))
    fold_of = {name: index % min(n_folds, len(names)) for index, name in enumerate(names)}
    fold = np.array([fold_of[name] for name in pairs.block.tolist()], dtype=int)
    error, width = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    for part in sorted(set(fold.tolist())):
        training, held = pairs.take(fold != part), pairs.take(fold == part)
        threshold = fit_threshold(training)
        model = fit_errors(training, threshold)
        area, perimeter, shore = held.at(threshold)
        error[fold == part] = area - held.true_m2
        width[fold == part] = 2.0 * _Z * sigma_of(model, perimeter, shore)
    kept = np.isfinite(error)
    bounds = [*SIZE_BOUNDS_M2, np.inf]
    return {
        "n_lakes": int(kept.sum()),
        "n_blocks": len(names),
        "bias_percent": float(100.0 * error[kept].sum() / pairs.true_m2[kept].sum()),
        "classes": [
            _judge_class(low, high, error[which], width[which])
            for low, high in pairwise(bounds)
            if (which := kept & (pairs.true_m2 >= low) & (pairs.true_m2 < high)).any()
        ],
    }


def sigma_of(model: UncertaintyModel, perimeter_m: Array, shore_m2: Array) -> Array:
    """(N,) standard deviation of areas by constants from `fit_errors`, random and systematic parts together."""
    factor = model.displacement_m / NETWORK_ERRORS.displacement_m
    along = model.lake_displacement_m**2 + model.systematic_displacement_m**2
    return np.asarray(np.sqrt((factor * shore_m2) ** 2 + along * perimeter_m**2), dtype=np.float64)


def _judge_class(low: float, high: float, error: Array, width: Array) -> dict[str, Any]:
    """Coverage of one size class."""
    held = int((np.abs(error) <= width / 2.0).sum())
    ends = stats.binomtest(held, len(error)).proportion_ci(0.95, method="exact")
    spread = float(np.subtract(*np.quantile(error, [0.975, 0.025])))
    return {
        "from_m2": low,
        "below_m2": None if np.isinf(high) else high,
        "n_lakes": len(error),
        "coverage": held / len(error),
        "coverage_low": float(ends.low),
        "coverage_high": float(ends.high),
        "width_ratio": float(width.mean() / spread) if spread > 0 else None,
    }


def _between_blocks(shift_m: Array, block: NDArray[np.str_]) -> float:
    """Displacement that a block's lakes have in common, one sigma, metres: between-block spread and what is unsure of the mean."""
    names, index = np.unique(block, return_inverse=True)
    if len(names) < 2:
        return float(NETWORK_ERRORS.systematic_displacement_m)
    count = np.bincount(index).astype(np.float64)
    mean = np.bincount(index, shift_m) / count
    within = float(((shift_m - mean[index]) ** 2).sum() / max(len(shift_m) - len(names), 1))
    weight = count / max(within, 1e-12)
    centre = (weight * mean).sum() / weight.sum()
    excess = (weight * (mean - centre) ** 2).sum() - (len(names) - 1)
    between = max(0.0, excess / (weight.sum() - (weight**2).sum() / weight.sum()))
    unsure = 1.0 / (1.0 / (between + within / count)).sum()
    return float(np.sqrt(between + unsure))


def _logit(probability: Array) -> Array:
    """Natural logarithm of the odds."""
    return np.asarray(np.log(probability) - np.log1p(-probability), dtype=np.float64)
