"""Areas as people give them: what was understood is said before any work, and no area takes another's place."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from click.testing import CliRunner, Result

from cryosentinel_cli.main import cli
from cryosentinel_core.errors import CryosentinelError
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import write_json

WEST, EAST = shapely.box(77.0, 43.0, 77.05, 43.03), shapely.box(77.97, 43.0, 78.03, 43.03)
BOX = json.loads(shapely.to_geojson(WEST))

KML = """<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>
<Folder><name>west</name><Placemark><Polygon><outerBoundaryIs><LinearRing><coordinates>77,43 77.05,43 77.05,43.03 77,43.03 77,43
</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>
<Placemark><Point><coordinates>77.01,43.01</coordinates></Point></Placemark></Folder>
<Folder><name>east</name><Placemark><MultiGeometry>
<Polygon><outerBoundaryIs><LinearRing><coordinates>77.97,43 78.0,43 78.0,43.03 77.97,43.03 77.97,43
</coordinates></LinearRing></outerBoundaryIs></Polygon>
<Polygon><outerBoundaryIs><LinearRing><coordinates>78.0,43 78.03,43 78.03,43.03 78.0,43.03 78.0,43
</coordinates></LinearRing></outerBoundaryIs></Polygon></MultiGeometry></Placemark></Folder></Document></kml>"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(*arguments: str) -> Result:
    """`fetch --dry-run` without a catalogue: what it says before it fails for want of one, and no fault of ours."""
    result = CliRunner().invoke(cli, ["fetch", "--dry-run", "--year", "2023", "--catalog", "nowhere", *arguments])
    assert isinstance(result.exception, CryosentinelError), (result.exception, result.output)
    return result


def refusal(*arguments: str) -> CryosentinelError:
    error = ask(*arguments).exception
    assert isinstance(error, CryosentinelError)
    assert "no catalogue" not in error.message
    assert error.hint
    return error


def test_every_layer_and_part_is_taken_and_said(here: Path) -> None:
    (here / "aoi.kml").write_text(KML)
    said = ask("--aoi", "aoi.kml").stderr
    assert said.startswith("area aoi.kml: 2 layers, 3 polygons, ")
    assert " km2, 7 tiles, zones 43 and 44; without an area and left out: 1 point" in said
    assert load_area("aoi.kml").is_same_ground(shapely.union(WEST, EAST))
    assert ask("--aoi", "aoi.kml", "--area-layer", "west").stderr.startswith(
        "area aoi.kml: 1 layer, 1 polygon, 13.6 km2"
    )
    assert refusal("--aoi", "aoi.kml", "--area-layer", "north").hint.endswith("west, east")
    assert ask("-q", "--aoi", "aoi.kml").stderr == ""


def test_layers_of_a_geopackage(here: Path) -> None:
    geopandas.GeoDataFrame(geometry=[WEST], crs=4326).to_crs(32643).to_file("a.gpkg", layer="west")
    geopandas.GeoDataFrame(geometry=[EAST], crs=4326).to_file("a.gpkg", layer="east")
    assert load_area("a.gpkg").is_same_ground(shapely.union(WEST, EAST))
    assert load_area("a.gpkg", layers=["east"]).is_same_ground(EAST)


def test_collections_inside_features_and_beside_them(here: Path) -> None:
    east = json.loads(shapely.to_geojson(EAST))
    point = {"type": "Point", "coordinates": [77, 43]}
    inside = {
        "type": "Feature",
        "properties": "none",
        "geometry": {"type": "GeometryCollection", "geometries": [east, point]},
    }
    (here / "alone.geojson").write_text(json.dumps(inside))
    assert load_area("alone.geojson").is_same_ground(EAST)
    both = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": BOX}, inside]}
    (here / "both.geojson").write_text(json.dumps(both))
    assert load_area("both.geojson").is_same_ground(shapely.union(WEST, EAST))


@pytest.mark.parametrize(
    "crs", ["EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84", {"type": "EPSG", "properties": {"code": 4326}}]
)
def test_degrees_by_any_name(here: Path, crs: Any) -> None:
    (here / "a.geojson").write_text(json.dumps({**BOX, "crs": crs}))
    assert load_area("a.geojson").is_same_ground(WEST)


def test_a_projected_crs_as_a_text(here: Path) -> None:
    metres = geopandas.GeoSeries([WEST], crs=4326).to_crs(32643).iloc[0]
    (here / "a.geojson").write_text(json.dumps({**json.loads(shapely.to_geojson(metres)), "crs": "EPSG:32643"}))
    assert load_area("a.geojson").is_same_ground(WEST)


LOCAL = 'LOCAL_CS["dam site",LOCAL_DATUM["dam",0],UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**BOX, "crs": {"type": "name", "properties": "EPSG:4326"}}, "its crs member is"),
        ({**BOX, "crs": {"type": "link", "properties": {"href": "x"}}}, "its crs member is"),
        ({**BOX, "crs": 7}, "its crs member is 7"),
        ({**BOX, "crs": "EPSG:999999"}, "'EPSG:999999' is unknown"),
        ({**BOX, "crs": LOCAL}, "tied to no place on Earth"),
        ({"type": "FeatureCollection", "features": 5}, "features is no list"),
        ({"type": "FeatureCollection", "features": ["x", None, 3]}, "holds no geometry"),
        ({"type": "Feature", "geometry": "POINT"}, "broken geometry"),
        ({"type": "Polygon", "coordinates": [[[10**400, 1], [2, 2], [3, 1]]]}, "broken geometry"),
        (5, "holds no geometry"),
        ({"type": "LineString", "coordinates": [[77, 43], [78, 43]]}, "holds LineString, wanted a polygon"),
        (shapely.geometry.mapping(shapely.box(-180, -90, 180, 90)), "outside UTM"),
    ],
)
def test_files_that_are_no_areas(here: Path, data: Any, message: str) -> None:
    (here / "a.geojson").write_text(json.dumps(data))
    assert message in refusal("--aoi", "a.geojson").message


def test_a_local_crs_of_a_shapefile(here: Path) -> None:
    geopandas.GeoDataFrame(geometry=[WEST], crs=4326).to_file("a.shp")
    (here / "a.prj").write_text(LOCAL)
    assert "tied to no place on Earth" in refusal("--aoi", "a.shp").message


def test_empty_files_and_files_of_another_kind(here: Path) -> None:
    for name in ("a.geojson", "a.gpkg", "a.shp", "a.kml"):
        (here / name).touch()
        refusal("--aoi", name)
    (here / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert "cannot read a.png as a vector file" in refusal("--aoi", "a.png").message
    (here / "deep.geojson").write_text("[" * 100_000)
    assert "is not GeoJSON" in refusal("--aoi", "deep.geojson").message


def test_formats_that_no_driver_reads(here: Path) -> None:
    frame = geopandas.GeoDataFrame({"a": [1]}, geometry=[WEST], crs=4326)
    frame.to_parquet("a.parquet")
    assert load_area("a.parquet").is_same_ground(WEST)
    (here / "b.parquet").write_bytes(b"PAR1")
    refusal("--aoi", "b.parquet")
    frame.to_file("lone.shp")
    (here / "lone.shx").unlink()
    assert refusal("--aoi", "lone.shp").hint.startswith("copy all files of the Shapefile together")
    assert refusal("--aoi", "https://example.com/a.geojson").hint == "download the file and give its path"


def test_a_speck_and_two_hemispheres(here: Path) -> None:
    (here / "speck.geojson").write_text(shapely.to_geojson(shapely.box(77, 43, 77.0001, 43.0001)))
    assert ask("--aoi", "speck.geojson").stderr.startswith("area speck.geojson: 1 polygon, 91 m2, 1 tile, zone 43")
    (here / "null.geojson").write_text(shapely.to_geojson(shapely.box(-0.01, -0.01, 0.01, 0.01)))
    assert ask("--aoi", "null.geojson").stderr.splitlines()[0].endswith("9 tiles, zones 30, 31, 30S and 31S")


def test_text_where_a_file_belongs() -> None:
    ring = ", ".join(f"{77 + k / 1000} 43.0" for k in range(60))
    assert "is WKT text" in refusal("--aoi", f"polygon (({ring}))").message
    assert "is no file's name" in refusal("--aoi", "a" * 5000).message


def test_a_box_and_typed_geojson_are_areas(here: Path) -> None:
    typed = ask("--aoi", json.dumps(BOX)).stderr.splitlines()[0]
    assert typed.startswith("area area-")
    assert ask("--aoi", json.dumps({"type": "Feature", "geometry": BOX})).stderr.splitlines()[0] == typed
    west, south, east, north = shapely.from_geojson(json.dumps(BOX)).bounds
    assert ask("--bbox", f"{west},{south},{east},{north}").stderr.splitlines()[0] == typed
    assert "is not GeoJSON" in refusal("--aoi", "{broken").message
    assert "holds no polygon" in refusal("--aoi", '{"type": "Point", "coordinates": [77, 43]}').message
    for text in ("1,2,3", "77,43,76,44", "a,b,c,d"):
        assert usage("--bbox", text) == 2
    assert usage("--bbox", "77,43,77.1,43.1", "--aoi", "pamir") == 2


def usage(*arguments: str) -> int:
    return (
        CliRunner().invoke(cli, ["fetch", "--dry-run", "--year", "2023", "--catalog", "nowhere", *arguments]).exit_code
    )


def test_names_that_are_nearly_right(here: Path) -> None:
    (here / "lakes.geojson").write_text(json.dumps(BOX))
    for typed, meant in (
        ("ile-alatau", "ile_alatau"), ("Ile Alatau", "ile_alatau"), ("ile_alatua", "ile_alatau"), ("pamirs", "pamir"),
        ("lakes.geojon", "lakes.geojson"), ("lake.geojson", "lakes.geojson"),
    ):  # fmt: skip
        assert refusal("--aoi", typed).hint.startswith(f"did you mean {meant}? give the path")
    assert refusal("--aoi", "").message == "no file and no region named ''"
    assert refusal("--aoi", "zzz").hint.startswith("give the path")


def test_a_workspace_below_a_file(here: Path) -> None:
    (here / "a.geojson").write_text(json.dumps(BOX))
    with pytest.raises(CryosentinelError, match="no folder can be made there") as caught:
        write_json(here / "a.geojson" / "w" / "x.json", {})
    assert "another --workspace" in caught.value.hint


def test_a_region_works_after_its_folder_is_there(here: Path) -> None:
    first = ask("--aoi", "ile_alatau").stderr
    assert first.startswith("area ile_alatau: 1 polygon, 13,063 km2, 51 tiles, zones 43 and 44")
    (here / "ile_alatau").mkdir()
    assert ask("--aoi", "ile_alatau").stderr == first
    (here / "cryosentinel.toml").write_text('aoi = "ile_alatau"\n')
    assert ask().stderr == first


def test_an_area_of_the_workspace_by_its_name(here: Path) -> None:
    (here / "w" / "lakes").mkdir(parents=True)
    (here / "w" / "lakes" / "aoi.geojson").write_text(json.dumps({"type": "Feature", "geometry": BOX}))
    for reference in ("lakes", "w/lakes/aoi.geojson"):
        said = ask("-w", "w", "--aoi", reference)
        assert said.stderr.startswith("area w/lakes/aoi.geojson: 1 polygon, 13.6 km2, 1 tile, zone 43")
        assert "no catalogue" in str(said.exception), "the name is its own, not `aoi`"
    assert "no file and no region named 'lake'" in refusal("-w", "w", "--aoi", "lake").message


@pytest.mark.parametrize("name", ["озёра", "Алатау 2023", "冰湖", "झील", "müldür"])
def test_names_keep_their_letters(here: Path, name: str) -> None:
    (here / f"{name}.geojson").write_text(json.dumps(BOX))
    wanted = unicodedata.normalize("NFC", name).replace(" ", "_")
    assert load_area(f"{name}.geojson").name == wanted


def test_another_area_under_a_name_in_use(here: Path) -> None:
    for folder, geometry in (("a", WEST), ("b", EAST)):
        (here / folder).mkdir()
        (here / folder / "озёра.geojson").write_text(shapely.to_geojson(geometry))
    (here / "w" / "озёра").mkdir(parents=True)
    (here / "w" / "озёра" / "aoi.geojson").write_text(json.dumps({"type": "Feature", "geometry": BOX}))
    assert "no catalogue" in str(ask("-w", "w", "--aoi", "a/озёра.geojson").exception), "the same ground is welcome"
    error = refusal("-w", "w", "--aoi", "b/озёра.geojson")
    assert error.message.startswith(
        "b/озёра.geojson has 16.30 km2 at 78.000 E, 43.015 N, and its name 'озёра' is taken"
    )
    assert "w/озёра/aoi.geojson has 13.58 km2 at 77.025 E, 43.015 N" in error.message


def test_watched_lakes_and_inventories_of_a_building_site(here: Path) -> None:
    """A watched file is read before anything is fetched; a local CRS is told for every kind of file."""
    frame = geopandas.GeoDataFrame({"name": ["x"]}, geometry=[WEST], crs=4326)
    frame.to_file("a.geojson")
    frame.to_file("site.shp")
    (here / "site.prj").write_text(LOCAL)
    (here / "text.txt").write_text("no outlines")
    for watched, message in (("site.shp", "tied to no place on Earth"), ("text.txt", "could not read text.txt")):
        arguments = ["change", "2017", "2023", "--aoi", "a.geojson", "--catalog", "nowhere", "--watch", watched]
        assert message in str(CliRunner().invoke(cli, arguments).exception)
    arguments = ["change", "--lakes", "2010=a.geojson@30m", "--lakes", "2020=site.shp@30m"]
    assert "site.shp: its CRS is unknown or tied to no place on Earth" in str(
        CliRunner().invoke(cli, arguments).exception
    )
