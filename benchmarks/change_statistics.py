"""How honest the table's statistics are: known shapes, digitised again from rasters at random phases, and by an operator's hand.

    python benchmarks/change_statistics.py

Nothing has changed in nine tenths of the lakes; a tenth grew by the change that their table says it finds with 80 % power. Intervals,
false discoveries, power and trends are counted against the truth, by `change/` as the command uses it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from rasterio.transform import from_origin

from cryosentinel_core.change.change_errors import ChangeErrors
from cryosentinel_core.change.change_table import compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import Key
from cryosentinel_core.change.matching import Match
from cryosentinel_core.change.significance import estimate_trends
from cryosentinel_core.lakes.inventory import clean_inventory
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.change import ChangeSettings

EPSG, STEP_M, N_CORNERS = 32643, 4000.0, 240
SIZES_HA = ((0.5, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, 200.0))
Digitiser = Callable[[shapely.Polygon, np.random.Generator], shapely.Polygon]


def true_lakes(n: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Outlines (N_CORNERS, 2) around the origin, metres, with bays of all sizes, log-uniform from 0.5 to 200 ha."""
    angle = np.linspace(0, 2 * np.pi, N_CORNERS, endpoint=False)
    found = []
    for area in np.exp(rng.uniform(np.log(5e3), np.log(2e6), n)):
        order = np.arange(2, 14)
        amplitude = rng.normal(0, 0.25 / order**1.2)[:, None]
        ripple = (amplitude * np.cos(order[:, None] * angle + rng.uniform(0, 2 * np.pi, (12, 1)))).sum(axis=0)
        radius = np.maximum(1 + ripple, 0.2)
        xy = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        found.append(xy * np.sqrt(area / shapely.Polygon(xy).area))
    return found


def from_raster(pixel_m: float) -> Digitiser:
    """Digitise as the pixels whose centres are wet, on a grid of random phase."""

    def digitise(outline: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
        west, south, east, north = outline.bounds
        left, top = west - pixel_m * (1 + rng.random()), north + pixel_m * (1 + rng.random())
        shape = (int((top - south) / pixel_m) + 2, int((east - left) / pixel_m) + 2)
        transform = from_origin(left, top, pixel_m, pixel_m)
        wet = rasterize([(outline, 1)], out_shape=shape, transform=transform, dtype="uint8")
        pieces = [shapely.geometry.shape(one) for one, value in shapes(wet, wet == 1, transform=transform) if value]
        return max(pieces, key=lambda one: one.area)

    return digitise


def by_hand(outline: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
    """Digitise with a displacement that wanders along the shore (6 m) and one of the whole lake (3 m; of one in ten 9 m)."""
    n = len(outline.exterior.coords) - 1
    length = max(int(n * 150.0 / outline.length), 1)
    walk = np.convolve(np.tile(rng.normal(0, 1, n), 3), np.ones(length) / np.sqrt(length), "same")[n : 2 * n]
    common = rng.normal(0, 9.0 if rng.random() < 0.1 else 3.0)
    xy = np.asarray(outline.exterior.coords)[:-1]
    away = xy - xy.mean(axis=0)
    moved = xy + away / np.linalg.norm(away, axis=1)[:, None] * (6.0 * walk + common)[:, None]
    valid = shapely.make_valid(shapely.Polygon(moved))
    return max(shapely.get_parts(valid), key=shapely.area)


def table_of(year: int, outlines: list[shapely.Polygon], pixel_m: float) -> gpd.GeoDataFrame:
    """A lake table of drawn outlines."""
    frame = gpd.GeoDataFrame(geometry=outlines, crs=f"EPSG:{EPSG}")
    return clean_inventory(frame, Inventory(year=year, path="drawn", resolution_m=pixel_m), Silent())


def run(digitise: Digitiser, pixel_m: float, n: int, seed: int) -> pd.DataFrame:
    """The table's rows of one simulation, with the true change in `truth_m2`."""
    rng = np.random.default_rng(seed)
    lakes = true_lakes(n, rng)
    side = int(np.ceil(np.sqrt(n)))
    place = np.stack([300_000 + STEP_M * (np.arange(n) % side), 4_700_000 + STEP_M * (np.arange(n) // side)], axis=1)
    grown = np.arange(n) % 10 == 0

    def compare(scale: NDArray[np.float64]) -> pd.DataFrame:
        drawn = np.random.default_rng(seed + 1)
        before = [digitise(shapely.Polygon(xy + at), drawn) for xy, at in zip(lakes, place, strict=True)]
        after = [digitise(shapely.Polygon(xy * s + at), drawn) for xy, at, s in zip(lakes, place, scale, strict=True)]
        tables = {2010: table_of(2010, before, pixel_m), 2020: table_of(2020, after, pixel_m)}
        matches = [Match({2010: (row,), 2020: (row,)}) for row in range(n)]
        keys = [Key(f"{row:06d}") for row in range(n)]
        errors = ChangeErrors(prior_m=dict.fromkeys(tables, pixel_m / 2 * 0.6872), floor=None)
        basis = ComparisonBasis(
            settings=ChangeSettings(), errors=errors, drawn=dict.fromkeys(tables, False), pixel_m=pixel_m
        )
        return pd.DataFrame(compare_years(tables, matches, keys, basis).change.drop(columns="geometry"))

    area = np.array([shapely.Polygon(xy).area for xy in lakes])
    scale = np.ones(n)
    for _ in range(2):  # what is stated depends on what has grown, as that adds to the noise that is measured
        stated = compare(scale)["minimum_detectable_change_m2"].to_numpy()
        scale = np.where(grown, np.sqrt(1 + stated / area), 1.0)
    rows = compare(scale)
    return rows.assign(truth_m2=area * (scale**2 - 1), true_area_m2=area, grown=grown)


def print_case(name: str, rows: pd.DataFrame) -> None:
    """Lines of the table of a case."""
    off = (rows["change_m2"] - rows["truth_m2"]).abs()
    held = off <= 1.959964 * rows["change_sigma_m2"]
    told = rows["q_value"] < 0.05
    by_size = []
    for low, high in SIZES_HA:
        size = (rows["true_area_m2"] >= low * 1e4) & (rows["true_area_m2"] < high * 1e4)
        by_size.append(f"{100 * held[size].mean():.1f}")
    false = 100 * (told & ~rows["grown"]).sum() / max(told.sum(), 1)
    alarms = 100 * (rows["significant"] & ~rows["grown"]).sum() / (~rows["grown"]).sum()
    power = 100 * rows.loc[rows["grown"], "significant"].mean()
    detect = (rows["minimum_detectable_change_m2"] / rows["true_area_m2"])[
        rows["true_area_m2"].between(1e4, 5e4)
    ].median()
    print(
        f"| {name} | {100 * held.mean():.1f} | {' / '.join(by_size)} | {alarms:.1f} | {false:.1f} | {power:.0f} | {100 * detect:.1f} |"
    )


def print_trends(n: int, seed: int) -> None:
    """Coverage of trend intervals with errors known, and with a scatter twice as large."""
    rng = np.random.default_rng(seed)
    for n_years in (3, 4, 6, 10):
        years = np.sort(rng.choice(np.arange(1990, 2024), n_years, replace=False))
        sigma = rng.uniform(500, 2000, (n, n_years))
        told = []
        for scatter in (1.0, 2.0):
            areas = 1e5 + 800.0 * (years - 2000) + rng.normal(0, scatter * sigma)
            trend = estimate_trends(years, areas, sigma, 0.95)
            covered = (trend.low <= 800) & (trend.high >= 800)
            robust = (trend.robust_low <= 800) & (trend.robust_high >= 800)
            told.append(f"{100 * covered.mean():.1f}")
            told.append(f"{100 * robust.mean():.1f}" if n_years >= 6 else "none")
        print(f"| {n_years} | {' | '.join(told)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lakes", type=int, default=1000, help="Lakes of a case.")
    parser.add_argument("--seeds", type=int, default=3, help="Simulations of a case.")
    given = parser.parse_args()
    print("| outlines | coverage % | by size | alarms % | false discoveries % | power % | detectable at 1-5 ha % |")
    print("|---|---|---|---|---|---|---|")
    cases: dict[str, tuple[Digitiser, float]] = {f"{m} m raster": (from_raster(m), m) for m in (10.0, 15.0, 30.0)}
    for name, (digitise, pixel_m) in {**cases, "operator": (by_hand, 10.0)}.items():
        print_case(name, pd.concat([run(digitise, pixel_m, given.lakes, seed) for seed in range(given.seeds)]))
    print("\n| years | coverage % | robust | coverage %, scatter doubled | robust |\n|---|---|---|---|---|")
    print_trends(20_000, 1)


if __name__ == "__main__":
    main()
