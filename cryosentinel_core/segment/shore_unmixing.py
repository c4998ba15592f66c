"""How much of a shore's pixel is water: linear unmixing between the water inside and the land outside.

Neighbours: `water_spectra` finds what is water beyond doubt; `water_index` puts both together.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from cryosentinel_core.segment.neighbourhoods import Array, Mask, filled_mean, local_mean
from cryosentinel_core.segment.water_parameters import WaterIndexParameters
from cryosentinel_core.stack.bands import index_of_band

_BLUE: Final = index_of_band("B02")
_SHORE: Final = tuple(index_of_band(name) for name in ("B02", "B03", "B04", "B08"))
"""Bands at 10 m: coarser ones would blur the shore."""


def unmix_shores(reflectance: Array, seeds: Mask, valid: Mask, p: WaterIndexParameters) -> Array:
    """Logits from water fractions between local endmembers.

    Around each shore pixel the mean spectra of the water inside and of the land outside, and the land's covariance, come from
    fixed neighbourhoods. The fraction is the pixel's place between the two means along the direction that separates them best
    against the land's own variety (a matched filter): brightness, which wet shores and slopes change, counts as variety.

    Args:
        reflectance: (12, H, W), 0..1.
        seeds: (H, W) bool.
        valid: (H, W) bool.
        p: Constants.

    Returns:
        (H, W) float32 logits, zero where `shore_fraction` of a pixel is water.
    """
    logits = np.full(seeds.shape, p.outside_logit, dtype=np.float32)
    if not seeds.any():
        return logits
    square = np.ones((3, 3), dtype=bool)
    near = ndimage.binary_dilation(seeds, structure=square, iterations=p.reach_px)
    core = ndimage.binary_erosion(seeds)
    land = ~near & valid & (reflectance[_BLUE] < p.blue_seed)
    bands = [reflectance[band].astype(np.float64) for band in _SHORE]
    water_mean = np.stack([filled_mean(band, core, seeds, p.water_radius_px)[near] for band in bands], axis=-1)
    means = [local_mean(band, land, p.land_radius_px).astype(np.float64) for band in bands]
    land_mean = np.stack([mean[near] for mean in means], axis=-1)
    has_land = np.isfinite(land_mean).all(axis=-1)
    land_mean = np.where(has_land[:, None], land_mean, p.land_fallback)
    covariance = np.empty((land_mean.shape[0], len(bands), len(bands)))
    for one in range(len(bands)):
        for other in range(one, len(bands)):
            product = local_mean(bands[one] * bands[other], land, p.land_radius_px)[near]
            joint = np.nan_to_num(product - land_mean[:, one] * land_mean[:, other])
            covariance[:, one, other] = covariance[:, other, one] = np.where(has_land, joint, 0.0)
    covariance += p.noise**2 * np.eye(len(bands))
    covariance += p.brightness_share**2 * land_mean[:, :, None] * land_mean[:, None, :]
    apart = water_mean - land_mean
    direction = np.linalg.solve(covariance, apart[..., None])[..., 0]
    pixels = np.stack([band[near] for band in bands], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = (direction * (pixels - land_mean)).sum(axis=-1) / (direction * apart).sum(axis=-1)
    blurred = np.zeros(seeds.shape)
    blurred[near] = np.clip(np.nan_to_num(fraction, nan=0.0), 0.0, 1.0)
    fraction = (blurred - 0.5 * p.blur_px**2 * ndimage.laplace(blurred, mode="nearest"))[near]
    shore = 2.0 * p.steepness * (fraction - p.shore_fraction)
    logits[near] = np.where(core[near], np.maximum(shore, p.steepness / 2.0), shore)
    return logits
