"""Outlines of glaciers beside lakes: their place on a grid, and distances in metres at high latitudes."""

from __future__ import annotations

import numpy as np
import pytest
from shapely import box
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.lakes.glaciers import GlacierOutlines

EPSG = 32633
GRID = Grid(epsg=EPSG, row=-760_000, col=52_000, height=20, width=20)


def on_ground(left: float, bottom: float, right: float, top: float) -> BaseGeometry:
    """A box in metres from the grid's upper left corner, in EPSG:4326."""
    x, y = GRID.bounds[0], GRID.bounds[3]
    return project_geometry(box(x + left, y + bottom, x + right, y + top), EPSG, 4326)


def test_a_glacier_lies_where_its_outline_says() -> None:
    glaciers = GlacierOutlines([on_ground(100, -200, 500, 0), on_ground(5_000, 0, 6_000, 100)])
    mask = glaciers.mask_on(GRID)
    assert not mask[:, :10].any()
    assert mask[1:19, 11:].all()
    assert not GlacierOutlines([on_ground(5_000, 0, 6_000, 100)]).mask_on(GRID).any()


def test_distances_are_metres_east_as_north() -> None:
    """At 68 degrees north a degree of longitude is 42 km."""
    lake = on_ground(0, -100, 100, 0)
    for glacier, wanted in (((400, -100, 500, 0), 300.0), ((0, 1_000, 100, 1_100), 1_000.0), ((50, -50, 500, 0), 0.0)):
        assert GlacierOutlines([on_ground(*glacier)]).distance_m(lake) == pytest.approx(wanted, abs=1.0)
    assert np.isnan(GlacierOutlines([on_ground(20_000, 0, 21_000, 100)]).distance_m(lake))
    assert np.isnan(GlacierOutlines([]).distance_m(lake))
