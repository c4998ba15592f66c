"""One STAC item as a scene: hrefs made absolute and safe, offset, sun and orbit read from whichever fields the archive uses.

`io.catalogs.search` finds the items; `scenes.providers` says which asset is which band.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import CatalogError, DataError
from cryosentinel_core.scenes.providers import Product, product_of, public_address
from cryosentinel_core.scenes.radiometry import offset_of_baseline, parse_baseline
from cryosentinel_core.scenes.scene import Role, Scene

_BASELINE_IN_NAME: Final = re.compile(r"_N(\d{2})(\d{2})_")
_ORBIT_IN_NAME: Final = re.compile(r"_R(\d{3})_")


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
    """The scene of a STAC item.

    Args:
        item: As JSON.
        role: What it shall be used for.
        base: Address or path of the document that held it.

    Raises:
        DataError: If it lacks something without which it cannot be used; the message says what.
    """
    product = product_of(item, role)
    if product is None:
        raise DataError(f"no known product: collection {item.get('collection')!r}")
    properties: Mapping[str, Any] = item.get("properties") or {}
    hrefs = _hrefs(item, product, base)
    optical = role == "optical"
    baseline = _baseline(item, properties) if optical else ""
    azimuth, elevation = _sun(properties) if optical else (float("nan"), float("nan"))
    return Scene(
        id=str(item["id"]),
        collection=product.collection,
        product=product.name,
        role=role,
        moment=_moment(properties),
        footprint=_footprint(item),
        hrefs=hrefs,
        epsg=_epsg(properties),
        platform=str(properties.get("platform") or "").lower(),
        orbit=_orbit(item, properties),
        orbit_state=str(properties.get("sat:orbit_state") or "").lower(),
        cloud_percent=_number(properties.get("eo:cloud_cover")),
        baseline=parse_baseline(baseline) if baseline else (0, 0),
        offset=_offset(baseline, product, properties) if optical else 0,
        sun_azimuth_deg=azimuth,
        sun_elevation_deg=elevation,
    )


def with_absolute_hrefs(item: Mapping[str, Any], scene: Scene, role: Role) -> dict[str, Any]:
    """The item as it goes into `scenes.json`: only the assets that are read, their hrefs absolute, no links."""
    product = product_of(item, role)
    assets = item["assets"]
    keys = {} if product is None else {band: key for band, key in product.assets.items() if band in scene.hrefs}
    return {
        "type": "Feature",
        "stac_version": item.get("stac_version", "1.0.0"),
        "stac_extensions": [],
        "id": scene.id,
        "collection": scene.collection,
        "geometry": item.get("geometry"),
        "bbox": item.get("bbox") or list(scene.footprint.bounds),
        "properties": dict(item.get("properties") or {}),
        "assets": {key: {**assets[key], "href": scene.hrefs[band]} for band, key in keys.items()},
        "links": [],
    }


def _hrefs(item: Mapping[str, Any], product: Product, base: str) -> dict[str, str]:
    assets = item.get("assets") or {}
    missing = [band for band, key in product.assets.items() if not (assets.get(key) or {}).get("href")]
    if missing:
        raise DataError(f"no asset for {', '.join(missing)}")
    try:
        return {band: absolute_href(str(assets[key]["href"]), base) for band, key in product.assets.items()}
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


def _moment(properties: Mapping[str, Any]) -> dt.datetime:
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        moment = dt.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError as error:
        raise DataError(f"no usable datetime ({text!r})") from error
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _footprint(item: Mapping[str, Any]) -> BaseGeometry:
    geometry = item.get("geometry")
    if not geometry:
        raise DataError("no geometry")
    try:
        footprint = shapely.make_valid(shapely.geometry.shape(geometry))
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        raise DataError(f"its geometry is damaged: {error}") from error
    if footprint.is_empty:
        raise DataError("its geometry is empty")
    return footprint


def _epsg(properties: Mapping[str, Any]) -> int | None:
    code = properties.get("proj:epsg")
    if code is None:
        named = str(properties.get("proj:code") or "")
        code = named.removeprefix("EPSG:") if named.startswith("EPSG:") else None
    try:
        return None if code is None else int(code)
    except (TypeError, ValueError):
        return None


def _orbit(item: Mapping[str, Any], properties: Mapping[str, Any]) -> int | None:
    stated = properties.get("sat:relative_orbit")
    if isinstance(stated, int):
        return stated
    for name in (properties.get("s2:product_uri"), item.get("id")):
        found = _ORBIT_IN_NAME.search(f"{name}_")
        if found:
            return int(found[1])
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
