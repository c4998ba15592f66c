"""How good the lakes, areas, intervals and statuses are, on simulated scenes whose truth is known.

    python benchmarks/closed_loop.py --seeds 100-109 [--size-km 12] [--difficulty real] [--errors measured,simulated]
        [--harder] [--model water-index] [--keep DIR] [--out FILE]

For each seed: simulate, run `change` as a user would, compare with the truth. On the same scenes, for comparison, what a user could do
in an afternoon: the plain median of the same Sentinel-2 scenes, MNDWI > 0.3, and Otsu's threshold on MNDWI. Constants of the method
were set on seeds 0 to 9 and are reported on others. With `--harder` the last digit of a seed may make it harder (`HARDER`). Prints
Markdown tables; `--out` holds every lake, is written after each seed, and a second run goes on after the seeds that it holds.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from closed_loop_report import PLAIN, report
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
from cryosentinel_core.simulate.difficulty import DIFFICULTIES, Level
from cryosentinel_core.workflows.change import change
from cryosentinel_core.workflows.predict import predict

YEARS = (2017, 2023)
HARDER = {6: "half under cloud", 7: "no radar in 2023", 8: "years shifted", 9: "calving fronts"}
"""Last digit of a seed -> what makes it harder."""
OVERRIDES: dict[str, dict[str, Any]] = {"half under cloud": {"cloud": 0.5}, "years shifted": {"year_shift_m": 4.0}}
"""Settings of the simulation; two years whose shifts have a standard deviation of 4 m each way lie 7 m apart in the mean."""
FRONTS = {"fronts": 0.9, "melange": 0.4}
"""Of `calving fronts`: share of lakes at a front, and highest share of the water before it under ice."""


NUMBERS = {
    "change_m2": "change_m2", "sigma_m2": "change_sigma_m2", "critical_m2": "critical_change_m2",
    "detectable_m2": "minimum_detectable_change_m2", "observed_from": "observed_from", "observed_to": "observed_to",
}  # fmt: skip
"""What is kept of a row of the change table -> its column."""


@dataclass(frozen=True)
class Loop:
    """How the seeds are run."""

    size_km: float
    model: str
    difficulty: Level
    errors: tuple[str, ...]
    harder: bool

    def condition(self, seed: int) -> str:
        """What makes a seed harder, or `PLAIN`."""
        return HARDER.get(seed % 10, PLAIN) if self.harder else PLAIN


def make_scenes(catalogue: Path, seed: int, loop: Loop) -> None:
    """The catalogue of a seed, unless it is there."""
    if (catalogue / "catalog.json").exists():
        return
    condition = loop.condition(seed)
    hardships = DIFFICULTIES[loop.difficulty]
    if condition == "calving fronts":
        hardships = replace(hardships, **FRONTS)
    settings = SimulateSettings(
        seed=seed, size_km=loop.size_km, years=YEARS, difficulty=loop.difficulty, **OVERRIDES.get(condition, {})
    )
    with patch.dict(DIFFICULTIES, {loop.difficulty: hardships}):
        simulate(catalogue, settings)
    if condition == "no radar in 2023":
        for path in catalogue.glob("sentinel-1*/collection.json"):
            collection = json.loads(path.read_text())
            links = [link for link in collection["links"] if link["rel"] != "item" or "_2023" not in link["href"]]
            assert len(links) < len(collection["links"])
            path.write_text(json.dumps(collection | {"links": links}))


def run_seed(seed: int, folder: Path, loop: Loop) -> dict[str, Any]:
    """One seed's lakes, events and scores."""
    catalogue = folder / "catalogue"
    began = time.perf_counter()
    make_scenes(catalogue, seed, loop)
    simulated = time.perf_counter()
    area = load_area(str(catalogue / "aoi.geojson"))
    home = Workspace(folder / "workspace")
    summary = predict(
        home, area, YEARS, PredictSettings(model=loop.model), FetchSettings(catalog=str(catalogue)), reporter=Silent()
    )
    truth = gpd.read_file(catalogue / "truth" / "lakes.gpkg", layer="lakes")
    events = pd.read_csv(catalogue / "truth" / "events.csv", keep_default_na=False, na_values=[""])
    watch = write_watched(folder / "watched.gpkg", truth, events)
    inside = truth[truth.intersects(area.geometry)]
    scored: dict[str, Any] = {"seed": seed, "condition": loop.condition(seed), "events": [], "strange": []}
    for errors in loop.errors:
        settings = ChangeSettings(watch=watch, errors=errors)
        result = change(home, area.name, YEARS, summary.model, settings, reporter=Silent())
        rows = gpd.read_file(result.folder / "change.gpkg", layer="change")
        scored["events"] += [entry | {"errors": errors} for entry in score_events(inside, events, rows)]
        scored["strange"] += [entry | {"errors": errors} for entry in strange_rows(truth, rows)]
    folders = {year.year: year.folder for year in summary.years}
    return scored | {
        "simulate_s": simulated - began,
        "pipeline_s": time.perf_counter() - simulated,
        "lakes": score_lakes(inside, events, folders),
        "pixels": score_pixels(catalogue, inside, events, folders, area),
    }


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
            entry = {
                "year": year,
                "truth_id": row.truth_id,
                "kind": row.kind,
                "true_m2": float(row.area_m2),
                "found": False,
            }
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
            "kind": event.kind,
            "true_reason": "" if pd.isna(event.reason) else event.reason,
            "true_from_m2": float(event.area_from_m2),
            "true_to_m2": float(event.area_to_m2),
            "status": "missing",
        }
        at = int(near[int(np.argmax(shared))]) if len(near) and max(shared) > 0.2 * place.area else named(rows, ids)
        if at is not None:
            row = rows.iloc[at]
            entry |= {
                "lake_key": row["lake_key"],
                "status": row["status"],
                "reason": "" if row["reason"] is None else row["reason"],
                "significant": None if pd.isna(row["significant"]) else bool(row["significant"]),
                **{ours: float(row[name]) if pd.notna(row[name]) else None for ours, name in NUMBERS.items()},
            }
        found.append(entry)
    return found


def named(rows: gpd.GeoDataFrame, ids: list[str]) -> int | None:
    """Position of the row of a watched lake that has no outline in any year: it can be known by its name alone."""
    names = [set(str(aliases or "").split(";")) if geometry is None else set() for aliases, geometry in
             zip(rows.aliases, rows.geometry, strict=True)]  # fmt: skip
    return next((at for at, found in enumerate(names) if found & set(ids)), None)


def strange_rows(truth: gpd.GeoDataFrame, rows: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """Rows of the change table whose outlines lie on no lake that there ever was."""
    real = shapely.union_all(truth.geometry.to_numpy())
    strange = rows[rows.geometry.notna() & ~rows.intersects(real)]
    areas = strange[["area_from_m2", "area_to_m2"]].astype(float).max(axis=1)
    return [
        {"lake_key": key, "status": status, "area_m2": None if np.isnan(area) else area}
        for key, status, area in zip(strange.lake_key, strange.status, areas, strict=True)
    ]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100-109", help="as 100-109,112; run in this order")
    parser.add_argument("--size-km", type=float, default=12.0)
    parser.add_argument("--difficulty", default="easy", choices=("easy", "real", "hard"))
    parser.add_argument("--errors", default="measured,simulated", help="where errors of changes come from")
    parser.add_argument("--harder", action="store_true", help="make seeds harder by their last digit")
    parser.add_argument("--model", default="water-index")
    parser.add_argument("--keep", type=Path, help="keep catalogues and workspaces here")
    parser.add_argument("--out", type=Path, help="every scored lake and event as JSON; seeds in it are not run again")
    options = parser.parse_args()
    errors = tuple(options.errors.split(","))
    loop = Loop(options.size_km, options.model, options.difficulty, errors, options.harder)
    results = json.loads(options.out.read_text()) if options.out is not None and options.out.exists() else []
    for seed in seeds_of(options.seeds):
        if any(result["seed"] == seed for result in results):
            continue
        folder = Path(tempfile.mkdtemp()) if options.keep is None else options.keep / str(seed)
        try:
            results.append(run_seed(seed, folder, loop))
        finally:
            if options.keep is None:
                shutil.rmtree(folder, ignore_errors=True)
        if options.out is not None:
            options.out.write_text(json.dumps(results))
        print(f"seed {seed}, {results[-1]['condition']}: {results[-1]['pipeline_s']:.0f} s", flush=True)
    print(report(results))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def seeds_of(text: str) -> list[int]:
    """The seeds of `100-109,112`."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += list(range(int(first), int(last or first) + 1))
    return found


if __name__ == "__main__":
    main()
