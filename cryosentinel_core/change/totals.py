"""Totals of a comparison: by region, elevation and size of lakes, with random and common errors kept apart.

The error of one lake's outline is its own and averages out over many: such parts add in quadrature. Where the shore is drawn is the
same question for all lakes of a year: such parts add linearly, and stay. Neighbours: `pair_judgement` judges each lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosentinel_core.change.change_errors import ChangeErrors
from cryosentinel_core.change.lake_history import LakesInYear
from cryosentinel_core.change.noise_report import SIZE_CLASSES_HA
from cryosentinel_core.change.pair_judgement import JudgedPair
from cryosentinel_core.ground.regions import REGIONS
from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.units import HECTARE_M2

TOTAL_COLUMNS: Final = (
    "pair",
    "group_by",
    "group",
    "n_lakes",
    "n_compared",
    "n_grown",
    "n_shrunk",
    "n_new",
    "n_vanished",
    "area_from_m2",
    "area_from_sigma_random_m2",
    "area_from_sigma_common_m2",
    "area_to_m2",
    "area_to_sigma_random_m2",
    "area_to_sigma_common_m2",
    "change_m2",
    "change_percent",
    "change_sigma_random_m2",
    "change_sigma_common_m2",
    "change_sigma_m2",
    "unobserved_from_m2",
    "unobserved_to_m2",
)
"""Columns of `totals.csv`."""

ELEVATION_STEP_M: Final = 500
"""Height of a band."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LakesOfTotals:
    """The lakes of a table that totals are made of, (L,) each.

    Attributes:
        lon: Degrees east.
        lat: Degrees north.
        elevation_m: NaN if unknown.
        kept: True for those that have a row.
    """

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    elevation_m: NDArray[np.float64]
    kept: NDArray[np.bool_]


def totals_of_pair(
    pair: JudgedPair, lakes: LakesOfTotals, errors: ChangeErrors, common_m: Mapping[int, float]
) -> pd.DataFrame:
    """Totals between two years, of all lakes and by region, elevation and size.

    Areas and changes are those of the lakes that both years saw; what is known of the others stands apart, as a lower bound.

    Args:
        pair: The judged pair.
        lakes: Where its lakes lie.
        errors: How its errors were found.
        common_m: Year -> displacement that all its shores may have in common.
    """
    size_m2 = np.fmax(pair.first.area_m2, pair.second.area_m2)
    groups = {
        "all": np.full(size_m2.shape, "all", dtype=object),
        "region": regions_of(lakes.lon, lakes.lat),
        "elevation": _bands_of(lakes.elevation_m),
        "size": _classes_of(size_m2),
    }
    common_change_m2 = common_change(pair, errors)
    rows = []
    for group_by, labels in groups.items():
        for label in _in_order(set(labels[lakes.kept].tolist())):
            members = lakes.kept & (labels == label)
            numbers = _sums(pair, members, common_m, common_change_m2)
            rows.append(
                {"pair": f"{pair.first.year}-{pair.second.year}", "group_by": group_by, "group": label, **numbers}
            )
    return pd.DataFrame(rows, columns=list(TOTAL_COLUMNS))


def common_change(pair: JudgedPair, errors: ChangeErrors) -> NDArray[np.float64]:
    """(L,) m2: part of each change's error, one standard deviation, that all lakes have in common and that adds up linearly.

    Measured, it is the median displacement of all shores or its own error, whichever is more: a real change of all lakes and an
    outline drawn wider look alike. Where nothing was measured, all of the noise may be common; of simulated constants it is the
    share of the systematic part that differs from year to year.
    """
    shore = 0.5 * (pair.first.perimeter_m + pair.second.perimeter_m)
    if pair.noise is None:
        systematic = np.sqrt(0.5 * (pair.first.systematic_m2**2 + pair.second.systematic_m2**2))
        return np.asarray(errors.model.systematic_change_share * systematic, dtype=np.float64)
    if pair.noise.centre_m is None:
        return np.asarray(pair.noise.shore_m * shore, dtype=np.float64)
    return np.asarray(max(abs(pair.noise.centre_m), pair.noise.centre_sigma_m or 0.0) * shore, dtype=np.float64)


def regions_of(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.object_]:
    """(N,) the smallest named region around each place; `elsewhere` outside of all."""
    found = np.full(np.shape(lon), "elsewhere", dtype=object)
    by_size = sorted(REGIONS.items(), key=lambda item: -(item[1][2] - item[1][0]) * (item[1][3] - item[1][1]))
    for name, (west, south, east, north) in by_size:
        found[(lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)] = name
    return found


def _bands_of(elevation_m: NDArray[np.float64]) -> NDArray[np.object_]:
    """(N,) band of elevation, as `4000-4500 m`; `unknown` without one."""
    found = np.full(elevation_m.shape, "unknown", dtype=object)
    for index in np.flatnonzero(np.isfinite(elevation_m)).tolist():
        low = int(elevation_m[index] // ELEVATION_STEP_M) * ELEVATION_STEP_M
        found[index] = f"{low}-{low + ELEVATION_STEP_M} m"
    return found


def _classes_of(size_m2: NDArray[np.float64]) -> NDArray[np.object_]:
    """(N,) class by the larger of both areas, as `1-5 ha`."""
    bounds = [0.0, *(low for low, _ in SIZE_CLASSES_HA), np.inf]
    found = np.full(size_m2.shape, "", dtype=object)
    for low, high in pairwise(bounds):
        name = f"{low:g}-{high:g} ha" if np.isfinite(high) else f"over {low:g} ha"
        found[(size_m2 >= low * HECTARE_M2) & (size_m2 < high * HECTARE_M2)] = name
    return found


def _in_order(labels: set[str]) -> list[str]:
    """Labels by the number that they begin with, then by letters."""

    def key(label: str) -> tuple[float, str]:
        first = label.removeprefix("over ").split("-")[0].split(" ")[0]
        return (float(first), label) if first.replace(".", "", 1).isdigit() else (np.inf, label)

    return sorted(labels, key=key)


def _own_variance(year: LakesInYear, common_m2: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L,) m4: variance of each area that is the lake's own: its random part, and of the systematic one what a lake keeps in all years
    and other lakes do not share.
    """
    systematic = year.systematic_m2**2
    kept = systematic - common_m2**2
    return np.asarray(year.random_m2**2 + np.where(kept > 1e-9 * systematic, kept, 0.0), dtype=np.float64)


def _sums(
    pair: JudgedPair, members: NDArray[np.bool_], common_m: Mapping[int, float], common_change_m2: NDArray[np.float64]
) -> dict[str, Any]:
    """The numbers of one group."""
    compared = members & (pair.status != str(Status.UNOBSERVED))
    unseen = members & ~compared
    found: dict[str, Any] = {"n_lakes": int(members.sum()), "n_compared": int(compared.sum())}
    moved = np.where(pair.total_status != "", pair.total_status, pair.status)
    for status in (Status.GROWN, Status.SHRUNK, Status.NEW, Status.VANISHED):
        found[f"n_{status}"] = int((compared & (moved == str(status))).sum())
    for name, year in (("from", pair.first), ("to", pair.second)):
        found[f"area_{name}_m2"] = float(year.area_m2[compared].sum())
        common_m2 = common_m.get(year.year, 0.0) * year.perimeter_m
        found[f"area_{name}_sigma_random_m2"] = float(np.sqrt(_own_variance(year, common_m2)[compared].sum()))
        found[f"area_{name}_sigma_common_m2"] = float(common_m2[compared].sum())
        found[f"unobserved_{name}_m2"] = float(year.area_m2[unseen].sum())
    found["change_m2"] = float(pair.change_m2[compared].sum())
    before = found["area_from_m2"]
    found["change_percent"] = 100.0 * found["change_m2"] / before if before > 0 else np.nan
    found["change_sigma_random_m2"] = float(np.sqrt((pair.sigma_m2[compared] ** 2).sum()))
    found["change_sigma_common_m2"] = float(common_change_m2[compared].sum())
    found["change_sigma_m2"] = float(np.hypot(found["change_sigma_random_m2"], found["change_sigma_common_m2"]))
    return found
