"""The change table: one row a lake and pair of years, with what happened, how sure that is, or why it cannot be said.

Unobserved is not dry. Of every lake stands how much of its ground was seen in each year: the ground is the union of all
years' outlines grown by a pixel. A lake is new or vanished only where the other year saw bare ground under its whole
outline; an inventory that does not draw a lake has not seen its ground, unless it is complete. Pure arithmetic on tables; what
was seen comes as counts from `io`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from cryosentinel_core.change.alerts import ALERT_COLUMNS, alerts_of
from cryosentinel_core.change.change_frames import (
    LAKE,
    as_change_frame,
    as_piece_frame,
    frame_of_pair,
    pieces_between,
    series_frame,
)
from cryosentinel_core.change.comparability import pairs_of_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.cross_check import CHECK_COLUMNS, check_table
from cryosentinel_core.change.glacier_contact import add_glacier_columns
from cryosentinel_core.change.lake_history import (
    DRAWN,
    NOT_DRAWN,
    LakesInYear,
    ground_of_lakes,
    lakes_in_year,
)
from cryosentinel_core.change.lake_keys import Key
from cryosentinel_core.change.matching import Match
from cryosentinel_core.change.noise_report import OutlineShift, outline_shift
from cryosentinel_core.change.pair_judgement import JudgedPair, judge_pair, measurable_lakes, pair_of_lakes
from cryosentinel_core.change.shore_noise import ShoreNoise
from cryosentinel_core.change.significance import estimate_trends
from cryosentinel_core.change.totals import TOTAL_COLUMNS, LakesOfTotals, totals_of_pair
from cryosentinel_core.lakes.tables import AGREEMENT, TREND_COLUMNS, GroundSeen


@dataclass(frozen=True, eq=False)
class ChangeTables:
    """Tables that a comparison gives.

    Attributes:
        change: `CHANGE_COLUMNS` (with three or more years `TREND_COLUMNS` too) and geometry: the outlines of both years as
            one, or where these have none those of the other years; null where no year has one.
        gained: Ground that became water between two observed years: `lake_key`, `pair`, `area_m2`, geometry.
        lost: Water that became ground, likewise.
        series: `SERIES_COLUMNS`, one row a lake and year; empty with two years.
        totals: `TOTAL_COLUMNS`: sums by region, elevation and size for each pair of years.
        alerts: `ALERT_COLUMNS`: significant growth and new lakes, largest first.
        check: `CHECK_COLUMNS`: agreement with another model's lakes, disagreements first; empty where none checked.
        noises: Pair of years -> its measured or stated noise; None where simulated constants were used.
        outline_shifts: Pair of years -> shift that all outlines have in common; None with too few lakes.
    """

    change: gpd.GeoDataFrame
    gained: gpd.GeoDataFrame
    lost: gpd.GeoDataFrame
    series: pd.DataFrame
    totals: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TOTAL_COLUMNS)))
    alerts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(ALERT_COLUMNS)))
    check: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CHECK_COLUMNS)))
    noises: Mapping[tuple[int, int], ShoreNoise | None] = field(default_factory=dict)
    outline_shifts: Mapping[tuple[int, int], OutlineShift | None] = field(default_factory=dict)


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
    pairs = pairs_of_years(tuple(tables))
    order = sorted(range(len(matches)), key=lambda index: keys[index].lake_key)
    matches, keys = [matches[index] for index in order], [keys[index] for index in order]
    lakes = {year: lakes_in_year(matches, year, table) for year, table in tables.items()}
    ground = ground_of_lakes(matches, list(lakes.values()))
    lakes = _with_observations(lakes, ground, basis)
    judged: dict[tuple[int, int], JudgedPair] = {}
    for a, b in pairs:
        pair = pair_of_lakes(lakes[a], lakes[b], matches, tables, basis)
        noise = basis.errors.noise_of(pair.first, pair.second, measurable_lakes(pair))
        judged[a, b] = judge_pair(pair, noise, basis.errors, basis.settings.confidence)
    has_place = np.array([match.place is not None for match in matches], dtype=bool)
    frames = [frame_of_pair(one, keys, ground, has_place, is_only_pair=len(pairs) == 1) for one in judged.values()]
    for frame, one in zip(frames, judged.values(), strict=True):
        add_glacier_columns(frame, frame[LAKE].to_numpy(), one, basis)
    agreements, check = check_table(lakes, keys, ground, basis.checks, basis.settings.min_observed)
    if basis.checks:
        for frame, (a, b) in zip(frames, judged, strict=True):
            both = [agreements[year][frame[LAKE].to_numpy()] for year in (a, b) if year in agreements]
            frame[AGREEMENT] = np.fmin.reduce(both) if both else np.nan
    noises = {pair: one.noise for pair, one in judged.items()}
    trends, series = _trends_and_series(lakes, keys, noises, basis) if len(tables) > 2 else ({}, series_frame([], {}))
    pieces = [pieces_between(one, keys, basis.shifts.get(pair), basis.pixel_m) for pair, one in judged.items()]
    change = as_change_frame(frames, trends)
    return ChangeTables(
        change=change,
        totals=_totals(judged.values(), frames, basis, len(keys)),
        alerts=alerts_of(change, basis.settings.confidence),
        gained=as_piece_frame([gained for gained, _ in pieces]),
        lost=as_piece_frame([lost for _, lost in pieces]),
        series=series,
        check=check,
        noises=noises,
        outline_shifts={pair: outline_shift(one) for pair, one in judged.items()},
    )


def _totals(
    judged: Iterable[JudgedPair], frames: Sequence[gpd.GeoDataFrame], basis: ComparisonBasis, n_lakes: int
) -> pd.DataFrame:
    """Totals of all pairs of years, of the lakes that have a row in each."""
    found = []
    for one, frame in zip(judged, frames, strict=True):
        rows = frame[LAKE].to_numpy()
        columns = {name: np.full(n_lakes, np.nan) for name in ("lon", "lat", "elevation_m")}
        for name, values in columns.items():
            values[rows] = frame[name].to_numpy(dtype=float)
        kept = np.zeros(n_lakes, dtype=bool)
        kept[rows] = True
        found.append(totals_of_pair(one, LakesOfTotals(**columns, kept=kept), basis.errors, basis.common_m))
    filled = [totals for totals in found if len(totals)] or found[:1]
    return pd.concat(filled, ignore_index=True)


def _with_observations(
    lakes: Mapping[int, LakesInYear], ground: np.ndarray[Any, Any], basis: ComparisonBasis
) -> dict[int, LakesInYear]:
    """The years with what each saw of the lakes' ground."""
    imagery = [year for year in lakes if year not in basis.drawn]
    seen: dict[int, list[GroundSeen]] = {year: [] for year in imagery}
    for piece in ground if imagery else ():
        found = basis.observe_ground(piece, 1)
        for year in imagery:
            seen[year].append(found[year])
    for year, is_complete in basis.drawn.items():
        there = (lakes[year].n_outlines > 0) | is_complete
        seen[year] = [DRAWN if drawn else NOT_DRAWN for drawn in there.tolist()]
    return {year: replace(one, seen=tuple(seen[year])) for year, one in lakes.items()}


def _trends_and_series(
    lakes: Mapping[int, LakesInYear],
    keys: Sequence[Key],
    noises: Mapping[tuple[int, int], ShoreNoise | None],
    basis: ComparisonBasis,
) -> tuple[dict[str, np.ndarray[Any, Any]], pd.DataFrame]:
    """`TREND_COLUMNS` of each lake, and the series."""
    columns: dict[int, dict[str, np.ndarray[Any, Any]]] = {}
    own = []
    for year, one in lakes.items():
        observed = (one.observed_share >= basis.settings.min_observed) & ~one.touches_edge
        known = observed | (one.n_outlines > 0)
        columns[year] = {
            "area_m2": np.where(known, one.area_m2, np.nan),
            "area_sigma_m2": np.where(known, np.hypot(one.random_m2, one.systematic_m2), np.nan),
            "observed": observed,
        }
        own.append(basis.errors.own_sigma(one, [noise for pair, noise in noises.items() if year in pair]))
    areas = [np.where(each["observed"], each["area_m2"], np.nan) for each in columns.values()]
    trend = estimate_trends(tuple(lakes), np.stack(areas, axis=1), np.stack(own, axis=1), basis.settings.confidence)
    values = (trend.slope, trend.low, trend.high, trend.robust_slope, trend.robust_low, trend.robust_high)
    return dict(zip(TREND_COLUMNS, values, strict=True)), series_frame(keys, columns)
