"""One STAC item as a scene: hrefs made absolute and safe, offset, sun and orbit read from whichever fields the archive uses.

`io.catalogs.search` finds the items; `scenes.providers` says which asset is which band.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import CatalogError, DataError
from cryosentinel_core.scenes.footprints import cut_at_antimeridian
from cryosentinel_core.scenes.providers import Product, product_of, public_address
from cryosentinel_core.scenes.radiometry import offset_of_baseline, parse_baseline
from cryosentinel_core.scenes.scene import Role, Scene

_BASELINE_IN_NAME: Final = re.compile(r"_N(\d{2})(\d{2})_")
_ORBIT_IN_NAME: Final = re.compile(r"_R(\d{3})_")

MAX_DEPTH: Final = 12
"""Deepest nesting of an item that is kept."""

NONSENSE: Final = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What Python raises where an item holds other things than STAC says."""


def is_remote(href: str) -> bool:
    """True for http(s) addresses."""
    return href.startswith(("http://", "https://"))


def absolute_href(href: str, base: str) -> str:
    """An href of a document as an http(s) address or an absolute path that may be read.

    Args:
        href: As written in the document.
        base: Address or path of the document.

    Raises:
        CatalogError: If a document from the network points at a file of this machine, or the href is of a kind that is
            never read (a GDAL virtual file, an unknown bucket, another protocol).
    """
    if href.startswith("/vsi") or "\x00" in href:
        raise CatalogError(f"{base} points at {href!r}", "virtual file systems are never read from a catalogue")
    if is_remote(href):
        return href
    scheme = urlsplit(href).scheme
    if scheme == "s3":
        public = public_address(href)
        if public is None:
            raise CatalogError(
                f"{href} lies in a bucket that is not known to be free", "use a catalogue with http(s) hrefs"
            )
        return public
    if is_remote(base):
        if scheme or href.startswith("/"):
            raise CatalogError(
                f"{base} came over the network and points at {href!r}",
                "such a catalogue may not name files of this machine",
            )
        joined = urljoin(base, href)
        if not is_remote(joined):
            raise CatalogError(f"{base} points at {href!r}", "only http(s) addresses are read")
        return joined
    if scheme == "file":
        href = unquote(urlsplit(href).path)
    elif scheme and not Path(href).is_absolute():
        raise CatalogError(f"{base} points at {href!r}", "only files and http(s) addresses are read")
    path = Path(href)
    resolved = path if path.is_absolute() else (Path(base).parent / path)
    text = str(resolved.resolve())
    if text.startswith("/vsi"):
        raise CatalogError(f"{base} points at {href!r}", "virtual file systems are never read from a catalogue")
    return text


def scene_of_item(item: Mapping[str, Any], role: Role, base: str) -> Scene:
    """The scene of a STAC item, used as far as it can be understood.

    Args:
        item: As JSON.
        role: What it shall be used for.
        base: Address or path of the document that held it.

    Raises:
        DataError: If it lacks something without which it cannot be used; the message says what.
    """
    try:
        return _scene_of_item(item, role, base)
    except NONSENSE as error:
        raise DataError(f"it cannot be understood ({type(error).__name__}: {str(error)[:100]})") from error


def _scene_of_item(item: Mapping[str, Any], role: Role, base: str) -> Scene:
    product = product_of(item, role)
    if product is None:
        seen = ", ".join(sorted(map(str, as_mapping(item.get("assets"))))[:20]) or "none"
        raise DataError(f"no known product: collection {str(item.get('collection'))!r} with assets {seen}")
    properties = as_mapping(item.get("properties"))
    hrefs = _hrefs(item, product, base)
    optical = role == "optical"
    baseline = _baseline(item, properties) if optical else ""
    azimuth, elevation = _sun(properties) if optical else (float("nan"), float("nan"))
    return Scene(
        id=str(item["id"]),
        collection=product.collection,
        product=product.name,
        role=role,
        moment=time_span_of(item)[0],
        footprint=footprint_of(item),
        hrefs=hrefs,
        epsg=_epsg(properties),
        platform=_text(properties.get("platform")),
        orbit=_orbit(item, properties),
        orbit_state=_text(properties.get("sat:orbit_state")),
        cloud_percent=_percent(properties.get("eo:cloud_cover")),
        baseline=parse_baseline(baseline) if baseline else (0, 0),
        offset=_offset(baseline, product, properties) if optical else 0,
        sun_azimuth_deg=azimuth,
        sun_elevation_deg=elevation,
    )


def with_absolute_hrefs(item: Mapping[str, Any], scene: Scene, role: Role) -> dict[str, Any]:
    """The item as it goes into `scenes.json`: only the assets that are read, their hrefs absolute, no links.

    What JSON does not have (NaN) is null there, and so is what lies deeper than any archive nests it.
    """
    product = product_of(item, role)
    assets = as_mapping(item["assets"])
    keys = {} if product is None else {band: key for band, key in product.assets.items() if band in scene.hrefs}
    geometry, bbox = item.get("geometry"), item.get("bbox")
    is_plain = as_mapping(geometry).get("type") in ("Polygon", "MultiPolygon")
    is_box = isinstance(bbox, list) and len(bbox) in (4, 6) and all(_number(edge) is not None for edge in bbox)
    return {
        "type": "Feature",
        "stac_version": _text(item.get("stac_version")) or "1.0.0",
        "stac_extensions": [],
        "id": scene.id,
        "collection": scene.collection,
        "geometry": plain_json(geometry) if is_plain else shapely.geometry.mapping(scene.footprint),
        "bbox": bbox if is_box else list(scene.footprint.bounds),
        "properties": plain_json(as_mapping(item.get("properties"))),
        "assets": {
            key: {**plain_json(as_mapping(assets[key])), "href": scene.hrefs[band]} for band, key in keys.items()
        },
        "links": [],
    }


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A value where an object belongs; an empty one if it is none."""
    return value if isinstance(value, Mapping) else {}


def plain_json(value: Any, depth: int = 0) -> Any:
    """A value with null for numbers that are not finite and for what is nested deeper than `MAX_DEPTH`."""
    if isinstance(value, Mapping):
        return None if depth >= MAX_DEPTH else {str(key): plain_json(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return None if depth >= MAX_DEPTH else [plain_json(one, depth + 1) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def _hrefs(item: Mapping[str, Any], product: Product, base: str) -> dict[str, str]:
    assets = as_mapping(item.get("assets"))
    stated = {band: as_mapping(assets.get(key)).get("href") for band, key in product.assets.items()}
    missing = [band for band, href in stated.items() if not isinstance(href, str) or not href]
    if missing:
        seen = ", ".join(sorted(map(str, assets))[:20])
        raise DataError(f"no asset for {', '.join(missing)} (its assets are {seen})")
    try:
        return {band: absolute_href(str(href), base) for band, href in stated.items()}
    except CatalogError as error:
        raise DataError(error.message, error.hint) from error


def _baseline(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    stated = properties.get("s2:processing_baseline")
    if stated is not None:
        return str(stated)
    for name in (properties.get("s2:product_uri"), properties.get("s2:tile_id"), item.get("id")):
        found = _BASELINE_IN_NAME.search(f"{name}_")
        if found:
            return f"{found[1]}.{found[2]}"
    raise DataError("no processing baseline, so nobody knows whether the +1000 offset is in")


def _offset(baseline: str, product: Product, properties: Mapping[str, Any]) -> int:
    if product.offset_flag is not None and properties.get(product.offset_flag) is True:
        return 0
    return offset_of_baseline(baseline)


def _sun(properties: Mapping[str, Any]) -> tuple[float, float]:
    azimuth = _number(properties.get("view:sun_azimuth", properties.get("s2:mean_solar_azimuth")))
    elevation = _number(properties.get("view:sun_elevation"))
    zenith = _number(properties.get("s2:mean_solar_zenith"))
    if elevation is None and zenith is not None:
        elevation = 90.0 - zenith
    if azimuth is None or elevation is None or not 0.0 < elevation <= 90.0:
        raise DataError("no usable position of the sun")
    return azimuth, elevation


def time_span_of(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """First and last moment of an item, UTC; both are its `datetime`, where it has one.

    Raises:
        DataError: If it has no time that can be read.
    """
    properties = as_mapping(item.get("properties"))
    moment, start, end = (_moment(properties.get(name)) for name in ("datetime", "start_datetime", "end_datetime"))
    begin = moment or start
    if begin is None:
        raise DataError(f"no usable datetime ({str(properties.get('datetime'))[:40]!r})")
    return begin, begin if moment or end is None else max(begin, end)


def _moment(text: Any) -> dt.datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def footprint_of(item: Mapping[str, Any]) -> BaseGeometry:
    """Where an item has data, EPSG:4326, valid and with an area.

    Raises:
        DataError: If its geometry is missing or no such thing.
    """
    geometry = item.get("geometry")
    if not geometry:
        raise DataError("no geometry")
    try:
        footprint = shapely.make_valid(cut_at_antimeridian(shapely.geometry.shape(geometry)))
        is_area = footprint.area > 0 and all(math.isfinite(edge) for edge in footprint.bounds)
    except (*NONSENSE, shapely.errors.ShapelyError) as error:
        raise DataError(f"its geometry is damaged: {str(error)[:100]}") from error
    if not is_area:
        raise DataError(f"its geometry has no area (a {footprint.geom_type})")
    return footprint


def _epsg(properties: Mapping[str, Any]) -> int | None:
    code = properties.get("proj:epsg")
    if code is None:
        named = str(properties.get("proj:code") or "")
        code = named.removeprefix("EPSG:") if named.startswith("EPSG:") else None
    try:
        return None if code is None else int(code)
    except (TypeError, ValueError, OverflowError):
        return None


def _orbit(item: Mapping[str, Any], properties: Mapping[str, Any]) -> int | None:
    stated = properties.get("sat:relative_orbit")
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    for name in (properties.get("s2:product_uri"), item.get("id")):
        found = _ORBIT_IN_NAME.search(f"{name}_")
        if found:
            return int(found[1])
    return None


def _number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _percent(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and 0.0 <= number <= 100.0 else None
