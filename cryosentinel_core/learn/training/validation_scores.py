"""What is counted of a set of chips while a network is trained: pixels first, ratios of their sums second.

Neighbours: `task` fills it; `chips.metrics` has the same counts for finished runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cryosentinel_core.chips.metrics import Counts


class Tally:
    """Sums over batches, kept on the device in float64 so that nothing waits for them and processes can add theirs up.

    Args:
        device: That the batches are on.
    """

    def __init__(self, device: torch.device) -> None:
        kind = torch.float64 if device.type != "mps" else torch.float32
        self._sums = torch.zeros(8, dtype=kind, device=device)

    def add(self, logits: Tensor, label: Tensor, valid: Tensor, loss: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, H, W) float32; water where the sigmoid is 0.5 or more.
            label: (N, H, W).
            valid: (N, H, W) bool; all other pixels count nowhere.
            loss: Mean of the batch.
        """
        found, true = (torch.sigmoid(logits) >= 0.5) & valid, (label > 0.5) & valid
        both, n_found, n_true, n_valid = ((x).sum().to(self._sums.dtype) for x in (found & true, found, true, valid))
        n = float(len(label))
        pooled = (both + 1) / (n_found + n_true - both + 1)
        ones = torch.ones_like(both)
        self._sums += torch.stack([both, n_found, n_true, n_valid, n * pooled, n * loss.to(both.dtype), n * ones, ones])

    @property
    def sums(self) -> Tensor:
        """(8,) all sums, to be added over processes."""
        return self._sums

    def scores(self, sums: Tensor) -> dict[str, float]:
        """Ratios of sums.

        Args:
            sums: (8,), of one process or all.

        Returns:
            `iou` (global: sum of intersections over sum of unions; 1 where there is no water in answer and label),
            `iou_batch_mean` (the
            released code's val/iou: mean over batches of (I + 1) / (U + 1), which depends on the batch size), `precision`, `recall`,
            `loss`, `water_px`.
        """
        both, found, true, valid, pooled, loss, n, _ = (float(x) for x in sums.cpu())
        counts = Counts(tp=int(both), fp=int(found - both), fn=int(true - both), tn=int(valid - found - true + both))
        return {
            "iou": 1.0 if counts.iou is None else counts.iou,
            "iou_batch_mean": pooled / max(n, 1.0),
            "precision": both / found if found else 1.0,
            "recall": both / true if true else 1.0,
            "loss": loss / max(n, 1.0),
            "water_px": true,
        }
