"""How fast a raster of logits becomes a table of lakes, beside `rasterio.features.shapes` of the same file with geodesic areas.

    python benchmarks/lakes.py --side 10720 --lakes 1000

Both read the same tiled GeoTIFF of int16 logits (0.5 % water, 115 million pixels) and end with polygons in degrees and their areas on
the ellipsoid. Ours also draws shores at sub-pixel position, joins what blocks cut, and gives each lake its error and edge. Each in a
process of its own; imports are left out of the time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from pyproj import Geod, Transformer
from rasterio.windows import Window
from scipy import ndimage

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.extract import extract_lakes
from cryosentinel_core.lakes.tables import LakeOrigin, LakeReaders

EPSG, ROW, COL = 32643, 520_000, 60_000
"""Zone, and lattice address of the upper left pixel."""


def write_logits(path: Path, side: int, n_lakes: int) -> None:
    """Ragged lakes of about 0.005 * side**2 / n_lakes pixels each on dry ground, logits of a few counts' noise."""
    rng = np.random.default_rng(3)
    grid = Grid(epsg=EPSG, row=ROW, col=COL, height=side, width=side)
    logits = np.clip(rng.normal(-900, 60, (side, side)), -3000, -300).astype(np.int16)
    radius = np.sqrt(0.005 * side * side / n_lakes / np.pi)
    half = int(4 * radius) + 2
    rows, cols = np.mgrid[-half : half + 1, -half : half + 1]
    for _ in range(n_lakes):
        middle = rng.integers(half, side - half - 1, 2)
        size = radius * np.exp(rng.normal(0, 0.3))
        wave = ndimage.gaussian_filter(rng.normal(0, 1, rows.shape), 3) * 3
        lake = (120 * (size * (1 + 0.4 * wave) - np.hypot(rows, cols))).clip(-900, 900).astype(np.int16)
        part = logits[middle[0] - half : middle[0] + half + 1, middle[1] - half : middle[1] + half + 1]
        np.maximum(part, lake, out=part)
    profile = {"driver": "GTiff", "dtype": "int16", "count": 1, "height": side, "width": side, "nodata": -32768}
    with rasterio.open(
        path, "w", **profile, crs=f"EPSG:{EPSG}", transform=grid.transform, tiled=True, blockxsize=512, blockysize=512,
        compress="zstd",
    ) as raster:  # fmt: skip
        raster.write(logits, 1)


def ours(path: Path) -> int:
    """How many lakes and candidates."""
    with rasterio.open(path) as raster:
        hull = Grid(epsg=EPSG, row=ROW, col=COL, height=raster.height, width=raster.width)

        def read(grid: Grid) -> np.ndarray:
            return raster.read(1, window=Window(grid.col - COL, grid.row - ROW, grid.width, grid.height))

        readers = LakeReaders(logits=read, processed=lambda grid: np.ones(grid.shape, dtype=bool))
        origin = LakeOrigin(aoi="bench", year=2023, model="made", radar_used=True)
        return len(extract_lakes(readers, hull, shapely.box(-180, -90, 180, 90), origin))


def shapes(path: Path) -> int:
    """Polygons along pixel edges, of 10 px and more, with areas."""
    with rasterio.open(path) as raster:
        water = (raster.read(1) > 0).astype(np.uint8)
        place = raster.transform
    found = [
        shapely.geometry.shape(one) for one, _ in rasterio.features.shapes(water, mask=water == 1, transform=place)
    ]
    kept = [one for one in found if one.area >= 1000]
    move = Transformer.from_crs(EPSG, 4326, always_xy=True).transform
    lonlat = shapely.transform(np.array(kept), lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
    geod = Geod(ellps="WGS84")
    return len([abs(geod.geometry_area_perimeter(one)[0]) for one in lonlat])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_720)
    parser.add_argument("--lakes", type=int, default=1000)
    parser.add_argument("--task", choices=["write", "ours", "shapes"], help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task == "write":  # in a process of its own: a child's peak memory would begin with its parent's
        write_logits(given.path, given.side, given.lakes)
        return
    if given.task:
        start = time.process_time()
        n_lakes = ours(given.path) if given.task == "ours" else shapes(given.path)
        print(n_lakes, time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "logits.tif"
        size = ["--side", str(given.side), "--lakes", str(given.lakes)]
        found = {}
        for task in ("write", "ours", "shapes"):
            command = [sys.executable, __file__, "--task", task, "--path", str(path), *size]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            if text:
                found[task] = (int(text[-3]), float(text[-2]), float(text[-1]))
    print("| | lakes | processor s | peak MiB |\n|---|---|---|---|")
    for task, (n, seconds, mib) in found.items():
        print(f"| {task} | {n} | {seconds:.2f} | {mib:.0f} |")
    print(f"ours / shapes: {found['ours'][1] / found['shapes'][1]:.2f}")


if __name__ == "__main__":
    main()
