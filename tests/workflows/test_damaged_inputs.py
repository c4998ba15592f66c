"""Two hundred damaged inventories and rasters: each is refused in words, or told of, or gives the right number; never a traceback.

Every case has a seed, so that one that falls can be repeated alone. What no program can know stays out: a corner moved by some
metres is an outline like any other.
"""

from __future__ import annotations

import gzip
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from made_chips import EPSG, LEFT, NUMBERS, TOP
from outline_tables import box
from rasterio import Affine
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_errors import ChangeErrors
from cryosentinel_core.change.change_table import compare_years
from cryosentinel_core.change.comparability import describe_places
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import match_years
from cryosentinel_core.chips.chip import ChipName
from cryosentinel_core.errors import CryosentinelError
from cryosentinel_core.ground.geodesic import measure_geodesic
from cryosentinel_core.io.rasters.access import Access, describe_raster, read_window
from cryosentinel_core.io.rasters.chip_files import read_chip
from cryosentinel_core.io.tables.inventories import read_inventory
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.reporter import Silent, WarningKeeper
from cryosentinel_core.settings.change import ChangeSettings

LAKES = np.array(
    [shapely.segmentize(box(6 * n, 0, 6 * n + 2 + 0.1 * n, 2).buffer(3e-4), 2e-4) for n in range(12)], dtype=object
)
TOTAL_M2 = float(measure_geodesic(LAKES)[0].sum())

Damage = Callable[[gpd.GeoDataFrame, Path, np.random.Generator], str]
"""(good outlines, folder, random numbers) -> what stands between `YEAR=` and `@30m`."""


def good() -> gpd.GeoDataFrame:
    columns = {"lake": [f"lake {n}" for n in range(12)], "elevation": 4000.0 + np.arange(12), "year": 2020}
    return gpd.GeoDataFrame(columns, geometry=LAKES.copy(), crs="EPSG:4326")


def saved(frame: gpd.GeoDataFrame, folder: Path, kind: str = "gpkg") -> Path:
    path = folder / f"lakes.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "csv":
        frame.assign(wkt=shapely.to_wkt(frame.geometry.to_numpy(), rounding_precision=-1)).drop(
            columns="geometry"
        ).to_csv(path, index=False)
    else:
        frame.to_file(path)
    return path


KINDS = ("gpkg", "geojson", "shp", "parquet", "csv", "fgb")


def cut_short(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    path = saved(frame, folder, KINDS[rng.integers(len(KINDS))])
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.uniform(0, 0.98) * len(data))])
    return str(path)


def bits_flipped(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    path = saved(frame, folder, KINDS[rng.integers(len(KINDS))])
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8).copy()
    places = rng.integers(0, data.size, int(rng.integers(1, 40)))
    data[places] ^= (1 << rng.integers(0, 8, places.size)).astype(np.uint8)
    path.write_bytes(data.tobytes())
    return str(path)


def header_flipped(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    path = saved(frame, folder, KINDS[rng.integers(len(KINDS))])
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, 120, 3).tolist():
        data[place % len(data)] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(data))
    return str(path)


def block_of_zeros(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    path = saved(frame, folder, KINDS[rng.integers(len(KINDS))])
    data = bytearray(path.read_bytes())
    start = int(rng.integers(0, len(data)))
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(bytes(data))
    return str(path)


def other_content(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    contents = (b"", b"\n", b"hello", b"<html>not found</html>", bytes(rng.integers(0, 256, 5000, dtype=np.uint8)), b"{}", b"[1, 2]",
                b'{"type": "FeatureCollection", "features": []}', b'{"type": "FeatureCollection", "features": [{"type": "Feature"}]}',
                b"wkt\n", b"wkt\nPOLYGON ((\n", b"lon,lat,area_m2\n", b"lon,lat,area_m2\na,b,c\n", b"lon,lat,area_m2\n77,43,-5\n",
                b"lon,lat,area_m2\n430,77,1e4\n", b"lon,lat,area_m2\n77,43,1e99\n", b"lon,lat,area_m2\n77,43,nan\n77,,3\n",
                "wkt;x\n\udcff".encode("utf-8", "surrogateescape"), b"\xff\xfew\x00k\x00t\x00")  # fmt: skip
    path = folder / f"lakes.{(*KINDS, 'kml', 'zip', 'gz')[rng.integers(len(KINDS) + 3)]}"
    path.write_bytes(contents[rng.integers(len(contents))])
    return str(path)


def corners_changed(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    """One corner of one lake, or of all of them, is no place on Earth, or one far away."""
    value = (np.nan, np.inf, -np.inf, 1e300, -1e20, 0.0, 1e-300, 9999.0, -32768.0)[rng.integers(9)]
    chosen = range(12) if rng.random() < 0.3 else [int(rng.integers(12))]
    outlines = frame.geometry.to_numpy().copy()
    for index in chosen:
        xy = shapely.get_coordinates(outlines[index]).copy()
        xy[rng.integers(1, len(xy) - 1), rng.integers(0, 2)] = value
        outlines[index] = shapely.Polygon(xy)
    frame = frame.set_geometry(outlines, crs="EPSG:4326")
    kind = KINDS[rng.integers(len(KINDS))]
    return str(saved(frame, folder, kind if kind != "shp" or np.isfinite(value) else "gpkg"))


def wrong_system(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    cases = ((32643, 4326), (4326, 32643), (32645, 32643), (32743, 32643), (3857, 4326), (4326, 3857), (3857, 32643))
    said, meant = cases[rng.integers(len(cases))]
    moved = frame.to_crs(meant).set_crs(said, allow_override=True)
    return str(saved(moved, folder, ("gpkg", "shp", "parquet")[rng.integers(3)]))


def axes_swapped(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    outlines = shapely.transform(frame.geometry.to_numpy(), lambda xy: xy[:, ::-1])
    if rng.random() < 0.5:
        outlines[::2] = frame.geometry.to_numpy()[::2]
    return str(saved(frame.set_geometry(outlines, crs="EPSG:4326"), folder, KINDS[rng.integers(len(KINDS))]))


def no_system(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(
            saved(
                frame.to_crs(32643).set_crs(None, allow_override=True), folder, ("gpkg", "shp", "csv")[rng.integers(3)]
            )
        )


def kinds_mixed(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    others: list[BaseGeometry | None] = [
        shapely.Point(77, 43), shapely.LineString([(77, 43), (77.1, 43.1)]), shapely.Polygon(), None, shapely.GeometryCollection(),
        shapely.GeometryCollection([shapely.Point(77, 43), LAKES[0]]), shapely.MultiPoint([(77, 43), (77.2, 43)]),
        shapely.Polygon([(77, 43), (77.01, 43), (77, 43), (77.01, 43)]), shapely.Polygon([(77, 43), (77, 43), (77, 43)]),
    ]  # fmt: skip
    outlines = frame.geometry.to_numpy().copy()
    for index in rng.choice(12, int(rng.integers(1, 13)), replace=False).tolist():
        outlines[index] = others[rng.integers(len(others))]
    return str(
        saved(frame.set_geometry(outlines, crs="EPSG:4326"), folder, ("gpkg", "geojson", "parquet")[rng.integers(3)])
    )


def crossing_itself(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    outlines = frame.geometry.to_numpy().copy()
    for index in rng.choice(12, int(rng.integers(1, 6)), replace=False).tolist():
        xy = shapely.get_coordinates(outlines[index])[:-1]
        outlines[index] = shapely.Polygon(rng.permutation(xy))
    return str(saved(frame.set_geometry(outlines, crs="EPSG:4326"), folder, KINDS[rng.integers(len(KINDS))]))


def drawn_again(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    times = int(rng.integers(2, 30))
    copies = [frame] + [
        frame.set_geometry(frame.translate(*rng.normal(0, 2e-4, 2)), crs="EPSG:4326") for _ in range(times)
    ]
    return str(saved(pd.concat(copies, ignore_index=True), folder))


def absurd_sizes(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    giants = (
        (-180, -90, 180, 90),
        (60, 20, 100, 60),
        (170, -10, 190, 10),
        (0, 80, 360, 90),
        (77, 43, 77 + 1e-15, 43 + 1e-15),
    )
    outlines = frame.geometry.to_numpy().copy()
    outlines[rng.integers(12)] = shapely.box(*giants[rng.integers(len(giants))])
    return str(saved(frame.set_geometry(outlines, crs="EPSG:4326"), folder, KINDS[rng.integers(len(KINDS))]))


def columns_spoilt(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    """Nothing that the areas come from: the right numbers are wanted."""
    spoilt: tuple[Any, ...] = ("n/a", "", "1e999", "9" * 400, "=1+1", "\x00\x1b[2J", None)
    frame["elevation"] = [spoilt[rng.integers(len(spoilt))] for _ in range(12)]
    frame["area_m2"] = "a lot"
    frame["lake_id"] = ["GL000000E00000N"] * 12
    frame["AREA"] = -1
    return str(saved(frame, folder, ("gpkg", "geojson", "csv")[rng.integers(3)]))


def packed_wrongly(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    path, case = saved(frame, folder, "geojson"), int(rng.integers(4))
    if case == 0:
        packed = folder / "lakes.geojson.gz"
        packed.write_bytes(gzip.compress(path.read_bytes())[: int(rng.integers(5, 400))])
    elif case == 1:
        packed = folder / "lakes.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("readme.txt", "nothing here")
    elif case == 2:
        packed = folder / "lakes.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(path, "lakes.geojson")
        packed.write_bytes(packed.read_bytes()[:-30])
    else:
        packed = folder / "lakes.gz"
        packed.write_bytes(path.read_bytes())
    return str(packed)


def asked_wrongly(frame: gpd.GeoDataFrame, folder: Path, rng: np.random.Generator) -> str:
    path = saved(frame, folder)
    frame.to_file(path, layer="second") if rng.random() < 0.4 else None
    return str(folder / "missing.gpkg") if rng.random() < 0.3 else str(folder) if rng.random() < 0.3 else f"{path}"


OUTLINES: dict[str, tuple[Damage, int]] = {
    one.__name__: (one, n)
    for one, n in (
        (cut_short, 14), (bits_flipped, 18), (header_flipped, 12), (block_of_zeros, 10), (other_content, 22), (corners_changed, 18),
        (wrong_system, 9), (axes_swapped, 5), (no_system, 3), (kinds_mixed, 9), (crossing_itself, 5), (drawn_again, 3),
        (absurd_sizes, 9), (columns_spoilt, 5), (packed_wrongly, 6), (asked_wrongly, 4),
    )
}  # fmt: skip
SPARED = ("columns_spoilt",)
"""Damage that leaves every outline whole: silence is right, and so must the areas be."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> gpd.GeoDataFrame:
    """The good inventory, of 2010."""
    path = saved(good(), tmp_path_factory.mktemp("good"))
    return read_inventory(Inventory(year=2010, path=str(path), resolution_m=30), Silent())


def assert_told(error: CryosentinelError) -> None:
    assert error.message
    assert error.hint
    assert "Traceback" not in str(error)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, (_, n) in OUTLINES.items() for seed in range(n)])
def test_a_damaged_inventory_gives_no_wrong_number_in_silence(
    tmp_path: Path, first: gpd.GeoDataFrame, name: str, seed: int
) -> None:
    rng = np.random.default_rng([seed, len(name)])
    heard = WarningKeeper(Silent())
    with np.errstate(all="ignore"):
        path = OUTLINES[name][0](good(), tmp_path, rng)
    try:
        found = read_inventory(Inventory(year=2020, path=path, resolution_m=30), heard)
    except CryosentinelError as error:
        assert name not in SPARED
        assert_told(error)
        return
    first = read_inventory(
        Inventory(year=2010, path=str(saved(good(), tmp_path / "..", "gpkg")), resolution_m=30), Silent()
    )
    tables = {2010: first, 2020: found}
    told = [*heard.warnings, *describe_places(tables)]
    total = found["area_m2"].sum()
    assert np.isfinite(total)
    if not told:
        # A corner that a bit moved by less than the lakes are wide is an outline like any other.
        assert total == pytest.approx(TOTAL_M2, rel=0.5 if name == "bits_flipped" else 1e-6), path
    matches = match_years(tables, pixel_m=30.0)
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=1.0)
    basis = ComparisonBasis(
        settings=ChangeSettings(min_area_m2=1.0),
        errors=ChangeErrors(floor=None),
        drawn={2010: False, 2020: False},
        pixel_m=30.0,
    )
    change = compare_years(tables, matches, keys, basis).change
    assert not np.isinf(change.select_dtypes("number").to_numpy(dtype=float)).any()
    assert not set(change["status"]) & {"new", "vanished"}


def raster(folder: Path, data: np.ndarray, **profile: Any) -> Path:
    """A chip's GeoTIFF, packed, so that a flipped bit is no number like any other."""
    path = folder / "chip.tif"
    given = {"dtype": "float32", "count": len(data), "height": data.shape[1], "width": data.shape[2], "crs": f"EPSG:{EPSG}",
             "transform": Affine(10, 0, LEFT, 0, -10, TOP), "compress": "deflate", **profile}  # fmt: skip
    with rasterio.open(path, "w", driver="GTiff", **given) as target:
        target.write(data.astype(given["dtype"]))
    return path


def raster_cut_short(folder: Path, rng: np.random.Generator) -> Path:
    path = raster(folder, NUMBERS)
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.uniform(0, 0.98) * len(data))])
    return path


def raster_header_flipped(folder: Path, rng: np.random.Generator) -> Path:
    path = raster(folder, NUMBERS)
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, 400, 2).tolist():
        data[place] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(data))
    return path


def raster_bits_flipped(folder: Path, rng: np.random.Generator) -> Path:
    path = raster(folder, NUMBERS)
    data = bytearray(path.read_bytes())
    for place in rng.integers(1000, len(data), 20).tolist():
        data[place] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(data))
    return path


def raster_unlike(folder: Path, rng: np.random.Generator) -> Path:
    """Another shape, place, unit or type than a chip has."""
    small = Affine(10, 0, LEFT, 0, -10, TOP)
    cases: list[tuple[np.ndarray, dict[str, Any]]] = [
        (NUMBERS[:1], {}), (NUMBERS[:13], {}), (NUMBERS[:, :10, :10], {}), (NUMBERS, {"crs": None}), (NUMBERS, {"crs": "EPSG:4326"}),
        (NUMBERS, {"transform": small @ Affine.scale(3, 3)}), (NUMBERS, {"transform": small @ Affine.scale(1, -1)}),
        (NUMBERS, {"transform": small @ Affine.rotation(30)}), (NUMBERS, {"transform": small @ Affine.scale(0.9, 1)}),
        (np.full_like(NUMBERS, np.nan), {}), (np.full_like(NUMBERS, np.inf), {}), (np.zeros_like(NUMBERS), {}), (-NUMBERS, {}),
        (NUMBERS * 1e20, {}), (NUMBERS[::-1], {}), (np.clip(NUMBERS, 0, 255), {"dtype": "uint8"}),
    ]  # fmt: skip
    data, profile = cases[rng.integers(len(cases))]
    return raster(folder, data, **profile)


RASTERS = {one.__name__: (one, n) for one, n in (
    (raster_cut_short, 12), (raster_header_flipped, 16), (raster_bits_flipped, 6), (raster_unlike, 20),
)}  # fmt: skip


@pytest.mark.filterwarnings("error", "ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, (_, n) in RASTERS.items() for seed in range(n)])
def test_a_damaged_raster_gives_no_wrong_pixel_in_silence(tmp_path: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(name)])
    path = RASTERS[name][0](tmp_path, rng)
    try:
        chip = read_chip(path, ChipName(chip_id="chip", source="chip.tif"))
    except CryosentinelError as error:
        assert_told(error)
    else:
        if not chip.notes and name != "raster_unlike":
            assert chip.place is not None
            assert chip.place.transform == Affine(10, 0, LEFT, 0, -10, TOP)
            np.testing.assert_array_equal(chip.batch.s2[0], NUMBERS[:12].astype(chip.batch.s2.dtype))
    try:
        source = describe_raster(str(path), Access())
        read_window(str(path), rasterio.windows.Window(0, 0, source.width, source.height), Access())
    except CryosentinelError as error:
        assert_told(error)


def test_there_are_two_hundred() -> None:
    assert sum(n for _, n in (*OUTLINES.values(), *RASTERS.values())) >= 200
