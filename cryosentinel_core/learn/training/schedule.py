"""Learning rates as a function of step and epoch alone: warm-up, cosine, and the flat phase whose snapshots are averaged.

There is no state to be saved: a run that is gone on with has the rates that it would have had. Neighbours:
`parameter_groups` says each group's peak; `task` sets the rates before each step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When rates rise, fall and become flat.

    Attributes:
        warmup_steps: Steps of linear warm-up from 0; step 0 has rate 0.
        max_steps: Where the cosine would reach 0.
        steps_per_epoch: Optimiser steps of one pass.
        swa_start: Epoch, from 0, in which the last phase begins: the rate stands still in it; None for none.
        annealing_epochs: Epochs from there until the flat rate is reached.
        swa_lr: The flat rate.
        keep_decay: Scale the flat rate by each group's share of the highest peak, so that layer-wise decay stays; as published it
            is the same for all groups, which lifts the first blocks to 8.4 times their own peak.
        linear: Anneal linearly instead of by a cosine.
    """

    warmup_steps: int = 500
    max_steps: int = 20_000
    steps_per_epoch: int = 1
    swa_start: int | None = None
    annealing_epochs: int = 3
    swa_lr: float = 1e-5
    keep_decay: bool = False
    linear: bool = False

    def multiplier(self, step: int) -> float:
        """Warm-up and cosine: what a peak is multiplied with at an optimiser step counted from 0."""
        if step < self.warmup_steps:
            return step / max(1, self.warmup_steps)
        progress = (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps)
        return max(0.0, 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))

    def rate(self, peak: float, step: int, epoch: int, *, highest: float) -> float:
        """The learning rate of a group.

        Args:
            peak: Of the group.
            step: Optimiser steps done.
            epoch: From 0.
            highest: Largest peak of all groups.
        """
        if self.swa_start is None or epoch < self.swa_start:
            return peak * self.multiplier(step)
        before = peak * self.multiplier(self.swa_start * self.steps_per_epoch)
        flat = self.swa_lr * (peak / highest if self.keep_decay else 1.0)
        share = min(1.0, (epoch - self.swa_start) / self.annealing_epochs) if self.annealing_epochs else 1.0
        if not self.linear:
            share = 0.5 * (1 - math.cos(math.pi * share))
        return share * flat + (1 - share) * before


def swa_start_epoch(start: float | int, max_epochs: int) -> int:
    """Epoch, from 0, in which the averaging phase begins: a share of the epochs, or a number of them, less one.

    As Lightning 2.6 counts: 0.4 of 30 is the 12th epoch, which is 11 from 0.
    """
    epochs = int(max_epochs * start) if isinstance(start, float) else start
    return max(epochs - 1, 0)
