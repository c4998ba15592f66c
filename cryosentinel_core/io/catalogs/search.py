"""Catalogues: STAC APIs, static catalogues, item collections and stac-geoparquet, near or far, all as scenes.

A catalogue is data from outside. Its names never choose a path, and one that came over the network can never make us read a file
of this machine: its assets must be http(s) addresses, or in a bucket that anyone may read. Neighbours: `scenes.providers` is the
table of archives, `selection` chooses among what is found here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
import shapely
import tenacity
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import CatalogError, ConfigError
from cryosentinel_core.scenes.items import absolute_href, is_remote
from cryosentinel_core.scenes.providers import PROVIDERS, Product, Provider, all_products
from cryosentinel_core.scenes.scene import Role

TIMEOUT_S: Final = 60.0
MAX_DOCUMENTS: Final = 200_000
"""A static catalogue with more documents than this is not walked to its end."""


@dataclass(frozen=True)
class Found:
    """A raw item and where its relative hrefs start.

    Attributes:
        item: STAC item as JSON.
        base: Address or path of the document that held it; the item's hrefs are relative to it.
    """

    item: dict[str, Any]
    base: str


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often a service is asked again.

    Attributes:
        attempts: Times that one request is tried.
        wait_s: Seconds before the second; doubled for each one after it.
    """

    attempts: int = 5
    wait_s: float = 1.0


def resolve_reference(reference: str) -> str:
    """A catalogue's name, URL or path as one string that means the same from any folder.

    Raises:
        ConfigError: If it is neither a provider's name, an http(s) URL, nor an existing path.
    """
    if reference in PROVIDERS:
        return reference
    if is_remote(reference):
        return reference.rstrip("/")
    path = Path(reference)
    if path.is_dir():
        for name in ("catalog.json", "collection.json"):
            if (path / name).is_file():
                return str((path / name).resolve())
        raise ConfigError(f"the folder {path} holds no catalog.json", "give the folder or file of a STAC catalogue")
    if path.is_file():
        return str(path.resolve())
    raise ConfigError(
        f"no catalogue {reference!r}",
        f"give {', '.join(sorted(PROVIDERS))}, the URL of a STAC API, or an existing path",
    )


def provider_of(reference: str) -> Provider | None:
    """The provider that a reference names, by name or by its API's address."""
    for provider in PROVIDERS.values():
        if reference == provider.name or reference.rstrip("/") == provider.api:
            return provider
    return None


def products_in(reference: str, role: Role) -> tuple[Product, ...]:
    """The collections to look for in a catalogue, in order of preference."""
    provider = provider_of(reference)
    if provider is None:
        return all_products(role)
    return tuple(product for product in provider.products if product.role == role)


def search_items(
    reference: str,
    collections: Sequence[str],
    area: BaseGeometry,
    interval: str | None,
    patience: Patience = Patience(),
) -> list[Found]:
    """Items of some collections that touch an area and fall into an interval, ordered by collection and id.

    Args:
        reference: Of `resolve_reference`.
        collections: STAC collection ids.
        area: EPSG:4326.
        interval: STAC `datetime`, closed, or None for any time.
        patience: With services.

    Raises:
        CatalogError: If the catalogue does not answer or cannot be understood.
    """
    provider = provider_of(reference)
    address = provider.api if provider else reference
    document, base = read_document(address, patience)
    if _is_api(document):
        page_size = provider.page_size if provider else 100
        found = _search_api(address, collections, area, interval, page_size, patience)
    else:
        found = [
            one
            for one in _walk(document, base, patience, is_file=address.endswith(".parquet"))
            if one.item.get("collection") in collections and _touches(one.item, area) and _within(one.item, interval)
        ]
    unique = {(str(one.item.get("collection")), str(one.item.get("id"))): one for one in found}
    return [unique[key] for key in sorted(unique)]


def read_document(address: str, patience: Patience = Patience()) -> tuple[Any, str]:
    """A JSON document, and the address from which its relative hrefs start; a stac-geoparquet file as an item collection.

    Raises:
        CatalogError: If it cannot be had or is not JSON.
    """
    if is_remote(address):
        return _get_json(address, patience)
    path = Path(address)
    try:
        if path.suffix == ".parquet":
            return _read_geoparquet(path), address
        return json.loads(path.read_text(encoding="utf-8")), address
    except (OSError, ValueError) as error:
        raise CatalogError(f"cannot read the catalogue {address}: {error}", "check the path") from error


def _get_json(address: str, patience: Patience) -> tuple[Any, str]:
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(patience.attempts),
        wait=tenacity.wait_exponential(multiplier=patience.wait_s, max=30.0),
        retry=tenacity.retry_if_exception_type((requests.ConnectionError, requests.Timeout, _Busy)),
        reraise=True,
    )
    try:
        return retrying(_get_once, address)
    except (requests.RequestException, _Busy, ValueError) as error:
        raise CatalogError(
            f"the catalogue {address} does not answer: {error}", "try again later, or give another --catalog"
        ) from error


class _Busy(Exception):
    """The service asks to come back later."""


def _get_once(address: str) -> tuple[Any, str]:
    answer = requests.get(address, timeout=TIMEOUT_S, headers={"Accept": "application/json, application/geo+json"})
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        raise _Busy(f"HTTP {answer.status_code}")
    answer.raise_for_status()
    return answer.json(), answer.url


def _is_api(document: Any) -> bool:
    """True for the landing page of a STAC API."""
    if not isinstance(document, Mapping):
        return False
    links = document.get("links") or []
    return bool(document.get("conformsTo")) and any(
        isinstance(link, Mapping) and link.get("rel") == "search" for link in links
    )


def _search_api(
    address: str,
    collections: Sequence[str],
    area: BaseGeometry,
    interval: str | None,
    page_size: int,
    patience: Patience,
) -> list[Found]:
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3.util.retry import Retry

    retry = Retry(
        total=patience.attempts,
        backoff_factor=patience.wait_s,
        status_forcelist=(408, 429, 500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    try:
        client = Client.open(address, stac_io=StacApiIO(timeout=TIMEOUT_S, max_retries=retry))
        search = client.search(
            collections=list(collections), intersects=mapping(area), datetime=interval, limit=page_size
        )
        pages = list(search.pages_as_dicts())
    except (APIError, requests.RequestException, ValueError, KeyError) as error:
        raise CatalogError(
            f"the catalogue {address} does not answer a search: {_short(error)}",
            "try again later, or give another --catalog",
        ) from error
    found = []
    for page in pages:
        for item in page.get("features") or []:
            found.append(Found(item, _self_href(item) or f"{address}/"))
    return found


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def _self_href(item: Mapping[str, Any]) -> str | None:
    for link in item.get("links") or []:
        if isinstance(link, Mapping) and link.get("rel") == "self" and is_remote(str(link.get("href", ""))):
            return str(link["href"])
    return None


def _walk(document: Any, base: str, patience: Patience, *, is_file: bool = False) -> Iterator[Found]:
    """Every item of a static catalogue: depth first, children and items in the order of their links."""
    waiting: list[tuple[Any, str]] = [(document, base)]
    seen = {base}
    while waiting:
        current, where = waiting.pop()
        kind = current.get("type") if isinstance(current, Mapping) else None
        if kind == "Feature":
            yield Found(dict(current), where)
            continue
        if kind == "FeatureCollection":
            yield from (Found(dict(item), where) for item in current.get("features") or [] if isinstance(item, Mapping))
            continue
        if kind not in ("Catalog", "Collection"):
            raise CatalogError(
                f"{where} is no STAC document (its type is {kind!r})", "give a catalogue, an item collection or an API"
            )
        below = []
        for link in current.get("links") or []:
            if isinstance(link, Mapping) and link.get("rel") in ("child", "item") and link.get("href"):
                href = absolute_href(str(link["href"]), where)
                if href not in seen:
                    seen.add(href)
                    below.append(href)
        if len(seen) > MAX_DOCUMENTS:
            raise CatalogError(f"{base} has more than {MAX_DOCUMENTS} documents", "use the archive's API")
        waiting.extend(read_document(href, patience) for href in reversed(below))


def _read_geoparquet(path: Path) -> dict[str, Any]:
    try:
        import pyarrow.parquet
        from stac_geoparquet.arrow import stac_table_to_items
    except ImportError as error:
        raise CatalogError(
            f"reading {path} needs stac-geoparquet, which is not installed", 'pip install "cryosentinel[geoparquet]"'
        ) from error
    items = [dict(item) for item in stac_table_to_items(pyarrow.parquet.read_table(path))]
    return {"type": "FeatureCollection", "features": json.loads(json.dumps(items, default=str))}


def _touches(item: Mapping[str, Any], area: BaseGeometry) -> bool:
    geometry = item.get("geometry")
    return geometry is not None and bool(shapely.intersects(shapely.geometry.shape(geometry), area))


def _within(item: Mapping[str, Any], interval: str | None) -> bool:
    """Whether an item's `datetime` lies in a closed interval of UTC times written as in `season.Season.interval`."""
    if interval is None:
        return True
    moment = str((item.get("properties") or {}).get("datetime") or "")
    first, last = interval.split("/")
    return bool(moment) and first[:19] <= moment[:19] <= last[:19]
