"""Outlines to label chips with: inventories that others drew, or the truth that a simulation left."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.tables.inventories import read_inventory
from cryosentinel_core.io.tables.vector import read_layer
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.reporter import Reporter

TRUTH_FILE: Final = "truth/lakes.gpkg"
"""Where `simulate` leaves the true outlines, below its folder."""

_INVENTORY: Final = re.compile(r"(?P<year>\d{4})=(?P<path>[^?]+)(?:\?(?P<column>[^=?]+)=(?P<value>.+))?")
_ANY_RESOLUTION_M: Final = 10.0
"""An inventory's resolution decides its error, which no label has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelSource:
    """Outlines by the year that they stand for.

    Attributes:
        kind: `inventory`, whose nearest year labels a year of imagery, or `truth`, which labels its own years alone.
        outlines: Year -> (N,) valid polygons, EPSG:4326.
        files: Year -> name and SHA-256 of the file that they come from.
    """

    kind: Literal["inventory", "truth"]
    outlines: dict[int, NDArray[np.object_]]
    files: dict[int, dict[str, str]]

    def describe(self, year: int) -> dict[str, Any]:
        """Plain data of the outlines of a year, for records."""
        return {"kind": self.kind, "year": year, **self.files[year]}


def parse_label_file(text: str) -> Inventory:
    """The inventory of a text such as `2016=lakes.gpkg`, or `2016=lakes.gpkg?year=2016` for a column's value.

    Raises:
        InputError: If the text has another form.
    """
    found = _INVENTORY.fullmatch(text.strip())
    if found is None:
        raise InputError(
            f"inventory {text!r} has another form than YEAR=FILE",
            "for example 2016=lakes.gpkg, or 2016=lakes.gpkg?year=2016 for the rows of one year",
        )
    select = (found["column"], found["value"]) if found["column"] else None
    return Inventory(year=int(found["year"]), path=found["path"], resolution_m=_ANY_RESOLUTION_M, select=select)


def read_label_files(inventories: Sequence[Inventory], reporter: Reporter) -> LabelSource:
    """The outlines of some inventories, repaired, each lake once.

    Raises:
        InputError: If two are of one year.
        DataError: If a file cannot be read or holds no polygon.
    """
    outlines: dict[int, NDArray[np.object_]] = {}
    files: dict[int, dict[str, str]] = {}
    for inventory in inventories:
        if inventory.year in outlines:
            raise InputError(f"two inventories of {inventory.year}", "give one file a year")
        outlines[inventory.year] = read_inventory(inventory, reporter).geometry.to_numpy()
        files[inventory.year] = _identify(Path(inventory.path))
    return LabelSource(kind="inventory", outlines=outlines, files=files)


def read_truth(folder: Path) -> LabelSource:
    """The true outlines of a simulated catalogue, year by year.

    Args:
        folder: That `simulate` wrote.

    Raises:
        DataError: If it holds no truth.
    """
    path = folder / TRUTH_FILE
    if not path.is_file():
        raise DataError(f"no truth in {folder}", "give the folder that `cryosentinel simulate` wrote")
    frame = read_layer(path, "lakes")
    if "year" not in frame.columns:
        raise DataError(f"{path} does not say its years", "simulate the catalogue again")
    years = sorted({int(year) for year in frame["year"]})
    identity = _identify(path)
    return LabelSource(
        kind="truth",
        outlines={year: frame.geometry[frame["year"] == year].to_numpy() for year in years},
        files=dict.fromkeys(years, identity),
    )


def _identify(path: Path) -> dict[str, str]:
    """Name and SHA-256 of a file; of a folder or a table the name alone."""
    if not path.is_file():
        return {"file": path.name}
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
