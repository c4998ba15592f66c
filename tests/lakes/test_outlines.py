"""Outlines against closed forms, scikit-image and the properties that every outline must have."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from cryosentinel_core.errors import GridMismatch
from cryosentinel_core.lakes.outlines import Outlines, place_outlines, repair_polygon, trace_outlines
from cryosentinel_core.units import LOGIT_NODATA

WET, DRY = 1000, -1000
LEVEL = 0.5


def trace(logits: NDArray[np.int16], corner: tuple[int, int] = (0, 0)) -> Outlines:
    labels, n_labels = ndimage.label(logits > LEVEL)
    return trace_outlines(logits, labels, n_labels, LEVEL, corner)


def logits_of(depth_px: NDArray[np.float64], per_px: float = 2.0) -> NDArray[np.int16]:
    """Stored logits from the signed distance to the shore in pixels, water positive."""
    return np.round(np.clip(depth_px * per_px, -16, 16) * 1000).astype(np.int16)


def grid_of(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, cols = np.mgrid[:side, :side] + 0.5
    return rows, cols


@pytest.mark.parametrize("radius", [2.0, 5.3, 17.8])
def test_disc_has_the_area_of_the_disc(radius: float) -> None:
    rows, cols = grid_of(48)
    found = trace(logits_of(radius - np.hypot(rows - 23.7, cols - 24.4)))
    assert len(found.polygons) == 1
    # A chord under an arc of one pixel lies at most 1 / (8 r) px inside, and linear interpolation of a cone errs by as much.
    assert found.polygons[0].area == pytest.approx(np.pi * radius**2, rel=0.5 / radius**2)
    assert found.polygons[0].centroid.distance(shapely.Point(24.4, 23.7)) < 0.01
    assert found.transition_px[0] == pytest.approx(0.5, rel=0.5)


def test_half_plane_shore_is_exact() -> None:
    rows, cols = grid_of(20)
    depth = np.minimum.reduce([cols - 3.3, 15.6 - cols, rows - 4.25, 12.5 - rows])
    polygon = trace(logits_of(depth)).polygons[0]
    minx, miny, maxx, maxy = polygon.bounds
    assert (minx, miny, maxx, maxy) == pytest.approx((3.3, 4.25, 15.6, 12.5), abs=1e-3)
    assert polygon.area == pytest.approx((15.6 - 3.3) * (12.5 - 4.25), abs=4 * 0.125)


def test_ring_keeps_its_island() -> None:
    rows, cols = grid_of(64)
    distance = np.hypot(rows - 32, cols - 32)
    polygon = trace(logits_of(np.minimum(25.0 - distance, distance - 10.0))).polygons[0]
    assert len(polygon.interiors) == 1
    assert polygon.area == pytest.approx(np.pi * (25**2 - 10**2), rel=2e-3)


def test_crosswise_pixels_are_two_lakes() -> None:
    logits = np.full((4, 4), DRY, dtype=np.int16)
    logits[1, 1] = logits[2, 2] = WET
    found = trace(logits)
    assert len(found.polygons) == 2
    assert shapely.is_valid(found.polygons).all()
    assert not found.polygons[0].intersects(found.polygons[1])
    # Shores half-way to four dry neighbours: a diamond of half a pixel's area.
    assert [polygon.area for polygon in found.polygons] == pytest.approx([0.5, 0.5], abs=2e-3)


def test_against_unobserved_ground_the_outline_is_the_pixel_edge() -> None:
    logits = np.full((5, 6), LOGIT_NODATA, dtype=np.int16)
    logits[1:4, 2:5] = WET
    logits[2, 2] = LOGIT_NODATA
    found = trace(logits)
    wanted = shapely.box(2, 1, 5, 4).difference(shapely.box(2, 2, 3, 3))
    assert found.polygons[0].symmetric_difference(wanted).area == 0.0
    assert found.unobserved_share.tolist() == [1.0]
    assert np.isnan(found.transition_px[0])


def test_edge_of_the_window_counts_as_unobserved() -> None:
    found = trace(np.full((3, 3), WET, dtype=np.int16))
    assert found.polygons[0].equals(shapely.box(0, 0, 3, 3))


def test_sharper_shores_have_a_narrower_transition() -> None:
    rows, cols = grid_of(40)
    depth = 12.0 - np.hypot(rows - 20, cols - 20)
    sharp, soft = (trace(logits_of(depth, per_px)).transition_px[0] for per_px in (4.0, 0.5))
    assert sharp == pytest.approx(0.25, rel=0.4)
    assert soft == pytest.approx(2.0, rel=0.4)


def test_shapes_must_agree() -> None:
    with pytest.raises(GridMismatch, match="differ in shape"):
        trace_outlines(np.zeros((3, 3), dtype=np.int16), np.zeros((3, 4), dtype=np.int64), 0, LEVEL)


def test_no_label_no_outline() -> None:
    assert len(trace(np.full((3, 3), DRY, dtype=np.int16)).polygons) == 0


RANDOM = arrays(np.int16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(-3000, 3000))


@settings(deadline=None, max_examples=200)
@given(logits=RANDOM, holes=st.integers(0, 2**31))
def test_every_outline_is_valid_and_follows_its_pixels(logits: NDArray[np.int16], holes: int) -> None:
    logits[np.random.default_rng(holes).random(logits.shape) < 0.15] = LOGIT_NODATA
    labels, n_labels = ndimage.label(logits > LEVEL)
    found = trace_outlines(logits, labels, n_labels, LEVEL)
    assert shapely.is_valid(found.polygons).all()
    assert all(polygon.geom_type == "Polygon" for polygon in found.polygons)
    for label, polygon in enumerate(found.polygons, start=1):
        rows, cols = np.nonzero(labels == label)
        assert shapely.contains_xy(polygon, cols + 0.5, rows + 0.5).all()
        others = np.nonzero(labels != label)
        assert not shapely.contains_xy(polygon, others[1] + 0.5, others[0] + 0.5).any()
        mine = np.pad(labels == label, 1)
        n_sides = sum(int((mine != np.roll(mine, 1, axis)).sum()) for axis in (0, 1))
        assert abs(polygon.area - rows.size) <= n_sides
    first, second = shapely.STRtree(found.polygons).query(found.polygons, predicate="intersects")
    assert (first == second).all()


@settings(deadline=None, max_examples=100)
@given(logits=RANDOM)
def test_shores_are_those_of_scikit_image(logits: NDArray[np.int16]) -> None:
    framed = np.pad(logits, 1, constant_values=DRY)
    found = trace(framed)
    contours = find_contours(framed.astype(float), LEVEL, fully_connected="low")
    # Rings of scikit-image as one area: outer ones run one way, islands the other.
    areas = [0.5 * float(np.dot(c[:-1, 0], c[1:, 1]) - np.dot(c[:-1, 1], c[1:, 0])) for c in contours]
    ours = sum(polygon.area for polygon in found.polygons)
    assert ours == pytest.approx(abs(sum(areas)), abs=1e-6)
    assert len(contours) == sum(1 + len(polygon.interiors) for polygon in found.polygons)
    length = sum(float(np.hypot(*np.diff(c, axis=0).T).sum()) for c in contours)
    assert sum(polygon.length for polygon in found.polygons) == pytest.approx(length, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(logits=RANDOM, row=st.integers(-600_000, 600_000), col=st.integers(0, 100_000), pad=st.integers(0, 5))
def test_the_window_leaves_no_trace(logits: NDArray[np.int16], row: int, col: int, pad: int) -> None:
    """The same lake seen through a larger window is the same to the last bit, and moves with its address."""
    framed = np.pad(logits, 1, constant_values=DRY)
    small = trace(framed, (row, col))
    large = trace(np.pad(framed, pad, constant_values=DRY), (row - pad, col - pad))
    assert shapely.to_wkb(small.polygons).tolist() == shapely.to_wkb(large.polygons).tolist()
    assert small.transition_px.tolist() == large.transition_px.tolist()
    home = trace(framed)
    for here, there in zip(home.polygons, small.polygons, strict=True):
        moved = shapely.transform(there, lambda xy: xy - np.array([col, row]))
        assert shapely.get_coordinates(moved) == pytest.approx(shapely.get_coordinates(here), abs=1e-9)


def test_placing_turns_rings_the_right_way() -> None:
    rows, cols = grid_of(40)
    distance = np.hypot(rows - 20, cols - 20)
    traced = trace(logits_of(np.minimum(15.0 - distance, distance - 5.0)), (-476_000, 60_000))
    from pyproj import Transformer

    to_lonlat = Transformer.from_crs(32643, 4326, always_xy=True).transform
    placed = place_outlines(traced.polygons, Affine(10, 0, 0, 0, -10, 0), to_lonlat)
    assert placed[0].is_valid
    assert placed[0].exterior.is_ccw
    assert not placed[0].interiors[0].is_ccw
    back = Transformer.from_crs(4326, 32643, always_xy=True).transform(*shapely.get_coordinates(placed[0]).T)
    wanted = shapely.get_coordinates(traced.polygons[0]) * [10, -10]
    assert np.column_stack(back) == pytest.approx(wanted, abs=1e-5)


def test_repair_keeps_holes_and_drops_lines() -> None:
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    assert repair_polygon(bow_tie).is_valid
    assert repair_polygon(bow_tie).area == pytest.approx(2.0)
    assert repair_polygon(shapely.Polygon([(0, 0), (1, 1), (2, 2)])).is_empty
    holed = shapely.box(0, 0, 4, 4).difference(shapely.box(1, 1, 2, 2))
    assert repair_polygon(holed).area == pytest.approx(15.0)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_an_outline_does_not_depend_on_which_others_are_asked_for(seed: int) -> None:
    """Lakes that meet at a pixel's corner, unobserved ground between them, among them."""
    rng = np.random.default_rng(seed)
    logits = rng.choice(np.array([WET, DRY, LOGIT_NODATA], dtype=np.int16), size=(8, 9), p=[0.45, 0.15, 0.4])
    labels, n_labels = ndimage.label(logits > LEVEL)
    together = trace_outlines(logits, labels, n_labels, LEVEL)
    for label in range(1, n_labels + 1):
        alone = trace_outlines(logits, np.where(labels == label, 1, 0), 1, LEVEL)
        assert alone.polygons[0].normalize().equals_exact(together.polygons[label - 1].normalize(), 0)
