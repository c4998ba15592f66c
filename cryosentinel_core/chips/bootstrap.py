"""Intervals of ratios that draw whole blocks of ground, not pixels and not chips.

Chips of one block see the same lakes, overlapping and year after year, so that their errors are one error seen many times:
what is drawn anew is the block, with all its chips of all years. There are about 18 blocks in a published split, too few for
the plain percentile interval, so that each draw is measured in its own standard error (studentised bootstrap), on the
scale of logits, where a share near 1 has room to vary. Below `MIN_BLOCKS` an interval would be a guess and is withheld.

Sources: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 12.5 (bootstrap-t, with a variance-stabilising
scale); Field and Welsh (2007), J. R. Stat. Soc. B 69, 369-390 (drawing clusters); Cochran (1977), Sampling Techniques,
chapter 6 (linearised variance of a ratio of totals). Coverage on a simulated population: benchmarks/intervals.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_BLOCKS: Final = 8
"""Fewer blocks give no interval."""

N_DRAWS: Final = 4000
"""Draws of an interval."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure, and how far it may be trusted.

    Attributes:
        value: From all chips; None where there is nothing to divide by.
        low: Lower end of the interval; None where it is withheld.
        high: Upper end.
        confidence: Of the interval, 0..1.
        n_blocks: Blocks that it was drawn from.
        withheld: Why there is no interval; empty if there is one.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    n_blocks: int = 0
    withheld: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, unrounded."""
        return asdict(self)

    def __str__(self) -> str:
        """As `0.8918 [0.8512, 0.9203]`."""
        if self.value is None:
            return "no water"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.value:.4f}{interval}"


def sum_by_block(values: ArrayLike, blocks: Sequence[Hashable]) -> Array:
    """Totals of each block.

    Args:
        values: (N, ...) a value a chip.
        blocks: N names of blocks.

    Returns:
        (M, ...) float64, blocks in the order of their first chip.
    """
    array = np.asarray(values, dtype=np.float64)
    order = {block: index for index, block in enumerate(dict.fromkeys(blocks))}
    totals = np.zeros((len(order), *array.shape[1:]))
    np.add.at(totals, [order[block] for block in blocks], array)
    return totals


def ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, *, bounded: bool = True, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """A ratio of totals with its interval.

    Args:
        numerator: (M,) a total a block.
        denominator: (M,) a total a block, none negative.
        bounded: Whether the ratio is a share, 0..1, of which logits are taken; else its logarithm is, as of a ratio of areas.
        confidence: Of the interval.
        seed: Of the draws: the same blocks give the same interval.
    """
    totals = np.stack([np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)], axis=1)
    totals = totals[totals.any(axis=1)]
    n_blocks, whole = len(totals), totals.sum(axis=0)
    if not whole[1] > 0:
        return Estimate(value=None, confidence=confidence, n_blocks=n_blocks, withheld="nothing to divide by")
    value = float(whole[0] / whole[1])
    withheld = _reason(n_blocks, value, bounded)
    if not withheld:
        ends = _studentised([totals], [1.0], bounded, confidence, seed)
        if ends is not None:
            low, high = (float(_back(end, bounded)) for end in ends)
            return Estimate(value=value, low=low, high=high, confidence=confidence, n_blocks=n_blocks)
        withheld = "blocks do not differ"
    return Estimate(value=value, confidence=confidence, n_blocks=n_blocks, withheld=withheld)


def difference_interval(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], *, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """The difference of two ratios over the same blocks, drawn together, as of two models' IoU.

    Args:
        first: Numerator and denominator, (M,) a total a block.
        second: The other's, the same blocks in the same order.
        confidence: Of the interval.
        seed: Of the draws.
    """
    pairs = [np.stack([np.asarray(part, dtype=float) for part in one], axis=1) for one in (first, second)]
    kept = np.concatenate(pairs, axis=1).any(axis=1)
    pairs = [pair[kept] for pair in pairs]
    n_blocks = int(kept.sum())
    if any(not pair[:, 1].sum() > 0 for pair in pairs):
        return Estimate(value=None, confidence=confidence, n_blocks=n_blocks, withheld="nothing to divide by")
    ratios = [float(pair[:, 0].sum() / pair[:, 1].sum()) for pair in pairs]
    value = ratios[0] - ratios[1]
    withheld = f"{n_blocks} blocks, wanted at least {MIN_BLOCKS}" if n_blocks < MIN_BLOCKS else ""
    ends = None if withheld else _studentised(pairs, [1.0, -1.0], None, confidence, seed)
    if ends is None:
        withheld = withheld or "blocks do not differ"
        return Estimate(value=value, confidence=confidence, n_blocks=n_blocks, withheld=withheld)
    return Estimate(value=value, low=ends[0], high=ends[1], confidence=confidence, n_blocks=n_blocks)


def _reason(n_blocks: int, value: float, bounded: bool) -> str:
    """Why an interval is withheld before it is drawn; empty if it is not."""
    if n_blocks < MIN_BLOCKS:
        return f"{n_blocks} blocks, wanted at least {MIN_BLOCKS}"
    if value <= 0 or (bounded and value >= 1):
        return f"the value is {value:g}, from which no spread follows"
    return ""


def _studentised(
    pairs: list[Array], signs: list[float], bounded: bool | None, confidence: float, seed: int
) -> tuple[float, float] | None:
    """Both ends on the scale that is drawn on; None where blocks do not differ."""
    n_blocks = len(pairs[0])
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), size=N_DRAWS).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn, drawn_error = _measure(pairs, signs, bounded, weights)
        value, error = (float(one[0]) for one in _measure(pairs, signs, bounded, np.ones((1, n_blocks))))
        pivots = (drawn - value) / drawn_error
    # A draw of blocks that are all alike, or all perfect, says nothing of the spread.
    pivots = pivots[np.isfinite(pivots)]
    if not error > 0 or not np.isfinite(error) or len(pivots) < N_DRAWS // 2:
        return None
    high, low = np.quantile(pivots, [0.5 + confidence / 2, 0.5 - confidence / 2])
    return value - float(high) * error, value - float(low) * error


def _measure(pairs: list[Array], signs: list[float], bounded: bool | None, weights: Array) -> tuple[Array, Array]:
    """(B,) statistic and (B,) its standard error for (B, M) weights of the blocks."""
    n_blocks = weights.shape[1]
    value = np.zeros(len(weights))
    residual = np.zeros_like(weights)
    for pair, sign in zip(pairs, signs, strict=True):
        over, under = weights @ pair[:, 0], weights @ pair[:, 1]
        ratio = over / under
        scale = np.ones_like(ratio)
        if bounded is True:
            scale = 1.0 / (ratio * (1.0 - ratio))
        elif bounded is False:
            scale = 1.0 / ratio
        value += sign * (ratio if bounded is None else _forth(ratio, bounded))
        residual += sign * (scale / under)[:, None] * (pair[:, 0] - ratio[:, None] * pair[:, 1])
    variance = (weights * residual**2).sum(axis=1) * n_blocks / (n_blocks - 1)
    return value, np.sqrt(variance)


def _forth(ratio: Array, bounded: bool) -> Array:
    """Logit of a share, logarithm of another ratio."""
    return np.log(ratio) - np.log1p(-ratio) if bounded else np.log(ratio)


def _back(end: float, bounded: bool) -> float:
    """The ratio again."""
    return float(1.0 / (1.0 + np.exp(-end))) if bounded else float(np.exp(end))
