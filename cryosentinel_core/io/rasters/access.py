"""Archive rasters opened: only GeoTIFFs, over HTTP ranges or from disk, signed at the moment of reading, tried again where that helps.

Neighbours: `io.rasters.source` puts what is read here onto the lattice; `io.rasters.blocks` refuses files that would take too much
memory; `io.catalogs.signing` holds the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import rasterio
import tenacity
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from cryosentinel_core.errors import RasterError
from cryosentinel_core.io.rasters.blocks import PermanentRasterError, check_blocks, check_window
from cryosentinel_core.scenes.resampling import Numbers, Source

T = TypeVar("T")

GDAL_OPTIONS: Final[Mapping[str, str]] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GTIFF_POINT_GEO_IGNORE": "FALSE",
    "GDAL_NUM_THREADS": "1",
    "GDAL_HTTP_MULTIRANGE": "SERIAL",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_TIMEOUT": "180",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "FALSE",
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/http",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
}
"""Ranges one after the other, as parallel ones ignore the retry settings; nothing remembered about a file that failed; no side
files looked for; a point-registered DEM's geotransform moved by half a pixel, so that pixel centres lie on its posts."""


class Signer(Protocol):
    """Turns an href into one that may be read now."""

    def sign(self, href: str) -> str:
        """The href with a token that is still good, or as it is if it needs none."""
        ...

    def renew(self, href: str) -> None:
        """Forget the token of this href: the archive refused it."""
        ...


class UnsignedAccess:
    """Signer of archives that anyone may read: hrefs stay as they are."""

    def sign(self, href: str) -> str:
        """The href as it is."""
        return href

    def renew(self, href: str) -> None:
        """Nothing to forget."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach assets.

    Attributes:
        signer: Of hrefs.
        attempts: Times that one read is tried.
        wait_s: Seconds before the second attempt; doubled for each one after it.
    """

    signer: Signer = field(default_factory=UnsignedAccess)
    attempts: int = 4
    wait_s: float = 1.0


def describe_raster(href: str, access: Access) -> Source:
    """Where the pixels of a GeoTIFF lie.

    Raises:
        RasterError: If it cannot be read, has no known CRS, or is not north-up.
    """

    def look(dataset: Any) -> Source:
        t = dataset.transform
        epsg = dataset.crs.to_epsg() if dataset.crs else None
        if (
            epsg is None
            or t.b != 0
            or t.d != 0
            or t.a <= 0
            or t.e >= 0
            or (t.c == 0 and t.f == 0 and dataset.crs.is_projected)
        ):
            raise PermanentRasterError(
                f"{without_query(href)} is not a north-up raster in a known CRS (CRS {dataset.crs}, transform {tuple(t)[:6]})",
                "it cannot be used; radar must be terrain corrected",
            )
        return Source(epsg=epsg, left=t.c, top=t.f, step_x=t.a, step_y=-t.e, height=dataset.height, width=dataset.width)

    return _with_dataset(href, access, look)


def dtype_of_raster(href: str, access: Access) -> str:
    """NumPy name of the first band's numbers.

    Raises:
        RasterError: If it cannot be read.
    """
    return _with_dataset(href, access, lambda dataset: str(dataset.dtypes[0]))


def read_window(href: str, window: Window, access: Access) -> Numbers:
    """A native window of a GeoTIFF's first band, which must lie inside the raster.

    Raises:
        RasterError: If it cannot be read, or its blocks or the window are too large.
    """

    def read(dataset: Any) -> Numbers:
        check_blocks(dataset, without_query(href), n_bands=1)
        check_window(window, without_query(href))
        numbers: Numbers = dataset.read(1, window=window)
        return numbers

    return _with_dataset(href, access, read)


def _with_dataset(href: str, access: Access, use: Callable[[Any], T]) -> T:
    """`use(dataset)` with a fresh open and, after a refusal, a fresh signature for each attempt."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(access.attempts if href.startswith("http") else 1),
        wait=tenacity.wait_exponential(multiplier=access.wait_s, max=30.0),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, RasterError) and not isinstance(error, PermanentRasterError)
        ),
        reraise=True,
    )
    found: T = retrying(_open_and_use, href, access, use)
    return found


def _open_and_use(href: str, access: Access, use: Callable[[Any], T]) -> T:
    name = without_query(href)
    try:
        with _opened(href, access) as dataset:
            return use(dataset)
    except (RasterioError, RasterioIOError) as error:
        text = str(error)
        if error.__cause__ is not None and str(error.__cause__) not in text:
            text = f"{text}: {error.__cause__}"
        # A refusal in the middle of a read does not always say 403, so that every failure costs the token.
        access.signer.renew(href)
        if "code: 403" in text or "code: 401" in text:
            raise RasterError(f"the archive refuses to hand out {name} (403)", "try again later") from error
        kind = PermanentRasterError if "code: 404" in text or "code: 410" in text else RasterError
        raise kind(f"cannot read {name}: {_without_token(text)}", "run again later to complete") from error


@contextmanager
def _opened(href: str, access: Access) -> Iterator[Any]:
    address = access.signer.sign(href)
    if address.startswith(("http://", "https://")):
        address = f"/vsicurl/{address}"
    elif address.startswith("/vsi") or "://" in address:
        raise PermanentRasterError(f"will not open {without_query(href)}", "only files and http(s) addresses are read")
    with rasterio.Env(**GDAL_OPTIONS), rasterio.open(address, driver="GTiff") as dataset:
        yield dataset


def without_query(href: str) -> str:
    """An href for messages: without its query, in which tokens stand."""
    return href.split("?", 1)[0]


def _without_token(text: str) -> str:
    return " ".join(word.split("?", 1)[0] if "?" in word and "sig=" in word else word for word in text.split())
