"""What makes the table fast changes nothing in it: each short cut beside the plain computation that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from cryosentinel_core.change import change_frames
from cryosentinel_core.change.change_frames import _differences
from cryosentinel_core.change.matching import MIN_OVERLAP_SHARE, overlap_pairs
from cryosentinel_core.change.pair_judgement import are_copies
from cryosentinel_core.ground.geodesic import measure_geodesic
from cryosentinel_core.lakes.drawn_outlines import cut_overlaps, is_drawn_twice, join_at_seams
from cryosentinel_core.report import maps


def ragged(rng: np.random.Generator, n: int, *, spread: float) -> NDArray[np.object_]:
    """Star-shaped outlines of 10 to 300 m around 77 E, 43 N, `spread` degrees apart: some over each other, some with a hole."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    away = np.exp(rng.uniform(np.log(1e-4), np.log(3e-3), (n, 1))) * np.exp(rng.normal(0, 0.4, (n, 24)))
    middle = 77 + rng.uniform(0, spread, (n, 1)), 43 + rng.uniform(0, spread, (n, 1))
    found = shapely.polygons(np.dstack([middle[0] + away * np.cos(angle), middle[1] + away * np.sin(angle)]))
    holes = shapely.buffer(shapely.centroid(found), 0.2 * np.sqrt(shapely.area(found)))
    found[::5] = shapely.difference(found[::5], holes[::5])
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pixel_area_m2", [100.0, 900.0, 10_000.0])
def test_pairs_are_those_of_the_full_overlay(seed: int, pixel_area_m2: float) -> None:
    """A lower bound of the shared area decides most pairs; none of them otherwise than the shared area itself."""
    rng = np.random.default_rng(seed)
    first = ragged(rng, 150, spread=0.05)
    second = np.concatenate(
        [ragged(rng, 100, spread=0.05), first[:20], shapely.transform(first[20:40], lambda xy: xy + 3e-4)]
    )
    areas = measure_geodesic(first)[0], measure_geodesic(second)[0]
    wanted = []
    for i, one in enumerate(first):
        for j in np.flatnonzero(shapely.intersects(one, second)).tolist():
            smaller = min(areas[0][i], areas[1][j])
            degrees = shapely.area(one) if areas[0][i] <= areas[1][j] else shapely.area(second[j])
            shared = shapely.area(shapely.intersection(one, second[j])) / degrees * smaller
            if shared > 0 and shared >= max(min(pixel_area_m2, 0.5 * smaller), MIN_OVERLAP_SHARE * smaller):
                wanted.append((i, j))
    found = overlap_pairs(first, second, pixel_area_m2)
    assert len(wanted) > 40
    assert list(zip(*(one.tolist() for one in found), strict=True)) == wanted


def test_an_outline_of_many_corners_is_matched_like_any_other() -> None:
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    away = 0.02 * (1 + 0.3 * np.sin(40 * angle))
    giant = shapely.Polygon(np.stack([77 + away * np.cos(angle), 43 + away * np.sin(angle)], axis=1))
    ponds = ragged(np.random.default_rng(1), 60, spread=0.03)
    found = overlap_pairs(np.array([giant]), ponds, 100.0)[1].tolist()
    inside = np.flatnonzero(shapely.contains(giant, ponds)).tolist()
    assert inside
    assert set(inside) <= set(found) <= set(np.flatnonzero(shapely.intersects(giant, ponds)).tolist())


def test_copies_are_what_shapely_calls_equal() -> None:
    rng = np.random.default_rng(2)
    first = ragged(rng, 40, spread=0.5)
    turned = np.array([shapely.normalize(shapely.reverse(one)) for one in first[:10]], dtype=object)
    finer = shapely.segmentize(first[10:20], 1e-3)
    moved = shapely.transform(first[20:30], lambda xy: xy + 1e-9)
    second = np.concatenate([turned, finer, moved, first[30:40]])
    assert are_copies(first, second).tolist() == shapely.equals(first, second).tolist()
    assert are_copies(first, second)[:10].all()
    assert not are_copies(first, second)[20:30].any()


def test_neighbours_by_their_boxes_are_enough() -> None:
    rng = np.random.default_rng(4)
    drawn = ragged(rng, 120, spread=0.04)
    drawn = np.concatenate([drawn, drawn[:5], shapely.transform(drawn[5:10], lambda xy: xy + 1e-5)])
    size = shapely.area(drawn)
    twice = np.zeros(len(drawn), dtype=bool)
    for b in range(len(drawn)):
        for a in range(b):
            shared = shapely.area(shapely.intersection(drawn[a], drawn[b]))
            twice[b] |= bool(not twice[a] and shared >= 0.5 * (size[a] + size[b] - shared))
    assert is_drawn_twice(drawn, size, 0.5).tolist() == twice.tolist()
    assert twice.sum() >= 10
    cut, n_cut = cut_overlaps(drawn)
    assert n_cut > 10
    assert shapely.area(shapely.union_all(cut)) == pytest.approx(shapely.area(shapely.union_all(drawn)), rel=1e-9)
    halves = np.array([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6), shapely.box(1, 0, 2, 1)], dtype=object)
    joined, lead, n_pieces = join_at_seams(halves, 0.5)
    assert (lead.tolist(), n_pieces) == ([0, 1], 2)
    assert shapely.equals(joined[0], shapely.box(0, 0, 2, 1))


def cut_one_by_one(drawn: NDArray[np.object_]) -> NDArray[np.object_]:
    """`cut_overlaps` on whole outlines, pair by pair, each joined at once."""
    size, found = shapely.area(drawn), drawn.copy()
    pairs = [(a, b) for a in range(len(drawn)) for b in range(len(drawn)) if (size[a], -a) > (size[b], -b)]
    pairs = [(a, b) for a, b in pairs if shapely.area(shapely.intersection(drawn[a], drawn[b])) > 0.05 * size[b]]
    for a, b in sorted(pairs, key=lambda pair: (-size[pair[0]], *pair)):
        if shapely.is_empty(found[a]) or shapely.is_empty(found[b]):
            continue
        left = shapely.difference(found[b], found[a])
        if shapely.area(left) < 0.5 * size[b]:
            found[a], left = shapely.union(found[a], found[b]), shapely.Polygon()
        found[b] = left
    return found


@pytest.mark.parametrize("many", [0, 10_000])
def test_overlaps_are_cut_as_one_by_one(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """Outlines of many corners are clipped to where the other lies: 0 clips all."""
    monkeypatch.setattr("cryosentinel_core.lakes.drawn_outlines._MANY_CORNERS", many)
    for seed in range(6):
        drawn = ragged(np.random.default_rng(seed), 60, spread=0.02)
        plain, (cut, n_cut) = cut_one_by_one(drawn), cut_overlaps(drawn)
        assert n_cut > 10
        assert np.abs(shapely.area(cut) - shapely.area(plain)).max() < 1e-12
        assert shapely.area(shapely.symmetric_difference(cut, plain)).max() < 1e-12


def test_ground_between_two_years_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    first = ragged(rng, 30, spread=0.5)
    second = np.array([shapely.affinity.translate(one, 2e-4, 1e-4) for one in first], dtype=object)
    whole = _differences(first, second, 100.0)
    monkeypatch.setattr(change_frames, "_LAKES_A_BLOCK", 7)
    blocks = _differences(first, second, 100.0)
    assert whole[0].tolist() == blocks[0].tolist()
    assert shapely.equals_exact(whole[1], blocks[1]).all()
    kept = shapely.area(shapely.get_parts(whole[1])) * 111_320**2 * np.cos(np.radians(43))
    assert kept.min() >= 99.0


def test_a_map_of_many_outlines_leaves_out_what_no_dot_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = Figure(figsize=(4, 4), dpi=100).add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 40_000)
    axes.set_ylim(0, 40_000)
    lakes = shapely.buffer(shapely.points([[10_000, 10_000], [30_000, 20_000]]), [9_000, 300], quad_segs=1000)
    lakes[0] = lakes[0].difference(shapely.Point(10_000, 10_000).buffer(2_000, quad_segs=1000))
    plain = maps._as_path(axes, lakes)
    monkeypatch.setattr(maps, "_MANY_CORNERS", 100)
    thin = maps._as_path(axes, lakes)
    assert plain is not None
    assert thin is not None
    for path in (plain, thin):
        assert path.codes is not None
        assert (path.codes == Outline.MOVETO).sum() == (path.codes == Outline.CLOSEPOLY).sum() == 3
    assert len(thin.vertices) < 0.5 * len(plain.vertices)
    rings = [shapely.LinearRing(one) for one in (plain.to_polygons()[0], thin.to_polygons()[0])]
    assert shapely.hausdorff_distance(*rings) < 0.3 * 100.0
