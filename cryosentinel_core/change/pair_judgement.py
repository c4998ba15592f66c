"""Judgement of two years: whether a lake can be compared, what happened to it, and how sure that is. Arrays over lakes.

Neighbours: `lake_history` says what each year holds; `change_errors` gives the sigmas; `change_table` makes rows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from cryosentinel_core.change.change_errors import ChangeErrors
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_history import LakesInYear
from cryosentinel_core.change.matching import Match, relation_of
from cryosentinel_core.change.shore_noise import ShoreNoise
from cryosentinel_core.change.significance import (
    detectable_quantile,
    normal_quantile,
    p_values,
    q_values_of_families,
)
from cryosentinel_core.lakes.tables import GroundSeen, Reason, Status
from cryosentinel_core.units import PIXEL_M

PIXEL_AREA_M2: Final = float(PIXEL_M**2)
"""Area of a lattice pixel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LakePair:
    """All lakes in two years, (L,) each.

    Attributes:
        first: The earlier year; where a lake without an outline still held water, with that water's area.
        second: The later year, likewise.
        relation: `merged`, `split`, `complex`, or `stable` for one to one.
        reason: Why a lake cannot be compared; empty if it can.
    """

    first: LakesInYear
    second: LakesInYear
    relation: NDArray[np.object_]
    reason: NDArray[np.object_]

    @property
    def is_comparable(self) -> NDArray[np.bool_]:
        """(L,) True for lakes that both years saw."""
        return np.asarray(self.reason == "", dtype=np.bool_)


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedPair(LakePair):
    """A pair of years with its judgement, (L,) each; NaN where nothing can be said.

    Attributes:
        noise: Noise of the pair; None where simulated constants were used.
        change_m2: Later minus earlier.
        sigma_m2: Standard deviation of it.
        status: Words of `Status`.
        total_status: `grown`, `shrunk` or `stable` for lakes that merged or split; else empty.
        significant: True or False; None where nothing was tested.
        q_value: Benjamini-Hochberg within one to one, or merges and splits.
        critical_m2: Least change that is significant.
        detectable_m2: Change that is found with 80 % power.
    """

    noise: ShoreNoise | None
    change_m2: NDArray[np.float64]
    sigma_m2: NDArray[np.float64]
    status: NDArray[np.object_]
    total_status: NDArray[np.object_]
    significant: NDArray[np.object_]
    q_value: NDArray[np.float64]
    critical_m2: NDArray[np.float64]
    detectable_m2: NDArray[np.float64]


def pair_of_lakes(
    first: LakesInYear,
    second: LakesInYear,
    matches: Sequence[Match],
    tables: Mapping[int, gpd.GeoDataFrame],
    basis: ComparisonBasis,
) -> LakePair:
    """Two years side by side: how lakes correspond, and which can be compared."""
    spots = {
        absent.year: _look_where_absent(absent, present, basis)
        for absent, present in ((first, second), (second, first))
    }
    reason = _reasons(first, second, spots, basis)
    relation = np.full(len(matches), str(Status.STABLE), dtype=object)
    for lake in np.flatnonzero((first.n_outlines > 1) | (second.n_outlines > 1)).tolist():
        found = relation_of(matches[lake], tables, first.year, second.year, basis.settings.min_area_m2)
        relation[lake] = str(found)
    return LakePair(
        first=_with_remnants(first, spots[first.year], basis.settings.min_observed),
        second=_with_remnants(second, spots[second.year], basis.settings.min_observed),
        relation=relation,
        reason=reason,
    )


def measurable_lakes(pair: LakePair) -> NDArray[np.bool_]:
    """(L,) True for lakes whose change tells of the years' noise: one outline a year, both seen, not copied, away from glaciers."""
    alone = (pair.first.n_outlines == 1) & (pair.second.n_outlines == 1) & pair.is_comparable
    copied = alone.copy()
    copied[alone] = are_copies(pair.first.outline[alone], pair.second.outline[alone])
    for year in (pair.first, pair.second):  # fronts move from year to year: that is change, not noise
        alone &= ~np.array([one.touches_glacier for one in year.seen], dtype=bool)
    return np.asarray(alone & ~copied & ~pair.first.touches_edge & ~pair.second.touches_edge, dtype=np.bool_)


def are_copies(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.bool_]:
    """(N,) True where two outlines are the same shape, whichever corner they begin at; most are told by their bounds."""
    found = np.asarray(shapely.equals_exact(first, second), dtype=np.bool_)
    left = np.flatnonzero(~found & (shapely.bounds(first) == shapely.bounds(second)).all(axis=1))
    found[left] = shapely.equals(first[left], second[left])
    return found


def judge_pair(pair: LakePair, noise: ShoreNoise | None, errors: ChangeErrors, confidence: float) -> JudgedPair:
    """What happened to each lake between two years.

    A lake that is new or has vanished is significant by what was seen, bare ground under its whole outline, and takes no part in
    the families of tests: it would thin out the false alarms among the others.
    """
    first, second, comparable = pair.first, pair.second, pair.is_comparable
    both = (first.n_outlines > 0) & (second.n_outlines > 0)
    has_change = comparable | ((pair.reason == str(Reason.SEASON)) & both)
    change = np.where(has_change, second.area_m2 - first.area_m2, np.nan)
    sigma = np.where(has_change, errors.sigma_of_change(first, second, noise), np.nan)
    is_new = comparable & (second.n_outlines > 0) & (first.area_m2 == 0)
    is_gone = comparable & (first.n_outlines > 0) & (second.area_m2 == 0)
    p = np.where(comparable, p_values(change, sigma), np.nan)
    proven = is_new | is_gone | (p < 1.0 - confidence)
    moved = np.select([~proven, change > 0], [str(Status.STABLE), str(Status.GROWN)], str(Status.SHRUNK))
    related = pair.relation != str(Status.STABLE)
    status = np.select(
        [~comparable, is_new, is_gone, related],
        [str(Status.UNOBSERVED), str(Status.NEW), str(Status.VANISHED), pair.relation],
        moved,
    ).astype(object)
    has_water = (first.area_m2 > 0) | (second.area_m2 > 0)
    tested = np.where(is_new | is_gone | ~has_water, np.nan, p)
    significant = proven.astype(object)
    significant[~comparable] = None
    return JudgedPair(
        first=first,
        second=second,
        relation=pair.relation,
        reason=pair.reason,
        noise=noise,
        change_m2=change,
        sigma_m2=sigma,
        status=status,
        total_status=np.where(related & comparable & ~is_new & ~is_gone, moved, "").astype(object),
        significant=significant,
        q_value=q_values_of_families(tested, related),
        critical_m2=normal_quantile(confidence) * sigma,
        detectable_m2=detectable_quantile(confidence) * sigma,
    )


def _look_where_absent(absent: LakesInYear, present: LakesInYear, basis: ComparisonBasis) -> dict[int, GroundSeen]:
    """Lake -> what a year without an outline of it saw under the other year's outline; of an inventory nothing more."""
    if absent.year in basis.drawn:
        return {}
    missing = np.flatnonzero((absent.n_outlines == 0) & (present.n_outlines > 0)).tolist()
    return {lake: basis.observe_ground(present.outline[lake], 0)[absent.year] for lake in missing}


def _reasons(
    first: LakesInYear, second: LakesInYear, spots: Mapping[int, Mapping[int, GroundSeen]], basis: ComparisonBasis
) -> NDArray[np.object_]:
    """(L,) why lakes cannot be compared: edge, not drawn, then what hid the ground, then the season; empty if they can."""
    settings, edge = basis.settings, first.touches_edge | second.touches_edge
    days = np.abs(second.day_of_year - first.day_of_year)
    found = np.where(days > settings.max_day_difference, str(Reason.SEASON), str(Reason.NONE)).astype(object)
    short = [(lakes.observed_share < settings.min_observed) for lakes in (first, second)]
    blind = {lake for spot in spots.values() for lake, seen in spot.items() if not seen.is_observed_whole}
    for lake in sorted(blind | set(np.flatnonzero(short[0] | short[1]).tolist())):
        unseen = [lakes.seen[lake] for lakes, is_short in zip((first, second), short, strict=True) if is_short[lake]]
        unseen += [spot[lake] for spot in spots.values() if lake in spot and not spot[lake].is_observed_whole]
        causes = {name: sum(getattr(seen, name) for seen in unseen) for name in ("ice", "shadow", "cloud", "nodata")}
        hidden = GroundSeen(**causes).reason
        found[lake] = str(Reason.NODATA if hidden is Reason.NONE else hidden)
    for lakes in (first, second):
        if not basis.drawn.get(lakes.year, True):
            found[lakes.n_outlines == 0] = str(Reason.NOT_DRAWN)
    found[edge] = str(Reason.EDGE)
    return found


def _with_remnants(lakes: LakesInYear, spots: Mapping[int, GroundSeen], min_observed: float) -> LakesInYear:
    """The year, where the ground of a lake without an outline still holds water, too little to be drawn, with that water's area.

    Up to the share that may be unobserved, single water pixels are noise and the ground counts as bare.
    """
    wet = {lake: seen.lake for lake, seen in spots.items() if seen.lake > (1.0 - min_observed) * seen.total}
    if not wet:
        return lakes
    index, area = np.array(list(wet), dtype=np.int64), np.array(list(wet.values()), dtype=float) * PIXEL_AREA_M2
    area_m2, random_m2, perimeter_m = lakes.area_m2.copy(), lakes.random_m2.copy(), lakes.perimeter_m.copy()
    area_m2[index], random_m2[index], perimeter_m[index] = area, area, 2.0 * np.sqrt(np.pi * area)
    return replace(lakes, area_m2=area_m2, random_m2=random_m2, perimeter_m=perimeter_m)
