"""What a folder of shards holds, and what of it is missing, damaged or half downloaded: files looked at, no chip decoded.

Neighbours: `shards` reads the chips; `dataset_record` says what a data set that was cut here should hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryosentinel_core.chips.chip_index import ChipIndex, find_duplicates
from cryosentinel_core.errors import DataError
from cryosentinel_core.io.dataset_record import read_dataset_record
from cryosentinel_core.io.shard_rows import missing_columns
from cryosentinel_core.io.shards import ShardDataset

_POINTER: Final = b"version https://git-lfs"
"""Begins a file that git left in place of a large one."""

_NUMBER: Final = re.compile(r"(?P<stem>.*?)(?P<number>\d+)(?:-of-(?P<total>\d+))?")


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What lies in a data set's folder.

    Attributes:
        index: Every row of every shard that can be read.
        n_bytes: Region, year -> bytes of its shards.
        n_shards: Region, year -> shards.
        lacking: Optional column -> shards that lack it.
        problems: What is missing or cannot be read, in words.
        n_duplicates: Rows that were there before.
    """

    index: ChipIndex
    n_bytes: dict[tuple[str, int], int]
    n_shards: dict[tuple[str, int], int]
    lacking: dict[str, int]
    problems: tuple[str, ...]
    n_duplicates: int


def look_into(dataset: ShardDataset) -> Holdings:
    """The holdings of a data set."""
    problems: list[str] = []
    n_bytes: dict[tuple[str, int], int] = {}
    n_shards: dict[tuple[str, int], int] = {}
    lacking: dict[str, int] = {}
    unread: set[str] = set()
    for shard in dataset.shards:
        place = shard.region, shard.year
        size = shard.path.stat().st_size
        n_bytes[place] = n_bytes.get(place, 0) + size
        n_shards[place] = n_shards.get(place, 0) + 1
        if _is_pointer(shard.path, size):
            unread.add(shard.label)
            problems.append(f"{shard.label} was not downloaded: git left a pointer in its place (git lfs pull)")
            continue
        try:
            for column in missing_columns(shard.path):
                lacking[column] = lacking.get(column, 0) + 1
        except DataError:
            pass  # told by the index, in better words

    def tell(where: str, error: DataError) -> None:
        if where not in unread:
            problems.append(error.message)

    index = dataset.read_index(on_error=tell)
    problems += _missing_by_record(dataset)
    problems += _missing_by_number(dataset)
    problems += [f"{path.relative_to(dataset.root)} is half downloaded" for path in _half_downloaded(dataset.root)]
    return Holdings(
        index=index,
        n_bytes=n_bytes,
        n_shards=n_shards,
        lacking=dict(sorted(lacking.items())),
        problems=tuple(dict.fromkeys(problems)),
        n_duplicates=len(find_duplicates(index)),
    )


def _is_pointer(path: Path, size: int) -> bool:
    if size > 1024:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _missing_by_record(dataset: ShardDataset) -> Iterator[str]:
    """Shards of `dataset.json` that are not there, or of another size."""
    have = {shard.label: shard.path for shard in dataset.shards}
    for name, said in read_dataset_record(dataset.root).get("shards", {}).items():
        if not isinstance(said, dict) or not said.get("n_chips"):
            continue
        if name not in have:
            yield f"{name} is missing: dataset.json names it, with {said['n_chips']} chips"
        elif have[name].stat().st_size != said.get("n_bytes"):
            yield f"{name} has {have[name].stat().st_size} bytes, dataset.json says {said.get('n_bytes')}"


def _missing_by_number(dataset: ShardDataset) -> Iterator[str]:
    """Gaps in numbered shards: `shard_000`, `shard_002`; or `shard_00000-of-00003` alone."""
    series: dict[tuple[str, int, str], dict[int, str]] = {}
    totals: dict[tuple[str, int, str], int] = {}
    for shard in dataset.shards:
        found = _NUMBER.fullmatch(shard.path.stem)
        if found is None or (found["total"] is None and found["stem"] != "shard_"):
            continue
        key = shard.region, shard.year, found["stem"]
        series.setdefault(key, {})[int(found["number"])] = found["number"]
        totals[key] = max(totals.get(key, 0), int(found["total"] or 0))
    for key, numbers in series.items():
        last = max(max(numbers), totals[key] - 1)
        gaps = [number for number in range(min(min(numbers), 1), last) if number not in numbers]
        gaps += [last] if last not in numbers else []
        if gaps and last < 100_000:
            told = ", ".join(str(gap) for gap in gaps[:10]) + (" and more" if len(gaps) > 10 else "")
            yield f"{key[0]}/{key[1]} lacks {len(gaps)} shards by their numbers: {key[2]}{told}"


def _half_downloaded(root: Path) -> Iterator[Path]:
    """What downloads leave while they run, or when they are cut off."""
    for pattern in ("*/*/*.incomplete", ".cache/huggingface/download/**/*.incomplete"):
        yield from sorted(root.glob(pattern))
