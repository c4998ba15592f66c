"""Rasters from archives onto the lattice, and cloud-optimised GeoTIFFs back to disk.

Reading: only GeoTIFFs, over HTTP ranges or from disk, signed at the moment of reading where the archive wants it, tried again
where that can help, and checked on arrival, because a broken connection can yield blank pixels and no error. The sampling is
`resampling`'s; GDAL's warper is not used. Writing: through memory, so that the disk's refusal is an honest error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import rasterio
import shapely
import tenacity
from numpy.typing import NDArray
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.io import MemoryFile
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.scenes.resampling import Numbers, Source, positions_in, sample_bilinear, sample_nearest
from cryosentinel_core.scenes.selection import project_geometry
from cryosentinel_core.units import CELL_PX

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

VERIFY_BLOCK: Final = 256
"""Side of the blocks that are checked for being blank, in source pixels."""

BLOCK_PX: Final = CELL_PX
"""Side of a block of the rasters that we write: windows begin and end on blocks or their middle, so that few are unpacked twice."""


class Signer(Protocol):
    """Turns an href into one that may be read now."""

    def sign(self, href: str) -> str:
        """The href with a token that is still good, or as it is if it needs none."""
        ...

    def renew(self, href: str) -> None:
        """Forget the token of this href: the archive refused it."""
        ...


class NoSigner:
    """For archives that anyone may read."""

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

    signer: Signer = field(default_factory=NoSigner)
    attempts: int = 4
    wait_s: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """One band on a grid.

    Attributes:
        values: (H, W), of the source's dtype; 0 where not valid.
        valid: (H, W) bool, True where data are good.
        blank: Source blocks that hold no data although the footprint says otherwise, also at a second look.
        n_bytes: Size of the source window, uncompressed.
    """

    values: Numbers
    valid: NDArray[np.bool_]
    blank: int = 0
    n_bytes: int = 0


class _Gone(RasterError):
    """Trying again cannot help."""


def read_on_grid(
    href: str,
    grid: Grid,
    *,
    nearest: bool = False,
    above: float | None = 0,
    access: Access | None = None,
    footprint: BaseGeometry | None = None,
) -> Loaded:
    """The first band of a GeoTIFF on lattice pixels.

    Args:
        href: Path or http(s) address.
        grid: Wanted pixels; those outside the raster come back as not valid.
        nearest: For classes; else mask-aware bilinear.
        above: Numbers up to this are no data, whatever the file says; None if all are. NaN is never data.
        access: How to reach it.
        footprint: EPSG:4326; where the item says it has data. Blank blocks inside are read a second time.

    Raises:
        RasterError: If it cannot be read: gone, damaged, no GeoTIFF, no known CRS, or not north-up.
    """
    way = access or Access()
    source = _describe(href, way)
    positions = positions_in(source, grid)
    r0, r1, c0, c1 = positions.window
    top, bottom, left, right = max(r0, 0), min(r1, source.height), max(c0, 0), min(c1, source.width)
    if top >= bottom or left >= right:
        dtype = np.dtype(_dtype_of(href, way))
        return Loaded(values=np.zeros(grid.shape, dtype), valid=np.zeros(grid.shape, dtype=bool))
    window = Window(left, top, right - left, bottom - top)
    numbers = _read(href, window, way)
    numbers, blank = _verified(href, numbers, window, source, above, footprint, way)
    values = np.zeros((r1 - r0, c1 - c0), dtype=numbers.dtype)
    valid = np.zeros(values.shape, dtype=bool)
    place = slice(top - r0, bottom - r0), slice(left - c0, right - c0)
    valid[place] = _is_data(numbers, above)
    values[place] = np.where(valid[place], numbers, numbers.dtype.type(0))
    sample = sample_nearest if nearest else sample_bilinear
    out, good = sample(values, valid, positions, (r0, c0))
    return Loaded(values=out, valid=good, blank=blank, n_bytes=numbers.nbytes)


def read_window(href: str, window: Window, *, access: Access | None = None) -> Numbers:
    """A native window of a GeoTIFF's first band, which must lie inside the raster.

    Raises:
        RasterError: If it cannot be read.
    """
    return _read(href, window, access or Access())


def describe_source(href: str, *, access: Access | None = None) -> Source:
    """Where the pixels of a GeoTIFF lie.

    Raises:
        RasterError: If it cannot be read, or has no known CRS, or is not north-up.
    """
    return _describe(href, access or Access())


def _is_data(numbers: Numbers, above: float | None) -> NDArray[np.bool_]:
    good = np.isfinite(numbers) if np.issubdtype(numbers.dtype, np.floating) else np.ones(numbers.shape, dtype=bool)
    return good if above is None else np.asarray(good & (numbers > above), dtype=bool)


def _verified(
    href: str,
    numbers: Numbers,
    window: Window,
    source: Source,
    above: float | None,
    footprint: BaseGeometry | None,
    way: Access,
) -> tuple[Numbers, int]:
    """The window, read again by a fresh open if blocks are blank where the footprint promises data; and how many stay so."""
    if footprint is None:
        return numbers, 0
    blank = _blank_blocks(numbers, above)
    if not blank:
        return numbers, 0
    ground = project_geometry(shapely.segmentize(footprint, 0.05), 4326, source.epsg)
    shapely.prepare(ground)
    suspect = [block for block in blank if shapely.contains_properly(ground, _outline(block, window, source))]
    if not suspect:
        return numbers, 0
    again = _read(href, window, way)
    still = set(_blank_blocks(again, above)) & set(suspect)
    return again, len(still)


def _blank_blocks(numbers: Numbers, above: float | None) -> list[tuple[int, int, int, int]]:
    """(first row, row after, first column, column after) of the window's blocks without any data."""
    found = []
    for row in range(0, numbers.shape[0], VERIFY_BLOCK):
        for col in range(0, numbers.shape[1], VERIFY_BLOCK):
            block = numbers[row : row + VERIFY_BLOCK, col : col + VERIFY_BLOCK]
            if not _is_data(block, above).any():
                found.append((row, row + block.shape[0], col, col + block.shape[1]))
    return found


def _outline(block: tuple[int, int, int, int], window: Window, source: Source) -> BaseGeometry:
    top, bottom, left, right = block
    x0 = source.left + (window.col_off + left) * source.step_x
    x1 = source.left + (window.col_off + right) * source.step_x
    y0 = source.top - (window.row_off + bottom) * source.step_y
    y1 = source.top - (window.row_off + top) * source.step_y
    outline: BaseGeometry = shapely.box(x0, y0, x1, y1)
    return outline


def _describe(href: str, way: Access) -> Source:
    def look(dataset: Any) -> Source:
        t = dataset.transform
        epsg = dataset.crs.to_epsg() if dataset.crs else None
        if epsg is None or t.b != 0 or t.d != 0 or t.a <= 0 or t.e >= 0:
            raise _Gone(
                f"{_shown(href)} is not a north-up raster in a known CRS (CRS {dataset.crs}, transform {tuple(t)[:6]})",
                "it cannot be used; radar must be terrain corrected",
            )
        return Source(epsg=epsg, left=t.c, top=t.f, step_x=t.a, step_y=-t.e, height=dataset.height, width=dataset.width)

    found: Source = _attempt(href, way, look)
    return found


def _dtype_of(href: str, way: Access) -> str:
    found: str = _attempt(href, way, lambda dataset: dataset.dtypes[0])
    return found


def _read(href: str, window: Window, way: Access) -> Numbers:
    numbers: Numbers = _attempt(href, way, lambda dataset: dataset.read(1, window=window))
    return numbers


def _attempt(href: str, way: Access, use: Any) -> Any:
    """`use(dataset)` with a fresh open and, after a refusal, a fresh signature for each attempt."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(way.attempts if href.startswith("http") else 1),
        wait=tenacity.wait_exponential(multiplier=way.wait_s, max=30.0),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, RasterError) and not isinstance(error, _Gone)
        ),
        reraise=True,
    )
    try:
        return retrying(_open_and_use, href, way, use)
    except _Gone as error:
        raise RasterError(error.message, error.hint) from error.__cause__


def _open_and_use(href: str, way: Access, use: Any) -> Any:
    try:
        with _opened(href, way) as dataset:
            return use(dataset)
    except (RasterioError, RasterioIOError) as error:
        text = str(error)
        if error.__cause__ is not None and str(error.__cause__) not in text:
            text = f"{text}: {error.__cause__}"
        # A refusal in the middle of a read does not always say 403, so that every failure costs the token.
        way.signer.renew(href)
        if "code: 403" in text or "code: 401" in text:
            raise RasterError(f"the archive refuses to hand out {_shown(href)} (403)", "try again later") from error
        kind = _Gone if "code: 404" in text or "code: 410" in text else RasterError
        raise kind(f"cannot read {_shown(href)}: {_without_token(text)}", "run again later to complete") from error


@contextmanager
def _opened(href: str, way: Access) -> Iterator[Any]:
    address = way.signer.sign(href)
    if address.startswith(("http://", "https://")):
        address = f"/vsicurl/{address}"
    elif address.startswith("/vsi") or "://" in address:
        raise _Gone(f"will not open {_shown(href)}", "only files and http(s) addresses are read")
    with rasterio.Env(**GDAL_OPTIONS), rasterio.open(address, driver="GTiff") as dataset:
        yield dataset


def _shown(href: str) -> str:
    """An href for messages: no token in it."""
    return href.split("?", 1)[0]


def _without_token(text: str) -> str:
    return " ".join(word.split("?", 1)[0] if "?" in word and "sig=" in word else word for word in text.split())


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one raster of ours is stored.

    Attributes:
        names: Band descriptions.
        unit: Of all bands; empty for none.
        nodata: Stored number without meaning, or None.
        overview: Resampling of overviews.
        scale: Stored number times this is the value.
        colours: Number -> (red, green, blue, alpha) for classes.
    """

    names: Sequence[str]
    unit: str = ""
    nodata: float | None = None
    overview: str = "NEAREST"
    scale: float = 1.0
    colours: Mapping[int, tuple[int, int, int, int]] | None = None


def write_cog(path: Path, values: Numbers, grid: Grid, form: Format, tags: Mapping[str, str]) -> None:
    """A cloud-optimised GeoTIFF, whole or not at all; bytes depend on the arguments alone.

    Args:
        path: Final name.
        values: (C, H, W) on `grid`.
        grid: Its pixels.
        form: How it is stored.
        tags: Provenance, as `Provenance.as_tags` gives it.

    Raises:
        OutputWrite: If the disk refuses.
    """
    with writing(path) as temporary:
        temporary.write_bytes(_encode(values, grid, form, tags))


def _encode(values: Numbers, grid: Grid, form: Format, tags: Mapping[str, str]) -> bytes:
    floating = np.issubdtype(values.dtype, np.floating)
    profile: dict[str, Any] = {
        "driver": "COG",
        "count": values.shape[0],
        "height": grid.height,
        "width": grid.width,
        "dtype": values.dtype.name,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
        "nodata": form.nodata,
        "compress": "ZSTD",  # against deflate half the time to write, two thirds to read, and a tenth less of real reflectances
        "level": 1,
        "predictor": "FLOATING_POINT" if floating else "STANDARD",
        "blocksize": BLOCK_PX,
        "overview_resampling": form.overview,
        "num_threads": "1",
        "bigtiff": "IF_SAFER",
    }
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(values)
            target.descriptions = tuple(form.names)
            if form.unit:
                target.units = (form.unit,) * values.shape[0]
            if form.scale != 1.0:
                target.scales = (form.scale,) * values.shape[0]
            if form.colours:
                target.write_colormap(1, dict(form.colours))
            target.update_tags(**tags)
        return bytes(memory.read())
