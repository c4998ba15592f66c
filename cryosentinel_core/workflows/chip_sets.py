"""What is asked of a data set of chips: what it holds, its statistics, its split, some of its chips as GeoTIFFs.

Neighbours: `chip_building` makes data sets; `report.chip_set_summary` says what is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cryosentinel_core.chips.chip_index import ChipIndex, assign_splits
from cryosentinel_core.chips.overlaps import find_overlaps
from cryosentinel_core.chips.place import place_of_centre
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.chips.split import BlockSplit, count_blocks, is_kept, warn_of_empty
from cryosentinel_core.chips.stats import count_bands, join_years, judge_years
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.dataset_holdings import look_into
from cryosentinel_core.io.dataset_record import recorded_split
from cryosentinel_core.io.hub_datasets import DatasetReference, is_on_hub, list_shards, open_dataset, shards_in_cache
from cryosentinel_core.io.rasters.chip_export import write_chip, write_label
from cryosentinel_core.io.shards import ShardDataset
from cryosentinel_core.io.tables.vector import write_csv
from cryosentinel_core.io.workspace import safe_name, write_json
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.chip_set_summary import (
    ExportSummary,
    InfoSummary,
    SplitSummary,
    StatsSummary,
    count_splits,
    describe_places,
)
from cryosentinel_core.reporter import Reporter, counted
from cryosentinel_core.settings.chip_query import ChipQuery

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class _Opened:
    """A data set, its rows that are asked for, and the split of each."""

    dataset: ShardDataset
    blocks: BlockSplit
    index: ChipIndex
    split: NDArray[np.str_]


def _open(query: ChipQuery, reporter: Reporter) -> _Opened:
    """The rows that a query means, of all splits."""
    dataset = open_dataset(query.reference, regions=query.regions, years=query.years, reporter=reporter)
    blocks = (recorded_split(dataset.root) or BlockSplit()).changed(dict(query.blocks))
    index = dataset.read_index(
        query.regions, query.years, on_error=lambda where, error: reporter.warn(f"left out: {error.message}")
    )
    return _Opened(dataset, blocks, index, assign_splits(index, None if query.by_column else blocks))


def _select(opened: _Opened, query: ChipQuery) -> ChipIndex:
    """The rows of the query's split.

    Raises:
        InputError: If there is none.
    """
    found = opened.index if query.split == "all" else opened.index.take(opened.split == query.split)
    if not len(found):
        counts = ", ".join(f"{count} {name}" for name, count in count_splits(opened.split).items())
        raise InputError(f"no chip of split {query.split} in {query.reference}: {counts}", "see `chips split`")
    return found


def measure_stats(query: ChipQuery, output: Path | None, *, reporter: Reporter) -> StatsSummary:
    """Means and standard deviations of a data set's bands, in the published shape, and year by year beside.

    Args:
        query: Which chips.
        output: File to write; None for `dataset_stats.json` in the data set's folder.
        reporter: Hears progress, and years that look as if they still carried the +1000 offset.

    Raises:
        InputError: If no chip is meant.
        DataError: If none can be read, or no pixel is valid.
        OutputWrite: If the disk refuses.
    """
    if output is None and is_on_hub(query.reference):
        raise InputError("the statistics of a data set on the hub want a place of their own", "say where with --output")
    opened = _open(query, reporter)
    chosen = _select(opened, query)
    failed: dict[str, str] = {}

    def fail(where: str, error: DataError) -> None:
        failed[where] = error.message
        reporter.warn(f"left out: {error.message}")

    def chips() -> Iterator[ShardChip]:
        rows = opened.dataset.read_indexed(chosen, on_error=fail)
        for number, (_, chip) in enumerate(rows):
            reporter.progress("chips", number, len(chosen))
            yield chip

    by_year = count_bands(chips())
    reporter.progress("chips", len(chosen), len(chosen))
    suspects = judge_years(by_year)
    for year, words in suspects.items():
        reporter.warn(f"{year}: {words}")
    path = output or opened.dataset.root / "dataset_stats.json"
    summary = StatsSummary(
        source=query.reference,
        output=path,
        split=query.split,
        by_year=by_year,
        normalisation=join_years(by_year).normalisation,
        suspects=suspects,
        failed=failed,
    )
    write_json(path, summary.normalisation.as_dict())
    told = {name: value for name, value in summary.as_dict().items() if name not in ("data", "output")}
    write_json(path.with_suffix(".years.json"), {**told, "blocks": opened.blocks.as_dict()})
    return summary


def examine_split(query: ChipQuery, table: Path | None, *, check: bool, reporter: Reporter) -> SplitSummary:
    """The split of a data set, and the proof that it is sound.

    Args:
        query: Which data set and by which rule.
        table: CSV file of every chip's split, or None.
        check: Look for kept chips of different splits on common ground.
        reporter: Hears what could not be read.

    Raises:
        DataError: If the check finds some, or cannot be made of some chips.
        OutputWrite: If the disk refuses.
    """
    opened = _open(query, reporter)
    index, split = opened.index, opened.split
    if table is not None:
        write_csv(table, _split_table(opened))
    summary = SplitSummary(
        source=query.reference,
        settings=opened.blocks.as_dict(),
        index=index,
        split=split,
        n_blocks=count_blocks(opened.blocks, index.lat, index.lon, split),
        overlaps=find_overlaps(index.lat, index.lon, split) if check else None,
        n_without_centre=len(index.take(is_kept(split) & ~index.has_centre)),
        table=table,
    )
    empty = warn_of_empty(count_splits(split))
    if empty:
        reporter.warn(empty)
    if summary.overlaps is not None and len(summary.overlaps):
        raise DataError(
            f"{len(summary.overlaps)} pairs of chips of different splits share ground, as {summary.pairs_in_words()[0]}",
            "use --split-rule extents, larger blocks or a wider --buffer, for training and judging alike",
        )
    if check and summary.n_without_centre:
        raise DataError(
            f"nothing can be proved of {counted(summary.n_without_centre, 'chip')}: their shards do not say where they lie",
            "cut them again with chips build, or take shards with the columns lat and lon",
        )
    return summary


def _split_table(opened: _Opened) -> pd.DataFrame:
    """One row a chip."""
    index = opened.index
    return pd.DataFrame(
        {
            "region": index.region, "year": index.year, "shard": index.shard, "row": index.row,
            "chip_id": index.chip_id, "lat": index.lat, "lon": index.lon, "split": opened.split,
            "stored_split": index.stored_split,
        }
    )  # fmt: skip


def describe_dataset(query: ChipQuery, *, reporter: Reporter) -> InfoSummary:
    """What a data set holds; of one on the hub what its listing says, without fetching it.

    Raises:
        InputError: If there is no data set.
        DataError: If the hub does not have it or cannot be reached.
    """
    if is_on_hub(query.reference):
        return _describe_on_hub(query)
    dataset = open_dataset(query.reference, reporter=reporter)
    holdings = look_into(dataset)
    blocks = (recorded_split(dataset.root) or BlockSplit()).changed(dict(query.blocks))
    split = assign_splits(holdings.index, None if query.by_column else blocks)
    return InfoSummary(
        source=query.reference,
        places=describe_places(holdings.index, split, holdings.n_shards, holdings.n_bytes),
        settings=blocks.as_dict(),
        splits=count_splits(split),
        lacking=holdings.lacking,
        n_duplicates=holdings.n_duplicates,
        problems=holdings.problems,
    )


def _describe_on_hub(query: ChipQuery) -> InfoSummary:
    wanted = DatasetReference.parse(query.reference)
    listing = list_shards(wanted)
    if listing is None:
        raise DataError(f"the hub could not be reached for {wanted}", "try again with a network")
    commit, shards = listing
    cached = shards_in_cache(wanted, commit, shards)
    places: dict[tuple[str, int], dict[str, Any]] = {}
    for shard in shards:
        empty = {
            "region": shard.region,
            "year": shard.year,
            "n_shards": 0,
            "n_bytes": 0,
            "n_chips": None,
            "n_cached": 0,
        }
        place = places.setdefault((shard.region, shard.year), empty)
        place["n_shards"] += 1
        place["n_bytes"] += shard.n_bytes
        place["n_cached"] += shard in cached
    return InfoSummary(
        source=f"{wanted} at {commit}", places=tuple(places[key] for key in sorted(places)), settings={}, splits={},
        lacking={}, n_duplicates=0, problems=() if shards else ("no shard in the published layout",),
    )  # fmt: skip


def export_chips(
    query: ChipQuery, folder: Path, *, n_chips: int | None, with_labels: bool, reporter: Reporter
) -> ExportSummary:
    """Chips as GeoTIFFs of 15 bands, which `predict --chips` reads.

    Args:
        query: Which chips.
        folder: Where to; a file that is there under the same name is replaced.
        n_chips: At most so many, the first.
        with_labels: Also write each label as `<name>_label.tif`.
        reporter: Hears progress and what is left out.

    Raises:
        InputError: If no chip is meant.
        OutputWrite: If the disk refuses.
    """
    opened = _open(query, reporter)
    chosen = _select(opened, query).first(n_chips)
    names: list[str] = []
    failed: dict[str, str] = {}

    def fail(where: str, error: DataError) -> None:
        failed[where] = error.message
        reporter.warn(f"left out: {error.message}")

    for _, chip in opened.dataset.read_indexed(chosen, on_error=fail):
        reporter.progress("chips", len(names), len(chosen))
        place = place_of_centre(chip.lat, chip.lon)
        if place is None:
            fail(chip.chip_id, DataError(f"chip {chip.chip_id!r} does not say where it lies"))
            continue
        name = _free_name(safe_name(chip.chip_id, "chip"), names)
        write_chip(folder / f"{name}.tif", chip, place)
        if with_labels:
            origin = Provenance(kind="chip label", inputs={"data": query.reference, "chip": chip.chip_id})
            write_label(folder / f"{name}_label.tif", chip, place, origin)
        names.append(name)
    reporter.progress("chips", len(chosen), len(chosen))
    return ExportSummary(folder=folder, names=tuple(names), failed=failed)


def _free_name(wanted: str, taken: Sequence[str]) -> str:
    """A name that is not taken, not even on a disk that ignores case."""
    used = {name.casefold() for name in taken}
    name, number = wanted, 1
    while name.casefold() in used:
        number += 1
        name = f"{wanted}-{number}"
    return name
