"""How far two years' images lie apart: measured on their stacks, told, and taken out of gained and lost ground.

Areas, their uncertainty and statuses never depend on it: a shift leaves the area of a whole outline as it is. Neighbours:
`registration` measures a patch; `change` asks for each pair of years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_frames import add_pieces, as_piece_frame
from cryosentinel_core.change.change_table import ChangeTables
from cryosentinel_core.ground.lattice import Cell
from cryosentinel_core.io.rasters.stack_files import RECORD as TILE_RECORD
from cryosentinel_core.io.rasters.stack_files import read_layer as read_stack_layer
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.io.year_results import YearOfLakes
from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.registration import (
    MAX_PATCHES,
    MAX_TRIES,
    UNKNOWN,
    WARN_M,
    Registration,
    combine_patches,
    has_enough_ground,
    measure_patch,
    move_outline,
    patches_of_cells,
)
from cryosentinel_core.segment.error_model import UncertaintyModel
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.stack.stack import COUNT_NAMES, Condition

REGISTRATION_BAND: Final = "B08"
"""Near infrared: 10 m, and textured on bare ground and vegetation alike."""

_WATER_COUNT: Final = COUNT_NAMES.index("water")


def measure_registration(first: YearOfLakes, second: YearOfLakes) -> Registration:
    """Shift of the second year's images against the first's, over ground that both saw clear, with neither water nor snow.

    Patches lie fixed on the lattice and are tried in an order that their addresses alone decide, so neither tiles nor workers
    matter; which patches there are depends on the area of interest. At most `MAX_TRIES` patches are read, one at a time.

    Args:
        first: The earlier year.
        second: The later year.

    Returns:
        The shift; unknown where a stack is gone or there is too little ground.

    Raises:
        RasterError: If a stack is damaged.
    """
    years = (first, second)
    stacks = [results.stack for results in years if results.stack is not None]
    if len(stacks) < 2:
        return UNKNOWN
    classes = [results.zone_classes() for results in years]
    band = index_of_band(REGISTRATION_BAND)
    cells = {cell for cell in _cells_of(stacks[0]) & _cells_of(stacks[1]) if all(cell.epsg in each for each in classes)}
    measured = []
    for patch in patches_of_cells(cells)[:MAX_TRIES]:
        stable = np.ones(patch.shape, dtype=bool)
        for results, stack, zones in zip(years, stacks, classes, strict=True):
            condition = read_stack_layer(stack, "class", patch, tile_cells=results.tile_cells)[0]
            wet_dates = read_stack_layer(stack, "clear", patch, tile_cells=results.tile_cells)[_WATER_COUNT]
            stable &= (zones[patch.epsg].water(patch) == 0) & (condition == int(Condition.CLEAR)) & (wet_dates == 0)
        if not has_enough_ground(stable):
            continue
        images = [
            read_stack_layer(stack, "s2", patch, tile_cells=results.tile_cells)[band]
            for results, stack in zip(years, stacks, strict=True)
        ]
        shift = measure_patch(images[0], images[1], stable)
        if shift is not None:
            measured.append(shift)
        if len(measured) == MAX_PATCHES:
            break
    return combine_patches(measured)


def _cells_of(stack: Path) -> set[Cell]:
    """The cells that a stack holds, from the records of its tiles."""
    cells: set[Cell] = set()
    for path in stack.glob(f"*/*/{TILE_RECORD}"):
        record = read_json(path)
        if isinstance(record, dict):
            cells.update(Cell(int(record["epsg"]), *place) for place in record["inputs"].get("cells", []))
    return cells


def tell_registrations(registrations: Mapping[tuple[int, int], Registration], reporter: Reporter) -> list[str]:
    """Note what was measured; returns what to warn of."""
    warnings = []
    for (year_from, year_to), shift in registrations.items():
        pair = f"{year_from}-{year_to}"
        if shift.length_m is None:
            reporter.note(
                f"{pair}: the shift between the images is unknown ({shift.n_patches} patches of stable ground)"
            )
            continue
        told = (
            f"{pair}: the images of {year_to} lie {shift.dx_m:+.1f} m east and {shift.dy_m:+.1f} m north of those of "
            f"{year_from} (+- {shift.sigma_m:.1f} m, {shift.n_patches} patches)"
        )
        reporter.note(told)
        if shift.length_m > WARN_M:
            warnings.append(f"{told}, more than half a pixel: look at gained and lost ground with care")
    return warnings


def is_worth_moving(shift: Registration, model: UncertaintyModel) -> bool:
    """True if a shift is beyond its own error and beyond what the error model allows for anyway."""
    return shift.is_significant and shift.length_m is not None and shift.length_m > model.registration_m


def take_out_shifts(
    found: ChangeTables, tables: Mapping[int, gpd.GeoDataFrame], moves: Mapping[tuple[int, int], Registration]
) -> ChangeTables:
    """Gained and lost ground anew for some pairs, with the later year's outlines moved onto the earlier year's images.

    Nothing else changes: a shift leaves the area of a whole outline as it is.
    """
    if not moves:
        return found
    pieces: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": []}
    for row in found.change[found.change["status"] != str(Status.UNOBSERVED)].to_dict("records"):
        shift = moves.get((row["year_from"], row["year_to"]))
        if shift is None or shift.dx_m is None or shift.dy_m is None:
            continue
        before = _outlines_of(tables[row["year_from"]], row["lake_ids_from"], row["geometry"])
        after = _outlines_of(tables[row["year_to"]], row["lake_ids_to"], row["geometry"])
        add_pieces(pieces, row, before, move_outline(after, -shift.dx_m, -shift.dy_m))
    moved = {f"{a}-{b}" for a, b in moves}
    frames = {}
    for name, old in (("gained", found.gained), ("lost", found.lost)):
        kept = old[~old["pair"].isin(moved)].to_dict("records")
        frames[name] = as_piece_frame([*kept, *pieces[name]])
    return replace(found, gained=frames["gained"], lost=frames["lost"])


def _outlines_of(table: gpd.GeoDataFrame, ids: str, whole: BaseGeometry) -> BaseGeometry:
    """The outlines of a lake in one year as one geometry (EPSG:4326), empty without any.

    Args:
        table: Of the year.
        ids: Of its outlines, `;` between.
        whole: All outlines of the lake; tells outlines apart that share an id.
    """
    mine = table.geometry.to_numpy()[table["lake_id"].astype(str).isin(ids.split(";")).to_numpy()]
    return shapely.union_all(mine[shapely.intersects(mine, whole)])
