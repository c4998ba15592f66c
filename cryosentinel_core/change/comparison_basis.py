"""Basis of a comparison: the rules and observations that it rests on, beside the outlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import geopandas as gpd

from cryosentinel_core.change.change_errors import ChangeErrors
from cryosentinel_core.change.lake_history import GroundObserver
from cryosentinel_core.lakes.glaciers import GlacierOutlines
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.units import PIXEL_M


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonBasis:
    """Rules and observations that a comparison rests on, beside the outlines.

    Attributes:
        settings: How years are compared.
        observe_ground: Asked what each year of imagery saw of a piece of ground; never where all years are inventories.
        errors: How the errors of changes are found.
        shifts: Pair of years -> shift (east, north) in metres of the later year's images, taken out of gained and lost ground.
        drawn: Years that are inventories -> True if complete: then a lake that is not drawn was not there.
        glaciers: Outlines of glaciers; None if nobody gave any.
        pixel_m: Side of the coarsest year's pixels: pieces of gained and lost ground below one are left out.
        common_m: Year -> displacement that all its shores may have in common: it cancels in changes and adds up in totals.
        checks: Year -> lakes and candidates of another model (`is_lake`), to check ours against; empty if none did.
    """

    settings: ChangeSettings
    observe_ground: GroundObserver = lambda ground, grow_px: {}
    errors: ChangeErrors = field(default_factory=ChangeErrors)
    shifts: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    drawn: Mapping[int, bool] = field(default_factory=dict)
    glaciers: GlacierOutlines | None = None
    pixel_m: float = float(PIXEL_M)
    common_m: Mapping[int, float] = field(default_factory=dict)
    checks: Mapping[int, gpd.GeoDataFrame] = field(default_factory=dict)
