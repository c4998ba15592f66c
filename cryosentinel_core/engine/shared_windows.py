"""Windows on the border of grounds of one run, computed once: who needs each, and which are kept until the last has had it.

At half overlap a tile of ten cells asks for 441 windows, 41 of which its neighbours ask for too. A window's logits are the same bits
whoever asks, so the first ground in the run computes it and the later ones get what it got. What is kept is bounded, whatever the
area: beyond that a window is computed again. Neighbours: `stream` asks here before it reads.
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
class Ground:
    """What to segment.

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
class Asked:
    """One window that a ground asks for.

    Attributes:
        address: Of it.
        is_had: True if an earlier ground of the run computes it, and it is kept.
        n_later: How many later grounds will be given it.
    """

    address: Address
    is_had: bool
    n_later: int


class SharingPlan:
    """Who computes each window of a run, settled ground by ground in the run's order.

    Args:
        grounds: Of the run, in order, alike in all but stack and cells.
        stride: Pixels from window to window.
        room: Windows kept at most.

    Raises:
        InputError: If two grounds have a cell of one stack in common.
    """

    def __init__(self, grounds: Sequence[Ground], stride: int, room: int = KEPT_WINDOWS) -> None:
        self._stride, self._room = stride, room
        self._owners = {(ground.stack, cell): number for number, ground in enumerate(grounds) for cell in ground.cells}
        if len(self._owners) < sum(len(ground.cells) for ground in grounds):
            raise InputError("a cell belongs to two grounds of one run, which share no more than borders")
        self._left: dict[WindowKey, int] = {}

    def ask(self, number: int, ground: Ground) -> list[Asked]:
        """Every window of a ground, in lattice order; called once for each ground, in the run's order.

        Args:
            number: Of the ground in the run.
            ground: That has it.
        """
        return [self._settle(number, ground, address) for address in windows_touching(ground.cells, self._stride)]

    def _settle(self, number: int, ground: Ground, address: Address) -> Asked:
        key = WindowKey(ground.stack, ground.cells[0].epsg, address)
        if key in self._left:
            self._left[key] -= 1
            if not self._left[key]:
                del self._left[key]
            return Asked(address, is_had=True, n_later=0)
        n_later = len({owner for owner in self._owners_near(key) if owner > number})
        if not n_later or len(self._left) >= self._room:
            return Asked(address, is_had=False, n_later=0)
        self._left[key] = n_later
        return Asked(address, is_had=False, n_later=n_later)

    def _owners_near(self, key: WindowKey) -> list[int]:
        """The grounds that have a cell which the window touches."""
        row, col = key.address
        cells = (
            Cell(key.epsg, r, c)
            for r in range(row // CELL_PX, (row + CELL_PX - 1) // CELL_PX + 1)
            for c in range(col // CELL_PX, (col + CELL_PX - 1) // CELL_PX + 1)
        )
        return [self._owners[key.stack, cell] for cell in cells if (key.stack, cell) in self._owners]


class Handed(Generic[T]):
    """Values that are each handed on a known number of times, and forgotten with the last."""

    def __init__(self) -> None:
        self._held: dict[WindowKey, tuple[T, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def put(self, key: WindowKey, value: T, n: int) -> None:
        """Hold a value that `take` will be asked for `n` times; none if that is 0."""
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


def count_windows(grounds: Sequence[Ground], stride: int) -> int:
    """How many windows a run computes at most, each counted once.

    Args:
        grounds: Of the run, in order.
        stride: Pixels from window to window.
    """
    plan = SharingPlan(grounds, stride)
    return sum(not asked.is_had for number, ground in enumerate(grounds) for asked in plan.ask(number, ground))
