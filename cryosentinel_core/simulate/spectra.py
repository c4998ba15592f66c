"""What the simulated surfaces reflect in Sentinel-2's bands and scatter back in Sentinel-1's."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Bands of a Level-2A product, in order."""

RESOLUTION_M: Final[dict[str, int]] = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B11": 20, "B12": 20,
}  # fmt: skip
"""Native pixel side of each band in metres."""

COVERS: Final = ("granite", "schist", "debris", "grass", "sand", "glacier")
"""What the ground can be covered with, snow and water aside."""

# Reflectance, in the order of BANDS. Rounded from spectra as in the ECOSTRESS library (rock, soil, grass, snow), Hall
# et al. 1990 (glacier ice) and Matta et al. 2017 (clear to milky lakes): plausible, not measured at one place.
_REFLECTANCE: Final[dict[str, tuple[float, ...]]] = {
    "granite": (0.120, 0.140, 0.165, 0.185, 0.195, 0.200, 0.205, 0.210, 0.215, 0.215, 0.260, 0.240),
    "schist": (0.055, 0.062, 0.072, 0.084, 0.090, 0.095, 0.100, 0.105, 0.110, 0.110, 0.140, 0.130),
    "debris": (0.120, 0.135, 0.150, 0.162, 0.166, 0.170, 0.172, 0.175, 0.178, 0.178, 0.190, 0.175),
    "grass": (0.025, 0.030, 0.060, 0.050, 0.100, 0.240, 0.290, 0.320, 0.340, 0.330, 0.200, 0.100),
    "sand": (0.100, 0.120, 0.145, 0.160, 0.165, 0.165, 0.165, 0.160, 0.160, 0.150, 0.115, 0.085),
    "glacier": (0.350, 0.365, 0.365, 0.340, 0.330, 0.300, 0.285, 0.260, 0.230, 0.195, 0.033, 0.024),
    "snow": (0.880, 0.900, 0.900, 0.890, 0.880, 0.870, 0.860, 0.840, 0.800, 0.700, 0.110, 0.090),
    "lake ice": (0.420, 0.440, 0.440, 0.420, 0.410, 0.380, 0.360, 0.320, 0.280, 0.220, 0.030, 0.020),
    "clear water": (0.052, 0.047, 0.038, 0.019, 0.014, 0.010, 0.009, 0.008, 0.006, 0.005, 0.003, 0.002),
    "turbid water": (0.150, 0.180, 0.215, 0.190, 0.170, 0.100, 0.095, 0.085, 0.060, 0.030, 0.010, 0.006),
    "white water": (0.199, 0.307, 0.420, 0.420, 0.380, 0.270, 0.240, 0.173, 0.130, 0.060, 0.002, 0.002),
    "black water": (0.016, 0.011, 0.009, 0.006, 0.005, 0.004, 0.004, 0.004, 0.004, 0.003, 0.002, 0.001),
    "cloud": (0.550, 0.550, 0.560, 0.570, 0.580, 0.600, 0.610, 0.620, 0.630, 0.500, 0.480, 0.380),
}

_DIFFUSE: Final = (0.34, 0.28, 0.20, 0.14, 0.13, 0.11, 0.10, 0.08, 0.075, 0.070, 0.035, 0.025)
_WETNESS: Final = (0.25, 0.27, 0.30, 0.32, 0.33, 0.34, 0.35, 0.36, 0.37, 0.40, 0.55, 0.60)

GAMMA0_DB: Final[dict[str, tuple[float, float]]] = {
    "granite": (-8.5, -15.5), "schist": (-9.5, -16.5), "debris": (-8.0, -15.0), "grass": (-11.0, -17.0),
    "sand": (-18.0, -26.5), "glacier": (-13.5, -21.0), "dry snow": (-11.0, -18.0), "wet snow": (-17.0, -24.0),
    "lake ice": (-14.0, -22.0), "calm water": (-22.5, -29.5), "rough water": (-12.5, -24.5), "noise": (-26.0, -31.0),
}  # fmt: skip
"""Gamma nought in dB, (VV, VH), of flattened terrain at 39 degrees of incidence."""


def reflectance_of(surface: str, band: str) -> float:
    """Bidirectional reflectance (0 to 1) of a surface in a band."""
    return _REFLECTANCE[surface][BANDS.index(band)]


def diffuse_share(band: str) -> float:
    """Share of the light on level ground that comes from the sky and not from the sun, in a band."""
    return _DIFFUSE[BANDS.index(band)]


def wet_loss(band: str) -> float:
    """By which share wet ground is darker than dry ground in a band."""
    return _WETNESS[BANDS.index(band)]


def gamma0_of(surface: str) -> npt.NDArray[np.float64]:
    """Linear gamma nought of a surface, `(VV, VH)`."""
    return 10 ** (np.array(GAMMA0_DB[surface]) / 10)
