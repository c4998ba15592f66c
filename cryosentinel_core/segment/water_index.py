"""Lakes without a network: a classical mapper that says how much water a pixel holds.

Four steps, each local (nothing reaches farther than `HALO_PX`), each a function of the lattice alone:

1. *Seeds*: pixels that are water beyond doubt. Green over near infrared and over shortwave infrared, both relative and dark
   enough to be no snow; flat ground; outside terrain shadow; not bright in radar. Where radar is dark, darker and browner
   water passes.
2. *Endmembers*: around each shore the mean spectra of the water inside and of the land outside, and how the land varies:
   thresholds adapt to turbid and clear lakes, to dark rock and bright scree, over a fixed neighbourhood.
3. *Unmixing*: reflectance mixes linearly, so a shore pixel's water fraction is where it lies between the two, seen along the
   direction that separates them best against the land's variety. The logit is zero at about one half, and the outline at
   that level runs at sub-pixel position.
4. *Sharpening*: in a picture blurred by a Gaussian of standard deviation s the half level lies s^2 / 2 times the curvature
   inside the shore, so that every outline, large or small, lacks pi s^2 of area (total curvature is 2 pi), which is 2 % of
   half a hectare. One step of inverse diffusion, f - s^2 / 2 laplacian(f), gives most of it back; a straight shore does not move.

Sources: NDWI (McFeeters 1996, Int. J. Remote Sens. 17, 1425), MNDWI (Xu 2006, Int. J. Remote Sens. 27, 3025), snow's
brightness in the near infrared (Hall et al. 1995, Remote Sens. Environ. 54, 127), slope, shadow and local thresholds for
glacial lakes (Li & Sheng 2012, Int. J. Remote Sens. 33, 5194; Huggel et al. 2002, Can. Geotech. J. 39, 316), radar darkness
(Wangchuk & Bolch 2020, Sci. Remote Sens. 2, 100008), linear unmixing (Adams et al. 1986, J. Geophys. Res. 91, 8098) by a
matched filter (Boardman 1998, Proc. 7th JPL Airborne Earth Science Workshop), deblurring by inverse diffusion (Gabor 1965, Lab.
Investig. 14, 801). The constants are ours, set on simulated
scenes (see docs/method.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.provenance import digest_of
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.units import CELL_PX, PIXEL_M, REFLECTANCE_SCALE

HALO_PX: Final = 64
"""Pixels needed around a window: more than any neighbourhood used here adds up to."""

VERSION: Final = 2
"""Raised whenever the answer changes."""

_BLUE, _GREEN, _NIR, _SWIR = (index_of_band(name) for name in ("B02", "B03", "B08", "B11"))
_SHORE: Final = tuple(index_of_band(name) for name in ("B02", "B03", "B04", "B08"))
"""Bands at 10 m: coarser ones would blur the shore."""

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class WaterIndexParameters:
    """Every constant of the water index, with its unit.

    Attributes:
        ndwi_seed: Least NDWI of a seed.
        mndwi_seed: Least MNDWI of a seed.
        nir_seed: Highest near-infrared reflectance of a seed.
        swir_seed: Highest shortwave-infrared reflectance of a seed.
        blue_seed: Highest blue reflectance of a seed: brighter is snow or cloud.
        ndwi_per_nir: Least NDWI of a seed per unit of near-infrared reflectance: brighter water must be greener.
        skylit_blue: Blue reflectance above which ground lit by the sky alone, shaded snow, is told by its colour.
        skylit_index: Least normalised difference of blue and green of such ground.
        ndwi_dark: Least NDWI of a dark seed (needs radar).
        nir_dark: Highest near-infrared reflectance of a dark seed.
        swir_dark: Highest shortwave-infrared reflectance of a dark seed.
        vv_dark_db: Highest VV backscatter of a dark seed, mean of 3 x 3 pixels, dB.
        vh_dark_db: Highest VH backscatter of a dark seed, mean of 3 x 3 pixels, dB.
        vh_bright_db: VH backscatter above which nothing is water, mean of 3 x 3 pixels, dB: rough ground in the dark.
        slope_degrees: Steepest ground under a seed.
        shadow_share: Largest share of dates in terrain shadow of a seed.
        water_share: Least share of clear dates on which the date's own index said water.
        land_radius_px: Half side of the neighbourhood of the land's mean and covariance.
        water_radius_px: Half side of the neighbourhood of the water endmember.
        reach_px: How far from a seed a shore may lie.
        noise: Standard deviation of a pixel's reflectance: sensor and registration.
        brightness_share: Standard deviation of the land's brightness as a share of it: wetness and slope.
        land_fallback: Reflectance of land in all bands where none is near.
        steepness: Logit of a pixel that is all water: slope of logit over fraction, times one half.
        shore_fraction: Water fraction of a pixel whose logit is zero: a little over one half, as wet ground looks like water.
        blur_px: Standard deviation of the blur of a composite (instrument, resampling, dates that do not lie quite on each other).
        outside_logit: Logit where no seed is near.
    """

    ndwi_seed: float = 0.12
    mndwi_seed: float = 0.2
    nir_seed: float = 0.14
    swir_seed: float = 0.08
    blue_seed: float = 0.4
    ndwi_per_nir: float = 3.0
    skylit_blue: float = 0.12
    skylit_index: float = 0.12
    ndwi_dark: float = 0.1
    nir_dark: float = 0.03
    swir_dark: float = 0.05
    vv_dark_db: float = -15.0
    vh_dark_db: float = -20.0
    vh_bright_db: float = -17.5
    slope_degrees: float = 14.0
    shadow_share: float = 0.6
    water_share: float = 0.3
    land_radius_px: int = 12
    water_radius_px: int = 7
    reach_px: int = 2
    noise: float = 0.002
    brightness_share: float = 0.3
    land_fallback: float = 0.2
    steepness: float = 8.0
    shore_fraction: float = 0.533
    blur_px: float = 0.6
    outside_logit: float = -8.0


@dataclass(frozen=True)
class WaterIndex:
    """The baseline segmenter; needs no weights, runs with radar absent.

    Attributes:
        parameters: Its constants.
    """

    parameters: WaterIndexParameters = WaterIndexParameters()

    @property
    def name(self) -> str:
        """`water-index`."""
        return "water-index"

    @property
    def digest(self) -> str:
        """Of version and constants."""
        return digest_of({"version": VERSION, **asdict(self.parameters)})

    @property
    def window_px(self) -> int:
        """A cell."""
        return CELL_PX

    @property
    def halo_px(self) -> int:
        """`HALO_PX`."""
        return HALO_PX

    @property
    def blended(self) -> bool:
        """False: a pixel's answer is the same whichever window asks."""
        return False

    @property
    def batch_size(self) -> int:
        """Four chips a call, to keep memory small."""
        return 4

    @property
    def is_network(self) -> bool:
        """False."""
        return False

    @property
    def error_model(self) -> UncertaintyModel:
        """Constants set by maximum likelihood on simulated scenes."""
        return WATER_INDEX_ERRORS

    @property
    def recipe(self) -> Recipe | None:
        """None: any stack will do."""
        return None

    def segment(self, batch: ChipBatch) -> NDArray[np.float32]:
        """Logits of water, zero where a pixel is half water; see `Segmenter.segment`."""
        inner = slice(self.halo_px, -self.halo_px)
        return np.stack([self._segment_chip(batch, index)[inner, inner] for index in range(len(batch))])

    def _segment_chip(self, batch: ChipBatch, index: int) -> Array:
        reflectance = batch.s2[index].astype(np.float32) / np.float32(REFLECTANCE_SCALE)
        radar = None if batch.s1 is None else batch.s1[index]
        valid = batch.valid[index]
        seeds = self.find_seeds(reflectance, radar, batch.dem[index, 0], batch.shadow[index], batch.water[index], valid)
        logits = self.unmix_shores(reflectance, seeds, valid)
        return np.asarray(np.where(valid, logits, self.parameters.outside_logit), dtype=np.float32)

    def find_seeds(
        self, reflectance: Array, radar: Array | None, dem: Array, shadow: Array, water_share: Array, valid: Mask
    ) -> Mask:
        """Pixels that are water beyond doubt.

        Args:
            reflectance: (12, H, W), 0..1.
            radar: (2, H, W) VV and VH in dB, NaN = nodata, or None.
            dem: (H, W) metres, NaN = nodata.
            shadow: (H, W) share of dates in terrain shadow.
            water_share: (H, W) share of clear dates with water, NaN = unknown.
            valid: (H, W) bool, True where data are good.

        Returns:
            (H, W) bool.
        """
        p = self.parameters
        green, nir, swir = reflectance[_GREEN], reflectance[_NIR], reflectance[_SWIR]
        ndwi, mndwi = normalised_difference(green, nir), normalised_difference(green, swir)
        blue = reflectance[_BLUE]
        skylit = (blue > p.skylit_blue) & (normalised_difference(blue, green) > p.skylit_index)
        bright_free = (nir < p.nir_seed) & (swir < p.swir_seed) & (blue < p.blue_seed) & ~skylit
        seeds = (ndwi > np.maximum(p.ndwi_seed, p.ndwi_per_nir * nir)) & (mndwi > p.mndwi_seed) & bright_free
        seeds &= ~(water_share < p.water_share)
        lit = shadow < p.shadow_share
        if radar is not None:
            vv, vh = smooth_db(radar[0]), smooth_db(radar[1])
            dark = (vv < p.vv_dark_db) & (vh < p.vh_dark_db)
            seeds |= dark & (nir < p.nir_dark) & (swir < p.swir_dark) & (ndwi > p.ndwi_dark)
            seeds &= ~(vh > p.vh_bright_db)
        flat = ~(slope_degrees(dem) > p.slope_degrees)
        found: Mask = seeds & lit & flat & valid
        return found

    def unmix_shores(self, reflectance: Array, seeds: Mask, valid: Mask) -> Array:
        """Logits from water fractions between local endmembers.

        Around each shore pixel the mean spectra of the water inside and of the land outside, and the land's covariance, come from
        fixed neighbourhoods. The fraction is the pixel's place between the two means along the direction that separates them best
        against the land's own variety (a matched filter): brightness, which wet shores and slopes change, counts as variety.

        Args:
            reflectance: (12, H, W), 0..1.
            seeds: (H, W) bool.
            valid: (H, W) bool.

        Returns:
            (H, W) float32 logits, zero where `shore_fraction` of a pixel is water.
        """
        p = self.parameters
        logits = np.full(seeds.shape, p.outside_logit, dtype=np.float32)
        if not seeds.any():
            return logits
        square = np.ones((3, 3), dtype=bool)
        near = ndimage.binary_dilation(seeds, structure=square, iterations=p.reach_px)
        core = ndimage.binary_erosion(seeds)
        land = ~near & valid & (reflectance[_BLUE] < p.blue_seed)
        bands = [reflectance[band].astype(np.float64) for band in _SHORE]
        water_mean = np.stack([_filled_mean(band, core, seeds, p.water_radius_px)[near] for band in bands], axis=-1)
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


def _filled_mean(values: NDArray[np.float64], first: Mask, second: Mask, radius_px: int) -> NDArray[np.float64]:
    """Local mean over the first mask, over the second where the first holds nowhere near."""
    mean = local_mean(values, first, radius_px)
    return np.where(np.isnan(mean), local_mean(values, second, radius_px), mean).astype(np.float64)


def normalised_difference(first: Array, second: Array) -> Array:
    """(first - second) / (first + second), 0 where both are 0; same shape, -1..1."""
    total = first + second
    out: Array = np.divide(first - second, total, out=np.zeros_like(total), where=total > 0)
    return out


def smooth_db(backscatter: Array) -> Array:
    """Mean of 3 x 3 pixels in linear power, back in dB; (H, W), NaN where nothing was seen (then no comparison holds)."""
    with np.errstate(divide="ignore"):
        power = np.power(np.float32(10.0), np.clip(backscatter, -60.0, 40.0) / np.float32(10.0))
        return np.asarray(10.0 * np.log10(local_mean(power, np.isfinite(backscatter), 1)), dtype=np.float32)


def local_mean(values: NDArray[np.floating[Any]], mask: Mask, radius_px: int) -> Array:
    """Mean over the square of 2 radius + 1 pixels of the values where a mask holds; NaN where it holds nowhere.

    Args:
        values: (H, W); not read where the mask is False.
        mask: (H, W) bool, True where a value counts.
        radius_px: Half the side of the square.
    """
    size = 2 * radius_px + 1
    weights = np.ones(size, dtype=np.float64)

    def box_sum(array: NDArray[np.float64]) -> NDArray[np.float64]:
        once = ndimage.correlate1d(array, weights, axis=0, mode="constant")
        return np.asarray(ndimage.correlate1d(once, weights, axis=1, mode="constant"), dtype=np.float64)

    total = box_sum(np.where(mask, values, 0.0).astype(np.float64))
    count = box_sum(mask.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(count > 0.5, total / count, np.nan), dtype=np.float32)


def slope_degrees(dem: Array) -> Array:
    """Slope of the ground over 60 m (Horn 1981 on the smoothed DEM); (H, W) degrees, NaN where the DEM is.

    Args:
        dem: (H, W) metres on 10 m pixels.
    """
    # Means and differences that look at their neighbours alone: a running sum would carry one NaN along a whole row.
    smooth = local_mean(dem, np.isfinite(dem), 1).astype(np.float64)
    dy = ndimage.sobel(smooth, axis=0, mode="nearest") / (8.0 * PIXEL_M)
    dx = ndimage.sobel(smooth, axis=1, mode="nearest") / (8.0 * PIXEL_M)
    return np.asarray(np.degrees(np.arctan(np.hypot(dx, dy))), dtype=np.float32)
