"""Which lakes end at a glacier in which year, and how far the nearest glacier is: columns of the change table.

Neighbours: `lakes.glacier_ice` looks at the imagery; `lakes.glaciers` holds the outlines that a user gave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_history import LakesInYear
from cryosentinel_core.change.pair_judgement import JudgedPair
from cryosentinel_core.lakes.glaciers import TOUCHING_M

if TYPE_CHECKING:
    import geopandas as gpd


def add_glacier_columns(
    frame: gpd.GeoDataFrame, lakes: NDArray[np.int64], pair: JudgedPair, basis: ComparisonBasis
) -> None:
    """Add `glacier_contact_from`, `glacier_contact_to` (yes, no, unknown) and `glacier_distance_m` to rows, in place.

    Args:
        frame: Rows of a pair of years, their outlines in EPSG:4326.
        lakes: (N,) each row's lake, an index into the pair's arrays.
        pair: The judged pair.
        basis: What was seen, and outlines of glaciers if there are any.
    """
    for name, year in (("glacier_contact_from", pair.first), ("glacier_contact_to", pair.second)):
        frame[name] = _contacts(year, lakes, basis)
    distances = np.full(len(frame), np.nan)
    if basis.glaciers is not None:
        for row, outline in enumerate(frame.geometry):
            if outline is not None:
                distances[row] = basis.glaciers.distance_m(outline)
    frame["glacier_distance_m"] = distances


def _contacts(year: LakesInYear, lakes: NDArray[np.int64], basis: ComparisonBasis) -> NDArray[np.object_]:
    """Whether a year's water ends at a glacier; unknown where it was not seen, or nothing tells."""
    is_seen = year.observed_share[lakes] >= basis.settings.min_observed
    found = np.where(is_seen, "no", "unknown").astype(object)
    drawn = year.n_outlines[lakes] > 0
    if year.year not in basis.drawn:
        touching = np.array([year.seen[lake].touches_glacier for lake in lakes.tolist()], dtype=bool)
        found[drawn & touching] = "yes"
    elif basis.glaciers is None:
        found[drawn] = "unknown"
    else:
        for row in np.flatnonzero(drawn).tolist():
            distance_m = basis.glaciers.distance_m(year.outline[lakes[row]])
            found[row] = "yes" if distance_m <= TOUCHING_M else "no"
    return found
