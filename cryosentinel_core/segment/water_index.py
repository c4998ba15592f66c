"""Lakes without a network: a classical mapper that says how much water a pixel holds.

Four steps, each local (nothing reaches farther than `HALO_PX`), each a function of the lattice alone:

1. *Seeds*: pixels that are water beyond doubt. A spectrum of water (`water_spectra`: clear, milky, silty, hazy or black); flat
   ground; outside terrain shadow; not bright in radar. Where radar is dark, darker water passes. Beside flat water very sure
   water passes on steep ground too: elevation models are older than the images and show ice where lakes have grown since.
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
Investig. 14, 801). The constants are ours: those of shores set on
simulated scenes, those of spectra on what water, snow, ice and shade do to light, and checked on real chips (see docs/method.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.provenance import digest_of
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.segment.neighbourhoods import Array, Mask, slope_degrees, smooth_db
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.segment.shore_unmixing import unmix_shores
from cryosentinel_core.segment.water_parameters import WaterIndexParameters
from cryosentinel_core.segment.water_spectra import Spectrum, is_dim_water, is_water_spectrum, normalised_difference
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.units import CELL_PX, REFLECTANCE_SCALE

HALO_PX: Final = 64
"""Pixels needed around a window: more than any neighbourhood used here adds up to."""

VERSION: Final = 5
"""Raised whenever the answer changes."""


@dataclass(frozen=True)
class WaterIndex:
    """The baseline segmenter; needs no weights, runs with radar absent.

    Attributes:
        parameters: Its constants.
    """

    parameters: WaterIndexParameters = field(default_factory=WaterIndexParameters)

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
        logits = unmix_shores(reflectance, seeds, valid, self.parameters)
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
        spectrum = Spectrum.of(reflectance)
        seeds = is_water_spectrum(spectrum, p) & ~(water_share < p.water_share)
        bright = seeds & (spectrum.green > p.green_sure)
        if radar is not None:
            vv, vh = smooth_db(radar[0]), smooth_db(radar[1])
            dark = (vv < p.vv_dark_db) & (vh < p.vh_dark_db)
            bright |= seeds & dark
            seeds |= dark & is_dim_water(spectrum, p)
            seeds &= ~(vh > p.vh_bright_db)
        lit = shadow < p.shadow_share
        flat = ~(slope_degrees(dem) > p.slope_degrees)
        found: Mask = seeds & lit & flat & valid
        sure = seeds & bright & (normalised_difference(spectrum.green, spectrum.nir) > p.ndwi_sure)
        return _spread_uphill(found, sure & (shadow < p.shadow_sure) & ~flat & valid, p.steep_reach_px)


def _spread_uphill(seeds: Mask, steep: Mask, reach_px: int) -> Mask:
    """Seeds, and steep ground of sure water beside them: a lake that has eaten into the glacier that the heights still show."""
    if not (seeds.any() and steep.any()):
        return seeds
    square = np.ones((3, 3), dtype=bool)
    grown: Mask = ndimage.binary_dilation(seeds, structure=square, iterations=reach_px, mask=steep | seeds)
    return grown
