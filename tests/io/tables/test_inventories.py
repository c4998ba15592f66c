"""Inventories that others drew: mended, measured and said; the real ones of the Hindu Kush Himalaya."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from outline_tables import box

from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.ground.geodesic import geodesic_area_m2
from cryosentinel_core.io.tables.inventories import read_inventory
from cryosentinel_core.lakes.tables import LAKE_COLUMNS, Inventory
from cryosentinel_core.lakes.uncertainty import inventory_sigma


class Ear:
    """A reporter that remembers warnings."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def progress(self, task: str, done: int, total: int) -> None:
        del task, done, total

    def note(self, message: str) -> None:
        del message

    def warn(self, message: str) -> None:
        self.heard.append(message)


def save(path: Path, shapes: list[object], **columns: list[object]) -> str:
    gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326").to_file(path)  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2010=lakes.shp@30m", Inventory(year=2010, path="lakes.shp", resolution_m=30)),
        ("2010=/a b/c@d.gpkg@12.5", Inventory(year=2010, path="/a b/c@d.gpkg", resolution_m=12.5)),
        ("2000=k.gpkg?year=2000@30m", Inventory(year=2000, path="k.gpkg", resolution_m=30, select=("year", "2000"))),
    ],
)
def test_flags_are_read(text: str, wanted: Inventory) -> None:
    assert Inventory.parse(text) == wanted


@pytest.mark.parametrize("text", ["lakes.shp", "2010=lakes.shp", "10=lakes.shp@30m", "2010=lakes.shp@0m"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="inventory"):
        Inventory.parse(text)


def test_outlines_are_measured_not_believed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.gpkg", [box(0, 0, 2, 2)], Area=[99.0], GLIMS_ID=["GL000000E00000N"], Altitude=[5003])
    found = read_inventory(Inventory(year=2010, path=path, resolution_m=30), Ear())
    assert found.columns.tolist() == [*LAKE_COLUMNS, "geometry"]
    lake = found.iloc[0]
    assert lake["area_m2"] == pytest.approx(geodesic_area_m2(box(0, 0, 2, 2)), rel=1e-9)
    assert lake["lake_id"] == "GL077001E43001N"
    assert lake["elevation_m"] == 5003
    assert lake["area_sigma_m2"] == pytest.approx(float(inventory_sigma(lake["perimeter_m"], 30.0)))


def test_any_crs_will_do(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(geometry=[box(0, 0, 2, 2)], crs="EPSG:4326")
    albers = "+proj=aea +lat_1=25 +lat_2=47 +lat_0=36 +lon_0=105 +datum=WGS84"
    for name, crs in {"a": "EPSG:3857", "b": "EPSG:32643", "c": albers}.items():
        frame.to_crs(crs).to_file(tmp_path / f"{name}.gpkg")
        found = read_inventory(Inventory(year=2010, path=str(tmp_path / f"{name}.gpkg"), resolution_m=30), Ear())
        assert found["area_m2"].iloc[0] == pytest.approx(geodesic_area_m2(box(0, 0, 2, 2)), rel=1e-5)


def test_faults_are_mended_and_said(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(77, 43), (77.002, 43.002), (77.002, 43), (77, 43.002)])
    nearly = shapely.affinity.translate(box(10, 0, 12, 2), 1e-6, 0)
    shapes = [bow_tie, box(10, 0, 12, 2), box(10, 0, 12, 2), nearly, box(20, 0, 22, 2), None]
    ear = Ear()
    found = read_inventory(Inventory(year=2010, path=save(tmp_path / "x.gpkg", shapes), resolution_m=30), ear)
    assert len(found) == 3
    assert found.geometry.is_valid.all()
    assert ear.heard == [
        "inventory of 2010: 1 row without a geometry left out",
        "inventory of 2010: 1 invalid outline repaired",
        "inventory of 2010: 2 outlines drawn twice left out",
    ]


def test_only_the_polygons_of_a_collection_are_a_lake(tmp_path: Path) -> None:
    both = shapely.GeometryCollection([box(0, 0, 2, 2), shapely.Point(77, 43)])
    found = read_inventory(Inventory(year=2010, path=save(tmp_path / "x.gpkg", [both]), resolution_m=30), Ear())
    assert found.geom_type.tolist() == ["Polygon"]
    assert found["area_m2"].iloc[0] == pytest.approx(geodesic_area_m2(box(0, 0, 2, 2)), rel=1e-9)


def test_the_layer_that_is_read_is_said(tmp_path: Path) -> None:
    class Notes(Ear):
        def note(self, message: str) -> None:
            self.heard.append(message)

    for name, shape in (("lakes", box(0, 0, 2, 2)), ("candidates", box(5, 0, 6, 1))):
        gpd.GeoDataFrame(geometry=[shape], crs="EPSG:4326").to_file(tmp_path / "x.gpkg", layer=name)
    notes = Notes()
    assert len(read_inventory(Inventory(year=2010, path=str(tmp_path / "x.gpkg"), resolution_m=30), notes)) == 1
    assert notes.heard == ["inventory of 2010: layer 'lakes' of x.gpkg is read, not candidates"]


def test_files_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    def read(path: str, select: tuple[str, str] | None = None) -> None:
        read_inventory(Inventory(year=2010, path=path, resolution_m=30, select=select), Ear())

    with pytest.raises(DataError, match="could not read"):
        read(str(tmp_path / "none.shp"))
    with pytest.raises(DataError, match="holds no polygon"):
        read(save(tmp_path / "points.gpkg", [shapely.Point(77, 43)]))
    with pytest.raises(DataError, match="does not say its CRS"):
        bare = save(tmp_path / "bare.shp", [box(0, 0, 1, 1)])
        (tmp_path / "bare.prj").unlink()
        read(bare)
    path = save(tmp_path / "x.gpkg", [box(0, 0, 1, 1)], year=[2010])
    with pytest.raises(InputError, match="no column 'jahr'"):
        read(path, ("jahr", "2010"))
    with pytest.raises(InputError, match="no row has year = 1999"):
        read(path, ("year", "1999"))


def test_real_inventories_have_their_known_faults(shared_data: Path) -> None:
    ear = Ear()
    found = read_inventory(Inventory(year=2010, path=str(shared_data / "lakes/HKH_2010.shp"), resolution_m=30), ear)
    assert len(found) == 1538
    assert ear.heard == ["inventory of 2010: 2 outlines drawn twice left out"]
    stated = gpd.read_file(shared_data / "lakes/HKH_2010.shp")["Area"] * 1e6
    # The column is not what the outlines are: the total agrees, single lakes do not.
    assert found["area_m2"].sum() == pytest.approx(stated.sum(), rel=0.02)


def test_named_lakes_have_their_stated_areas(shared_data: Path) -> None:
    import pandas as pd

    named = pd.read_csv(shared_data / "lakes/named_lakes.csv")
    largest = named.sort_values("area_km2").groupby(["lake", "year"]).tail(1)
    found = {}
    for year in (2000, 2010, 2020):
        path = shared_data / "lakes/khumbu_2000_2010_2020.gpkg"
        inventory = Inventory(year=year, path=str(path), resolution_m=30, select=("year", str(year)))
        found[year] = read_inventory(inventory, Ear())
    n_compared = 0
    for _, row in largest.iterrows():
        lon, lat = int(row["GLIMS_ID"][2:8]) / 1000, int(row["GLIMS_ID"][9:14]) / 1000
        table = found[row["year"]]
        # A wrong id leads elsewhere: only lakes that lie where their id says can be compared by it.
        hits = table[table.geometry.intersects(shapely.Point(lon, lat).buffer(0.001))]
        if len(hits) == 1:
            n_compared += 1
            assert hits["area_m2"].iloc[0] / 1e6 == pytest.approx(row["area_km2"], rel=0.01), row["lake"]
    assert n_compared >= 15
