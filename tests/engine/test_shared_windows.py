"""Who computes the windows of shared borders: every task gets all of its own, each is computed once, and what is kept is bounded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosentinel_core.engine.shared_windows import (
    CountedStore,
    SegmentTask,
    SharedWindowPlan,
    WindowKey,
    WindowRequest,
    count_windows,
)
from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Cell, group_cells, windows_touching

EPSG = 32643
STACKS = (Path("2017"), Path("2023"))

areas = st.sets(st.tuples(st.integers(-3, 6), st.integers(-2, 7)), min_size=1, max_size=30)


def tasks_of(cells: set[tuple[int, int]], tile_cells: int, n_stacks: int) -> list[SegmentTask]:
    """The tiles of an area, for each of some stacks."""
    grouped = group_cells([Cell(EPSG, row, col) for row, col in cells], tile_cells)
    return [
        SegmentTask(stack=stack, stack_tile_cells=10, cells=held)
        for stack in STACKS[:n_stacks]
        for held in grouped.values()
    ]


def plan_all(tasks: list[SegmentTask], stride: int, room: int) -> list[tuple[SegmentTask, list[WindowRequest]]]:
    plan = SharedWindowPlan(tasks, stride, room)
    return [(task, plan.requests_of(number, task)) for number, task in enumerate(tasks)]


@given(areas, st.sampled_from([1, 2, 5]), st.sampled_from([56, 112, 224]), st.integers(1, 2), st.integers(0, 40))
def test_all_that_is_asked_for_is_had(
    cells: set[tuple[int, int]], tile_cells: int, stride: int, n_stacks: int, room: int
) -> None:
    """Played through as the stream does it: what is said to be there is there, and never more than there is room for."""
    tasks = tasks_of(cells, tile_cells, n_stacks)
    handed: CountedStore[WindowKey] = CountedStore()
    for task, asked in plan_all(tasks, stride, room):
        assert [one.address for one in asked] == windows_touching(task.cells, stride)
        for one in asked:
            key = WindowKey(task.stack, EPSG, one.address)
            if one.is_computed_before:
                assert handed.take(key) == key
            else:
                handed.put(key, key, one.n_later_uses)
            assert len(handed) <= room
    assert len(handed) == 0, "nothing is kept that nobody comes for"


@given(areas, st.sampled_from([1, 2, 5]), st.sampled_from([56, 112, 224]), st.integers(1, 2))
def test_with_room_each_window_is_computed_once(
    cells: set[tuple[int, int]], tile_cells: int, stride: int, n_stacks: int
) -> None:
    tasks = tasks_of(cells, tile_cells, n_stacks)
    computed = Counter(
        (task.stack, one.address)
        for task, asked in plan_all(tasks, stride, 10**6)
        for one in asked
        if not one.is_computed_before
    )
    wanted = {(task.stack, address) for task in tasks for address in windows_touching(task.cells, stride)}
    assert computed == Counter(wanted)
    assert count_windows(tasks, stride) == len(wanted)


def test_what_a_row_of_tiles_keeps() -> None:
    """2 x 2 tiles of ten cells: 41 x 41 windows where one by one they are 4 x 441."""
    tasks = tasks_of({(row, col) for row in range(20) for col in range(20)}, 10, 1)
    assert [len(asked) for _, asked in plan_all(tasks, 112, 512)] == [441] * 4
    assert count_windows(tasks, 112) == 41 * 41


def test_tasks_with_a_cell_in_common_are_refused() -> None:
    """The second would see nothing of it."""
    one, two = tasks_of({(0, 0), (0, 1)}, 1, 1)
    with pytest.raises(InputError, match="two tasks"):
        SharedWindowPlan([one, two, one], 224)
    assert len(plan_all([one, two], 224, 512)) == 2


def test_taking_more_often_than_promised() -> None:
    handed: CountedStore[int] = CountedStore()
    key = WindowKey(STACKS[0], EPSG, (0, 0))
    handed.put(key, 5, 2)
    assert (handed.take(key), handed.take(key)) == (5, 5)
    with pytest.raises(KeyError):
        handed.take(key)
    handed.put(key, 5, 0)
    assert len(handed) == 0
