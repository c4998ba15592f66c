"""Chip GeoTIFFs as people have them: nodata, units, pixels, bands, names, folders; put right with a warning, or refused in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from made_chips import (
    CHIP,
    EPSG,
    LEFT,
    NUMBERS,
    TOP,
    UPRIGHT,
    lake_chip,
    make_dataset,
    map_chips,
    read,
    results,
    run,
    write_numbers,
)
from rasterio import Affine
from scipy import ndimage

from cryosentinel_core.chips.band_order import CHIP_BAND_NAMES
from cryosentinel_core.errors import InputError
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.segment.water_index import WaterIndex
from cryosentinel_core.segment.windows import pad_halo

CORNER = (slice(0, 60), slice(60, 130))
"""Land and a part of the lake."""


def changed(bands: slice, value: float, where: tuple[slice, slice] = CORNER) -> np.ndarray:
    data = NUMBERS.copy()
    data[bands, where[0], where[1]] = value
    return data


def logits_of(root: Path, data: np.ndarray, **how: Any) -> tuple[np.ndarray, list[str]]:
    """Logits of a chip, and the warnings."""
    code, summary, said = map_chips(root, write_numbers(root / "in" / "chip.tif", data, **how))
    assert code == 0, said
    return read(root, "chip", "logit"), summary["warnings"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Logits of the good chip."""
    logit, warnings = logits_of(tmp_path_factory.mktemp("good"), NUMBERS)
    assert warnings == []
    return logit


SENSORS: dict[str, tuple[slice, slice, float]] = {
    "radar": (slice(12, 14), slice(12, 14), np.nan),
    "VH": (slice(13, 14), slice(13, 14), np.nan),
    "elevation": (slice(14, 15), slice(14, 15), -32_768),
    "optical": (slice(0, 12), slice(0, 12), 0),
    "B08": (slice(7, 8), slice(0, 12), 0),
}
"""Bands that hold nodata, bands that then hold the published chips' nodata, and its number."""


def test_nodata_of_the_file(tmp_path: Path) -> None:
    """The file's number in any band is as good as the published nodata; untagged it is found too, and told."""
    for name, (bands, published_bands, published) in SENSORS.items():
        write_numbers(tmp_path / "in" / name / "published.tif", changed(published_bands, published))
        write_numbers(tmp_path / "in" / name / "tagged.tif", changed(bands, -9999), nodata=-9999)
        write_numbers(tmp_path / "in" / name / "untagged.tif", changed(bands, -9999))
    code, summary, said = map_chips(tmp_path, tmp_path / "in")
    assert code == 0, said
    for name in SENSORS:
        wanted = read(tmp_path, f"{name}/published", "logit")
        for kind in ("tagged", "untagged"):
            np.testing.assert_array_equal(read(tmp_path, f"{name}/{kind}", "logit"), wanted, err_msg=f"{name} {kind}")
    told = "\n".join(summary["warnings"])
    assert told.count("was taken as no data") == 3
    for name in SENSORS:
        assert f"{name}/untagged (4200 px)" in told
    assert told.count("/tagged") == 1
    assert "in some optical bands alone are unobserved: B08/tagged (4200 px), B08/untagged (4200 px)" in told


def test_a_mask_in_the_file(tmp_path: Path) -> None:
    wanted, _ = logits_of(tmp_path / "zero", changed(slice(0, 12), 0))
    path = write_numbers(tmp_path / "in" / "chip.tif", NUMBERS)
    mask = np.full((224, 224), 255, dtype=np.uint8)
    mask[CORNER] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
        raster.write_mask(mask)
    assert map_chips(tmp_path / "w", path)[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "w", "chip", "logit"), wanted)


def test_radar_of_zeros_is_no_radar(tmp_path: Path) -> None:
    wanted, _ = logits_of(tmp_path / "none", changed(slice(12, 14), np.nan, (slice(None), slice(None))))
    logit, (warning,) = logits_of(tmp_path / "zero", changed(slice(12, 14), 0, (slice(None), slice(None))))
    np.testing.assert_array_equal(logit, wanted)
    assert warning.startswith("radar of exactly 0 was taken as no data: chip (50176 px)")
    lakes = geopandas.read_parquet(results(tmp_path / "zero") / "lakes.parquet")
    assert lakes.radar_used.tolist() == [False]


def test_radar_in_linear_power(tmp_path: Path, good: np.ndarray) -> None:
    data = NUMBERS.copy()
    data[12:14] = 10 ** (data[12:14] / 10)
    logit, (warning,) = logits_of(tmp_path, data)
    np.testing.assert_allclose(logit, good, atol=1)
    assert "linear power and was turned into dB" in warning


def test_reflectance_as_such(tmp_path: Path, good: np.ndarray) -> None:
    data = NUMBERS.copy()
    data[:12] /= 10_000
    logit, (warning,) = logits_of(tmp_path, data)
    np.testing.assert_array_equal(logit, good)
    assert "multiplied by 10,000" in warning


def test_scale_and_offset_of_the_file(tmp_path: Path, good: np.ndarray) -> None:
    """Numbers of a newer baseline, whose file says how they become reflectance."""
    data = NUMBERS.copy()
    data[:12] += 1000
    how = {"scales": [1e-4] * 12 + [1.0] * 3, "offsets": [-0.1] * 12 + [0.0] * 3}
    logit, _ = logits_of(tmp_path, data, **how)
    np.testing.assert_array_equal(logit, good)


def test_bands_in_another_order(tmp_path: Path, good: np.ndarray) -> None:
    order = [14, *range(11, -1, -1), 13, 12]
    names = [f"{CHIP_BAND_NAMES[band]} (chip)" for band in order]
    logit, (warning,) = logits_of(tmp_path, NUMBERS[order], descriptions=names)
    np.testing.assert_array_equal(logit, good)
    assert "taken by their descriptions" in warning


def refused() -> dict[str, tuple[np.ndarray, dict[str, Any], str]]:
    """Name -> numbers and header of a chip that cannot be used, and words that say why."""
    height, counts, per_cent = NUMBERS.copy(), NUMBERS.copy(), NUMBERS.copy()
    height[14] = 100 * NUMBERS[14] + np.arange(224)
    counts[12:14] = 20 + NUMBERS[12:14] ** 2
    per_cent[:12] /= 100
    mercator = {"crs": "EPSG:3857", "transform": Affine(10, 0, 8.5e6, 0, -10, 5.3e6)}
    degrees = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 77, 0, -1e-4, 43)}
    return {
        "centimetres": (height, {}, "runs from 3.5e+05 to 3.5022e+05 (median 3.5011e+05), wanted m; write heights"),
        "counts": (counts, {}, "radar of counts.tif runs from"),
        "per_cent": (per_cent, {}, "8-bit or per cent? Wanted reflectance x 10,000; write"),
        "coarse": (
            NUMBERS,
            {"transform": Affine(20, 0, LEFT, 0, -20, TOP)},
            "pixels of 20.01 x 20.01 m on the ground, wanted 10",
        ),
        "south_up": (NUMBERS, {"transform": Affine(10, 0, LEFT, 0, 10, TOP)}, "turned or mirrored"),
        "mercator": (NUMBERS, mercator, "pixels of 7."),
        "degrees": (NUMBERS, degrees, "lies in degrees"),
        "one_band": (
            NUMBERS,
            {"descriptions": ["B12", *[None] * 14]},
            "described as 'B12', wanted B01; write the bands",
        ),
    }


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    """Beside a good one such chips are skipped, and the run is done in part; alone, the error says what to do."""
    source = tmp_path / "in"
    for name, (data, how, _) in refused().items():
        write_numbers(source / f"{name}.tif", data, **how)
    write_numbers(source / "good.tif", NUMBERS)
    code, summary, said = map_chips(tmp_path / "w", source)
    assert code == 3
    assert list(summary["water_share"]) == ["good"]
    assert sorted(summary["failed"]) == sorted(f"{name}.tif" for name in refused())
    for name, (_, _, words) in refused().items():
        why = summary["failed"][f"{name}.tif"]
        assert words in why
        assert f"{name}.tif skipped: {why}" in said
    with pytest.raises(InputError, match="none of the 1 file in") as found:
        run(tmp_path / "alone", source / "coarse.tif")
    assert found.value.hint == summary["failed"]["coarse.tif"]


def test_huge_blocks_are_refused_before_they_are_read(tmp_path: Path) -> None:
    size = {"width": 224, "height": 224, "count": 15, "dtype": "float32", "crs": f"EPSG:{EPSG}", "transform": UPRIGHT}
    blocks = {"tiled": True, "blockxsize": 16_384, "blockysize": 16_384, "SPARSE_OK": True, "compress": "deflate"}
    path = tmp_path / "chip.tif"
    with rasterio.open(path, "w", driver="GTiff", **size, **blocks):
        pass
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError) as found:
        run(tmp_path / "w", path)
    assert "blocks of 16384 x 16384" in found.value.hint


def test_units_of_shards_are_looked_at_too(tmp_path: Path) -> None:
    power = (10 ** (CHIP.s1 / 10)).astype(np.float32)
    counts = lake_chip(2, s1=np.full((2, 224, 224), 300, dtype=np.float32) + np.arange(224, dtype=np.float32))
    data = make_dataset(tmp_path / "data", [lake_chip(0), lake_chip(1, s1=power), counts])
    summary = run(tmp_path / "w", data)
    assert list(summary.water_share) == ["c0", "c1"]
    (warning,) = summary.warnings
    assert warning.startswith("radar held linear power")
    assert "c1 (50176 px)" in warning
    assert list(summary.failed) == ["pamir/2022#c2"]


def test_a_chip_is_its_area_away_from_its_edge() -> None:
    """Without surroundings the water index differs within 15 px of the edge and nowhere else."""
    rng = np.random.default_rng(1)
    wet = ndimage.gaussian_filter(rng.normal(size=(352, 352)), 12) > 0.015
    optical = np.where(wet, 1.0, 4.0) * NUMBERS[:12, 112, 100][:, None, None] * rng.uniform(0.9, 1.1, (12, 352, 352))
    radar = np.where(wet, -27.0, -9.0) + rng.normal(0, 1, (2, 352, 352))
    none = np.zeros((1, 352, 352), dtype=np.float32)
    whole = ChipBatch(
        s2=optical.astype(np.uint16)[None],
        s1=radar.astype(np.float32)[None],
        dem=none[None] + 3500,
        valid=none == 0,
        shadow=none,
        snow=none,
        water=none + np.nan,
        addresses=np.zeros((1, 2), dtype=np.int64),
    )
    inner = slice(64, -64)
    fields = ("s2", "s1", "dem", "valid", "shadow", "snow", "water")
    alone = replace(whole, **{name: getattr(whole, name)[..., inner, inner] for name in fields})
    segmenter = WaterIndex()
    differs = segmenter.segment(whole)[0] != segmenter.segment(pad_halo(alone, 64))[0]
    row, col = np.nonzero(differs)
    depth = np.minimum.reduce([row, col, 223 - row, 223 - col])
    assert len(depth) > 100
    assert depth.max() < 15
