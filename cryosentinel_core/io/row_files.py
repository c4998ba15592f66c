"""A plane of numbers on disk that grows row by row while it is made and is read in rectangles; for work in between alone.

Neighbours: `rasters.cogs` writes what people see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.workspace import temporary_beside, translate_os_error


class RowFile:
    """The plane of a grid, given from north to south; what has not been given yet is not to be read.

    Args:
        path: Of the file, which is made anew.
        grid: Its pixels.
        dtype: Of its numbers.
    """

    def __init__(self, path: Path, grid: Grid, dtype: Any) -> None:
        self._path, self._grid, self._dtype = path, grid, np.dtype(dtype)
        path.write_bytes(b"")

    def append(self, rows: NDArray[Any]) -> None:
        """Add the next rows, (N, width).

        Raises:
            OutputWrite: If the disk refuses.
        """
        try:
            with self._path.open("ab") as file:
                file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        except OSError as error:
            raise translate_os_error(error, self._path) from error

    def read(self, grid: Grid) -> NDArray[Any]:
        """(H, W) of a rectangle inside the plane."""
        rows, cols = grid.slices_in(self._grid)
        width = self._grid.width
        count, offset = (rows.stop - rows.start) * width, rows.start * width * self._dtype.itemsize
        return np.fromfile(self._path, dtype=self._dtype, count=count, offset=offset).reshape(-1, width)[:, cols]


@contextmanager
def row_file(final: Path, grid: Grid, dtype: Any) -> Iterator[RowFile]:
    """A plane under a temporary name beside a file, gone at the end.

    Raises:
        OutputWrite: If the disk refuses.
    """
    path = temporary_beside(final)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = RowFile(path, grid, dtype)
    except OSError as error:
        raise translate_os_error(error, path) from error
    try:
        yield file
    finally:
        path.unlink(missing_ok=True)
