"""Decoded chips in one memory-mapped file, so that shards are decoded once and not in every epoch.

The file holds the stored numbers as they are, chip after chip by kind, and beside it lies a JSON index with what the shards
say of each chip. Its name holds a digest of the shards' names, sizes and times, so that a changed data set gets another. Neighbours:
`shards` decodes; `learn.training.feed` reads the arrays.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from cryosentinel_core.chips.chip_index import ChipIndex
from cryosentinel_core.chips.shard_chip import CHIP_PARTS, ShardChip
from cryosentinel_core.errors import DataError, OutputWrite
from cryosentinel_core.io.shards import ShardDataset
from cryosentinel_core.io.workspace import read_json, translate_os_error, write_json
from cryosentinel_core.provenance import digest_of
from cryosentinel_core.reporter import Reporter

_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class CachedChips:
    """All chips of some shards.

    Attributes:
        digest: SHA-256 of what the chips are: ids, places and pixels' sums, the same on every machine.
        arrays: Part (`s2`, `s1`, `dem`, `mask`) -> (N, ...) array, memory-mapped, read only.
        records: For each chip `chip_id`, `region`, `year`, `split`, `lat`, `lon`, `water_frac` as its shard says them, `label_water`
            (share of the label that is water) and `crc32` of its parts.
        faults: What could not be read, in words.
    """

    digest: str
    arrays: dict[str, NDArray[Any]]
    records: tuple[dict[str, Any], ...]
    faults: tuple[str, ...]

    def __len__(self) -> int:
        """Chips."""
        return len(self.records)

    @cached_property
    def index(self) -> ChipIndex:
        """What the shards say of the chips; `water_frac` is the label's own share where a shard does not say it."""

        def column(name: str, kind: Any) -> NDArray[Any]:
            return np.array([np.nan if row[name] is None else row[name] for row in self.records], dtype=kind)

        water = column("water_frac", np.float64)
        return ChipIndex(
            region=column("region", np.str_),
            year=column("year", np.int64),
            shard=np.full(len(self), "", dtype=np.str_),
            row=np.arange(len(self)),
            chip_id=column("chip_id", np.str_),
            stored_split=column("split", np.str_),
            lat=column("lat", np.float64),
            lon=column("lon", np.float64),
            water_frac=np.where(np.isnan(water), column("label_water", np.float64), water),
        )


def open_cache(
    dataset: ShardDataset,
    regions: Sequence[str],
    years: Sequence[int],
    folder: Path | None,
    *,
    reporter: Reporter,
) -> CachedChips:
    """The decoded chips of some regions and years; decoded now if they have not been before.

    Args:
        dataset: Folder of shards.
        regions: Only these; empty for all.
        years: Only these; empty for all.
        folder: Where the decoded files lie; None for `.cache` in the data set's folder.
        reporter: Hears of progress, and of chips that cannot be read.

    Raises:
        DataError: If not one chip can be read.
        OutputWrite: If the disk refuses.
    """
    home = folder or dataset.root / ".cache"
    shards = dataset.select(regions, years)
    key = digest_of({"version": _VERSION, "shards": [_stamp(shard) for shard in shards]})[:16]
    target = home / f"chips-{key}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"chips-{key}.lock"):
            if read_json(target / "index.json") is None:
                _decode(dataset, (regions, years), target, reporter)
    except OSError as error:
        raise translate_os_error(error, target) from error
    return _open(target)


def _stamp(shard: Any) -> list[Any]:
    found = shard.path.stat()
    return [shard.label, found.st_size, found.st_mtime_ns]


def _decode(
    dataset: ShardDataset, asked: tuple[Sequence[str], Sequence[int]], target: Path, reporter: Reporter
) -> None:
    """Decode all chips into a folder that gets its name when it is whole."""
    temporary = target.with_name(f".part-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    total = dataset.count_rows(*asked)
    needed = total * sum(part.n_bytes for part in CHIP_PARTS)
    free = shutil.disk_usage(temporary).free
    if needed > free:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputWrite(
            f"{total} decoded chips take {needed / 1e9:.1f} GB, and {target.parent} has {free / 1e9:.1f} GB left",
            "free space, or give another folder with feed.cache_dir",
        )
    faults: list[str] = []
    records: list[dict[str, Any]] = []
    files = {part.name: (temporary / f"{part.name}.bin").open("wb") for part in CHIP_PARTS}
    reporter.progress("decoding chips", 0, total)
    try:
        for chip in dataset.read_chips(*asked, on_error=lambda _, error: faults.append(error.message)):
            for part in CHIP_PARTS:
                files[part.name].write(np.ascontiguousarray(getattr(chip, part.name), dtype=part.dtype).tobytes())
            records.append(_record(chip))
            reporter.progress("decoding chips", len(records), total)
    finally:
        for file in files.values():
            file.close()
    if not records:
        shutil.rmtree(temporary, ignore_errors=True)
        raise DataError(f"no chip in {dataset.root} can be read", faults[0] if faults else "the shards are empty")
    write_json(
        temporary / "index.json",
        {"digest": digest_of([_VERSION, records]), "chips": records, "faults": faults},
    )
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)


def _record(chip: ShardChip) -> dict[str, Any]:
    names = ("chip_id", "region", "year", "split", "lat", "lon", "water_frac")
    sums = [zlib.crc32(np.ascontiguousarray(getattr(chip, part.name)).data) for part in CHIP_PARTS]
    water = int(np.count_nonzero(chip.mask)) / chip.mask.size
    return {name: getattr(chip, name) for name in names} | {"label_water": water, "crc32": sums}


def _open(target: Path) -> CachedChips:
    index = read_json(target / "index.json")
    if not isinstance(index, dict):
        raise DataError(f"{target} is damaged", "delete that folder: it is made again from the shards")
    records = tuple(index["chips"])
    arrays: dict[str, NDArray[Any]] = {}
    for part in CHIP_PARTS:
        path = target / f"{part.name}.bin"
        shape = (len(records), *part.shape)
        if path.stat().st_size != len(records) * part.n_bytes:
            raise DataError(f"{path} is damaged", "delete its folder: it is made again from the shards")
        arrays[part.name] = np.memmap(path, dtype=part.dtype, mode="r", shape=shape)
    return CachedChips(digest=index["digest"], arrays=arrays, records=records, faults=tuple(index["faults"]))
