"""Tables of outlines on disk: GeoPackage, GeoParquet and CSV, whole or not at all, and the same bytes from the same table.

GeoPackage stamps the time of writing; here that clock is set to a date that comes with the data, the newest one in the table
unless another is given. Metadata (`cryosentinel`: provenance as JSON) travel inside GeoPackage and Parquet.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError
from shapely.errors import ShapelyError

from cryosentinel_core.errors import DataError, OutputWrite
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.provenance import Provenance

METADATA_KEY = "cryosentinel"
"""Key of the provenance in GeoPackage and Parquet metadata."""

LAKES_LAYER, CANDIDATES_LAYER = "lakes", "candidates"
_CLOCK = "OGR_CURRENT_DATE"
_CLOCK_LOCK = threading.Lock()
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_FORMULA = re.compile("(^|[;\\r\\n])([=+\\-@\\t＝＋－＠])")
"""Beginning of a cell that spreadsheets take for a formula (OWASP, CSV injection)."""
_NO_DATE = dt.date(1970, 1, 1)


def write_geopackage(
    path: Path,
    layers: Mapping[str, gpd.GeoDataFrame],
    *,
    provenance: Provenance | None = None,
    stamp: dt.date | None = None,
) -> None:
    """A GeoPackage with some layers, in their order, whole or not at all.

    Args:
        path: Path of the file; one that is there is replaced.
        layers: Name -> rows with a CRS; a layer may be empty.
        provenance: Written as metadata of the file and of every layer.
        stamp: Date to stamp in place of the clock; None for the newest ISO date in the tables.

    Raises:
        OutputWrite: If the disk refuses.
    """
    day = stamp if stamp is not None else newest_date(layers.values())
    tags = {METADATA_KEY: json.dumps(provenance.as_dict(), sort_keys=True)} if provenance else {}
    with writing(path) as temporary, _clock_at(day):
        for name, frame in layers.items():
            try:
                pyogrio.write_dataframe(
                    frame,
                    temporary,
                    layer=name,
                    driver="GPKG",
                    append=temporary.exists(),
                    geometry_type=_geometry_type(frame),
                    promote_to_multi=_geometry_type(frame) == "MultiPolygon",
                    layer_metadata=tags or None,
                )
            except (DataSourceError, DataLayerError, RuntimeError) as error:
                raise OutputWrite(f"could not write layer {name!r} of {path}: {error}", _DISK_HINT) from error


def _geometry_type(frame: gpd.GeoDataFrame) -> str:
    """The layer type that holds all rows."""
    kinds = set(frame.geom_type.dropna())
    if kinds <= {"Polygon"}:
        return "Polygon"
    return "MultiPolygon" if kinds <= {"Polygon", "MultiPolygon"} else "Unknown"


_PARQUET = (".parquet", ".geoparquet")
_READ_HINT = "check the path; a vector file with outlines is wanted"
_DISK_HINT = "check that the disk has space and may be written to, then run again"


def write_parquet(path: Path, frame: pd.DataFrame, *, provenance: Provenance | None = None) -> None:
    """A GeoParquet file (or, without geometry, a Parquet file), zstd-compressed, whole or not at all.

    Raises:
        OutputWrite: If the disk refuses.
    """
    with writing(path) as temporary:
        frame.to_parquet(temporary, compression="zstd" if provenance is None else None, index=False)
        if provenance is not None:
            table = pq.read_table(temporary)
            tags = {**(table.schema.metadata or {}), METADATA_KEY.encode(): _as_json(provenance).encode()}
            pq.write_table(table.replace_schema_metadata(tags), temporary, compression="zstd")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """A CSV file (UTF-8, comma, LF, numbers in their shortest exact form, empty where unknown), whole or not at all.

    A geometry column is left out. Texts that a spreadsheet would take for a formula get an apostrophe before them, as do parts
    of a text behind a `;`, which separates cells in some languages; the other files hold them as they are.

    Raises:
        OutputWrite: If the disk refuses.
    """
    plain = pd.DataFrame(frame.drop(columns="geometry", errors="ignore"))
    for name in plain.columns:
        if _is_text(plain[name]) and _may_hold_formulas(plain[name]):
            plain[name] = plain[name].map(_without_formulas, na_action="ignore")
    with writing(path) as temporary:
        plain.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def _is_text(column: pd.Series[Any]) -> bool:
    """True if a column may hold texts."""
    return bool(column.dtype == object or pd.api.types.is_string_dtype(column))


def _may_hold_formulas(column: pd.Series[Any]) -> bool:
    """True if any text of a column could be taken for a formula, in one search over all of them."""
    return _FORMULA.search("\n".join(map(str, column.to_numpy(dtype=object).tolist()))) is not None


def _without_formulas(value: object) -> object:
    """A text with an apostrophe wherever a spreadsheet would begin a formula; other values as they are."""
    return _FORMULA.sub(r"\1'\2", value) if isinstance(value, str) else value


def write_lakes(
    folder: Path,
    lakes: gpd.GeoDataFrame,
    candidates: gpd.GeoDataFrame,
    provenance: Provenance,
    *,
    stamp: dt.date | None = None,
) -> tuple[Path, Path]:
    """`lakes.gpkg` (layers `lakes` and `candidates`) and `lakes.parquet` in a folder.

    Args:
        folder: Folder of the model's results for one year.
        lakes: Rows of the table, EPSG:4326, from `lakes.merge_zones`.
        candidates: Rows for matching alone.
        provenance: Provenance of the lakes.
        stamp: Date to stamp in place of the clock; None for the newest date in the tables.

    Returns:
        The paths of the two files.

    Raises:
        OutputWrite: If the disk refuses.
    """
    package, parquet = folder / "lakes.gpkg", folder / "lakes.parquet"
    write_parquet(parquet, lakes, provenance=provenance)
    layers = {LAKES_LAYER: lakes, CANDIDATES_LAYER: candidates}
    write_geopackage(package, layers, provenance=provenance, stamp=stamp)
    return package, parquet


def read_lakes(folder: Path) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Lakes and candidates that `write_lakes` left in a folder.

    Raises:
        DataError: If the file is missing or damaged.
    """
    path = folder / "lakes.gpkg"
    return read_layer(path, LAKES_LAYER), read_layer(path, CANDIDATES_LAYER)


def read_layer(path: Path | str, layer: str | None = None, *, doubts: list[str] | None = None) -> gpd.GeoDataFrame:
    """All rows of one layer of a vector file, texts that are null as empty texts.

    Args:
        path: Any vector file that GDAL reads, or GeoParquet.
        layer: Its name; None for the first that holds outlines.
        doubts: Gets what the reader of a file of others complained of, such as rings that do not close; rows that cannot be
            understood then have no geometry. None to refuse such files.

    Raises:
        DataError: If the file or layer is missing or damaged.
    """
    try:
        with warnings.catch_warnings(record=True) as complaints, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            if Path(path).suffix.lower() in _PARQUET:
                frame = gpd.read_parquet(path)
            else:
                first = layer if layer is not None else next(iter(layers_of(path)), None)
                frame = pyogrio.read_dataframe(path, layer=first, on_invalid="raise" if doubts is None else "ignore")
    except (OSError, ValueError, IndexError, KeyError, ShapelyError, DataSourceError, DataLayerError) as error:
        raise DataError(f"could not read {path}: {error}", _READ_HINT) from error
    if doubts is not None:
        doubts += sorted({str(one.message) for one in complaints if one.category is RuntimeWarning})
    if not isinstance(frame, gpd.GeoDataFrame):
        raise DataError(f"{path} holds no geometry", "a vector file with outlines is wanted")
    for name in frame.columns:
        if name != frame.geometry.name and _is_text(frame[name]):
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    return frame


def read_columns(path: Path) -> pd.DataFrame:
    """All rows of a Parquet file that was written here, without their geometry, texts that are null as empty texts.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        names = [name for name in pq.read_schema(path).names if name != "geometry"]
        frame = pd.read_parquet(path, columns=names)
    except (OSError, ValueError) as error:
        raise DataError(f"could not read {path}: {error}", _READ_HINT) from error
    for name in frame.columns:
        if _is_text(frame[name]):
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    return frame


def layers_of(path: Path | str) -> list[str]:
    """Names of a vector file's layers that hold geometries, in their order; none for GeoParquet.

    Raises:
        DataError: If the file is missing or damaged.
    """
    if Path(path).suffix.lower() in _PARQUET:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # they are heard when the layer is read
            return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except (OSError, ValueError, DataSourceError, DataLayerError) as error:
        raise DataError(f"could not read {path}: {error}", _READ_HINT) from error


def newest_date(frames: Any) -> dt.date:
    """The newest ISO date in the columns named `*_date` of some tables; 1970-01-01 if there is none."""
    found = [_NO_DATE]
    for frame in frames:
        for name in frame.columns:
            if str(name).endswith("_date"):
                texts = [text for text in frame[name].dropna().astype(str).unique() if _DATE.match(text)]
                found.extend(dt.date.fromisoformat(text) for text in texts)
    return max(found)


def _as_json(provenance: Provenance) -> str:
    """Provenance as one line of JSON."""
    return json.dumps(provenance.as_dict(), sort_keys=True)


@contextmanager
def _clock_at(day: dt.date) -> Iterator[None]:
    """GDAL's idea of now, for the GeoPackage writer of this process, one thread at a time."""
    with _CLOCK_LOCK:
        before = pyogrio.get_gdal_config_option(_CLOCK)
        pyogrio.set_gdal_config_options({_CLOCK: f"{day.isoformat()}T00:00:00.000Z"})
        try:
            yield
        finally:
            pyogrio.set_gdal_config_options({_CLOCK: before})
