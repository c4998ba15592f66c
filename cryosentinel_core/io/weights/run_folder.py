"""A training run on disk, laid out as the published one: `checkpoints/`, `last.ckpt`, `logs/metrics.csv`, `diagnostics/`,
`config.yaml`.

Neighbours: `verified_write` writes checkpoints, `whole_checkpoint` reads them; `learn.training.run_keeper` decides what is kept.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryosentinel_core.errors import CheckpointError, OutputWrite
from cryosentinel_core.io.weights.verified_write import write_verified
from cryosentinel_core.io.weights.whole_checkpoint import read_content
from cryosentinel_core.io.workspace import remove_leftovers, safe_name, translate_os_error, write_json, writing
from cryosentinel_core.learn.training.recorder import Figure
from cryosentinel_core.learn.training.task import SUM_NAMES

COLUMNS: Final = (
    "kind", "epoch", "step", "loss", *(f"loss_{name}" for name in SUM_NAMES if name != "total"), "iou", "iou_batch_mean",
    "precision", "recall", "water_px", "lr_low", "lr_high", "chips_per_second", "seconds",
)  # fmt: skip
"""Columns of metrics.csv."""

LAST: Final = "last.ckpt"

_STEP: Final = re.compile(r"step(\d+)")


class RunFolder:
    """A run's files.

    Args:
        root: The run's folder; made if it is not there.

    Attributes:
        root: As given.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._n_rows = 0
        self._board: Any = None
        self._board_process = 0
        self._purge_step: int | None = None
        try:
            for name in ("checkpoints", "logs", "diagnostics"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate_os_error(error, root) from error
        remove_leftovers(root)
        self._n_rows = len(self._rows())

    @property
    def last(self) -> Path:
        """The checkpoint that the run goes on from."""
        return self.root / "checkpoints" / LAST

    @property
    def metrics(self) -> Path:
        """The table of figures."""
        return self.root / "logs" / "metrics.csv"

    @property
    def config(self) -> Path:
        """The settings as they were resolved."""
        return self.root / "config.yaml"

    @property
    def n_rows(self) -> int:
        """Rows logged."""
        return self._n_rows

    def log(self, row: Mapping[str, Figure]) -> None:
        """Append a row to metrics.csv, and its figures to TensorBoard's files where that is installed."""
        unknown = sorted(set(row) - set(COLUMNS))
        if unknown:
            raise ValueError(f"no columns {unknown}")
        try:
            with self.metrics.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                if file.tell() == 0:
                    writer.writerow(COLUMNS)
                writer.writerow([_as_text(row.get(name, "")) for name in COLUMNS])
        except OSError as error:
            raise translate_os_error(error, self.metrics) from error
        self._n_rows += 1
        board = self._open_board()
        if board is not None:
            for name, value in row.items():
                if name not in ("kind", "epoch", "step"):
                    board.add_scalar(f"{row['kind']}/{name}", float(value), int(row["step"]))

    def forget_after(self, step: int, *, kept_rows: int) -> None:
        """Cut metrics.csv to the rows that a checkpoint knows of, and take away checkpoints of later steps."""
        kept = self._rows()[:kept_rows]
        if self.metrics.exists():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept])
            with writing(self.metrics) as temporary:
                temporary.write_text(text.getvalue(), encoding="utf-8")
        self._n_rows = len(kept)
        for path in (self.root / "checkpoints").glob("*step*.ckpt"):
            found = _STEP.search(path.name)
            if found is not None and int(found[1]) > step:
                path.unlink(missing_ok=True)
        self._purge_step = step + 1

    def _rows(self) -> list[list[str]]:
        """Whole rows of metrics.csv below its head; a line that was cut off by a kill is none."""
        try:
            text = self.metrics.read_text(encoding="utf-8")
        except OSError:
            return []
        lines = text.splitlines(keepends=True)
        return [
            row for row in csv.reader(line for line in lines[1:] if line.endswith("\n")) if len(row) == len(COLUMNS)
        ]

    def _open_board(self) -> Any:
        """TensorBoard's writer, this process's own (its thread does not survive a fork); None where it is not installed."""
        if self._board is None or self._board_process != os.getpid():
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return None
            self._board = SummaryWriter(str(self.root / "logs"), purge_step=self._purge_step)
            self._board_process = os.getpid()
        return self._board

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def place(self, name: str) -> Path:
        """`checkpoints/<name>`.

        Raises:
            OutputWrite: If the name is none of a file.
        """
        if safe_name(name) != name:
            raise OutputWrite(f"{name!r} cannot name a checkpoint")
        return self.root / "checkpoints" / name

    def save(self, name: str, content: Mapping[str, Any]) -> Path:
        """A checkpoint, whole and read back."""
        return write_verified(self.place(name), content)

    def remove(self, name: str) -> None:
        """Take a checkpoint away, if it is there."""
        self.place(name).unlink(missing_ok=True)

    def read(self, path: Path) -> dict[str, Any]:
        """A checkpoint's content, as data."""
        return read_content(path)

    def write_text(self, name: str, text: str) -> Path:
        """A text file of the run, whole or not at all."""
        path = self.root / name
        with writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path

    def write_bytes(self, name: str, content: bytes) -> Path:
        """A file of the run, whole or not at all."""
        path = self.root / name
        with writing(path) as temporary:
            temporary.write_bytes(content)
        return path

    def write_record(self, name: str, data: Any) -> Path:
        """A JSON file below `logs/`."""
        path = self.root / "logs" / name
        write_json(path, data)
        return path

    def read_metrics(self) -> list[dict[str, str]]:
        """Rows of metrics.csv by column."""
        return [dict(zip(COLUMNS, row, strict=True)) for row in self._rows()]


def find_run(path: Path) -> tuple[Path, Path]:
    """A run's folder and the checkpoint to go on from.

    Args:
        path: The folder, or a checkpoint in its `checkpoints/`, or any `last.ckpt`.

    Raises:
        CheckpointError: If there is none.
    """
    if path.is_dir():
        last = path / "checkpoints" / LAST
        if not last.is_file():
            raise CheckpointError(
                f"{path} has no checkpoints/{LAST}: nothing was saved yet", "begin it again without --resume"
            )
        return path, last
    if not path.is_file():
        raise CheckpointError(f"no run {path}", "give a run's folder, or a last.ckpt")
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return folder, path


def _as_text(value: Figure) -> str:
    return repr(value) if isinstance(value, float) else str(value)
