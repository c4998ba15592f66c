from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.warp import transform_bounds
from shapely.geometry import box, shape

from cryosentinel_core.simulate import SimulateSettings, SimulationSummary, simulate

NATIVE_M = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20,
            "B09": 60, "B11": 20, "B12": 20, "SCL": 20}  # fmt: skip


def items_of(directory: Path, collection: str) -> list[pystac.Item]:
    catalogue = pystac.Catalog.from_file(str(directory / "catalog.json"))
    found = catalogue.get_child(collection)
    assert found is not None, f"no collection {collection}"
    return sorted(found.get_items(), key=lambda item: item.id)


def path_of(item: pystac.Item, key: str) -> Path:
    return Path(item.assets[key].get_absolute_href() or "")


@pytest.mark.parametrize("name", ["small", "earth_search", "border"])
def test_links_resolve_and_assets_are_what_items_promise(name: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(name)
    directory = made.directory if isinstance(made, SimulationSummary) else made
    catalogue = pystac.Catalog.from_file(str(directory / "catalog.json"))
    items = list(catalogue.get_items(recursive=True))
    assert items
    for item in items:
        parent, collection = item.get_parent(), item.get_collection()
        assert parent is collection
        assert collection is not None
        assert collection.id == item.collection_id
        assert collection.extent.temporal.intervals[0][0] <= item.datetime <= collection.extent.temporal.intervals[0][1]
        for key, asset in item.assets.items():
            fields = {**item.properties, **asset.extra_fields}
            code = fields.get("proj:code") or f"EPSG:{fields['proj:epsg']}"
            with rasterio.open(path_of(item, key)) as source:
                assert source.crs.to_string() == code
                assert list(source.shape) == fields["proj:shape"]
                assert list(source.transform)[:6] == pytest.approx(fields["proj:transform"][:6], abs=1e-9)
                bounds = transform_bounds(source.crs, "EPSG:4326", *source.bounds, densify_pts=21)
            assert box(*item.bbox).within(box(*bounds).buffer(1e-3))
            assert shape(item.geometry).is_valid


def test_hrefs_are_relative_so_the_folder_can_move(small: SimulationSummary) -> None:
    for path in small.directory.rglob("*.json"):
        record = json.loads(path.read_text())
        if not isinstance(record, dict):
            continue
        hrefs = [link["href"] for link in record.get("links", [])]
        hrefs += [asset["href"] for asset in record.get("assets", {}).values()]
        assert all(href.startswith(".") for href in hrefs), path


def test_planetary_computer_items_look_recorded_ones(small: SimulationSummary, shared_data: Path) -> None:
    recorded = json.loads((shared_data / "stac" / "pc" / "sentinel-2-l2a-pc.json").read_text())[0]
    item = items_of(small.directory, "sentinel-2-l2a")[0].to_dict()
    ours, theirs = item["properties"], recorded["properties"]
    missing = set(theirs) - set(ours) - {"proj:epsg", "proj:code"}
    allowed = {
        "s2:granule_id", "s2:datatake_id", "s2:datastrip_id", "s2:datatake_type", "s2:degraded_msi_data_percentage",
        "s2:reflectance_conversion_factor", "s2:saturated_defective_pixel_percentage",
    }  # fmt: skip
    assert missing <= allowed
    assert set(NATIVE_M) <= set(recorded["assets"])
    assert set(item["assets"]) == set(NATIVE_M)
    assert ours["platform"] == theirs["platform"][:-1] + ours["platform"][-1]
    radar = json.loads((shared_data / "stac" / "pc" / "sentinel-1-rtc-pc.json").read_text())[0]
    ours_radar = items_of(small.directory, "sentinel-1-rtc")[0].to_dict()
    for key in ("sat:orbit_state", "sat:relative_orbit", "sar:looks_equivalent_number", "sar:polarizations"):
        assert isinstance(ours_radar["properties"][key], type(radar["properties"][key]))
    assert ours_radar["assets"]["vv"]["raster:bands"] == radar["assets"]["vv"]["raster:bands"]


def test_optical_grids_nest_in_their_granule(small: SimulationSummary) -> None:
    # 43TFH: upper left corner (600000, 4800000), from Sentinel-2's tiling grid.
    for item in items_of(small.directory, "sentinel-2-l2a"):
        assert item.properties["s2:mgrs_tile"] == "43TFH"
        boxes = set()
        for key, native in NATIVE_M.items():
            with rasterio.open(path_of(item, key)) as source:
                assert source.res == (native, native)
                assert (source.bounds.left - 600_000) % native == 0
                assert (4_800_000 - source.bounds.top) % native == 0
                assert source.dtypes == (("uint8",) if key == "SCL" else ("uint16",))
                assert source.nodata is None
                boxes.add(source.bounds)
        assert len(boxes) == 1


def test_assets_are_cloud_optimised(small: SimulationSummary) -> None:
    for item in items_of(small.directory, "sentinel-2-l2a")[:1] + items_of(small.directory, "sentinel-1-rtc")[:1]:
        for key in item.assets:
            with rasterio.open(path_of(item, key)) as source:
                assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert source.compression.name == "deflate"
                assert source.block_shapes == [(512, 512)]


def test_earth_search_layout(earth_search: Path) -> None:
    items = items_of(earth_search, "sentinel-2-c1-l2a")
    assert {item.datetime.year for item in items} == {2017, 2021, 2023}
    for item in items:
        assert {"blue", "green", "nir", "nir08", "swir16", "scl", "coastal"} <= set(item.assets)
        assert item.properties["grid:code"] == "MGRS-43TFH"
        assert 0 < item.properties["view:sun_elevation"] < 90
        assert item.assets["green"].extra_fields["raster:bands"][0]["offset"] == pytest.approx(-0.1)
        with rasterio.open(path_of(item, "green")) as source:
            assert source.nodata == 0


def test_area_lies_inside_the_scenes_with_room_for_windows() -> None:
    from cryosentinel_core.simulate.grids import build_ground

    for zone_border in (False, True):
        ground = build_ground(SimulateSettings(zone_border=zone_border))
        for granule in ground.granules:
            if granule.grid.epsg == ground.grid.epsg:
                assert box(*granule.grid.bounds).covers(ground.aoi.buffer(6_999, join_style="mitre"))


def test_same_settings_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    kept = {"size_km": 1.5, "margin_km": 0.6, "optical_dates": 2, "radar_dates": 1}
    first = simulate(tmp_path / "a", SimulateSettings(**kept, workers=1)).directory
    second = simulate(tmp_path / "b", SimulateSettings(**kept, workers=3)).directory
    other = simulate(tmp_path / "c", SimulateSettings(**kept, seed=1)).directory

    def content(directory: Path) -> dict[str, bytes]:
        return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}

    assert content(first) == content(second)
    assert content(first)["truth/lakes.gpkg"] != content(other)["truth/lakes.gpkg"]
    assert not [name for name in content(first) if "part" in name]


def test_zone_border_gives_each_zone_its_granule(border: Path) -> None:
    items = items_of(border, "sentinel-2-l2a")
    by_tile = {item.properties["s2:mgrs_tile"]: item for item in items if item.datetime.year == 2017}
    assert set(by_tile) == {"43TGH", "44TKN"}
    epsg = {tile: rasterio.open(path_of(item, "B02")).crs.to_epsg() for tile, item in by_tile.items()}
    assert epsg == {"43TGH": 32643, "44TKN": 32644}
    aoi = shape(json.loads((border / "aoi.geojson").read_text())["features"][0]["geometry"])
    assert aoi.bounds[0] < 78 < aoi.bounds[2]
    for item in by_tile.values():
        assert shape(item.geometry).covers(aoi)


def test_both_zones_show_the_same_ground(border: Path) -> None:
    from rasterio.warp import Resampling, reproject

    items = {i.properties["s2:mgrs_tile"]: i for i in items_of(border, "sentinel-2-l2a") if i.datetime.year == 2017}
    with rasterio.open(path_of(items["43TGH"], "B08")) as west, rasterio.open(path_of(items["44TKN"], "B08")) as east:
        moved = np.zeros(west.shape, np.float32)
        reproject(
            rasterio.band(east, 1),
            moved,
            dst_transform=west.transform,
            dst_crs=west.crs,
            resampling=Resampling.bilinear,
        )
        here = west.read(1).astype(np.float32)
    middle = (slice(40, -40), slice(40, -40))
    assert np.corrcoef(moved[middle].ravel(), here[middle].ravel())[0, 1] > 0.97
