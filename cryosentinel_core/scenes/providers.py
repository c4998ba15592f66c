"""The one table of what differs between providers: addresses, collections, asset keys, offsets, signatures.

Everything else reads this table and holds no `if` about a provider. Static and simulated catalogues wear the collection names and
asset keys of an archive, so an item finds its row by its collection and its assets, wherever it was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from cryosentinel_core.scenes.scene import Role
from cryosentinel_core.stack.bands import S2_BANDS, S2_NAMES

SCL: Final = "SCL"
"""Name of the scene classification among an optical item's bands."""

DEM: Final = "DEM"
"""Name of the one band of a terrain item."""

OFFSET_FLAG: Final = "earthsearch:boa_offset_applied"
"""Property by which Earth Search says that it has taken the offset off already."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """One collection of one archive, and how to read its items.

    Attributes:
        name: `archive/collection`, for records and messages.
        role: What it is used for.
        collection: STAC collection id.
        assets: Our band name -> the archive's asset key.
        offset_flag: Property that, where true, says that the provider has taken the +1000 off; None: never taken off.
        is_linear_gamma0: True for radar that is terrain corrected gamma nought in linear power.
    """

    name: str
    role: Role
    collection: str
    assets: Mapping[str, str]
    offset_flag: str | None = None
    is_linear_gamma0: bool = False


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An archive with a STAC API.

    Attributes:
        name: As given to `--catalog`.
        api: Address of the API.
        page_size: Items per page that it can answer.
        products: Its collections in order of preference.
        token_api: Address that hands out read tokens as `<token_api>/<account>/<container>`; None where reading is free.
    """

    name: str
    api: str
    page_size: int
    products: tuple[Product, ...]
    token_api: str | None = None


_COMMON_NAMES = {band.name: band.common_name for band in S2_BANDS} | {SCL: "scl"}
_BAND_NAMES = {name: name for name in (*S2_NAMES, SCL)}
_TERRAIN = {DEM: "data"}

PLANETARY_COMPUTER: Final = Provider(
    name="planetary-computer",
    api="https://planetarycomputer.microsoft.com/api/stac/v1",
    page_size=100,
    token_api="https://planetarycomputer.microsoft.com/api/sas/v1/token",
    products=(
        Product(
            name="planetary-computer/sentinel-2-l2a", role="optical", collection="sentinel-2-l2a", assets=_BAND_NAMES
        ),
        Product(
            name="planetary-computer/sentinel-1-rtc",
            role="radar",
            collection="sentinel-1-rtc",
            assets={"VV": "vv", "VH": "vh"},
            is_linear_gamma0=True,
        ),
        Product(name="cop-dem-glo-30", role="terrain", collection="cop-dem-glo-30", assets=_TERRAIN),
    ),
)
"""Never takes the offset off and has no field about it; reading needs a token of some 45 minutes."""

EARTH_SEARCH: Final = Provider(
    name="earth-search",
    api="https://earth-search.aws.element84.com/v1",
    page_size=100,
    products=(
        Product(
            name="earth-search/sentinel-2-c1-l2a",
            role="optical",
            collection="sentinel-2-c1-l2a",
            assets=_COMMON_NAMES,
        ),
        Product(
            name="earth-search/sentinel-2-l2a",
            role="optical",
            collection="sentinel-2-l2a",
            assets=_COMMON_NAMES,
            offset_flag=OFFSET_FLAG,
        ),
        Product(name="cop-dem-glo-30", role="terrain", collection="cop-dem-glo-30", assets=_TERRAIN),
    ),
)
"""Collection 1 is uniform: the offset is never taken off. In the older collection a flag says so, item by item, and
`raster:bands` says -0.1 either way. Its Sentinel-1 is ground range detected, unusable in mountains, so it is not listed."""

PROVIDERS: Final[Mapping[str, Provider]] = {one.name: one for one in (EARTH_SEARCH, PLANETARY_COMPUTER)}

DEFAULT_CATALOGS: Final[Mapping[Role, tuple[str, ...]]] = {
    "optical": ("earth-search", "planetary-computer"),
    "radar": ("planetary-computer",),
    "terrain": ("earth-search", "planetary-computer"),
}
"""Where to look if nothing was asked for: in this order, the next where one does not answer or has gaps."""

PUBLIC_BUCKETS: Final[Mapping[str, str]] = {
    "copernicus-dem-30m": "https://copernicus-dem-30m.s3.eu-central-1.amazonaws.com/",
    "sentinel-cogs": "https://sentinel-cogs.s3.us-west-2.amazonaws.com/",
    "e84-earth-search-sentinel-data": "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/",
}
"""Buckets that anyone may read over HTTPS -> their address."""

_BLOB_HOST: Final = re.compile(r"^([a-z0-9]+)\.blob\.core\.windows\.net$")


def all_products(role: Role) -> tuple[Product, ...]:
    """Every product of a role that the table knows, each collection and set of assets once."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Product] = {}
    for provider in PROVIDERS.values():
        for product in provider.products:
            if product.role == role:
                found.setdefault((product.collection, tuple(product.assets.items())), product)
    return tuple(found.values())


def product_of(item: Mapping[str, Any], role: Role) -> Product | None:
    """The row of the table that an item belongs to: its collection, and most of the row's assets; None if there is none.

    Args:
        item: A STAC item as JSON.
        role: What it shall be used for.
    """
    assets = item.get("assets")
    if not isinstance(assets, Mapping):
        return None
    best: tuple[int, Product] | None = None
    for product in all_products(role):
        if item.get("collection") == product.collection:
            held = sum(key in assets for key in product.assets.values())
            if held and (best is None or held > best[0]):
                best = (held, product)
    return best[1] if best else None


def public_address(href: str) -> str | None:
    """The HTTPS address of an `s3://` href in a public bucket; None for any other bucket."""
    parts = urlsplit(href)
    base = PUBLIC_BUCKETS.get(parts.netloc)
    return None if base is None else base + quote(parts.path.lstrip("/"))


def token_address(href: str, token_api: str) -> str | None:
    """Where the read token of an href is to be had; None if it needs none."""
    parts = urlsplit(href)
    found = _BLOB_HOST.match(parts.netloc)
    if found is None or parts.query:
        return None
    container = parts.path.lstrip("/").split("/", 1)[0]
    return f"{token_api}/{found[1]}/{quote(container)}"
