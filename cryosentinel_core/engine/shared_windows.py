"""Windows on the border of tiles of one run, computed once: which tile computes each, and how long its logits are kept.

At half overlap a tile of ten cells needs 441 windows, 41 of which its neighbours need too. A window's logits are the same bits
whoever needs them, so the first tile in the run computes it and the later ones get what it got. What is kept is bounded, whatever the
area: beyond that a window is computed again. Neighbours: `tile_stream` asks here before it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Cell, windows_touching
from cryosentinel_core.units import CELL_PX

T = TypeVar("T")

KEPT_WINDOWS: Final = 512
"""Windows kept at most, 100 MiB of logits, twice that with the spread: the border of a row of 24 tiles of ten cells."""

Address = tuple[int, int]
"""Lattice (row, col) of a window's upper left pixel."""


@dataclass(frozen=True, kw_only=True)
class SegmentTask:
    """Cells to segment, and the stack to read them from.

    Attributes:
        stack: Folder of the year's stack.
        stack_tile_cells: Cells along a tile of that stack.
        cells: Of one zone; every window that touches one is segmented.
        min_elevation_m: Windows whose heights all lie below are passed over; None for no limit.
    """

    stack: Path
    stack_tile_cells: int
    cells: tuple[Cell, ...]
    min_elevation_m: float | None = None


@dataclass(frozen=True)
class WindowKey:
    """A window of a run: its stack, its zone and its address."""

    stack: Path
    epsg: int
    address: Address


@dataclass(frozen=True)
class WindowRequest:
    """One window that a task needs.

    Attributes:
        address: Of the window.
        is_computed_before: True if an earlier task of the run computes it, and its logits are kept.
        n_later_uses: How many later tasks will use what this task computes.
    """

    address: Address
    is_computed_before: bool
    n_later_uses: int


class SharedWindowPlan:
    """Plan of which task computes each window of a run, made task by task in the run's order.

    Args:
        tasks: Of the run, in order, alike in all but stack and cells.
        stride: Pixels from window to window.
        room: Windows kept at most.

    Raises:
        InputError: If two tasks have a cell of one stack in common.
    """

    def __init__(self, tasks: Sequence[SegmentTask], stride: int, room: int = KEPT_WINDOWS) -> None:
        self._stride, self._room = stride, room
        self._owners = {(task.stack, cell): number for number, task in enumerate(tasks) for cell in task.cells}
        if len(self._owners) < sum(len(task.cells) for task in tasks):
            raise InputError("a cell belongs to two tasks of one run, which share no more than borders")
        self._uses_left: dict[WindowKey, int] = {}

    def requests_of(self, number: int, task: SegmentTask) -> list[WindowRequest]:
        """Every window of a task, in lattice order; called once for each task, in the run's order.

        Args:
            number: Of the task in the run.
            task: That has it.
        """
        return [self._request(number, task, address) for address in windows_touching(task.cells, self._stride)]

    def _request(self, number: int, task: SegmentTask, address: Address) -> WindowRequest:
        key = WindowKey(task.stack, task.cells[0].epsg, address)
        if key in self._uses_left:
            self._uses_left[key] -= 1
            if not self._uses_left[key]:
                del self._uses_left[key]
            return WindowRequest(address, is_computed_before=True, n_later_uses=0)
        n_later_uses = len({owner for owner in self._owners_near(key) if owner > number})
        if not n_later_uses or len(self._uses_left) >= self._room:
            return WindowRequest(address, is_computed_before=False, n_later_uses=0)
        self._uses_left[key] = n_later_uses
        return WindowRequest(address, is_computed_before=False, n_later_uses=n_later_uses)

    def _owners_near(self, key: WindowKey) -> list[int]:
        """The tasks that have a cell which the window touches."""
        row, col = key.address
        cells = (
            Cell(key.epsg, r, c)
            for r in range(row // CELL_PX, (row + CELL_PX - 1) // CELL_PX + 1)
            for c in range(col // CELL_PX, (col + CELL_PX - 1) // CELL_PX + 1)
        )
        return [self._owners[key.stack, cell] for cell in cells if (key.stack, cell) in self._owners]


class CountedStore(Generic[T]):
    """Store of values that are each taken a known number of times, and forgotten with the last."""

    def __init__(self) -> None:
        self._held: dict[WindowKey, tuple[T, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def put(self, key: WindowKey, value: T, n: int) -> None:
        """Hold a value that `take` will be called for `n` times; nothing is held if that is 0."""
        if n:
            self._held[key] = value, n

    def take(self, key: WindowKey) -> T:
        """The value.

        Raises:
            KeyError: If it is not held.
        """
        value, n = self._held.pop(key)
        self.put(key, value, n - 1)
        return value


def count_windows(tasks: Sequence[SegmentTask], stride: int) -> int:
    """Number of windows that a run computes at most, each counted once.

    Args:
        tasks: Of the run, in order.
        stride: Pixels from window to window.
    """
    plan = SharedWindowPlan(tasks, stride)
    return sum(
        not request.is_computed_before
        for number, task in enumerate(tasks)
        for request in plan.requests_of(number, task)
    )
