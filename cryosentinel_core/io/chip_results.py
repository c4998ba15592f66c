"""Results of chips on disk: `<workspace>/chip-results/<source>/<model>/`, rasters and a record a chip, one table of lakes for all.

`<name>_logit.tif` and its kin lie in folders as the chips did below their source. A chip's record, its lakes in it, stays in
`_parts/`, so that a run goes on where it stopped and does nothing twice; that folder may be deleted. Neighbours: `rasters.cogs`
writes rasters; `workspace` gives files their final names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from cryosentinel_core.chips.chip import ChipName
from cryosentinel_core.chips.chip_result import ChipResult
from cryosentinel_core.chips.chip_scene import grid_of_shape
from cryosentinel_core.chips.place import Place
from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.cogs import write_cog_in_strips
from cryosentinel_core.io.rasters.mosaic import RESULT_LAYERS
from cryosentinel_core.io.row_files import RowFile, row_file
from cryosentinel_core.io.tables.vector import write_lakes
from cryosentinel_core.io.workspace import Workspace, is_current, read_json, safe_name, write_json
from cryosentinel_core.lakes.extract import merge_zones
from cryosentinel_core.lakes.plain_rows import table_of
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.units import CELL_PX, LOGIT_NODATA, PIXEL_M

ReadLayer = Callable[[Grid], NDArray[Any]]
"""Rectangle -> the numbers of a raster there, as they are stored."""

_NOWHERE: Final = (None, Affine(PIXEL_M, 0.0, 0.0, 0.0, -PIXEL_M, 0.0))
"""Metres from the upper left corner, in no coordinate reference system."""

_SOURCE: Final = "source.json"
"""Says which source the results beside it are of."""

_PARTS: Final = "_parts"
"""Folder of records: no safe name begins so."""


def open_results(workspace: Workspace, source: Path, model: str, *, with_spread: bool, name: str = "") -> ChipResults:
    """The results of a source by a model; another source of the same name gets a folder of its own.

    Args:
        workspace: That they lie in.
        source: File or folder of chips.
        model: Name of the segmenter.
        with_spread: See `ChipResults`.
        name: That the results go by; empty for the source's own.

    Raises:
        InputError: If they would lie in the folder that was given.
    """
    whole = source.resolve()
    plain = safe_name(name or (whole.stem if whole.is_file() else whole.name), "chips")
    own = f"{plain}-{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    for title in (plain, own):
        folder = workspace.chip_results(title, model)
        held = read_json(folder.parent / _SOURCE)
        if held is not None and held != {"path": str(whole)}:
            continue
        if folder.resolve() == whole:
            raise InputError(f"the results would lie among the chips, in {source}", "give another --workspace")
        return ChipResults(folder=folder, source=whole, with_spread=with_spread)
    raise InputError(f"{workspace.root / 'chip-results' / own} holds the results of another source", "move it away")


class NameList:
    """Names that chips of one run go by: safe in every part, and never shared, not even on a disk that ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, chip: ChipName) -> str:
        """The chip's folders and name, with a number behind it where another chip has them: `north/a`, `north/a-2`."""
        folders = [safe_name(part, "folder") for part in chip.folders]
        wanted = "/".join([*folders, safe_name(chip.chip_id, "chip")])
        name, number = wanted, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{wanted}-{number}"
        self._taken.add(name.casefold())
        return name


@dataclass(frozen=True, kw_only=True)
class ChipResults:
    """The results of one source by one segmenter.

    Attributes:
        folder: Where they lie.
        source: File or folder that the chips lie in, resolved.
        with_spread: True if a raster of the spread and the area band belong to them.
    """

    folder: Path
    source: Path
    with_spread: bool

    def raster(self, name: str, kind: str) -> Path:
        """A raster of a chip."""
        return self.folder / f"{name}_{kind}.tif"

    def record(self, name: str) -> Path:
        """The record of a chip."""
        return self.folder / _PARTS / f"{name}.json"

    def read_done(self, name: str, provenance: Provenance) -> ChipResult | None:
        """A chip's result if it is the one asked for and whole."""
        kinds = [kind for kind in RESULT_LAYERS if self.with_spread or kind != "spread"]
        record = self.record(name)
        if not is_current(record, provenance, *(self.raster(name, kind) for kind in kinds)):
            return None
        return ChipResult.from_record(read_json(record))

    def write_rasters(
        self, name: str, layers: Mapping[str, ReadLayer | None], place: Place | None, provenance: Provenance
    ) -> None:
        """A chip's rasters; its record is gone until `write_record`.

        Args:
            name: Of the chip.
            layers: Kind of raster -> (rectangle of `grid_of_shape` -> its numbers), None where there is none.
            place: Of the chip; None where its source does not say.
            provenance: Of the chip.

        Raises:
            OutputWrite: If the disk refuses.
        """
        if not (self.folder.parent / _SOURCE).exists():
            write_json(self.folder.parent / _SOURCE, {"path": str(self.source)})
        self.record(name).unlink(missing_ok=True)
        where = _NOWHERE if place is None else (place.crs, place.transform)
        whole = grid_of_shape(CELL_PX, CELL_PX) if place is None else grid_of_shape(place.height, place.width)
        for kind, read in layers.items():
            path = self.raster(name, kind)
            if read is None:
                path.unlink(missing_ok=True)  # of an earlier run
                continue
            write_cog_in_strips(path, whole, RESULT_LAYERS[kind], provenance.as_tags(), read, place=where)

    @contextmanager
    def draft_planes(self, name: str, grid: Grid) -> Iterator[tuple[RowFile, RowFile | None]]:
        """Planes on disk for the logits of a large picture, and for their spread where there is one, while they come."""
        with ExitStack() as stack:
            logit = stack.enter_context(row_file(self.raster(name, "logit-draft"), grid, np.int16))
            spread = row_file(self.raster(name, "spread-draft"), grid, np.uint16) if self.with_spread else None
            yield logit, None if spread is None else stack.enter_context(spread)

    def write_record(self, name: str, result: ChipResult, lakes: list[dict[str, Any]], provenance: Provenance) -> None:
        """The record of a chip, last: without it the chip is not done."""
        write_json(self.record(name), {**provenance.as_dict(), "result": result.as_dict(), "lakes": lakes})

    def write_tables(self, with_lakes: Iterable[str], provenance: Provenance) -> int:
        """One table of lakes for all chips, unless it is there; how many lakes are in it.

        Args:
            with_lakes: Chips whose records hold lakes.
            provenance: Of the table.

        Raises:
            OutputWrite: If the disk refuses.
        """
        record = self.folder / "run.json"
        if is_current(record, provenance, self.folder / "lakes.gpkg", self.folder / "lakes.parquet"):
            n_lakes = read_json(record).get("n_lakes")
            if isinstance(n_lakes, int):
                return n_lakes
        record.unlink(missing_ok=True)
        rows = [row for name in with_lakes for row in read_json(self.record(name))["lakes"]]
        lakes, candidates = merge_zones([table_of(rows, with_band=self.with_spread)])
        write_lakes(self.folder, lakes, candidates, provenance)
        return len(lakes)

    def write_run(self, provenance: Provenance, summary: Mapping[str, Any]) -> None:
        """The record of the run, last of all."""
        told = {name: value for name, value in summary.items() if name not in ("folder", "n_reused")}
        write_json(self.folder / "run.json", {**provenance.as_dict(), **told, "nodata_logit": LOGIT_NODATA})
