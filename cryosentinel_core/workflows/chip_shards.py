"""One shard of chips out of one tile of a stack: the job that threads and clusters run.

Read a strip of the stack -> cut its windows -> refuse what is not to be trusted -> write the rest. A strip of some rows of windows and
one group of rows of the shard are in memory, never the tile. Neighbour: `chip_building` plans the jobs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Final

from cryosentinel_core.chips.cutting import ChipIdentity, ChipWindow, cut_chip, hull_of_windows
from cryosentinel_core.chips.labels import Outlines
from cryosentinel_core.chips.sanity import judge_sanity
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.io.shards import write_shard
from cryosentinel_core.io.workspace import is_current, read_json, write_json
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.chip_build_summary import ShardResult
from cryosentinel_core.settings.chip_building import ChipBuildSettings
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.units import CELL_PX

STRIP_PX: Final = 3 * CELL_PX
"""Windows whose first rows lie in the same strip of so many rows are read together."""

ROWS_PER_GROUP: Final = 16
"""Chips that are in memory while a shard is written."""

FEW_VALID: Final = "few valid pixels"
"""Reason of a chip that too little was seen of."""


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """All that decides one shard.

    Attributes:
        path: Of the shard.
        region: Upper folder.
        year: Of the imagery.
        stack: The year's stack.
        tile_cells: Cells along a tile of its files.
        windows: To be cut, sorted, of one zone.
        splits: Of each window.
        centres: Latitude and longitude of each window's centre.
        outlines: Lakes near the windows.
        settings: Of the build.
        provenance: Digest of all that decides the chips.
    """

    path: Path
    region: str
    year: int
    stack: Path
    tile_cells: int
    windows: tuple[ChipWindow, ...]
    splits: tuple[str, ...]
    centres: tuple[tuple[float, float], ...]
    outlines: Outlines
    settings: ChipBuildSettings
    provenance: Provenance

    @property
    def record(self) -> Path:
        """JSON file beside the shard, written last."""
        return self.path.with_suffix(".json")


def done_shard(job: ShardJob) -> ShardResult | None:
    """The result on disk if it is the one asked for and its file is there, whole by its size."""
    if not is_current(job.record, job.provenance):
        return None
    result = ShardResult.from_record(read_json(job.record))
    if result is None or result.n_bytes != (job.path.stat().st_size if job.path.is_file() else 0):
        return None
    return result


def make_shard(job: ShardJob) -> ShardResult:
    """Cut, judge and write the chips of one shard; the record last.

    Raises:
        RasterError: If the stack is damaged.
        OutputWrite: If the disk refuses.
    """
    rejected: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    water = [0, 0]

    def chips() -> Iterator[ShardChip]:
        for chip in _cut(job):
            reason = _refuse(chip, job.settings)
            if reason:
                rejected[reason] += 1
                continue
            kept[chip.split] += 1
            n_water_px = int(chip.mask.sum())
            water[0] += n_water_px > 0
            water[1] += n_water_px
            yield chip

    job.record.unlink(missing_ok=True)
    job.path.unlink(missing_ok=True)
    stream = chips()
    first = next(stream, None)
    if first is not None:
        write_shard(job.path, chain([first], stream), rows_per_group=ROWS_PER_GROUP)
    result = ShardResult(
        n_windows=len(job.windows),
        n_chips=kept.total(),
        n_water=water[0],
        n_water_px=water[1],
        splits=dict(sorted(kept.items())),
        rejected=dict(sorted(rejected.items())),
        n_bytes=0 if first is None else job.path.stat().st_size,
        sha256="" if first is None else _sha256_of(job.path),
    )
    write_json(job.record, {**job.provenance.as_dict(), "result": asdict(result)})
    return result


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cut(job: ShardJob) -> Iterator[ShardChip]:
    """The chips of all windows, in their order."""
    named = zip(job.windows, job.splits, job.centres, strict=True)
    for _, group in groupby(named, key=lambda one: one[0].row // STRIP_PX):
        strip = list(group)
        grid = hull_of_windows([window for window, _, _ in strip])
        stack = read_stack(job.stack, grid.epsg, grid, tile_cells=job.tile_cells, without=("class", "dates"))
        label = job.outlines.burn(grid)
        for window, split, centre in strip:
            yield cut_chip(stack, window, label, ChipIdentity(region=job.region, year=job.year, split=split), centre)


def _refuse(chip: ShardChip, settings: ChipBuildSettings) -> str:
    """Why a chip is left out; empty if it is not."""
    if chip.valid.mean() < settings.min_valid_share:
        return FEW_VALID
    if settings.sanity == "none":
        return ""
    return judge_sanity(chip.s2[index_of_band("B03")], chip.s2[index_of_band("B11")], chip.mask).reason
