"""Chips in shards: Parquet files in the published layout, `<data_dir>/<region>/<year>/shard_*.parquet`, a row per chip.

Each array of a chip is a pair of columns: `<name>_bytes`, the raw buffer in C order and little-endian, and `<name>_shape`.
Which shards a folder holds, which of them are meant, and how one is written. Neighbours: `shard_rows` reads what is in one;
`hub_datasets` opens a folder or a data set of the hub. Prediction and training read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cryosentinel_core.chips.chip_index import ChipIndex, join_indices
from cryosentinel_core.chips.shard_chip import CHIP_PARTS, SPLITS, ShardChip
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.shard_rows import (
    EXTRA_COLUMNS,
    OPTIONAL_COLUMNS,
    UNREADABLE,
    Shard,
    read_light_rows,
    read_rows,
)
from cryosentinel_core.io.workspace import writing

SHARD_PATTERN: Final = "shard_*.parquet"

_YEAR: Final = re.compile(r"^\d{4}$")

OnError = Callable[[str, DataError], None]
"""Hears what (shard, or shard and chip) could not be read, and why."""

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
        is_meant: Says of a region and a year whether its shards belong to the data set; None for all.

    Raises:
        InputError: If there is no such folder, or no shard below it.
    """

    def __init__(self, root: Path, is_meant: Callable[[str, int], bool] | None = None) -> None:
        self.root = root
        self.shards = tuple(
            shard for shard in find_shards(root) if is_meant is None or is_meant(shard.region, shard.year)
        )
        if not root.is_dir():
            raise InputError(f"no folder {root}", "check the path of the data set")
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

        Args:
            regions: Names, or patterns such as `tien_*`.
            years: Calendar years.

        Raises:
            InputError: If a region or year is not there, or no shard is of both.
        """
        for name, asked, have in (("region", regions, self.regions), ("year", years, self.years)):
            absent = [str(one) for one in asked if not any(_is_meant(other, one) for other in have)]
            if absent:
                there = ", ".join(str(one) for one in have)
                raise InputError(f"no {name} {', '.join(absent)} in {self.root}", f"there are {there}")
        found = tuple(
            shard
            for shard in self.shards
            if (not regions or any(_is_meant(shard.region, one) for one in regions))
            and (not years or shard.year in years)
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
            except UNREADABLE:
                continue
        return total

    def read_index(
        self, regions: Sequence[str] = (), years: Sequence[int] = (), *, on_error: OnError | None = None
    ) -> ChipIndex:
        """What the shards say of their chips without the pixels, in the order of `read_chips`.

        Args:
            regions: Only these; empty for all.
            years: Only these; empty for all.
            on_error: Called with each shard that cannot be read, which is then passed over; None raises.

        Raises:
            InputError: If a region or year is not there.
            DataError: At the first shard that cannot be read, if `on_error` is None.
        """
        parts = []
        for shard in self.select(regions, years):
            try:
                parts.append(read_light_rows(shard))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(shard.label, error)
        return join_indices(parts)

    def read_indexed(self, index: ChipIndex, *, on_error: OnError | None = None) -> Iterator[tuple[int, ShardChip]]:
        """The chips of some rows, each with its position in the index; only these are decoded.

        Args:
            index: Rows of this data set, in any order: `read_index`, or some of it.
            on_error: As for `read_chips`.

        Yields:
            (position, chip) shard by shard and row by row.

        Raises:
            DataError: At the first chip that cannot be read, if `on_error` is None.
        """
        positions: dict[tuple[str, int, str], dict[int, int]] = {}
        names = zip(index.region.tolist(), index.year.tolist(), index.shard.tolist(), index.row.tolist(), strict=True)
        for position, (region, year, shard, row) in enumerate(names):
            positions.setdefault((region, year, shard), {})[row] = position
        for shard_file in self.shards:
            rows = positions.get((shard_file.region, shard_file.year, shard_file.path.name))
            if not rows:
                continue
            for number, where, found in read_rows(shard_file, wanted=rows):
                if isinstance(found, ShardChip) and number is not None:
                    yield rows[number], found
                elif isinstance(found, DataError):
                    if on_error is None:
                        raise found
                    on_error(where, found)

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
            for _, where, found in read_rows(shard, split):
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


def _is_meant(have: str | int, asked: str | int) -> bool:
    """True if a name, or a pattern of names, or a year that is asked for is this one."""
    return fnmatchcase(have, asked) if isinstance(have, str) and isinstance(asked, str) else have == asked


def write_shard(path: Path, chips: Iterable[ShardChip], *, rows_per_group: int = 32) -> int:
    """A shard of some chips, whole or not at all; the same bytes from the same chips.

    Args:
        path: `<data_dir>/<region>/<year>/shard_<anything>.parquet`.
        chips: All of that region and year; taken one by one. The shard has a column `n_clear` if the first of them says it.
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
    stream = iter(chips)
    first = next(stream, None)
    schema = _SCHEMA if first is None or first.n_clear is None else _SCHEMA.append(pa.field("n_clear", pa.float64()))
    with (
        writing(path) as temporary,
        pq.ParquetWriter(temporary, schema, **_WRITING) as file,
    ):
        rows: list[dict[str, Any]] = []
        for chip in chain([] if first is None else [first], stream):
            if (chip.region, str(chip.year)) != (region, year):
                raise InputError(f"chip {chip.chip_id!r} is of {chip.region}/{chip.year}, the shard of {region}/{year}")
            rows.append(_as_row(chip))
            if len(rows) == rows_per_group:
                file.write_table(pa.Table.from_pylist(rows, schema=schema))
                n_written += len(rows)
                rows = []
        if rows:
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
    return n_written + len(rows)


def _as_row(chip: ShardChip) -> dict[str, Any]:
    """The columns of one chip."""
    row: dict[str, Any] = {
        name: getattr(chip, name) for name in ("chip_id", "split", *OPTIONAL_COLUMNS, *EXTRA_COLUMNS)
    }
    for part in CHIP_PARTS:
        array = np.ascontiguousarray(getattr(chip, part.name), dtype=part.dtype)
        row |= {f"{part.name}_bytes": array.tobytes(), f"{part.name}_shape": list(part.shape)}
    return row
