"""Static catalogues, item collections and stac-geoparquet files, near or far, walked to their last item.

A document that many scenes hang on must be had and understood; a single item that cannot be is left out with the reason. Neighbours:
`search` filters what is found here, `http` asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryosentinel_core.errors import CatalogError
from cryosentinel_core.io.catalogs.http import DocumentGone, RetryPolicy, UnusableAnswer, parse_json, request_text
from cryosentinel_core.scenes.items import NONSENSE, absolute_href, is_remote

MAX_DOCUMENTS: Final = 200_000
"""A static catalogue with more documents than this is not walked to its end."""


@dataclass(frozen=True)
class CatalogItem:
    """A raw item and where its relative hrefs start.

    Attributes:
        item: STAC item as JSON.
        base: Address or path of the document that held it; the item's hrefs are relative to it.
    """

    item: dict[str, Any]
    base: str


@dataclass
class CatalogContent:
    """Content of a static catalogue.

    Attributes:
        items: In the order of the links: depth first.
        left_out: Name of an item that cannot be used -> why.
    """

    items: list[CatalogItem] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, feature: Any, name: str, base: str) -> None:
        """Enter an item; what is none is left out under a name of its own."""
        complaint = complaint_about_item(feature)
        if complaint:
            self.left_out[name] = complaint
        else:
            self.items.append(CatalogItem({**feature, "id": str(feature["id"])}, base))


def complaint_about_item(item: Any) -> str:
    """Why something cannot be taken for an item at all; empty if it can."""
    if not isinstance(item, Mapping):
        return f"it is no item but {'null' if item is None else type(item).__name__}"
    name, collection = item.get("id"), item.get("collection")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        return f"it has no id (seen {str(name)[:40]!r})"
    if not isinstance(collection, str):
        return f"it names no collection (seen {str(collection)[:40]!r})"
    return ""


def read_document(address: str, policy: RetryPolicy) -> tuple[Any, str]:
    """A JSON document, and the address from which its relative hrefs start; a stac-geoparquet file as an item collection.

    Raises:
        CatalogError: If it cannot be had or is not JSON.
    """
    if is_remote(address):
        text, came_from = request_text(address, policy)
        return parse_json(text), came_from
    path = Path(address)
    if not path.exists():
        raise DocumentGone(f"there is no {address}", "check the path")
    try:
        if path.suffix == ".parquet":
            return _read_geoparquet(path), address
        return parse_json(path.read_text(encoding="utf-8")), address
    except (OSError, ValueError) as error:
        raise UnusableAnswer(f"cannot read the catalogue {address}: {error}", "check the path") from error


def walk_catalog(document: Any, base: str, policy: RetryPolicy) -> CatalogContent:
    """All items of a static catalogue, depth first, children and items in the order of their links.

    Args:
        document: The root.
        base: Its address or path.
        policy: How often to ask.

    Raises:
        CatalogError: If a document that holds others cannot be had or understood, or points where it may not.
    """
    content = CatalogContent()
    seen = {base}
    waiting: list[tuple[str, str]] = []
    _enter(document, base, content, waiting, seen)
    while waiting:
        rel, href = waiting.pop()
        try:
            found, came_from = read_document(href, policy)
            if rel == "item" and _kind_of(found) not in ("Feature", "FeatureCollection"):
                raise UnusableAnswer(f"its document is no item (its type is {_kind_of(found)!r})")
        except (DocumentGone, UnusableAnswer) as error:
            if rel != "item":
                raise
            content.left_out[href] = error.message
            continue
        _enter(found, came_from, content, waiting, seen)
    return content


def _kind_of(document: Any) -> str | None:
    """The GeoJSON or STAC type of a document; an item that forgot its type is one all the same."""
    if not isinstance(document, Mapping):
        return None
    kind = document.get("type")
    if kind is None and "assets" in document and "properties" in document:
        return "Feature"
    return kind if isinstance(kind, str) else None


def _enter(document: Any, base: str, content: CatalogContent, waiting: list[tuple[str, str]], seen: set[str]) -> None:
    """Take the items of one document, and note what hangs below it."""
    kind = _kind_of(document)
    if kind == "Feature":
        content.add(document, base, base)
    elif kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list):
            raise UnusableAnswer(f"{base} has no list of features", "give a STAC item collection")
        for number, feature in enumerate(features, start=1):
            content.add(feature, f"item {number} of {base}", base)
    elif kind in ("Catalog", "Collection"):
        links = document.get("links")
        if not isinstance(links, list):
            raise UnusableAnswer(f"{base} has no list of links", "give a whole STAC catalogue")
        waiting += reversed(_links_below(links, base, content, seen))
        if len(seen) > MAX_DOCUMENTS:
            raise CatalogError(f"{base} has more than {MAX_DOCUMENTS} documents", "use the archive's API")
    else:
        raise UnusableAnswer(
            f"{base} is no STAC document (its type is {kind!r})", "give a catalogue, an item collection or an API"
        )


def _links_below(links: list[Any], base: str, content: CatalogContent, seen: set[str]) -> list[tuple[str, str]]:
    below = []
    for link in links:
        if not isinstance(link, Mapping) or link.get("rel") not in ("child", "item"):
            continue
        rel, href = str(link["rel"]), link.get("href")
        try:
            if not isinstance(href, str) or not href:
                raise CatalogError(f"{base} has a link without an address (seen {str(href)[:40]!r})")
            href = absolute_href(href, base)
        except CatalogError as error:
            if rel != "item":
                raise
            content.left_out[f"a link of {base}"] = error.message
            continue
        if href not in seen:
            seen.add(href)
            below.append((rel, href))
    return below


def _read_geoparquet(path: Path) -> dict[str, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
        from stac_geoparquet.arrow import stac_table_to_items
    except ImportError as error:
        raise CatalogError(
            f"reading {path} needs stac-geoparquet, which is not installed", 'pip install "cryosentinel[geoparquet]"'
        ) from error
    try:
        items = [dict(item) for item in stac_table_to_items(pyarrow.parquet.read_table(path))]
    except (pyarrow.ArrowException, *NONSENSE) as error:
        raise UnusableAnswer(
            f"{path} is no stac-geoparquet file ({type(error).__name__}: {str(error)[:100]})", "give a STAC catalogue"
        ) from error
    return {"type": "FeatureCollection", "features": json.loads(json.dumps(items, default=str))}
