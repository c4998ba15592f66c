"""STAC items and static catalogues made for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pystac
import shapely

from cryosentinel_core.scenes.providers import PLANETARY_COMPUTER


def optical_item(name: str = "a", *, when: str = "2023-08-01T05:00:00Z", **properties: Any) -> dict[str, Any]:
    """A Sentinel-2 item as Planetary Computer words it, over 76 to 77 E, 42 to 43 N."""
    keys = PLANETARY_COMPUTER.products[0].assets.values()
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(shapely.box(76, 42, 77, 43)), "bbox": [76, 42, 77, 43], "links": [],
        "properties": {
            "datetime": when, "platform": "Sentinel-2A", "eo:cloud_cover": 3.0, "s2:processing_baseline": "05.09",
            "s2:mean_solar_zenith": 30.0, "s2:mean_solar_azimuth": 150.0, "sat:relative_orbit": 105, **properties,
        },
        "assets": {key: {"href": f"{key}.tif"} for key in keys},
    }  # fmt: skip


def write_static(folder: Path, items: list[Any]) -> Path:
    """A catalogue whose items lie beside it, as `<id>.json`, or `item<number>.json` where they have no plain id."""
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for number, item in enumerate(items):
        name = item.get("id") if isinstance(item, dict) else None
        file = f"{name}.json" if isinstance(name, str) else f"item{number}.json"
        (folder / file).write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{file}"})
    path = folder / "catalog.json"
    root = {"rel": "root", "href": "./catalog.json"}
    path.write_text(json.dumps({"type": "Catalog", "id": "static", "links": [*links, root]}))
    return path


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = [76.5, 42.5]
    for _ in range(depth):
        value = [value]
    return value


def simulated_items(folder: Path, year: int | None = None) -> list[pystac.Item]:
    """The items of a simulated collection, as a search would give them; of one year, or of all."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        data = json.loads(path.read_text())
        if data.get("type") == "Feature" and (year is None or data["properties"]["datetime"].startswith(str(year))):
            item = pystac.Item.from_file(path)
            item.make_asset_hrefs_absolute()
            found.append(item)
    return found
