"""Components on arrays that a reader can count, and against scipy on random ones cut in random blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.components import Components, find_components, label_water, level_of_threshold
from cryosentinel_core.lakes.tables import LakeReaders
from cryosentinel_core.units import LOGIT_NODATA

EPSG = 32643


def readers_of(
    logits: NDArray[np.int16], processed: NDArray[np.bool_] | None = None, row: int = -100, col: int = 50
) -> tuple[LakeReaders, Grid]:
    hull = Grid(epsg=EPSG, row=row, col=col, height=logits.shape[0], width=logits.shape[1])
    done = np.ones(logits.shape, dtype=bool) if processed is None else processed
    return (
        LakeReaders(
            logits=lambda grid: logits[grid.slices_in(hull)].copy(),
            processed=lambda grid: done[grid.slices_in(hull)].copy(),
        ),
        hull,
    )


def find(text: str, *, block_px: int = 100, min_pixels: int = 1) -> Components:
    """Components of a picture: `#` water, `.` land, `?` unobserved, `x` not processed."""
    rows = [list(line) for line in text.split()]
    value = {"#": 1000, ".": -1000, "?": LOGIT_NODATA, "x": 1000}
    logits = np.array([[value[cell] for cell in row] for row in rows], dtype=np.int16)
    processed = np.array([[cell != "x" for cell in row] for row in rows])
    readers, hull = readers_of(logits, processed)
    return find_components(readers, hull, 0.5, block_px=block_px, min_pixels=min_pixels)


def test_corners_do_not_connect() -> None:
    found = find("#... .#.. ..## ..##")
    assert found.n_pixels.tolist() == [1, 1, 4]
    assert found.row.tolist() == [-100, -99, -98]
    assert found.col.tolist() == [50, 51, 52]
    assert found.grid(2, EPSG) == Grid(epsg=EPSG, row=-98, col=52, height=2, width=2)


@pytest.mark.parametrize("block_px", [1, 2, 3, 4])
def test_seams_do_not_cut_a_lake(block_px: int) -> None:
    found = find("#### #..# #.## ##..", block_px=block_px)
    assert found.n_pixels.tolist() == [11]
    assert (found.top[0], found.left[0], found.bottom[0], found.right[0]) == (-100, 50, -96, 54)


def test_sides_that_face_the_unknown_are_counted() -> None:
    found = find("?#.. .#x. .#.. ....")
    assert found.n_pixels.tolist() == [3]
    assert found.n_unobserved_sides.tolist() == [1]
    # One side faces the pixel that was not processed, one the edge of the work above.
    assert found.n_edge_sides.tolist() == [2]


def test_water_on_unprocessed_ground_is_not_seen() -> None:
    assert len(find("xx.. xx.. .... ....")) == 0


def test_small_components_are_left_out() -> None:
    assert find("##.. ..#. .... ###.", min_pixels=2).n_pixels.tolist() == [2, 3]


def test_nothing_found_is_a_result() -> None:
    found = find(".... ....")
    assert len(found) == 0
    assert found.row.dtype == np.int64


@pytest.mark.parametrize(("threshold", "first_wet"), [(0.5, 1), (0.7, 848), (0.3, -847)])
def test_level_is_the_probability_and_no_stored_logit_lies_on_it(threshold: float, first_wet: int) -> None:
    level = level_of_threshold(threshold)
    assert first_wet - 1 < level < first_wet
    assert level % 1 == 0.5
    assert 1 / (1 + np.exp(-first_wet * 0.001)) > threshold
    assert 1 / (1 + np.exp(-(first_wet - 1) * 0.001)) <= threshold


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
def test_level_wants_a_probability(threshold: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        level_of_threshold(threshold)


@settings(deadline=None, max_examples=150)
@given(
    pixels=arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 9)),
    block_px=st.integers(1, 25),
    min_pixels=st.integers(1, 4),
)
def test_blocks_never_change_the_components(pixels: NDArray[np.uint8], block_px: int, min_pixels: int) -> None:
    logits = np.where(pixels < 5, np.int16(500), np.int16(-500)).astype(np.int16)
    logits[pixels == 9] = LOGIT_NODATA
    processed = pixels != 8
    readers, hull = readers_of(logits, processed)
    found = find_components(readers, hull, 0.5, block_px=block_px, min_pixels=min_pixels)

    labels, n_labels = ndimage.label((pixels < 5) & processed)
    wanted = []
    unseen = np.pad(~processed, 1, constant_values=True)
    blank = np.pad(processed & (logits == LOGIT_NODATA), 1)
    for label in range(1, n_labels + 1):
        rows, cols = np.nonzero(labels == label)
        if rows.size < min_pixels:
            continue
        sides = [(rows, cols + 1), (rows + 2, cols + 1), (rows + 1, cols), (rows + 1, cols + 2)]
        wanted.append(
            (
                rows[0] + hull.row,
                cols[0] + hull.col,
                rows.size,
                rows.min() + hull.row,
                cols.min() + hull.col,
                rows.max() + 1 + hull.row,
                cols.max() + 1 + hull.col,
                sum(int(unseen[side].sum()) for side in sides),
                sum(int(blank[side].sum()) for side in sides),
            )
        )
    columns = (
        found.row,
        found.col,
        found.n_pixels,
        found.top,
        found.left,
        found.bottom,
        found.right,
        found.n_edge_sides,
        found.n_unobserved_sides,
    )
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == sorted(wanted)


@settings(deadline=None, max_examples=200)
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_labels_are_those_of_scipy(water: NDArray[np.bool_]) -> None:
    places, numbered, n_labels = label_water(water)
    wanted, n_wanted = ndimage.label(water)
    assert places.tolist() == np.flatnonzero(water).tolist()
    assert numbered.tolist() == wanted.ravel()[places].tolist()
    assert n_labels == n_wanted


def test_memory_is_bounded_by_the_block() -> None:
    logits = np.full((300, 400), 1000, dtype=np.int16)
    readers, hull = readers_of(logits)
    asked: list[tuple[int, int]] = []

    def spy(grid: Grid) -> NDArray[np.int16]:
        asked.append(grid.shape)
        return logits[grid.slices_in(hull)]

    found = find_components(LakeReaders(logits=spy, processed=readers.processed), hull, 0.5, block_px=64)
    assert found.n_pixels.tolist() == [120_000]
    assert max(height for height, _ in asked) <= 66
    assert max(width for _, width in asked) <= 66
    assert len(asked) == 5 * 7
