"""How fast inventories are compared, beside `geopandas.overlay` of the same files, in processor time of one process each.

    python benchmarks/change.py --lakes 3000 30000

Both read the same two GeoPackages and write their result as one; ours also cleans, matches, names, tests and writes all tables.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.workflows.change import change_inventories

YEARS = (2010, 2020)


def write_inventories(folder: Path, n: int) -> None:
    """Two years of lakes with 60 corners, 3 to 30 ha, on a grid of 2 km; a third of the outlines is copied from year to year."""
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    side = int(np.ceil(np.sqrt(n)))
    centre = np.stack([2000.0 * (np.arange(n) % side), 5e6 + 2000.0 * (np.arange(n) // side)], axis=1)
    radius = np.exp(rng.uniform(np.log(100), np.log(310), n))[:, None]
    shape = 1 + sum(
        rng.normal(0, 0.2 / k**1.5, (n, 1)) * np.cos(k * angle + rng.uniform(0, 6, (n, 1))) for k in range(2, 8)
    )
    for year in YEARS:
        drawn = np.where(np.arange(n)[:, None] % 3 == 0, 0.0, rng.normal(0, 8, (n, 60)))
        away = np.maximum(radius * shape + drawn, 20.0)
        xy = centre[:, None] + away[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        frame = gpd.GeoDataFrame(geometry=shapely.polygons(xy), crs="EPSG:32643")
        frame.to_crs(4326).to_file(folder / f"{year}.gpkg")


def compare(folder: Path) -> None:
    """Our table."""
    inventories = [Inventory(year=year, path=str(folder / f"{year}.gpkg"), resolution_m=30) for year in YEARS]
    change_inventories(inventories, folder / "out", ChangeSettings(), reporter=Silent())


def overlay(folder: Path, how: str) -> None:
    """The overlay that a script would make, with geodesic areas left out."""
    first, second = (gpd.read_file(folder / f"{year}.gpkg") for year in YEARS)
    gpd.overlay(first, second, how=how).to_file(folder / f"{how}.gpkg")


def measure(task: str, folder: Path) -> tuple[float, float]:
    """(processor seconds, peak MiB) of a task in a process of its own, imports left out of the time."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
    seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(seconds), float(peak)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lakes", type=int, nargs="+", default=[3000, 30_000, 100_000])
    parser.add_argument("--task", choices=["ours", "union", "intersection"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        start = time.process_time()
        if given.task == "ours":
            compare(given.folder)
        else:
            overlay(given.folder, given.task)
        print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print("| lakes a year | ours s, MiB | overlay union s, MiB | overlay intersection s, MiB | ours / union |")
    print("|---|---|---|---|---|")
    for n in given.lakes:
        with tempfile.TemporaryDirectory() as home:
            write_inventories(Path(home), n)
            found = {task: measure(task, Path(home)) for task in ("ours", "union", "intersection")}
        cells = " | ".join(f"{seconds:.1f}, {peak:.0f}" for seconds, peak in found.values())
        print(f"| {n:,} | {cells} | {found['ours'][0] / found['union'][0]:.2f} |")


if __name__ == "__main__":
    main()
