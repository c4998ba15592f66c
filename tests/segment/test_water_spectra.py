"""Which spectra count as water: what flour, silt, haze, glint, snow, ice and shade do to light, one by one and on real chips."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cryosentinel_core.segment.water_index import WaterIndex
from cryosentinel_core.segment.water_parameters import WaterIndexParameters
from cryosentinel_core.segment.water_spectra import Spectrum, is_water_spectrum

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

WATER = {
    "clear lake": (0.040, 0.035, 0.020, 0.008, 0.004, 0.003),
    "very dark lake": (0.012, 0.009, 0.006, 0.004, 0.002, 0.001),
    "black lake under glint": (0.010, 0.014, 0.004, 0.016, 0.005, 0.002),
    "turquoise flour": (0.110, 0.140, 0.080, 0.030, 0.003, 0.002),
    "bright turquoise flour": (0.250, 0.320, 0.220, 0.160, 0.010, 0.008),
    "white flour": (0.307, 0.420, 0.420, 0.173, 0.001, 0.002),
    "grey flour": (0.150, 0.190, 0.190, 0.090, 0.005, 0.004),
    "silt": (0.050, 0.098, 0.125, 0.045, 0.004, 0.003),
    "more silt than the near infrared absorbs": (0.043, 0.082, 0.103, 0.102, 0.032, 0.021),
    "clear lake under haze": (0.120, 0.100, 0.080, 0.060, 0.040, 0.030),
    "dim lake under glint": (0.050, 0.063, 0.058, 0.059, 0.044, 0.035),
    "shallow lake under glint": (0.019, 0.036, 0.001, 0.001, 0.027, 0.031),
}
NO_WATER = {
    "fresh snow": (0.900, 0.900, 0.880, 0.780, 0.100, 0.080),
    "old snow": (0.600, 0.620, 0.610, 0.520, 0.060, 0.050),
    "snow in the shade": (0.300, 0.220, 0.170, 0.120, 0.015, 0.010),
    "glacier ice": (0.420, 0.420, 0.390, 0.300, 0.020, 0.015),
    "blue ice": (0.550, 0.520, 0.420, 0.260, 0.010, 0.008),
    "dirty ice": (0.250, 0.270, 0.270, 0.230, 0.030, 0.025),
    "debris": (0.110, 0.130, 0.150, 0.170, 0.210, 0.190),
    "granite": (0.150, 0.180, 0.210, 0.240, 0.280, 0.250),
    "slate": (0.055, 0.060, 0.062, 0.065, 0.070, 0.065),
    "wet slate": (0.030, 0.033, 0.034, 0.036, 0.030, 0.025),
    "wet sand": (0.090, 0.120, 0.150, 0.190, 0.150, 0.100),
    "bed of a drained lake": (0.092, 0.109, 0.117, 0.112, 0.071, 0.053),
    "grey ground half in the shade": (0.1180, 0.1211, 0.1181, 0.1099, 0.0722, 0.0661),
    "meadow": (0.030, 0.060, 0.040, 0.350, 0.180, 0.080),
    "forest in the shade": (0.015, 0.018, 0.010, 0.060, 0.020, 0.008),
    "burnt ground": (0.030, 0.035, 0.040, 0.060, 0.090, 0.085),
}


def _spectrum(values: tuple[float, ...]) -> Spectrum:
    return Spectrum(*(np.full((1, 1), value, dtype=np.float32) for value in values))


@pytest.mark.parametrize("name", sorted(WATER))
def test_water_of_every_kind(name: str) -> None:
    assert is_water_spectrum(_spectrum(WATER[name]), WaterIndexParameters()).all()


@pytest.mark.parametrize("name", sorted(NO_WATER))
def test_what_only_looks_like_water(name: str) -> None:
    assert not is_water_spectrum(_spectrum(NO_WATER[name]), WaterIndexParameters()).any()


@pytest.mark.parametrize("name", sorted(WATER))
@pytest.mark.parametrize("veil", [0.005, 0.01, 0.02])
def test_a_veil_of_haze_hides_no_lake_with_colour(name: str, veil: float) -> None:
    """Light that lies on all bands alike is told by the shortwave infrared; black water, which has no colour, drowns in it."""
    veiled = tuple(value + veil for value in WATER[name])
    if "dark" not in name and "black" not in name:
        assert is_water_spectrum(_spectrum(veiled), WaterIndexParameters()).all()


def test_real_chips(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milky, silty, hazy, glinting, black and snow-bound lakes, where one plain index or the other finds next to nothing."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from real_water import iou, read_chips, score

    assert str(BENCHMARKS) in sys.path
    folder = shared_data / "hls-water"
    if not folder.is_dir():
        pytest.skip(f"real chips not at hand: no folder {folder}")
    least = {"11": 0.7, "44": 0.8, "69": 0.65, "138": 0.9, "159": 0.9, "182": 0.9, "275": 0.95, "295": 0.9}
    dry = ["5", "37", "107", "289"]
    rows = {row["chip"]: row for row in (score(chip, WaterIndex()) for chip in read_chips(folder, {*least, *dry}))}
    found = {name: iou(rows[name]["water-index"]) for name in least}
    assert {name: found[name] for name in least if found[name] < least[name]} == {}
    assert sum(rows[name]["water-index"]["found"] for name in dry) <= 8
    assert min(iou(rows[name]["NDWI > 0"]) for name in least) < 0.1
