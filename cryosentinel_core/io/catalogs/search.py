"""Catalogues searched: STAC APIs, static catalogues, item collections and stac-geoparquet, near or far.

A catalogue is data from outside. Its names never choose a path, and one that came over the network can never make us read a file
of this machine: its assets must be http(s) addresses, or in a bucket that anyone may read. What could not be had or understood is an
error or has a reason, never an empty answer. Neighbours: `stac_api` and `static_catalog` ask; `scenes.providers` is the table of
archives; `scenes.selection` chooses among what is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import ConfigError, DataError
from cryosentinel_core.io.catalogs.http import RetryPolicy
from cryosentinel_core.io.catalogs.stac_api import ApiQuery, collections_of_api, is_api, search_api
from cryosentinel_core.io.catalogs.static_catalog import CatalogContent, CatalogItem, read_document, walk_catalog
from cryosentinel_core.scenes.items import footprint_of, is_remote, time_span_of
from cryosentinel_core.scenes.providers import PROVIDERS, Product, Provider, all_products
from cryosentinel_core.scenes.scene import Role


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Result of a search: the items that a catalogue has.

    Attributes:
        items: By collection and id.
        left_out: Name of an item that cannot be used -> why.
        other_collections: Where nothing was found: collections that the catalogue holds instead -> asset keys of their items.
    """

    items: tuple[CatalogItem, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    other_collections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Catalogues:
    """Catalogues of one run; a static one is walked once, however often it is searched.

    Args:
        policy: How often services are asked.
    """

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self._policy = policy or RetryPolicy()
        self._content: dict[str, CatalogContent | None] = {}

    def search(
        self, reference: str, collections: Sequence[str], area: BaseGeometry, interval: str | None
    ) -> SearchResult:
        """Items of some collections that touch an area and fall into an interval.

        An item whose place or time cannot be understood is among them: whoever makes a scene of it hears why it is none.

        Args:
            reference: Of `resolve_reference`.
            collections: STAC collection ids.
            area: EPSG:4326.
            interval: STAC `datetime`, closed, or None for any time.

        Raises:
            CatalogError: If the catalogue does not answer or cannot be understood.
        """
        provider = provider_of(reference)
        address = provider.api if provider else reference
        content = self._content_of(address)
        if content is None:
            query = ApiQuery(
                collections=collections,
                area=area,
                interval=interval,
                page_size=provider.page_size if provider else 100,
            )
            return self._search_api(address, query)
        items = [
            one
            for one in content.items
            if one.item["collection"] in collections and _touches(one.item, area) and _within(one.item, interval)
        ]
        others = {} if items else _collections_of(content.items, without=collections)
        return SearchResult(items=_by_name(items), left_out=content.left_out, other_collections=others)

    def _content_of(self, address: str) -> CatalogContent | None:
        """What a static catalogue holds; None for an API."""
        if address not in self._content:
            document, base = read_document(address, self._policy)
            self._content[address] = None if is_api(document) else walk_catalog(document, base, self._policy)
        return self._content[address]

    def _search_api(self, address: str, query: ApiQuery) -> SearchResult:
        content = CatalogContent()
        for number, feature in enumerate(search_api(address, query, self._policy), start=1):
            content.add(feature, f"item {number} of {address}", _self_href(feature) or f"{address}/")
        others: dict[str, tuple[str, ...]] = {}
        if not content.items:
            held = collections_of_api(address, RetryPolicy(attempts=1))
            others = {} if set(held) & set(query.collections) else held
        return SearchResult(items=_by_name(content.items), left_out=content.left_out, other_collections=others)


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


def _by_name(items: Iterable[CatalogItem]) -> tuple[CatalogItem, ...]:
    unique = {(str(one.item["collection"]), str(one.item["id"])): one for one in items}
    return tuple(unique[key] for key in sorted(unique))


def _collections_of(items: Iterable[CatalogItem], *, without: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Collections of some items but for those wanted -> asset keys of the first item of each."""
    found: dict[str, tuple[str, ...]] = {}
    for one in items:
        assets = one.item.get("assets")
        if one.item["collection"] not in without:
            found.setdefault(one.item["collection"], tuple(assets) if isinstance(assets, Mapping) else ())
    return found


def _self_href(item: Any) -> str | None:
    links = item.get("links") if isinstance(item, Mapping) else None
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") == "self" and is_remote(str(link.get("href", ""))):
            return str(link["href"])
    return None


def _touches(item: Mapping[str, Any], area: BaseGeometry) -> bool:
    try:
        return bool(shapely.intersects(footprint_of(item), area))
    except DataError:
        return True


def _within(item: Mapping[str, Any], interval: str | None) -> bool:
    """Whether an item's time shares a moment with a closed interval written as in `season.Season.interval`."""
    if interval is None:
        return True
    try:
        begin, end = time_span_of(item)
    except DataError:
        return True
    first, last = (text[:19] for text in interval.split("/"))
    return begin.isoformat()[:19] <= last and first <= end.isoformat()[:19]
