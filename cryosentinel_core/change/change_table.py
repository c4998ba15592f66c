"""The change table: one row a lake and pair of years, with what happened, how sure that is, or why it cannot be said.

Unobserved is not dry. Of every lake stands how much of its ground was seen in each year: the ground is the union of all
years' outlines grown by a pixel. A lake is new or vanished only where the other year saw bare ground under its whole
outline. Pure arithmetic on tables; what was seen comes as counts from `io`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_frames import add_gained_and_lost, as_change_frame, as_piece_frame
from cryosentinel_core.change.comparability import pairs_of_years
from cryosentinel_core.change.lake_history import GroundObserver, LakeColumns, LakeInYear, history_of_lake
from cryosentinel_core.change.lake_keys import Key
from cryosentinel_core.change.matching import Match, relation_of
from cryosentinel_core.change.significance import estimate_trend, normal_quantile, p_values
from cryosentinel_core.lakes.tables import SERIES_COLUMNS, TREND_COLUMNS, GroundSeen, Reason, Status
from cryosentinel_core.lakes.uncertainty import change_sigma
from cryosentinel_core.scenes.registration import move_outline
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.units import PIXEL_M

PIXEL_AREA_M2: Final = float(PIXEL_M**2)
"""Area of a lattice pixel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonBasis:
    """Rules and observations that a comparison rests on, beside the outlines.

    Attributes:
        settings: How years are compared.
        observe_ground: Asked what each year saw of a piece of ground.
        model: Constants of the error model.
        shifts: Pair of years -> shift (east, north) in metres of the later year's images, taken out of gained and lost ground.
    """

    settings: ChangeSettings
    observe_ground: GroundObserver
    model: UncertaintyModel = WATER_INDEX_ERRORS
    shifts: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ChangeTables:
    """Tables that a comparison gives.

    Attributes:
        change: `CHANGE_COLUMNS` (with three or more years `TREND_COLUMNS` too) and geometry: the outlines of both years as
            one, or where these have none those of the other years; null where no year has one.
        gained: Ground that became water between two observed years: `lake_key`, `pair`, `area_m2`, geometry.
        lost: Water that became ground, likewise.
        series: `SERIES_COLUMNS`, one row a lake and year; empty with two years.
    """

    change: gpd.GeoDataFrame
    gained: gpd.GeoDataFrame
    lost: gpd.GeoDataFrame
    series: pd.DataFrame


def compare_years(
    tables: Mapping[int, gpd.GeoDataFrame], matches: Sequence[Match], keys: Sequence[Key], basis: ComparisonBasis
) -> ChangeTables:
    """The change table of some lakes.

    Args:
        tables: Year -> outlines with `LAKE_COLUMNS`, ascending, two years or more.
        matches: The lakes that get rows.
        keys: Keys of the lakes, in the same order.
        basis: How to compare, and what was seen.

    Raises:
        InputError: If the years are not ascending.
    """
    years = tuple(tables)
    pairs = pairs_of_years(years)
    columns = {year: LakeColumns.of(table) for year, table in tables.items()}
    order = sorted(range(len(matches)), key=lambda index: keys[index].lake_key)
    rows: list[dict[str, Any]] = []
    series: list[dict[str, Any]] = []
    pieces: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": []}
    for index in order:
        ground, history = history_of_lake(matches[index], columns, basis.observe_ground)
        trend = _series_rows(keys[index], history, basis.settings, series) if len(years) > 2 else {}
        for pair in pairs:
            relation = relation_of(matches[index], tables, *pair, basis.settings.min_area_m2)
            first, second = (history[year] for year in pair)
            row = _pair_row(keys[index], first, second, relation, ground, basis)
            if row["status"] == Status.STABLE and not (first.n_outlines or second.n_outlines or matches[index].place):
                continue
            if not matches[index].members:
                row["geometry"] = None  # a place that is watched is no outline
            rows.append({**row, **trend})
            if row["status"] != Status.UNOBSERVED:
                east_m, north_m = basis.shifts.get(pair, (0.0, 0.0))
                after = move_outline(second.outline, -east_m, -north_m) if pair in basis.shifts else second.outline
                add_gained_and_lost(pieces, row, first.outline, after)
    return ChangeTables(
        change=as_change_frame(rows, pairs),
        gained=as_piece_frame(pieces["gained"]),
        lost=as_piece_frame(pieces["lost"]),
        series=pd.DataFrame(series, columns=list(SERIES_COLUMNS)),
    )


def _pair_row(
    key: Key,
    first: LakeInYear,
    second: LakeInYear,
    relation: Status,
    ground: BaseGeometry,
    basis: ComparisonBasis,
) -> dict[str, Any]:
    """One row of the table without its q-value."""
    spots = _look_where_absent(first, second, basis.observe_ground)
    reason = _reason(first, second, spots, basis.settings)
    first, second = (_with_remnant(lake, spots.get(lake.year), basis.settings) for lake in (first, second))
    both = shapely.union_all([first.outline, second.outline])
    shown = ground if both.is_empty else both
    point = shapely.point_on_surface(shown)
    return {
        "lake_key": key.lake_key,
        "aliases": ";".join(key.aliases),
        "pair": f"{first.year}-{second.year}",
        "reason": str(reason),
        "year_from": first.year,
        "year_to": second.year,
        "observed_from": first.seen.observed_share,
        "observed_to": second.seen.observed_share,
        "day_of_year_difference": second.day_of_year - first.day_of_year,
        "lake_ids_from": ";".join(first.ids),
        "lake_ids_to": ";".join(second.ids),
        "touches_edge": first.touches_edge or second.touches_edge,
        "elevation_m": first.elevation_m if first.area_m2 >= second.area_m2 else second.elevation_m,
        "lon": float(point.x),
        "lat": float(point.y),
        "geometry": shown,
        **_judge_pair(first, second, relation, reason, basis),
    }


def _judge_pair(
    first: LakeInYear, second: LakeInYear, relation: Status, reason: Reason, basis: ComparisonBasis
) -> dict[str, Any]:
    """Columns that say how the area changed and how sure that is; `p` is the test's p-value, NaN where none was made."""
    sigma = float(
        change_sigma(
            first.random_m2,
            second.random_m2,
            first.systematic_m2,
            second.systematic_m2,
            first.perimeter_m,
            second.perimeter_m,
            model=basis.model,
        )
    )
    confidence = basis.settings.confidence
    comparable = reason is Reason.NONE
    has_change = comparable or (reason is Reason.SEASON and first.n_outlines > 0 and second.n_outlines > 0)
    change = second.area_m2 - first.area_m2 if has_change else np.nan
    p = float(p_values(change, sigma)) if comparable else np.nan
    significant = p < 1.0 - confidence if comparable else None
    status = _status(first, second, relation, significant, change) if comparable else Status.UNOBSERVED
    return {
        "status": str(status),
        "area_from_m2": first.area_m2 if comparable or first.n_outlines else np.nan,
        "area_to_m2": second.area_m2 if comparable or second.n_outlines else np.nan,
        "change_m2": change,
        "change_percent": 100.0 * change / first.area_m2 if first.area_m2 > 0 else np.nan,
        "change_sigma_m2": sigma if has_change else np.nan,
        "minimum_detectable_change_m2": normal_quantile(confidence) * sigma if has_change else np.nan,
        "significant": significant,
        "q_value": np.nan,
        "rate_m2_per_year": change / (second.year - first.year),
        "p": p,
    }


def _look_where_absent(first: LakeInYear, second: LakeInYear, observe: GroundObserver) -> dict[int, GroundSeen]:
    """For a year without an outline, what it saw under the outline of the other year."""
    spots = {}
    for absent, present in ((first, second), (second, first)):
        if not absent.n_outlines and present.n_outlines:
            spots[absent.year] = observe(present.outline, 0)[absent.year]
    return spots


def _reason(first: LakeInYear, second: LakeInYear, spots: Mapping[int, GroundSeen], settings: ChangeSettings) -> Reason:
    """Why a pair of years cannot be compared: edge, then what hid the ground, then the season; `NONE` if it can."""
    if first.touches_edge or second.touches_edge:
        return Reason.EDGE
    short = [lake.seen for lake in (first, second) if lake.seen.observed_share < settings.min_observed]
    short += [spot for spot in spots.values() if not spot.is_observed_whole]
    if short:
        causes = {name: sum(getattr(seen, name) for seen in short) for name in ("ice", "shadow", "cloud", "nodata")}
        hidden = GroundSeen(**causes).reason
        return Reason.NODATA if hidden is Reason.NONE else hidden
    if abs(second.day_of_year - first.day_of_year) > settings.max_day_difference:
        return Reason.SEASON
    return Reason.NONE


def _with_remnant(lake: LakeInYear, spot: GroundSeen | None, settings: ChangeSettings) -> LakeInYear:
    """A lake without an outline whose ground still holds water, too little to be drawn, with that water's area.

    Up to the share that may be unobserved, single water pixels are noise and the ground counts as bare.
    """
    if spot is None or spot.lake <= (1.0 - settings.min_observed) * spot.total:
        return lake
    area = spot.lake * PIXEL_AREA_M2
    return replace(lake, area_m2=area, random_m2=area, perimeter_m=2.0 * float(np.sqrt(np.pi * area)))


def _status(first: LakeInYear, second: LakeInYear, relation: Status, significant: bool | None, change: float) -> Status:
    """Status of a lake that both years saw."""
    if second.n_outlines and first.area_m2 == 0:
        return Status.NEW
    if first.n_outlines and second.area_m2 == 0:
        return Status.VANISHED
    if relation is not Status.STABLE:
        return relation
    if not significant:
        return Status.STABLE
    return Status.GROWN if change > 0 else Status.SHRUNK


def _series_rows(
    key: Key, history: Mapping[int, LakeInYear], settings: ChangeSettings, series: list[dict[str, Any]]
) -> dict[str, float]:
    """Add a lake's years to the series; returns its trend."""
    values = []
    for year, lake in history.items():
        observed = lake.seen.observed_share >= settings.min_observed and not lake.touches_edge
        known = observed or lake.n_outlines > 0
        values.append(lake.area_m2 if observed else np.nan)
        series.append(
            {
                "lake_key": key.lake_key,
                "year": year,
                "area_m2": lake.area_m2 if known else np.nan,
                "area_sigma_m2": float(np.hypot(lake.random_m2, lake.systematic_m2)) if known else np.nan,
                "observed": observed,
            }
        )
    trend = estimate_trend(tuple(history), values, settings.confidence)
    return dict(zip(TREND_COLUMNS, (trend.slope, trend.low, trend.high), strict=True))
