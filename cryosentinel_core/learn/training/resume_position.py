"""Where in a run a checkpoint was written, and Lightning's loops set to that place.

Lightning's own loop states depend on which hook a checkpoint was written in, and several of those states lead to a batch or a
validation
done twice or not at all. Here a place is three numbers, and the loops' states are made from them. Neighbours: `run_keeper` writes
checkpoints, `fit` goes on from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Position:
    """What is done of a run.

    Attributes:
        epoch: Whole epochs, their validation and all that follows included.
        batch: Micro-batches of the next epoch; 0 between epochs.
        step: Optimiser steps in all.
    """

    epoch: int
    batch: int
    step: int

    @classmethod
    def of_checkpoint(cls, content: Mapping[str, Any], n_batches: int) -> Position:
        """The place that a checkpoint says, ours or one of Lightning's own.

        Args:
            content: Of the file.
            n_batches: Micro-batches of an epoch in the run that goes on.
        """
        own = content.get("cryosentinel")
        if isinstance(own, Mapping) and isinstance(own.get("position"), Mapping):
            place = own["position"]
            return cls(epoch=int(place["epoch"]), batch=int(place["batch"]), step=int(place["step"]))
        epoch, step = int(content.get("epoch", 0)), int(content.get("global_step", 0))
        loops = content.get("loops")
        fit = loops.get("fit_loop", {}) if isinstance(loops, Mapping) else {}
        progress = fit.get("epoch_loop.batch_progress", {}) if isinstance(fit, Mapping) else {}
        current = progress.get("current", {}) if isinstance(progress, Mapping) else {}
        ready = int(current.get("ready", n_batches)) if isinstance(current, Mapping) else n_batches
        is_whole = ready >= n_batches or bool(isinstance(progress, Mapping) and progress.get("is_last_batch"))
        return cls(epoch=epoch + 1, batch=0, step=step) if is_whole else cls(epoch=epoch, batch=ready, step=step)

    def as_dict(self) -> dict[str, int]:
        """Plain data for a checkpoint."""
        return {"epoch": self.epoch, "batch": self.batch, "step": self.step}


def set_loops(fresh: Mapping[str, Any], position: Position, n_batches: int) -> dict[str, Any]:
    """The state of a fit loop at a place: `fresh` with its counters set.

    Args:
        fresh: The state of a loop that has not begun.
        position: The place.
        n_batches: Micro-batches of an epoch.
    """
    state = deepcopy(dict(fresh))
    epoch, batch = position.epoch, position.batch
    begun = epoch + (1 if batch else 0)
    for part in ("current", "total"):
        state["epoch_progress"][part] |= {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    done = {"current": batch, "total": epoch * n_batches + batch}
    for part, n in done.items():
        # As if the batch's last hooks were not through yet, which is where Lightning looks for a place within an epoch.
        completed = n - 1 if batch else n
        state["epoch_loop.batch_progress"][part] |= {"ready": n, "started": n, "processed": n, "completed": completed}
    state["epoch_loop.batch_progress"]["is_last_batch"] = False
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for kind in ("step", "zero_grad"):
        optimizer[kind]["total"] |= dict.fromkeys(optimizer[kind]["total"], position.step)
    state["epoch_loop.state_dict"] = {"_batches_that_stepped": position.step}
    return state
