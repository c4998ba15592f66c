"""What a fit tells of itself and to whom: rows of figures, and checkpoints to be kept.

The fit itself touches no file: `io.weights.run_folder` does. Neighbours: `run_keeper` calls this.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

Figure = float | int | str


class Recorder(Protocol):
    """Keeps what a run leaves."""

    @property
    def last(self) -> Path:
        """The checkpoint that a run goes on from."""
        ...

    def log(self, row: Mapping[str, Figure]) -> None:
        """A row of figures: `kind` (`train`, `val` or `test`), `epoch`, `step`, and what was measured."""
        ...

    def forget_after(self, step: int, *, kept_rows: int) -> None:
        """Take back what was logged and kept beyond a step, as a run goes on from there."""
        ...

    @property
    def n_rows(self) -> int:
        """Rows logged."""
        ...

    def save(self, name: str, content: Mapping[str, Any]) -> Path:
        """A checkpoint below `checkpoints/`, whole and read back, or an error and what was there before."""
        ...

    def remove(self, name: str) -> None:
        """A checkpoint that is no longer the best."""
        ...

    def read(self, path: Path) -> dict[str, Any]:
        """The content of a checkpoint, as data."""
        ...
