"""Which chips make up a batch, and the dice of its augmentation: functions of seed, epoch and place in the epoch alone.

A run can therefore be entered anywhere, by any number of processes, and draws the same. All dice are thrown on the CPU, so
that they do not depend on the device. Neighbours: `feed` gathers the chips; `augment` uses the dice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class OrderSettings:
    """How chips are drawn.

    Attributes:
        seed: Of the run.
        batch_size: Chips of a micro-batch.
        ratio: Chips with water drawn for each without; None to draw each chip once an epoch, in random order.
        threshold: Share of water from which a chip counts as one with water.
        n_draws: Chips drawn an epoch; None for as many as there are.
    """

    seed: int
    batch_size: int
    ratio: float | None = 3.0
    threshold: float = 0.002
    n_draws: int | None = None


def weigh_chips(water_frac: NDArray[np.float64], *, ratio: float, threshold: float) -> NDArray[np.float64]:
    """Weights of the sampler: `ratio` shared among chips with water, 1 among those without; all 1 where there is but one kind.

    Args:
        water_frac: (N,) share of water; NaN (unknown) counts as none.
        ratio: As in `OrderSettings`.
        threshold: Likewise; a chip exactly on it has water.
    """
    wet = np.nan_to_num(water_frac, nan=0.0) >= threshold
    n_wet, n_dry = int(wet.sum()), int((~wet).sum())
    if not n_wet or not n_dry:
        return np.ones(len(wet))
    return np.where(wet, ratio / n_wet, 1.0 / n_dry)


def make_generator(seed: int, *key: int | str) -> torch.Generator:
    """A generator on the CPU whose state depends on the seed and some further numbers or words alone."""
    text = "|".join(map(str, (seed, *key)))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)


class Order:
    """The order of chips in every epoch.

    Args:
        water_frac: (N,) of the chips, in the feed's order.
        settings: How they are drawn.
    """

    def __init__(self, water_frac: NDArray[np.float64], settings: OrderSettings) -> None:
        self.settings = settings
        self.n_chips = len(water_frac)
        ratio = settings.ratio
        self._weights = (
            None
            if ratio is None
            else torch.from_numpy(weigh_chips(water_frac, ratio=ratio, threshold=settings.threshold))
        )
        self._drawn: tuple[int, Tensor] | None = None

    @property
    def n_draws(self) -> int:
        """Chips drawn an epoch."""
        return self.settings.n_draws or self.n_chips

    def n_batches(self, n_processes: int = 1) -> int:
        """Whole micro-batches of each process in an epoch; what is left over is dropped."""
        return self.n_draws // (self.settings.batch_size * n_processes)

    def rows_of_epoch(self, epoch: int) -> Tensor:
        """(n_draws,) int64: rows of the feed, drawn with replacement by weight, or each once."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = make_generator(self.settings.seed, "order", epoch)
            if self._weights is None:
                rows = torch.randperm(self.n_chips, generator=generator)[: self.n_draws]
            else:
                rows = torch.multinomial(self._weights, self.n_draws, replacement=True, generator=generator)
            self._drawn = epoch, rows
        return self._drawn[1]

    def rows_of_batch(self, epoch: int, number: int) -> Tensor:
        """(batch_size,) int64: rows of a micro-batch.

        Args:
            epoch: From 0.
            number: Of the micro-batch within the epoch, counted over all processes: `index * n_processes + rank`.
        """
        size = self.settings.batch_size
        return self.rows_of_epoch(epoch)[number * size : (number + 1) * size]

    def dice(self, epoch: int, number: int) -> torch.Generator:
        """The generator for a micro-batch's augmentation."""
        return make_generator(self.settings.seed, "augment", epoch, number)
