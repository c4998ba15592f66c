"""STAC items of simulated scenes, with the fields that real archives' items carry.

Records are plain dicts. What differs between the two archives is in `LAYOUTS`; field by field they follow items recorded
from them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shapely.geometry import Polygon, mapping

from cryosentinel_core.simulate.elevation import ElevationTile
from cryosentinel_core.simulate.grids import Granule, Grid, Ground
from cryosentinel_core.simulate.schedule import OpticalPass, RadarPass
from cryosentinel_core.simulate.settings import Provider, SimulateSettings
from cryosentinel_core.simulate.spectra import BANDS, RESOLUTION_M

Json = dict[str, Any]

STAC_VERSION: Final = "1.0.0"
COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
RADAR_COLLECTION: Final = "sentinel-1-rtc"
TERRAIN_COLLECTION: Final = "cop-dem-glo-30"

_SCHEMA: Final = "https://stac-extensions.github.io"


@dataclass(frozen=True)
class Layout:
    """How an archive names and describes Sentinel-2 items: its collection, asset keys and habits."""

    collection: str
    keys: dict[str, str]
    nodata_tag: float | None
    projection_version: str


_BY_COMMON_NAME: Final = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip

LAYOUTS: Final[dict[Provider, Layout]] = {
    "planetary-computer": Layout("sentinel-2-l2a", {band: band for band in (*BANDS, "SCL")}, None, "v1.1.0"),
    "earth-search": Layout("sentinel-2-c1-l2a", _BY_COMMON_NAME, 0, "v2.0.0"),
}
"""By provider. Earth Search has no terrain-corrected radar: both catalogues carry Planetary Computer's."""

_WAVELENGTHS_UM: Final = {
    "B01": ("coastal", 0.443, 0.027), "B02": ("blue", 0.490, 0.098), "B03": ("green", 0.560, 0.045),
    "B04": ("red", 0.665, 0.038), "B05": ("rededge", 0.704, 0.019), "B06": ("rededge", 0.740, 0.018),
    "B07": ("rededge", 0.783, 0.028), "B08": ("nir", 0.842, 0.145), "B8A": ("nir08", 0.865, 0.033),
    "B09": ("nir09", 0.945, 0.026), "B11": ("swir16", 1.610, 0.143), "B12": ("swir22", 2.190, 0.242),
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """A STAC item and the folder that it is written to, below its collection's."""

    collection: str
    record: Json

    @property
    def name(self) -> str:
        """The item's id."""
        return str(self.record["id"])


def optical_id(scene: OpticalPass, granule: Granule, like: Provider) -> str:
    """The item's id as the archive would form it."""
    if like == "earth-search":
        # Older processings of an acquisition get the next sequence number there.
        suffix = "_1" if scene.copy_of_newer else ""
        return f"S2{scene.platform}_T{granule.name}_{scene.when:%Y%m%dT%H%M%S}_L2A{suffix}"
    return (
        f"S2{scene.platform}_MSIL2A_{scene.when:%Y%m%dT%H%M%S}_R{scene.relative_orbit:03d}_T{granule.name}"
        f"_{_processed(scene):%Y%m%dT%H%M%S}"
    )


def _processed(scene: OpticalPass) -> datetime:
    """When the scene was processed: years later for the reprocessed early ones."""
    if scene.baseline.startswith("02.12"):
        return datetime(2020, 10, 6, tzinfo=UTC) + (scene.when - datetime(scene.when.year, 1, 1, tzinfo=UTC)) / 10
    delay = (scene.when - datetime(scene.when.year, 1, 1, tzinfo=UTC)) / 400
    start = scene.when.replace(hour=15, minute=1)
    return start if scene.copy_of_newer else start + delay


def optical_item(
    settings: SimulateSettings, ground: Ground, scene: OpticalPass, granule: Granule, footprint: Polygon, shares: Json
) -> Item:
    """The STAC item of a Sentinel-2 scene.

    Args:
        settings: What is simulated.
        ground: Where.
        scene: The acquisition.
        granule: The granule.
        footprint: Ground with data, in degrees.
        shares: Per cent of pixels by class as real items give them, `eo:cloud_cover` among them.
    """
    layout = LAYOUTS[settings.like]
    name = optical_id(scene, granule, settings.like)
    assets = {}
    for band in (*BANDS, "SCL"):
        grid = granule.grid.coarser(RESOLUTION_M.get(band, 20) // 10)
        assets[layout.keys[band]] = _optical_asset(
            settings.like, band, grid, f"./{asset_name(scene, granule, band)}", scene
        )
    properties = _optical_properties(settings.like, scene, granule, shares)
    extensions = ["eo/v1.1.0", "sat/v1.0.0", "view/v1.0.0", f"projection/{layout.projection_version}"]
    if settings.like == "earth-search":
        extensions += ["raster/v1.1.0", "grid/v1.1.0"]
    return Item(layout.collection, _record(name, layout.collection, footprint, properties, assets, extensions))


def asset_name(scene: OpticalPass, granule: Granule, band: str) -> str:
    """File name of a band as in the archive's products."""
    return f"T{granule.name}_{scene.when:%Y%m%dT%H%M%S}_{band}_{RESOLUTION_M.get(band, 20)}m.tif"


def _optical_properties(like: Provider, scene: OpticalPass, granule: Granule, shares: Json) -> Json:
    numbers = scene.baseline.replace(".", "")
    uri = (
        f"S2{scene.platform}_MSIL2A_{scene.when:%Y%m%dT%H%M%S}_N{numbers}_R{scene.relative_orbit:03d}"
        f"_T{granule.name}_{_processed(scene):%Y%m%dT%H%M%S}.SAFE"
    )
    common: Json = {
        "datetime": f"{scene.when:%Y-%m-%dT%H:%M:%S}.024000Z",
        "platform": f"Sentinel-2{scene.platform}",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        **_projection(like, granule.grid.epsg),
        "s2:mgrs_tile": granule.name,
        "s2:processing_baseline": scene.baseline,
        "s2:product_uri": uri,
        "s2:product_type": "S2MSI2A",
        "s2:generation_time": f"{_processed(scene):%Y-%m-%dT%H:%M:%S}.000000Z",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": scene.relative_orbit,
        "s2:mean_solar_zenith": round(90 - scene.sun_elevation_deg, 6),
        "s2:mean_solar_azimuth": round(scene.sun_azimuth_deg, 6),
        **shares,
    }
    if like == "planetary-computer":
        return common
    for key in ("s2:mean_solar_zenith", "s2:mean_solar_azimuth", "s2:mgrs_tile"):
        common.pop(key)
    return common | {
        "platform": f"sentinel-2{scene.platform.lower()}",
        "constellation": "sentinel-2",
        "gsd": 10,
        "grid:code": f"MGRS-{granule.name}",
        "mgrs:utm_zone": int(granule.name[:2]),
        "mgrs:latitude_band": granule.name[2],
        "mgrs:grid_square": granule.name[3:],
        "view:sun_azimuth": round(scene.sun_azimuth_deg, 6),
        "view:sun_elevation": round(scene.sun_elevation_deg, 6),
        "s2:sequence": "1" if scene.copy_of_newer else "0",
    }


def _projection(like: Provider, epsg: int) -> Json:
    return {"proj:code": f"EPSG:{epsg}"} if like == "earth-search" else {"proj:epsg": epsg}


def _optical_asset(like: Provider, band: str, grid: Grid, href: str, scene: OpticalPass) -> Json:
    minx, miny, maxx, maxy = grid.bounds
    asset: Json = {
        "href": href,
        "type": COG_TYPE,
        "title": "Scene classification map (SCL)" if band == "SCL" else f"{band} - {grid.pixel_m:g}m",
        "gsd": grid.pixel_m,
        "proj:bbox": [minx, miny, maxx, maxy],
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.affine)[:6],
        "roles": ["data"] if like == "planetary-computer" or band == "SCL" else ["data", "reflectance"],
    }
    if band != "SCL":
        common, centre, width = _WAVELENGTHS_UM[band]
        asset["eo:bands"] = [
            {"name": band, "common_name": common, "center_wavelength": centre, "full_width_half_max": width}
        ]
    if like == "earth-search":
        raster: Json = {
            "nodata": 0,
            "data_type": "uint8" if band == "SCL" else "uint16",
            "spatial_resolution": grid.pixel_m,
        }
        if band != "SCL":
            raster |= {"scale": 0.0001, "offset": -scene.offset / 10_000}
        asset["raster:bands"] = [raster]
    return asset


def radar_item(ground: Ground, scene: RadarPass, footprint: Polygon) -> Item:
    """The STAC item of a Sentinel-1 scene, radiometrically terrain-corrected, as Planetary Computer has it."""
    name = radar_id(scene)
    grid = ground.core
    stamp = f"{scene.when:%Y-%m-%dT%H:%M:%S}.436706Z"
    properties: Json = {
        "datetime": stamp,
        "start_datetime": stamp,
        "end_datetime": f"{scene.when:%Y-%m-%dT%H:%M:%S}.936706Z",
        "platform": f"SENTINEL-1{scene.platform}",
        "constellation": "Sentinel-1",
        "proj:epsg": grid.epsg,
        "proj:bbox": list(grid.bounds),
        "proj:shape": list(grid.shape),
        "proj:transform": [*list(grid.affine)[:6], 0.0, 0.0, 1.0],
        "sat:orbit_state": scene.orbit_state,
        "sat:relative_orbit": scene.relative_orbit,
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
        "sar:looks_range": 5,
        "sar:looks_azimuth": 1,
        "sar:looks_equivalent_number": 4.4,
        "sar:pixel_spacing_range": 10,
        "sar:pixel_spacing_azimuth": 10,
        "sar:resolution_range": 20,
        "sar:resolution_azimuth": 22,
        "sar:observation_direction": "right",
        "s1:processing_level": "1",
        "s1:resolution": "high",
    }
    band = {"nodata": -32768, "data_type": "float32", "spatial_resolution": 10.0}
    assets = {
        key: {
            "href": f"./iw-{key}.rtc.tiff",
            "type": COG_TYPE,
            "title": f"{key.upper()}: vertical transmit, {'vertical' if key == 'vv' else 'horizontal'} receive",
            "roles": ["data"],
            "raster:bands": [band],
        }
        for key in ("vh", "vv")
    }
    extensions = ["sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "raster/v1.1.0"]
    return Item(RADAR_COLLECTION, _record(name, RADAR_COLLECTION, footprint, properties, assets, extensions))


def radar_id(scene: RadarPass) -> str:
    """The item's id as Planetary Computer forms it."""
    absolute = (scene.when - datetime(2014, 4, 3, tzinfo=UTC)).days * 175 // 12
    return (
        f"S1{scene.platform}_IW_GRDH_1SDV_{scene.when:%Y%m%dT%H%M%S}_{scene.when:%Y%m%dT%H%M%S}_{absolute:06d}"
        f"_{absolute * 7 % 0xFFFFF:06X}_rtc"
    )


def terrain_item(tile: ElevationTile, like: Provider) -> Item:
    """The STAC item of an elevation tile."""
    height, width = tile.heights.shape
    left, top = tile.affine.c, tile.affine.f
    bounds = (left, top + height * tile.affine.e, left + width * tile.affine.a, top)
    footprint = Polygon.from_bounds(*bounds)
    properties: Json = {
        "datetime": "2021-04-22T00:00:00Z",
        "platform": "TanDEM-X" if like == "planetary-computer" else "tandem-x",
        "gsd": 30,
        **({"proj:epsg": 4326} if like == "planetary-computer" else {"proj:code": "EPSG:4326"}),
        "proj:shape": [height, width],
        "proj:transform": list(tile.affine)[:6],
    }
    asset = {"href": f"./{tile.name}.tif", "title": tile.corner, "type": COG_TYPE, "roles": ["data"]}
    extensions = [f"projection/{LAYOUTS[like].projection_version}"]
    record = _record(tile.name, TERRAIN_COLLECTION, footprint, properties, {"data": asset}, extensions)
    return Item(TERRAIN_COLLECTION, record)


def _record(
    name: str, collection: str, footprint: Polygon, properties: Json, assets: Json, extensions: Sequence[str]
) -> Json:
    geometry = json.loads(json.dumps(mapping(footprint)))
    geometry["coordinates"] = [[[round(v, 8) for v in point] for point in ring] for ring in geometry["coordinates"]]
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [f"{_SCHEMA}/{extension}/schema.json" for extension in extensions],
        "id": name,
        "collection": collection,
        "geometry": geometry,
        "bbox": [round(v, 8) for v in footprint.bounds],
        "properties": properties,
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": assets,
    }
