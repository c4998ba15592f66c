"""Where chips come from: a folder of GeoTIFFs, or a data set of shards; both give the same noun.

Neighbours: `rasters.chip_files` reads a GeoTIFF, `shards` a data set; `chips.chip` says what a source is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cryosentinel_core.chips.chip import Chip, ChipName, OnError, chip_of_row
from cryosentinel_core.chips.chip_scene import ChipScene, ChipSource
from cryosentinel_core.errors import BandError, GridMismatch, InputError, RasterError
from cryosentinel_core.io.rasters.chip_files import is_own_raster, read_chip
from cryosentinel_core.io.shards import SHARD_PATTERN, ShardDataset, find_shards
from cryosentinel_core.reporter import counted
from cryosentinel_core.settings.chips import ChipSelection
from cryosentinel_core.stack.bands import CHIP_BANDS

_ENDINGS: Final = (".tif", ".tiff")
"""Of GeoTIFFs, in small letters."""


def open_chips(selection: ChipSelection) -> ChipSource:
    """The source at a path: one GeoTIFF, a folder of them and of folders of them, or a folder of shards.

    Args:
        selection: Where to look, and what to take.

    Raises:
        InputError: If there is neither a GeoTIFF nor a shard, or both, or GeoTIFFs are to be chosen by region or year.
    """
    path = selection.path
    has_shards = path.is_dir() and bool(find_shards(path))
    files = [path] if path.is_file() else sorted(_find_geotiffs(path))
    if files and has_shards:
        raise InputError(f"{path} holds both GeoTIFFs and shards", "move one kind into a folder of its own")
    if has_shards:
        return Shards(ShardDataset(path), selection)
    if not files:
        raise InputError(
            f"no GeoTIFF and no shard in {path}",
            f"chips are GeoTIFFs of {CHIP_BANDS} bands, *.tif, or <region>/<year>/{SHARD_PATTERN}",
        )
    if selection.regions or selection.years:
        raise InputError(f"the chips in {path} are GeoTIFFs, which say no region and no year", "leave both out")
    chips = tuple(islice((file for file in files if not is_own_raster(file)), selection.n_chips))
    if not chips:
        raise InputError(
            f"no chip in {path}: all its GeoTIFFs are results of cryosentinel", "give the folder of the chips"
        )
    return GeoTiffs(path, chips)


def _find_geotiffs(folder: Path) -> Iterator[Path]:
    """GeoTIFFs in a folder and the folders below, by their endings in any case; nothing hidden."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _ENDINGS and not hidden and path.is_file():
            yield path


@dataclass(frozen=True)
class GeoTiffs:
    """Chips as files; our own results, known by their tags, are none of them.

    Attributes:
        path: As given.
        files: In order of their paths.
    """

    path: Path
    files: tuple[Path, ...]

    @property
    def words(self) -> str:
        """See `ChipSource`."""
        return f"{counted(len(self.files), 'file')} in {self.path}"

    @property
    def n_chips(self) -> int:
        """See `ChipSource`."""
        return len(self.files)

    def describe(self) -> dict[str, Any]:
        """See `ChipSource`."""
        return {"kind": "GeoTIFFs"}

    def read(self, on_error: OnError) -> Generator[Chip | ChipScene, None, None]:
        """See `ChipSource`."""
        for path in self.files:
            name = self._name(path)
            try:
                chip = read_chip(path, name)
            except (BandError, GridMismatch, RasterError) as error:
                on_error(name.source, error)
                continue
            yield chip

    def _name(self, path: Path) -> ChipName:
        """A file's name and the folders between it and the source."""
        if path == self.path:
            return ChipName(chip_id=path.stem, source=path.name)
        inside = path.relative_to(self.path)
        return ChipName(chip_id=path.stem, folders=inside.parts[:-1], source=inside.as_posix())


@dataclass(frozen=True)
class Shards:
    """Chips of a data set.

    Attributes:
        dataset: Of shards.
        selection: What to take of it.
    """

    dataset: ShardDataset
    selection: ChipSelection

    @property
    def words(self) -> str:
        """See `ChipSource`."""
        return f"{counted(self.n_chips, 'chip')} in {self.dataset.root}"

    @property
    def n_chips(self) -> int:
        """See `ChipSource`."""
        total = self.dataset.count_rows(self.selection.regions, self.selection.years)
        limit = self.selection.n_chips
        return total if limit is None else min(total, limit)

    def describe(self) -> dict[str, Any]:
        """See `ChipSource`."""
        asked = self.selection
        return {
            "kind": "shards",
            "regions": sorted(asked.regions),
            "years": sorted(asked.years),
            "n_chips": asked.n_chips,
        }

    def read(self, on_error: OnError) -> Generator[Chip | ChipScene, None, None]:
        """See `ChipSource`."""
        asked = self.selection
        rows = self.dataset.read_chips(asked.regions, asked.years, n_chips=asked.n_chips, on_error=on_error)
        for row in rows:
            try:
                chip = chip_of_row(row)
            except BandError as error:
                on_error(f"{row.region}/{row.year}#{row.chip_id}", error)
                continue
            yield chip
