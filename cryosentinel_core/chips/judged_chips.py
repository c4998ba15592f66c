"""Which chips of a data set a model is judged on, and what is known of each before it is answered."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cryosentinel_core.chips.chip_index import ChipIndex, assign_splits
from cryosentinel_core.chips.corrections import WrongLabels
from cryosentinel_core.chips.scores import ChipFacts
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.chips.split import BlockSplit


def take_split(index: ChipIndex, split: Literal["train", "val", "test", "all"], blocks: BlockSplit | None) -> ChipIndex:
    """The rows of a split: by their block where the centre is known, else by the column.

    Args:
        index: Of the data set.
        split: Whose rows; `all` for every one, those near the edge of a block too.
        blocks: The block split; None believes the column.
    """
    return index if split == "all" else index.take(assign_splits(index, blocks) == split)


def leave_out_wrong(index: ChipIndex, wrong: WrongLabels) -> ChipIndex:
    """The rows whose label nobody calls wrong."""
    chips = zip(index.chip_id, index.region, index.year, strict=True)
    is_wrong = [wrong.has(str(name), str(region), int(year)) for name, region, year in chips]
    return index.take(~np.array(is_wrong, dtype=bool))


def facts_of_row(row: ShardChip, blocks: BlockSplit | None) -> ChipFacts:
    """What is known of a chip before it is answered.

    Args:
        row: Of its shard.
        blocks: Whose blocks are drawn together; None for those of the published fine-tune. Without a centre nothing says which
            chips share ground, so that those of a region are one block.
    """
    block = f"somewhere in {row.region}"
    if row.lat is not None and row.lon is not None:
        lat_index, lon_index = (blocks or BlockSplit()).blocks_of([row.lat], [row.lon])[0].tolist()
        block = f"{lat_index},{lon_index}"
    return ChipFacts(
        chip_id=row.chip_id,
        region=row.region,
        year=row.year,
        lat=row.lat,
        lon=row.lon,
        block=block,
        n_clear=row.n_clear,
    )
