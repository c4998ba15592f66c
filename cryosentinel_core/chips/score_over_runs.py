"""Mean and spread of a score over a few runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of a few values.

    Attributes:
        n: How many.
        mean: Their mean.
        std: Their standard deviation (n - 1).
        low: The lowest.
        high: The highest.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float

    def as_text(self) -> str:
        """In words."""
        return f"{self.mean:.4f} +- {self.std:.4f} (standard deviation over {self.n} seeds; {self.low:.4f} to {self.high:.4f})"


def spread_of(values: Sequence[float]) -> Spread | None:
    """Mean and spread; None of fewer than two values."""
    if len(values) < 2:
        return None
    return Spread(
        n=len(values),
        mean=statistics.fmean(values),
        std=statistics.stdev(values),
        low=min(values),
        high=max(values),
    )
