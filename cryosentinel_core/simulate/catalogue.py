"""The static STAC catalogue of a simulation, written as JSON in a fixed order, all hrefs relative."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryosentinel_core.simulate.items import RADAR_COLLECTION, STAC_VERSION, TERRAIN_COLLECTION, Item, Json
from cryosentinel_core.simulate.truth import write_text

_DESCRIPTIONS: Final = {
    "sentinel-2-l2a": "Simulated Sentinel-2 Level-2A scenes, laid out as on Planetary Computer.",
    "sentinel-2-c1-l2a": "Simulated Sentinel-2 Collection 1 Level-2A scenes, laid out as on Earth Search.",
    RADAR_COLLECTION: "Simulated Sentinel-1 radiometrically terrain-corrected scenes, as on Planetary Computer.",
    TERRAIN_COLLECTION: "A simulated elevation model, laid out as Copernicus DEM GLO-30.",
}


def write_catalogue(directory: Path, items: Sequence[Item]) -> Path:
    """Write items, collections and, last of all, `catalog.json`; hrefs are relative.

    Returns:
        Path of `catalog.json`.
    """
    by_collection: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: (item.collection, item.name)):
        by_collection.setdefault(item.collection, []).append(item)
    for name, members in by_collection.items():
        for item in members:
            folder = directory / name / item.name
            folder.mkdir(parents=True, exist_ok=True)
            _write_json(folder / f"{item.name}.json", item.record)
        _write_json(directory / name / "collection.json", _collection(name, members))
    children = [
        {"rel": "child", "href": f"./{name}/collection.json", "type": "application/json"} for name in by_collection
    ]
    root = {"rel": "root", "href": "./catalog.json", "type": "application/json"}
    path = directory / "catalog.json"
    _write_json(
        path,
        {
            "type": "Catalog",
            "stac_version": STAC_VERSION,
            "id": "simulated-mountains",
            "title": "Simulated mountains",
            "description": "Simulated scenes of mountains with lakes whose outlines are known; see truth/.",
            "links": [root, *children],
        },
    )
    return path


def _collection(name: str, members: Sequence[Item]) -> Json:
    boxes = [item.record["bbox"] for item in members]
    times = sorted(item.record["properties"]["datetime"] for item in members)
    bbox = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    links = [
        {"rel": "root", "href": "../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
    ]
    links += [{"rel": "item", "href": f"./{m.name}/{m.name}.json", "type": "application/geo+json"} for m in members]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "description": _DESCRIPTIONS[name],
        "license": "Apache-2.0",
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": links,
    }


def _write_json(path: Path, record: Json) -> None:
    write_text(path, json.dumps(record, indent=1) + "\n")
