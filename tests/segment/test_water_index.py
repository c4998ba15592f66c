"""The water index against a closed form, against real chips, and against itself cut otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from scipy import ndimage
from skimage import measure

from cryosentinel_core.segment.neighbourhoods import local_mean, slope_degrees
from cryosentinel_core.segment.segmenter import ChipBatch, Segmenter
from cryosentinel_core.segment.water_index import HALO_PX, WaterIndex
from cryosentinel_core.segment.water_parameters import WaterIndexParameters
from cryosentinel_core.segment.windows import pad_halo
from cryosentinel_core.units import CELL_PX

CHIPS = {
    "sea": ("282D_485L_3_3", [(200, 200), (150, 212), (120, 218), (215, 150)], True),
    "lagoon": ("282D_485L_3_3", [(20, 150), (25, 152), (40, 110), (90, 106)], True),
    "beach": ("282D_485L_3_3", [(150, 130), (110, 160), (12, 200), (60, 155)], False),
    "forest": ("282D_485L_3_3", [(50, 40), (150, 40)], False),
}


def _real_chip(folder: Path, name: str, *, radar: bool = True) -> ChipBatch:
    with rasterio.open(folder / "chips" / "S2L2A" / f"{name}.tif") as raster:
        s2 = raster.read().astype(np.uint16)
    with rasterio.open(folder / "chips" / "S1RTC" / f"{name}.tif") as raster:
        s1 = raster.read().astype(np.float32)
    with rasterio.open(folder / "chips" / "DEM" / f"{name}.tif") as raster:
        dem = raster.read().astype(np.float32)
    return chip(s2, dem, s1 if radar else None)


def chip(s2: np.ndarray, dem: np.ndarray, s1: np.ndarray | None = None) -> ChipBatch:
    zeros = np.zeros((1, *s2.shape[1:]), dtype=np.float32)
    return ChipBatch(
        s2=s2[None],
        s1=None if s1 is None else s1[None],
        dem=dem[None],
        valid=(s2 != 0).any(axis=0)[None],
        shadow=zeros,
        snow=zeros,
        water=np.full_like(zeros, np.nan),
        addresses=np.zeros((1, 2), dtype=np.int64),
    )


def segment(batch: ChipBatch) -> np.ndarray:
    return WaterIndex().segment(pad_halo(batch, HALO_PX))


def lake_scene(
    side: int, radius_px: float, *, rock: int = 2000, water: int = 300
) -> tuple[np.ndarray, np.ndarray, float]:
    """A round lake on grey rock, shores mixed linearly by 8 x 8 supersampling; its area in pixels is known."""
    fine = (np.arange(side * 8) + 0.5) / 8 - side / 2
    inside = (fine[:, None] ** 2 + (fine[None, :] - 0.3) ** 2 < radius_px**2).astype(np.float64)
    fraction = inside.reshape(side, 8, side, 8).mean(axis=(1, 3))
    s2 = np.full((12, side, side), rock, dtype=np.float64)
    levels = dict.fromkeys(range(12), water) | {0: 500, 1: 600, 2: 700, 3: 500, 10: 60, 11: 40}
    for band, level in levels.items():
        s2[band] = fraction * level + (1 - fraction) * rock
    return np.rint(s2).astype(np.uint16), np.zeros((1, side, side), dtype=np.float32), float(fraction.sum())


@pytest.mark.parametrize("place", sorted(CHIPS))
def test_real_coast(shared_data: Path, place: str) -> None:
    name, points, is_water = CHIPS[place]
    logits = segment(_real_chip(shared_data, name))[0]
    assert [bool(logits[point] > 0) for point in points] == [is_water] * len(points)


@pytest.mark.parametrize("name", ["38D_378R_2_3", "609U_541L_3_0"])
@pytest.mark.parametrize("radar", [True, False])
def test_no_water_on_real_land_and_snow(shared_data: Path, name: str, radar: bool) -> None:
    logits = segment(_real_chip(shared_data, name, radar=radar))[0]
    assert float((logits > 0).mean()) < 0.001


def test_mndwi_alone_calls_the_snow_water(shared_data: Path) -> None:
    s2 = _real_chip(shared_data, "609U_541L_3_0").s2[0].astype(float)
    assert ((s2[2] - s2[10]) / (s2[2] + s2[10]) > 0.3).mean() > 0.99


@pytest.mark.parametrize("radius_px", [6.0, 12.3, 30.0])
@pytest.mark.parametrize("rock", [1200, 3500])
def test_half_level_lies_on_the_shore(radius_px: float, rock: int) -> None:
    s2, dem, area_px = lake_scene(224, radius_px, rock=rock)
    logits = segment(chip(s2, dem))[0]
    assert (logits > 0).sum() == pytest.approx(area_px, rel=0.03)
    steep = 1.0 / (1.0 + np.exp(-logits))
    assert steep.max() > 0.99


@pytest.mark.parametrize("radius_px", [4.0, 7.3, 20.0])
@pytest.mark.parametrize("blur_px", [0.5, 0.6])
def test_sharpening_gives_back_what_blur_took(radius_px: float, blur_px: float) -> None:
    """A blurred disc lacks pi s^2 of area inside its half level, whatever its radius; sharpened it lacks most of that less."""
    s2, dem, _ = lake_scene(224, radius_px)
    blurred = ndimage.gaussian_filter(s2.astype(np.float64), (0, blur_px, blur_px), mode="nearest")
    lacking = {}
    for given_back in (0.0, blur_px):
        index = WaterIndex(WaterIndexParameters(shore_fraction=0.5, blur_px=given_back))
        logits = index.segment(pad_halo(chip(np.rint(blurred).astype(np.uint16), dem), HALO_PX))[0]
        (ring,) = measure.find_contours(logits, 0.0)
        lacking[given_back] = np.pi * radius_px**2 - shapely.Polygon(ring).area
    took = np.pi * blur_px**2
    assert lacking[0.0] > took, "the pixels themselves blur too"
    assert 0.5 * took < lacking[0.0] - lacking[blur_px] < took


def test_steep_ground_is_no_lake() -> None:
    s2, dem, _ = lake_scene(224, 20)
    ramp = np.broadcast_to(np.arange(224) * 10.0 * np.tan(np.radians(25)), (224, 224)).astype(np.float32)
    assert slope_degrees(ramp)[64, 64] == pytest.approx(25, abs=0.01)
    assert (segment(chip(s2, ramp[None]))[0] > 0).sum() == 0
    assert (segment(chip(s2, dem))[0] > 0).sum() > 1000


def test_an_old_glacier_in_the_heights_does_not_cut_the_lake_that_ate_it() -> None:
    """Flat up to the lake's middle, 25 degrees from there; what is doubtful on steep ground stays land."""
    s2, dem, _ = lake_scene(224, 20)
    cliff = np.broadcast_to(np.maximum(np.arange(224) - 112, 0) * 10.0 * np.tan(np.radians(25)), (224, 224))
    whole = int((segment(chip(s2, dem))[0] > 0).sum())
    assert (segment(chip(s2, cliff[None].astype(np.float32)))[0] > 0).sum() == pytest.approx(whole, rel=0.01)
    shaded = chip(s2, cliff[None].astype(np.float32))
    shaded = replace(shaded, shadow=np.full_like(shaded.shadow, 0.4))
    assert (segment(shaded)[0] > 0).sum() < 0.65 * whole


def test_rough_ground_in_radar_is_no_lake() -> None:
    s2, dem, _ = lake_scene(224, 20)
    bright = np.stack([np.full((224, 224), -8.0), np.full((224, 224), -14.0)]).astype(np.float32)
    calm = np.stack([np.full((224, 224), -20.0), np.full((224, 224), -27.0)]).astype(np.float32)
    missing = np.full((2, 224, 224), np.nan, dtype=np.float32)
    found = [int((segment(chip(s2, dem, s1))[0] > 0).sum()) for s1 in (bright, calm, missing, None)]
    assert found[0] == 0
    assert found[1] == found[2] == found[3] > 1000


def test_answer_does_not_depend_on_the_cut() -> None:
    """A pixel's logit needs nothing beyond the halo."""
    side = CELL_PX + 2 * HALO_PX
    s2, dem, _ = lake_scene(side + 40, 40)
    rng = np.random.default_rng(1)
    s2 = np.clip(s2 + rng.integers(-60, 60, s2.shape), 1, None).astype(np.uint16)
    index = WaterIndex()
    one = index.segment(chip(s2[:, :side, :side].copy(), dem[:, :side, :side].copy()))[0]
    two = index.segment(chip(s2[:, 20 : 20 + side, 13 : 13 + side].copy(), dem[:, :side, :side].copy()))[0]
    np.testing.assert_array_equal(one[20:, 13:], two[:-20, :-13])


def test_local_mean_counts_only_the_mask() -> None:
    values = np.array([[1, 9, 9], [9, 2, 9], [9, 9, 3]], dtype=np.float32)
    mask = np.eye(3, dtype=bool)
    out = local_mean(values, mask, 1)
    assert out[1, 1] == pytest.approx(2.0)
    assert out[0, 0] == pytest.approx(1.5)
    assert np.isnan(local_mean(values, np.zeros((3, 3), bool), 1)).all()


def test_follows_the_protocol() -> None:
    assert isinstance(WaterIndex(), Segmenter)


def test_a_hole_in_the_dem_stays_a_hole() -> None:
    dem = np.zeros((40, 40), dtype=np.float32)
    dem[20, 20] = np.nan
    slope = slope_degrees(dem)
    assert np.isfinite(slope[:17]).all()
    assert np.isfinite(slope[:, 25:]).all()
    assert np.nanmax(slope) == 0
