"""Which rows of a data set train, choose and judge.

Neighbours: `chip_index` gives each row its split; `io.chip_cache` holds the chips that the rows stand for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip_index import ChipIndex, assign_splits
from cryosentinel_core.chips.split import KEPT, BlockSplit
from cryosentinel_core.errors import DataError

Rows = Mapping[str, NDArray[np.int64]]
"""Split (`train`, `val`, `test`) -> rows."""


def find_rows(
    index: ChipIndex, blocks: BlockSplit | None, *, unknown_trains: bool = True, excluded: Collection[str] = ()
) -> dict[str, NDArray[np.int64]]:
    """Rows of each split.

    Args:
        index: Of the data set.
        blocks: The block split; None takes the column.
        unknown_trains: Whether chips of unknown split train.
        excluded: Ids of chips that are of no split.
    """
    splits = assign_splits(index, blocks, unknown_trains=unknown_trains)
    kept = ~np.isin(index.chip_id, list(excluded)) if excluded else np.ones(len(index), dtype=bool)
    return {name: np.flatnonzero((splits == name) & kept) for name in KEPT}


def check_rows(rows: Rows, index: ChipIndex, where: str) -> None:
    """Refuse chips that nothing can be learnt from.

    Raises:
        DataError: If no chip trains, or none that trains has water.
    """
    n = {name: len(found) for name, found in rows.items()}
    if not n["train"]:
        raise DataError(
            f"no chip of {where} trains ({n['val']} validate, {n['test']} test)",
            "a smaller data.block_size_deg or data.block_buffer_deg keeps more, or data.use_block_split=false",
        )
    if not (index.water_frac[rows["train"]] > 0).any():
        raise DataError(
            f"none of the {n['train']} training chips has water",
            "nothing can be learnt from them: add chips with lakes",
        )
