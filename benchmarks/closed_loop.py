"""How good the lakes, areas, intervals and statuses are, on simulated scenes whose truth is known.

    python benchmarks/closed_loop.py --seeds 100-109 [--size-km 12] [--difficulty real] [--model water-index] [--keep DIR]

For each seed: simulate, run `change` as a user would, compare with the truth. On the same scenes, for comparison, what a user could do
in an afternoon: the plain median of the same Sentinel-2 scenes, MNDWI > 0.3, and Otsu's threshold on MNDWI. Constants of the method
were set on seeds 0 to 9 and are reported on seeds 100 to 109. Prints a Markdown table; `--out` keeps every lake for a closer look.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.features import rasterize
from scipy import ndimage

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.tables.vector import read_lakes
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.simulate import SimulateSettings, simulate
from cryosentinel_core.workflows.change import change
from cryosentinel_core.workflows.predict import predict

YEARS = (2017, 2023)
CLASSES = ((0.5, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, np.inf))
MIN_M2 = 5_000.0
CLEAR_M2 = 5_500.0


def run_seed(seed: int, folder: Path, size_km: float, model: str, difficulty: Any = "easy") -> dict[str, Any]:
    """One seed's lakes, events and scores."""
    catalogue = folder / "catalogue"
    began = time.perf_counter()
    if not (catalogue / "catalog.json").exists():
        simulate(catalogue, SimulateSettings(seed=seed, size_km=size_km, years=YEARS, difficulty=difficulty))
    simulated = time.perf_counter()
    area = load_area(str(catalogue / "aoi.geojson"))
    home = Workspace(folder / "workspace")
    summary = predict(
        home, area, YEARS, PredictSettings(model=model), FetchSettings(catalog=str(catalogue)), reporter=Silent()
    )
    truth = gpd.read_file(catalogue / "truth" / "lakes.gpkg", layer="lakes")
    events = pd.read_csv(catalogue / "truth" / "events.csv", keep_default_na=False, na_values=[""])
    watch = write_watched(folder / "watched.gpkg", truth, events)
    result = change(
        home, area.name, YEARS, summary.model, ChangeSettings(watch=watch, errors="simulated"), reporter=Silent()
    )
    done = time.perf_counter()
    inside = truth[truth.intersects(area.geometry)]
    rows = gpd.read_file(result.folder / "change.gpkg", layer="change")
    scored: dict[str, Any] = {
        "seed": seed,
        "simulate_s": simulated - began,
        "pipeline_s": done - simulated,
        "lakes": score_lakes(inside, events, {year.year: year.folder for year in summary.years}),
        "events": score_events(inside, events, rows),
        "pixels": score_pixels(catalogue, inside, events, {year.year: year.folder for year in summary.years}, area),
    }
    return scored


def write_watched(path: Path, truth: gpd.GeoDataFrame, events: pd.DataFrame) -> Path | None:
    """The lakes that no year could see, as a file of known lakes: only such a file can give them a row."""
    blind = events[(events["observed_from"] == 0) & (events["observed_to"] == 0) & (events["status"] == "unobserved")]
    known = truth[truth.truth_id.isin({part for ids in blind["truth_ids"] for part in str(ids).split(";")})]
    known = known.drop_duplicates("truth_id")[["truth_id", "geometry"]].rename(columns={"truth_id": "name"})
    if known.empty:
        return None
    known.to_file(path, layer="watched", driver="GPKG")
    return path


def hidden_ids(events: pd.DataFrame) -> set[str]:
    """Truth ids of lakes that could not be seen in one of the years."""
    hidden = events[events["status"] == "unobserved"]
    return {part for ids in hidden["truth_ids"] for part in str(ids).split(";")}


def score_lakes(truth: gpd.GeoDataFrame, events: pd.DataFrame, folders: dict[int, Path]) -> list[dict[str, Any]]:
    """One row a true lake and year seen in both years: what was found, how large, how sure."""
    hidden = hidden_ids(events)
    found = []
    for year, folder in folders.items():
        lakes, candidates = read_lakes(folder)
        both = pd.concat([lakes, candidates], ignore_index=True)
        tree = shapely.STRtree(both.geometry.to_numpy())
        of_year = truth[(truth.year == year) & ~truth.truth_id.isin(hidden)]
        for row in of_year.itertuples():
            near = tree.query(row.geometry, predicate="intersects")
            shared = [shapely.area(shapely.intersection(row.geometry, both.geometry.iloc[i])) for i in near]
            entry = {"year": year, "truth_id": row.truth_id, "true_m2": float(row.area_m2), "found": False}
            if len(near) and max(shared) > 0.25 * row.geometry.area:
                best = both.iloc[int(near[int(np.argmax(shared))])]
                others = of_year[(of_year.truth_id != row.truth_id) & of_year.intersects(best.geometry)]
                entry |= {
                    "found": True,
                    "alone": len(others) == 0,
                    "area_m2": float(best.area_m2),
                    "sigma_m2": float(best.area_sigma_m2),
                    "n_observations": float(best.n_observations),
                    "perimeter_m": float(best.perimeter_m),
                    "random_m2": float(best.area_sigma_random_m2),
                }
            found.append(entry)
    return found


def score_events(truth: gpd.GeoDataFrame, events: pd.DataFrame, rows: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """One row a true event: what the change table says of that place."""
    found = []
    tree = shapely.STRtree(rows.geometry.to_numpy())
    for event in events.itertuples():
        ids = str(event.truth_ids).split(";")
        shapes = truth[truth.truth_id.isin(ids)]
        if shapes.empty:
            continue
        place = shapely.union_all(shapes.geometry.to_numpy())
        near = tree.query(place, predicate="intersects")
        shared = [shapely.area(shapely.intersection(place, rows.geometry.iloc[i])) for i in near]
        entry = {
            "truth_ids": event.truth_ids,
            "true_status": event.status,
            "true_reason": "" if pd.isna(event.reason) else event.reason,
            "true_from_m2": float(event.area_from_m2),
            "true_to_m2": float(event.area_to_m2),
            "status": "missing",
        }
        if len(near) and max(shared) > 0.2 * place.area:
            row = rows.iloc[int(near[int(np.argmax(shared))])]
            entry |= {
                "status": row["status"],
                "reason": "" if row["reason"] is None else row["reason"],
                "significant": None if pd.isna(row["significant"]) else bool(row["significant"]),
                "change_m2": float(row["change_m2"]) if pd.notna(row["change_m2"]) else None,
                "sigma_m2": float(row["change_sigma_m2"]) if pd.notna(row["change_sigma_m2"]) else None,
                "observed_from": float(row["observed_from"]),
                "observed_to": float(row["observed_to"]),
            }
        found.append(entry)
    return found


def score_pixels(
    catalogue: Path, truth: gpd.GeoDataFrame, events: pd.DataFrame, folders: dict[int, Path], area: Any
) -> list[dict[str, Any]]:
    """Pixel IoU and invented lakes of ours and the plain methods, outside lakes that could not be seen."""
    hidden = hidden_ids(events)
    found = []
    epsg = area.zones[0].epsg
    for year, folder in folders.items():
        with rasterio.open(folder / f"water_{epsg}.tif") as raster:
            transform, shape = raster.transform, raster.shape
        grid = Grid(
            epsg=epsg, row=round(-transform.f / 10), col=round(transform.c / 10), height=shape[0], width=shape[1]
        )
        burn = _burner(transform, shape, epsg)
        inside = burn([area.geometry])
        of_year = truth[truth.year == year]
        seen = of_year[~of_year.truth_id.isin(hidden)]
        blind = burn(truth[truth.truth_id.isin(hidden)].geometry)
        judged = inside & ~ndimage.binary_dilation(blind, iterations=3)
        true = burn(seen.geometry) & judged
        any_lake = ndimage.binary_dilation(burn(truth.geometry), iterations=2)
        ours = read_part(folder / f"water_{epsg}.tif", grid, 255) == 1
        mndwi = plain_mndwi(catalogue, year, grid)
        masks = {
            "ours": ours,
            "MNDWI > 0.3": mndwi > 0.3,
            "Otsu on MNDWI": mndwi > otsu(mndwi[inside & np.isfinite(mndwi)]),
        }
        for method, mask in masks.items():
            mask = mask & judged
            labels, _ = ndimage.label(mask)
            sizes = np.bincount(labels.ravel())
            touching = np.unique(labels[any_lake])
            large = np.flatnonzero(sizes >= 50)
            invented = set(large.tolist()) - set(touching.tolist()) - {0}
            found.append(
                {
                    "year": year,
                    "method": method,
                    "intersection": int((mask & true).sum()),
                    "union": int((mask | true).sum()),
                    "invented": len(invented),
                }
            )
    return found


def _burner(transform: Any, shape: tuple[int, int], epsg: int) -> Any:
    def burn(geometries: Iterable[Any]) -> np.ndarray:
        listed = list(gpd.GeoSeries(list(geometries), crs=4326).to_crs(epsg))
        if not listed:
            return np.zeros(shape, dtype=bool)
        return rasterize(listed, out_shape=shape, transform=transform).astype(bool)

    return burn


def plain_mndwi(catalogue: Path, year: int, grid: Grid) -> np.ndarray:
    """MNDWI of the plain median of the season's scenes under 30 % cloud: nodata left out, nothing else masked."""
    from rasterio.warp import Resampling, reproject

    green, swir = [], []
    for path in sorted((catalogue / "sentinel-2-l2a").glob("*/*.json")):
        item = json.loads(path.read_text())
        properties = item["properties"]
        month = int(properties["datetime"][5:7])
        if int(properties["datetime"][:4]) != year or properties["eo:cloud_cover"] >= 30 or not 7 <= month <= 9:
            continue
        offset = 1000.0 if properties["s2:processing_baseline"] >= "04.00" else 0.0
        for name, stack in (("B03", green), ("B11", swir)):
            out = np.full(grid.shape, np.nan, dtype=np.float32)
            with rasterio.open(path.parent / item["assets"][name]["href"]) as raster:
                reproject(
                    raster.read(1).astype(np.float32), out, src_transform=raster.transform, src_crs=raster.crs, src_nodata=0,
                    dst_transform=grid.transform, dst_crs=f"EPSG:{grid.epsg}", dst_nodata=np.nan, resampling=Resampling.bilinear,
                )  # fmt: skip
            stack.append(out - offset)
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            g, s = np.nanmedian(green, axis=0), np.nanmedian(swir, axis=0)
        return (g - s) / (g + s)


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold (1979) over 256 bins of -1..1."""
    counts, edges = np.histogram(np.clip(values, -1, 1), bins=256, range=(-1, 1))
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    with np.errstate(all="ignore"):
        low = np.cumsum(counts * centres) / below
        high = (np.sum(counts * centres) - np.cumsum(counts * centres)) / above
        between = below * above * (low - high) ** 2
    return float(centres[int(np.nanargmax(between))])


def is_true(column: pd.Series) -> int:
    """How many entries are True; empty ones are not."""
    return int((column.astype(str) == "True").sum())


def report(results: list[dict[str, Any]]) -> str:
    """The table of docs/benchmarks.md."""
    lakes = pd.DataFrame([row for result in results for row in result["lakes"]])
    events = pd.DataFrame([row for result in results for row in result["events"]])
    pixels = pd.DataFrame([row for result in results for row in result["pixels"]])
    large = lakes[lakes.true_m2 >= MIN_M2]
    single = lakes[lakes.found & (lakes.alone.astype(str) == "True") & (lakes.true_m2 >= MIN_M2)].copy()
    single["error"] = (single.area_m2 - single.true_m2) / single.true_m2
    single["inside"] = (single.area_m2 - single.true_m2).abs() <= 1.96 * single.sigma_m2
    lines = ["| measure | value |", "|---|---|"]
    lines.append(f"| true lakes >= 0.5 ha seen in both years, found | {int(large.found.sum())} of {len(large)} |")
    for method, group in pixels.groupby("method", sort=False):
        scenes = len(group)
        lines.append(
            f"| {method}: pixel IoU; invented lakes >= 0.5 ha a scene | {group.intersection.sum() / group.union.sum():.3f}; "
            f"{group.invented.sum() / scenes:.1f} |"
        )
    lines.append(f"| area error, mean signed | {100 * single.error.mean():+.2f} % (n = {len(single)}) |")
    lines.append(f"| area error, median absolute | {100 * single.error.abs().median():.2f} % |")
    for low, high in CLASSES:
        group = single[(single.true_m2 >= low * 1e4) & (single.true_m2 < high * 1e4)]
        name = f"{low:g}-{high:g} ha" if np.isfinite(high) else f"> {low:g} ha"
        if len(group):
            lines.append(
                f"| {name}: 95 % intervals that hold the truth; median sigma/area; mean error; n | {100 * group.inside.mean():.1f} %; "
                f"{100 * (group.sigma_m2 / group.area_m2).median():.1f} %; {100 * group.error.mean():+.2f} %; {len(group)} |"
            )
    largest = events[["true_from_m2", "true_to_m2"]].max(axis=1)
    border = events[(events.true_status != "unobserved") & (largest >= MIN_M2) & (largest < CLEAR_M2)]
    seen = events[(events.true_status != "unobserved") & (largest >= CLEAR_M2)]
    lines.append(
        f"| lakes of 0.5 to 0.55 ha at most, which a measured area may put under the table's cut: without a row | "
        f"{int((border.status == 'missing').sum())} of {len(border)} |"
    )
    lost = seen[seen.status == "unobserved"]
    lines.append(
        f"| lakes over 0.55 ha seen in truth but called unobserved (left out below) | {len(lost)} of {len(seen)} |"
    )
    seen = seen[seen.status != "unobserved"]
    pair = seen[seen.true_status.isin(["grown", "shrunk", "stable"])].copy()
    pair["true_change"] = (pair.true_to_m2 - pair.true_from_m2) / pair.true_from_m2
    big, none = pair[pair.true_change.abs() > 0.2], pair[pair.true_change == 0]
    if "significant" in pair:
        lines.append(
            f"| true changes over 20 % flagged significant | {int((big.significant.astype(str) == 'True').sum())} of {len(big)} |"
        )
        lines.append(
            f"| unchanged lakes flagged significant | {int((none.significant.astype(str) == 'True').sum())} of {len(none)} |"
        )
        covered = pair[pair.sigma_m2.notna()]
        inside = (covered.change_m2 - (covered.true_to_m2 - covered.true_from_m2)).abs() <= 1.96 * covered.sigma_m2
        lines.append(
            f"| 95 % intervals of change that hold the truth | {100 * inside.mean():.1f} % of {len(covered)} |"
        )
    for status in ("new", "vanished", "merged", "split"):
        group = seen[seen.true_status == status]
        lines.append(f"| {status} called {status} | {int((group.status == status).sum())} of {len(group)} |")
    blind = events[
        (events.true_status == "unobserved") & (events[["true_from_m2", "true_to_m2"]].max(axis=1) >= MIN_M2)
    ]
    for reason in sorted(set(blind.true_reason)):
        group = blind[blind.true_reason == reason]
        right = (group.status == "unobserved") & (group.reason.fillna("").str.contains(reason))
        only = int((group.status == "unobserved").sum())
        lines.append(
            f"| hidden by {reason}: unobserved; with that reason | {only}; {int(right.sum())} of {len(group)} |"
        )
    lines.append(f"| seconds a seed: simulate; fetch to table | {np.mean([r['simulate_s'] for r in results]):.0f}; "
                 f"{np.mean([r['pipeline_s'] for r in results]):.0f} |")  # fmt: skip
    lines.append(f"| peak memory | {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100-109")
    parser.add_argument("--size-km", type=float, default=12.0)
    parser.add_argument("--difficulty", default="easy", choices=("easy", "real", "hard"))
    parser.add_argument("--model", default="water-index")
    parser.add_argument("--keep", type=Path, help="keep catalogues and workspaces here")
    parser.add_argument("--out", type=Path, help="write every scored lake and event as JSON")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    results = []
    for seed in range(int(first), int(last or first) + 1):
        folder = Path(tempfile.mkdtemp()) if options.keep is None else options.keep / str(seed)
        try:
            results.append(run_seed(seed, folder, options.size_km, options.model, options.difficulty))
        finally:
            if options.keep is None:
                shutil.rmtree(folder, ignore_errors=True)
        print(f"seed {seed}: {results[-1]['pipeline_s']:.0f} s", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(results))
    print(report(results))


if __name__ == "__main__":
    main()
