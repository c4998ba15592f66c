"""Signed distances to a label's edge, on whatever device the label is on.

On a CPU SciPy's transform is used; on a GPU the same exact distances are found in two passes, along columns and then over
rows, so that no label need travel back to the host. Neighbours: `losses` weighs probabilities with them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

_FAR: Final = 1.0e6
"""Squared, this exceeds every squared distance within a chip, and fits float32."""


def signed_distances(water: Tensor) -> Tensor:
    """Distance in pixels to the nearest pixel of the other kind: negative in water, positive outside, never 0.

    An image that is all water, or has none, is 0 everywhere.

    Args:
        water: (N, H, W) bool.

    Returns:
        (N, H, W) float32 on the same device.
    """
    if water.device.type == "cpu":
        return torch.from_numpy(np.stack([_by_scipy(image) for image in water.numpy()]))
    return by_passes(water)


def _by_scipy(water: np.ndarray) -> np.ndarray:
    if water.all() or not water.any():
        return np.zeros(water.shape, dtype=np.float32)
    outside = ndimage.distance_transform_edt(~water)
    inside = ndimage.distance_transform_edt(water)
    return np.asarray(outside - inside, dtype=np.float32)


def by_passes(water: Tensor) -> Tensor:
    """As `signed_distances`, by tensor operations alone: exact squared distances, image by image."""
    mixed = water.flatten(1).any(dim=1) & ~water.flatten(1).all(dim=1)
    outside = torch.stack([_to_nearest(image) for image in water])
    inside = torch.stack([_to_nearest(~image) for image in water])
    return torch.where(mixed[:, None, None], outside - inside, torch.zeros_like(outside))


def _to_nearest(kind: Tensor) -> Tensor:
    """Distance of each pixel of an image (H, W) to the nearest one that is True; a large number where there is none."""
    height, width = kind.shape
    rows = torch.arange(height, device=kind.device, dtype=torch.float32)[:, None].expand(height, width)
    above = torch.where(kind, rows, torch.full_like(rows, -_FAR)).cummax(dim=0).values
    below = torch.where(kind, rows, torch.full_like(rows, _FAR)).flip(0).cummin(dim=0).values.flip(0)
    along = torch.minimum(rows - above, below - rows)  # (H, W), to the nearest in the same column
    columns = torch.arange(width, device=kind.device, dtype=torch.float32)
    across = (columns[:, None] - columns[None, :]).square()  # (W, W)
    return (along.square()[:, None, :] + across).amin(dim=2).sqrt()
