"""Vector files: whole, the same bytes from the same table, and read back as written."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from outline_tables import table

from cryosentinel_core.change.lake_keys import empty_registry
from cryosentinel_core.errors import DataError, OutputWrite
from cryosentinel_core.io.tables.registry import read_registry, write_registry
from cryosentinel_core.io.tables.vector import (
    newest_date,
    read_lakes,
    read_layer,
    write_csv,
    write_geopackage,
    write_lakes,
    write_parquet,
)
from cryosentinel_core.provenance import Provenance

LAKES = table(2023, [(0, 0, 2, 2), (10, 0, 12, 2)])
SMALL = table(2023, [(20, 0, 20.3, 0.3)])
PROVENANCE = Provenance(kind="lakes", settings={"threshold": 0.5}, inputs={"item": "S2A"})


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_lakes_come_back_as_written(tmp_path: Path) -> None:
    package, parquet = write_lakes(tmp_path, LAKES, SMALL, PROVENANCE)
    lakes, candidates = read_lakes(tmp_path)
    for wanted, seen in ((LAKES, lakes), (SMALL, candidates), (LAKES, gpd.read_parquet(parquet))):
        assert seen.columns.tolist() == wanted.columns.tolist()
        assert seen.crs.to_epsg() == 4326
        pd.testing.assert_frame_equal(
            pd.DataFrame(seen.drop(columns="geometry")),
            pd.DataFrame(wanted.drop(columns="geometry")),
            check_dtype=False,
        )
        assert seen.geometry.geom_equals(wanted.geometry).all()
    assert [name for name, _ in pyogrio.list_layers(package)] == ["lakes", "candidates"]


def test_the_clock_leaves_no_trace(tmp_path: Path) -> None:
    first = write_lakes(tmp_path / "a", LAKES, SMALL, PROVENANCE)
    time.sleep(1.1)
    second = write_lakes(tmp_path / "b", LAKES, SMALL, PROVENANCE)
    assert [digest(path) for path in first] == [digest(path) for path in second]
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None
    assert b"2023-08-15T00:00:00" in first[0].read_bytes() or b"2023-09-20T00:00:00" in first[0].read_bytes()


def test_a_given_date_is_stamped(tmp_path: Path) -> None:
    write_geopackage(tmp_path / "x.gpkg", {"lakes": LAKES}, stamp=dt.date(2001, 2, 3))
    assert b"2001-02-03T00:00:00" in (tmp_path / "x.gpkg").read_bytes()


def test_writing_again_replaces_the_file(tmp_path: Path) -> None:
    write_lakes(tmp_path, LAKES, SMALL, PROVENANCE)
    write_lakes(tmp_path, SMALL, LAKES, PROVENANCE)
    lakes, candidates = read_lakes(tmp_path)
    assert (len(lakes), len(candidates)) == (1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lakes.gpkg", "lakes.parquet"]


def test_empty_tables_keep_their_columns(tmp_path: Path) -> None:
    write_lakes(tmp_path, LAKES.iloc[:0], SMALL.iloc[:0], PROVENANCE)
    lakes, candidates = read_lakes(tmp_path)
    assert len(lakes) == len(candidates) == 0
    assert lakes.columns.tolist() == LAKES.columns.tolist()


def test_provenance_travels_inside(tmp_path: Path) -> None:
    package, parquet = write_lakes(tmp_path, LAKES, SMALL, PROVENANCE)
    inside = json.loads(pyogrio.read_info(package, layer="lakes")["layer_metadata"]["cryosentinel"])
    assert inside == PROVENANCE.as_dict()
    assert json.loads(pq.read_schema(parquet).metadata[b"cryosentinel"]) == PROVENANCE.as_dict()


def test_mixed_polygons_are_written_as_one_type(tmp_path: Path) -> None:
    both = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)])
    frame = gpd.GeoDataFrame({"n": [1, 2]}, geometry=[shapely.box(5, 5, 6, 6), both], crs="EPSG:4326")
    write_geopackage(tmp_path / "x.gpkg", {"lost": frame})
    assert pyogrio.read_info(tmp_path / "x.gpkg")["geometry_type"] == "MultiPolygon"


def test_csv_is_plain_and_exact(tmp_path: Path) -> None:
    frame = pd.DataFrame({"lake_key": ["a"], "area_m2": [0.1 + 0.2], "significant": pd.array([pd.NA], dtype="boolean")})
    write_csv(tmp_path / "x.csv", frame)
    assert (tmp_path / "x.csv").read_bytes() == b"lake_key,area_m2,significant\na,0.30000000000000004,\n"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "＝"])
def test_no_text_of_a_csv_begins_a_formula(tmp_path: Path, sign: str) -> None:
    texts = [f"{sign}1+1", f"GL1;{sign}1", f"a\n{sign}1", f"a{sign}1", ""]
    frame = pd.DataFrame({"name": texts, "area_m2": [-1.5, 2.0, 3.0, 4.0, 5.0]})
    write_csv(tmp_path / "x.csv", frame)
    seen = pd.read_csv(tmp_path / "x.csv", keep_default_na=False)
    assert seen["name"].tolist() == [f"'{sign}1+1", f"GL1;'{sign}1", f"a\n'{sign}1", f"a{sign}1", ""]
    assert seen["area_m2"].tolist() == frame["area_m2"].tolist()
    assert frame["name"].tolist() == texts


def test_a_table_without_geometry_can_be_parquet_too(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", pd.DataFrame({"year": [2017]}), provenance=PROVENANCE)
    assert pd.read_parquet(tmp_path / "x.parquet")["year"].tolist() == [2017]


@pytest.mark.parametrize("content", [None, b"", b"not a vector file"])
def test_damaged_files_are_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "lakes.gpkg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"lakes\.gpkg"):
        read_lakes(tmp_path)


def test_a_folder_that_refuses_is_said_and_left_clean(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OutputWrite, match="file"):
        write_lakes(blocked / "below", LAKES, SMALL, PROVENANCE)
    assert list(tmp_path.iterdir()) == [blocked]


def test_texts_that_are_null_read_as_empty(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"name": ["a", None]}, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs="EPSG:4326")
    frame.to_file(tmp_path / "x.gpkg", layer="x")
    assert read_layer(tmp_path / "x.gpkg")["name"].tolist() == ["a", ""]


def test_newest_date_is_that_of_the_data() -> None:
    assert newest_date([LAKES, SMALL]) == dt.date(2023, 9, 20)
    assert newest_date([]) == dt.date(1970, 1, 1)


def test_registry_comes_back_and_starts_empty(tmp_path: Path) -> None:
    path = tmp_path / "registry.gpkg"
    assert len(read_registry(path)) == 0
    registry = gpd.GeoDataFrame(
        {"lake_key": ["GL1", "GL2"], "first_year": [2017, 2021], "aliases": ["", "GL3;GL4"]},
        geometry=LAKES.geometry.to_list(),
        crs="EPSG:4326",
    )
    write_registry(path, registry)
    first = digest(path)
    seen = read_registry(path)
    assert seen["aliases"].tolist() == ["", "GL3;GL4"]
    assert seen["first_year"].tolist() == [2017, 2021]
    time.sleep(1.1)
    write_registry(path, seen)
    assert digest(path) == first
    write_registry(path, empty_registry())
    assert len(read_registry(path)) == 0


def test_a_registry_without_keys_is_refused(tmp_path: Path) -> None:
    write_geopackage(tmp_path / "registry.gpkg", {"registry": LAKES})
    with pytest.raises(DataError, match="lake_key"):
        read_registry(tmp_path / "registry.gpkg")
