"""Chips in shards: Parquet files in the published layout, `<data_dir>/<region>/<year>/shard_*.parquet`, a row per chip.

Each array of a chip is a pair of columns: `<name>_bytes`, the raw buffer in C order and little-endian, and `<name>_shape`.
Nothing in a file is believed: types, lengths, shapes and values are checked before a buffer becomes an array, sizes are bounded
before they are read, and nothing is ever unpickled. Reading streams a few rows at a time; where another writer made large
pages, memory holds those of one row group. Prediction and training read here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryosentinel_core.chips.shard_chip import CHIP_ID_LIMIT, CHIP_PARTS, SPLITS, ChipPart, ShardChip
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.workspace import writing

SHARD_PATTERN: Final = "shard_*.parquet"

_ROWS_AT_ONCE: Final = 8
_UNREADABLE: Final = (OSError, pa.ArrowException, ValueError, LookupError, OverflowError, MemoryError)
"""What Arrow raises on damaged files."""

_YEAR: Final = re.compile(r"^\d{4}$")
_HINT: Final = "build that shard again, or take it out of the data set"

OnError = Callable[[str, DataError], None]
"""Hears what (shard, or shard and chip) could not be read, and why."""


_OPTIONAL: Final = ("lat", "lon", "water_frac")
_SCHEMA: Final = pa.schema(
    [
        ("chip_id", pa.string()),
        ("split", pa.string()),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        ("water_frac", pa.float64()),
        *(
            field
            for part in CHIP_PARTS
            for field in ((f"{part.name}_bytes", pa.binary()), (f"{part.name}_shape", pa.list_(pa.int64())))
        ),
    ]
)

_WRITING: Final[dict[str, Any]] = {
    "compression": "zstd",
    "use_dictionary": False,
    "write_statistics": False,
    "write_batch_size": 1,
}
"""A page a chip, as the size of a page is looked at after each batch: readers hold a page whole."""


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


def find_shards(root: Path) -> tuple[Shard, ...]:
    """The shards below a folder in the published layout, by region, year and file name; none if there are none."""
    return tuple(
        sorted(
            Shard(region=path.parent.parent.name, year=int(path.parent.name), path=path)
            for path in root.glob(f"*/*/{SHARD_PATTERN}")
            if _YEAR.match(path.parent.name) and not path.parent.parent.name.startswith(".") and path.is_file()
        )
    )


class ShardDataset:
    """A folder of shards.

    Args:
        root: `<data_dir>`.

    Raises:
        InputError: If no shard lies below it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shards = find_shards(root)
        if not self.shards:
            raise InputError(f"no shard in {root}", f"wanted <folder>/<region>/<year>/{SHARD_PATTERN}")

    @property
    def regions(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted({shard.region for shard in self.shards}))

    @property
    def years(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(sorted({shard.year for shard in self.shards}))

    def select(self, regions: Sequence[str] = (), years: Sequence[int] = ()) -> tuple[Shard, ...]:
        """The shards of some regions and years, in their order; all of them where none is named.

        Raises:
            InputError: If a region or year is not there, or no shard is of both.
        """
        for name, asked, have in (("region", regions, self.regions), ("year", years, self.years)):
            absent = [str(one) for one in asked if one not in have]
            if absent:
                there = ", ".join(str(one) for one in have)
                raise InputError(f"no {name} {', '.join(absent)} in {self.root}", f"there are {there}")
        found = tuple(
            shard
            for shard in self.shards
            if (not regions or shard.region in regions) and (not years or shard.year in years)
        )
        if not found:
            raise InputError(f"no shard of these regions in these years in {self.root}", "ask for other years")
        return found

    def count_rows(self, regions: Sequence[str] = (), years: Sequence[int] = ()) -> int:
        """Chips of all splits that the shards say they hold; a shard that cannot be read counts none."""
        total = 0
        for shard in self.select(regions, years):
            try:
                total += max(int(pq.read_metadata(shard.path).num_rows), 0)
            except _UNREADABLE:
                continue
        return total

    def read_chips(
        self,
        regions: Sequence[str] = (),
        years: Sequence[int] = (),
        *,
        split: str | None = None,
        n_chips: int | None = None,
        on_error: OnError | None = None,
    ) -> Iterator[ShardChip]:
        """Chips by region, year, file name and row; memory holds a few of them at a time.

        Args:
            regions: Only these; empty for all.
            years: Only these; empty for all.
            split: Only this one; None for all.
            n_chips: Stop after so many chips of the split, those that cannot be read among them.
            on_error: Called with each chip or shard that cannot be read, which is then passed over; None raises.

        Raises:
            InputError: If a region or year is not there, or the split is none.
            DataError: At the first chip that cannot be read, naming it and its shard, if `on_error` is None.
        """
        if split is not None and split not in SPLITS:
            raise InputError(f"no split {split!r}", f"there are {', '.join(SPLITS)}")
        shards = self.select(regions, years)
        left = n_chips
        for shard in shards:
            if left is not None and left <= 0:
                return
            for where, found in _read_rows(shard, split):
                if isinstance(found, ShardChip):
                    yield found
                elif on_error is None:
                    raise found
                else:
                    on_error(where, found)
                if left is not None and where != shard.label:
                    left -= 1
                    if left <= 0:
                        break


def _read_rows(shard: Shard, split: str | None) -> Iterator[tuple[str, ShardChip | DataError]]:
    """(shard#chip, chip or why there is none) of each row; (shard, why) once where the file itself fails."""
    try:
        with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False) as file:
            columns = _check_columns(file.schema_arrow)
            for group in range(file.num_row_groups):
                _check_sizes(file.metadata.row_group(group))
                rows = file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False)
                for batch in rows:
                    for row in range(batch.num_rows):
                        yield from _read_row(shard, batch, row, split)
    except DataError as error:
        yield shard.label, DataError(f"{shard.label}: {error.message}", error.hint)
    except _UNREADABLE as error:
        text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        yield shard.label, DataError(f"{shard.label} cannot be read: {text}", _HINT)


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
    for name in _OPTIONAL:
        if name in schema.names:
            wanted[name] = ("a number", lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind))
    for name, (words, fits) in wanted.items():
        count = schema.names.count(name)
        if count != 1:
            raise DataError(f"{count or 'no'} column{'s' if count else ''} {name}, wanted one", _HINT)
        kind = schema.field(name).type
        if not fits(kind) and not (name in _OPTIONAL and pa.types.is_null(kind)):
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


def write_shard(path: Path, chips: Iterable[ShardChip], *, rows_per_group: int = 32) -> int:
    """A shard of some chips, whole or not at all; the same bytes from the same chips.

    Args:
        path: `<data_dir>/<region>/<year>/shard_<anything>.parquet`.
        chips: All of that region and year; taken one by one.
        rows_per_group: Chips in a row group, which readers and writers hold in memory at most.

    Returns:
        Chips written.

    Raises:
        InputError: If the path is no shard's, or a chip is of another region or year.
        OutputWrite: If the disk refuses.
    """
    region, year = path.parent.parent.name, path.parent.name
    if not path.match(SHARD_PATTERN) or not region or not _YEAR.match(year):
        raise InputError(f"{path} is no place for a shard", f"wanted <folder>/<region>/<year>/{SHARD_PATTERN}")
    n_written = 0
    with (
        writing(path) as temporary,
        pq.ParquetWriter(temporary, _SCHEMA, **_WRITING) as file,
    ):
        rows: list[dict[str, Any]] = []
        for chip in chips:
            if (chip.region, str(chip.year)) != (region, year):
                raise InputError(f"chip {chip.chip_id!r} is of {chip.region}/{chip.year}, the shard of {region}/{year}")
            rows.append(_as_row(chip))
            if len(rows) == rows_per_group:
                file.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
                n_written += len(rows)
                rows = []
        if rows:
            file.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
    return n_written + len(rows)


def _as_row(chip: ShardChip) -> dict[str, Any]:
    """The columns of one chip."""
    row: dict[str, Any] = {name: getattr(chip, name) for name in ("chip_id", "split", *_OPTIONAL)}
    for part in CHIP_PARTS:
        array = np.ascontiguousarray(getattr(chip, part.name), dtype=part.dtype)
        row |= {f"{part.name}_bytes": array.tobytes(), f"{part.name}_shape": list(part.shape)}
    return row
