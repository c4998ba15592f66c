"""The bands that a chip and a stack hold, by name and order.

Source: Sentinel-2 Products Specification Document (bands, wavelengths); the order is the one of the published chips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryosentinel_core.errors import BandError


@dataclass(frozen=True, kw_only=True)
class Band:
    """One Sentinel-2 band: name, common name (STAC eo), native pixel in metres, centre in micrometres."""

    name: str
    common_name: str
    native_m: int
    centre_um: float


S2_BANDS: Final[tuple[Band, ...]] = (
    Band(name="B01", common_name="coastal", native_m=60, centre_um=0.443),
    Band(name="B02", common_name="blue", native_m=10, centre_um=0.490),
    Band(name="B03", common_name="green", native_m=10, centre_um=0.560),
    Band(name="B04", common_name="red", native_m=10, centre_um=0.665),
    Band(name="B05", common_name="rededge1", native_m=20, centre_um=0.705),
    Band(name="B06", common_name="rededge2", native_m=20, centre_um=0.740),
    Band(name="B07", common_name="rededge3", native_m=20, centre_um=0.783),
    Band(name="B08", common_name="nir", native_m=10, centre_um=0.842),
    Band(name="B8A", common_name="nir08", native_m=20, centre_um=0.865),
    Band(name="B09", common_name="nir09", native_m=60, centre_um=0.945),
    Band(name="B11", common_name="swir16", native_m=20, centre_um=1.610),
    Band(name="B12", common_name="swir22", native_m=20, centre_um=2.190),
)
"""The twelve L2A bands in the order of the published chips (B10 does not exist in L2A)."""

S2_NAMES: Final[tuple[str, ...]] = tuple(band.name for band in S2_BANDS)
S1_NAMES: Final[tuple[str, ...]] = ("VV", "VH")
CHIP_BANDS: Final = len(S2_BANDS) + len(S1_NAMES) + 1
"""Bands of a chip GeoTIFF: 12 optical, VV, VH, DEM."""


def index_of_band(name: str) -> int:
    """Position of a Sentinel-2 band in a stack's first axis.

    Args:
        name: Band name such as `B03`.

    Raises:
        BandError: If a stack has no such band.
    """
    try:
        return S2_NAMES.index(name)
    except ValueError:
        raise BandError(f"no band {name!r} in a stack", f"bands are {', '.join(S2_NAMES)}") from None
