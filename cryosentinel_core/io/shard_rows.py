"""Rows of one shard: what is believed of a file, how its buffers become arrays, and its light columns alone.

Nothing in a file is believed: types, lengths, shapes and values are checked before a buffer becomes an array, sizes are bounded
before they are read, and nothing is ever unpickled. Reading streams a few rows at a time; where another writer made large
pages, memory holds those of one row group. Neighbour: `shards` finds the files, chooses among them and writes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryosentinel_core.chips.chip_index import ChipIndex
from cryosentinel_core.chips.shard_chip import CHIP_ID_LIMIT, CHIP_PARTS, ChipPart, ShardChip
from cryosentinel_core.errors import DataError, InputError

OPTIONAL_COLUMNS: Final = ("lat", "lon", "water_frac")
"""Old shards may lack these."""

EXTRA_COLUMNS: Final = ("n_clear",)
"""The published layout has none of these; ours say more."""

UNREADABLE: Final = (OSError, pa.ArrowException, ValueError, LookupError, OverflowError, MemoryError)
"""What Arrow raises on damaged files."""

_ROWS_AT_ONCE: Final = 8
_LIGHT_ROWS_AT_ONCE: Final = 1024
_HINT: Final = "build that shard again, or take it out of the data set"


@dataclass(frozen=True, kw_only=True, order=True)
class Shard:
    """One Parquet file of chips, and what its folders say of them.

    Attributes:
        region: Name of the upper folder.
        year: Name of the lower folder.
        path: Of the file.
    """

    region: str
    year: int
    path: Path

    @property
    def label(self) -> str:
        """`<region>/<year>/<file>`, for messages."""
        return f"{self.region}/{self.year}/{self.path.name}"


def read_rows(
    shard: Shard, split: str | None = None, *, wanted: Collection[int] | None = None
) -> Iterator[tuple[int | None, str, ShardChip | DataError]]:
    """The chips of a shard in its order.

    Args:
        shard: The file.
        split: Only rows whose column says this; None for all.
        wanted: Only these rows, from 0; None for all.

    Yields:
        (row from 0, `shard#chip`, the chip or why there is none); (None, shard, why) once where the file itself fails.
    """
    number = -1
    try:
        with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False) as file:
            columns = _check_columns(file.schema_arrow)
            for group in range(file.num_row_groups):
                _check_sizes(file.metadata.row_group(group))
                rows = file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False)
                for batch in rows:
                    for row in range(batch.num_rows):
                        number += 1
                        if wanted is not None and number not in wanted:
                            continue
                        for where, found in _read_row(shard, batch, row, split):
                            yield number, where, found
    except DataError as error:
        yield None, shard.label, DataError(f"{shard.label}: {error.message}", error.hint)
    except UNREADABLE as error:
        yield None, shard.label, _unreadable(shard, error)


def _unreadable(shard: Shard, error: BaseException) -> DataError:
    text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return DataError(f"{shard.label} cannot be read: {text}", _HINT)


def read_light_rows(shard: Shard) -> ChipIndex:
    """What a shard says of its chips without their pixels, all rows in their order.

    Raises:
        DataError: If the file cannot be read or lacks a column.
    """
    texts: dict[str, list[str]] = {"chip_id": [], "split": []}
    numbers: dict[str, list[float]] = {name: [] for name in OPTIONAL_COLUMNS}
    try:
        with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False) as file:
            columns = [name for name in _check_columns(file.schema_arrow) if name in (*texts, *numbers)]
            for batch in file.iter_batches(_LIGHT_ROWS_AT_ONCE, columns=columns, use_threads=False):
                for row in range(batch.num_rows):
                    texts["chip_id"].append(_text_of(batch, "chip_id", row)[:CHIP_ID_LIMIT])
                    texts["split"].append(_text_of(batch, "split", row)[:CHIP_ID_LIMIT] or "UNKNOWN")
                    for name, values in numbers.items():
                        value = _number_of(batch, name, row)
                        values.append(math.nan if value is None else value)
    except DataError as error:
        raise DataError(f"{shard.label}: {error.message}", error.hint) from error
    except UNREADABLE as error:
        raise _unreadable(shard, error) from error
    n = len(texts["chip_id"])
    return ChipIndex(
        region=np.full(n, shard.region),
        year=np.full(n, shard.year, dtype=np.int64),
        shard=np.full(n, shard.path.name),
        row=np.arange(n, dtype=np.int64),
        chip_id=np.array(texts["chip_id"], dtype=np.str_),
        stored_split=np.array(texts["split"], dtype=np.str_),
        **{name: np.array(values, dtype=np.float64) for name, values in numbers.items()},
    )


def missing_columns(path: Path) -> tuple[str, ...]:
    """The optional columns that a shard lacks.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        names = pq.read_schema(path).names
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {error}", _HINT) from error
    return tuple(name for name in OPTIONAL_COLUMNS if name not in names)


def _check_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns to read, once each is known to be there and of its kind.

    Raises:
        DataError: If one is missing or of another kind.
    """
    wanted: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
        "chip_id": ("text", _is_text),
        "split": ("text", _is_text),
    }
    for part in CHIP_PARTS:
        wanted[f"{part.name}_bytes"] = (
            "bytes",
            lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
        )
        wanted[f"{part.name}_shape"] = ("a list of whole numbers", _is_list_of_integers)
    maybe = (*OPTIONAL_COLUMNS, *EXTRA_COLUMNS)
    for name in maybe:
        if name in schema.names:
            wanted[name] = ("a number", lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind))
    for name, (words, fits) in wanted.items():
        count = schema.names.count(name)
        if count != 1:
            raise DataError(f"{count or 'no'} column{'s' if count else ''} {name}, wanted one", _HINT)
        kind = schema.field(name).type
        if not fits(kind) and not (name in maybe and pa.types.is_null(kind)):
            raise DataError(f"column {name} is {kind}, wanted {words}", _HINT)
    return list(wanted)


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def _is_list_of_integers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_integer(kind.value_type))


def _check_sizes(group: Any) -> None:
    """Refuse a row group that is far larger than its chips can be, before any of it is read.

    Only the group's own size is asked for: Arrow 26 ends the whole process where the statistics of a column are damaged.

    Raises:
        DataError: If it is.
    """
    limit = 2 * group.num_rows * sum(part.n_bytes for part in CHIP_PARTS) + (1 << 20)
    if group.num_rows < 0 or group.total_byte_size > limit:
        raise DataError(
            f"{group.total_byte_size} bytes for {group.num_rows} chips, wanted at most {limit}",
            _HINT,
        )


def _read_row(
    shard: Shard, batch: pa.RecordBatch, row: int, split: str | None
) -> Iterator[tuple[str, ShardChip | DataError]]:
    """One row's chip, or why there is none; nothing if it is of another split."""
    name = _text_of(batch, "chip_id", row)
    where = f"{shard.label}#{name[:CHIP_ID_LIMIT] or f'row {row}'}"
    own_split = _text_of(batch, "split", row) or "UNKNOWN"
    if split is not None and own_split != split:
        return
    try:
        arrays = {part.name: _decode(part, batch, row) for part in CHIP_PARTS}
        chip = ShardChip(
            chip_id=name,
            split=own_split,
            region=shard.region,
            year=shard.year,
            lat=_number_of(batch, "lat", row),
            lon=_number_of(batch, "lon", row),
            water_frac=_number_of(batch, "water_frac", row),
            n_clear=_number_of(batch, "n_clear", row),
            s2=arrays["s2"],
            s1=arrays["s1"],
            dem=arrays["dem"],
            mask=arrays["mask"],
        )
    except (DataError, InputError) as error:
        what = error.message.removeprefix(f"chip {name!r}: ")
        yield where, DataError(f"{shard.label}, chip {name[:CHIP_ID_LIMIT]!r}: {what}", _HINT)
        return
    yield where, chip


def _text_of(batch: pa.RecordBatch, name: str, row: int) -> str:
    """A text of a column; empty where it is null or not UTF-8."""
    try:
        return batch.column(name)[row].as_py() or ""
    except UnicodeDecodeError:
        return ""


def _number_of(batch: pa.RecordBatch, name: str, row: int) -> float | None:
    """A number of a column that may be missing; None where it is missing, null or not finite."""
    if name not in batch.schema.names:
        return None
    value = batch.column(name)[row].as_py()
    return float(value) if value is not None and math.isfinite(value) else None


def _decode(part: ChipPart, batch: pa.RecordBatch, row: int) -> NDArray[Any]:
    """The array of one pair of columns, in memory of its own.

    Raises:
        DataError: If shape or length are not the wanted ones.
    """
    cell = batch.column(f"{part.name}_shape")[row]
    shape = cell.as_py() if cell.is_valid and len(cell) <= 8 else None
    if shape != list(part.shape):
        said = "missing" if not cell.is_valid else shape or f"{len(cell)} long"
        raise DataError(f"{part.name}_shape is {said}, wanted {list(part.shape)}")
    buffer = batch.column(f"{part.name}_bytes")[row].as_buffer()
    size = 0 if buffer is None else buffer.size
    if buffer is None or size != part.n_bytes:
        raise DataError(f"{part.name}_bytes holds {size} bytes, wanted {part.n_bytes} ({part.words})")
    stored = np.frombuffer(buffer, dtype=part.dtype).reshape(part.shape)
    return stored.astype(np.dtype(part.dtype).newbyteorder("="), copy=True)
