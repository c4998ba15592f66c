"""STAC APIs: a search page by page, each page checked, so that a fault is never taken for an empty answer.

Neighbours: `search` decides whether a catalogue is an API, `http` asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tenacity
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import CatalogError
from cryosentinel_core.io.catalogs.http import (
    TIMEOUT_S,
    Check,
    DocumentGone,
    RefusedRequest,
    RetryPolicy,
    UnusableAnswer,
    parse_json,
    request_text,
)

MAX_PAGES: Final = 500
"""A search of one area and season with more pages than this has no end: 50,000 scenes."""

_WHOLE_SEARCHES: Final = 3


@dataclass(frozen=True, kw_only=True)
class ApiQuery:
    """Query to an API.

    Attributes:
        collections: STAC collection ids.
        area: EPSG:4326.
        interval: STAC `datetime`, closed, or None for any time.
        page_size: Items a page.
    """

    collections: Sequence[str]
    area: BaseGeometry
    interval: str | None
    page_size: int


def is_api(document: Any) -> bool:
    """True for the landing page of a STAC API that can search."""
    if not isinstance(document, Mapping) or not document.get("conformsTo"):
        return False
    links = document.get("links")
    return isinstance(links, list) and any(isinstance(one, Mapping) and one.get("rel") == "search" for one in links)


def search_api(address: str, query: ApiQuery, policy: RetryPolicy) -> list[Any]:
    """Features of an API's answer, as they came; empty where it says that it has none, or not these collections.

    A search that gives fewer items than it announces is made again.

    Raises:
        CatalogError: If no whole answer came.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_WHOLE_SEARCHES),
        wait=tenacity.wait_exponential(multiplier=policy.wait_s, max=4.0),
        retry=tenacity.retry_if_exception_type(_Incomplete),
        reraise=True,
    )
    try:
        found: list[Any] = retrying(_search_once, address, query, policy)
    except (RefusedRequest, DocumentGone):
        held = collections_of_api(address, policy)
        if held and not set(held) & set(query.collections):
            return []
        raise
    return found


class _Incomplete(UnusableAnswer):
    """A search that gave fewer items than it announced."""


def _search_once(address: str, query: ApiQuery, policy: RetryPolicy) -> list[Any]:
    client, io = _open(address, policy)
    pages = _PageCheck()
    io.check = pages
    search = client.search(
        collections=list(query.collections),
        intersects=mapping(query.area),
        datetime=query.interval,
        limit=query.page_size,
    )
    features: list[Any] = []
    known: set[str] = set()
    try:
        for number, page in enumerate(search.pages_as_dicts(), start=1):
            fresh = {_name_of(one) for one in page["features"]} - known
            if not fresh or number > MAX_PAGES:
                raise UnusableAnswer(
                    f"the catalogue {address} gives no usable answer: its pages have no end "
                    f"(page {number} {'repeats earlier items' if not fresh else 'is one too many'})",
                    "try again later, or give another --catalog",
                )
            known |= fresh
            features += page["features"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableAnswer(
            f"the catalogue {address} gives no usable answer: its link to the next page cannot be understood ({error!r})",
            "try again later, or give another --catalog",
        ) from error
    if len(features) < pages.announced:
        raise _Incomplete(
            f"the catalogue {address} gives no usable answer: it announces {pages.announced} items and gives {len(features)}",
            "try again later, or give another --catalog",
        )
    return features


def _open(address: str, policy: RetryPolicy) -> tuple[Any, Any]:
    """A client of the API, and what it asks with, whose `check` looks at each document."""
    import requests
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO

    class CheckedIO(StacApiIO):  # type: ignore[misc]
        """Asks as often as the policy says and takes no answer that the check complains about."""

        check: Check = staticmethod(_complaint_about_landing)

        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            text, _ = request_text(
                href,
                policy,
                session=self.session,
                method=(method or "GET").upper(),
                headers=headers,
                parameters=parameters,
                check=self.check,
            )
            return text

        def json_loads(self, txt: str, *args: Any, **kwargs: Any) -> Any:
            return parse_json(txt)

    io = CheckedIO(timeout=TIMEOUT_S, max_retries=None)
    try:
        return Client.open(address, stac_io=io), io
    except (APIError, requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogError(
            f"the catalogue {address} cannot be understood: {' '.join(str(error).split())[:300]}",
            "give the address of a STAC API, or another --catalog",
        ) from error


def _complaint_about_landing(document: Any) -> str:
    return "" if isinstance(document, Mapping) else "it is no JSON object"


class _PageCheck:
    """Check of each page of a search, which remembers how many items the pages announce."""

    def __init__(self) -> None:
        self.announced = 0

    def __call__(self, document: Any) -> str:
        complaint = _complaint_about_page(document)
        if not complaint:
            self.announced = max(self.announced, _announced_by(document))
        return complaint


def _complaint_about_page(document: Any) -> str:
    if not isinstance(document, Mapping) or document.get("type") != "FeatureCollection":
        kind = document.get("type") if isinstance(document, Mapping) else type(document).__name__
        return f"the page is no FeatureCollection (its type is {str(kind)[:40]!r})"
    if not isinstance(document.get("features"), list):
        return "the page has no list of features"
    if not isinstance(document.get("links", []), list):
        return "the page has no list of links"
    return ""


def _name_of(feature: Any) -> str:
    if not isinstance(feature, Mapping):
        return repr(feature)[:100]
    return f"{feature.get('collection')}/{feature.get('id')}"


def _announced_by(page: Mapping[str, Any]) -> int:
    """How many items a page says the whole search has; 0 if it does not say."""
    context = page.get("context")
    for stated in (page.get("numberMatched"), context.get("matched") if isinstance(context, Mapping) else None):
        if isinstance(stated, int) and not isinstance(stated, bool):
            return stated
    return 0


def collections_of_api(address: str, policy: RetryPolicy) -> dict[str, tuple[str, ...]]:
    """Collections of an API -> the asset keys that they name; empty if it does not say."""
    try:
        text, _ = request_text(f"{address.rstrip('/')}/collections", policy)
        document = parse_json(text)
        listed = document.get("collections") if isinstance(document, Mapping) else None
    except CatalogError:
        return {}
    found = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping) and isinstance(one.get("id"), str):
            assets = one.get("item_assets")
            found[one["id"]] = tuple(map(str, assets)) if isinstance(assets, Mapping) else ()
    return found
