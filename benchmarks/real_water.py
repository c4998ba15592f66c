"""How well the water index finds water on real chips with masks, beside plain NDWI and MNDWI.

    python benchmarks/real_water.py DIR [--out FILE.json] [--picture FILE.png]

DIR holds `images/<n>.tif` (11 bands: coastal, blue, green, red, NIR, SWIR1, SWIR2, QA, two DEMs, ...; reflectance x 10,000) and
`labels/<n>.png` (1 = water) of 30 m chips. They are taken as 10 m pixels, heights divided by 3, in the middle of a chip of 224 px;
the coastal band stands for B01, NIR for B08 and B8A, the red edge lies between red and NIR, and there is no radar. Masks are often a
pixel too large: a ring of one pixel on both sides of each mask's edge is left out of all counts. Prints a table a chip and the totals:
IoU where there is water, false pixels where there is none.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from scipy import ndimage

from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.segment.water_index import HALO_PX, WaterIndex
from cryosentinel_core.segment.water_spectra import normalised_difference
from cryosentinel_core.segment.windows import pad_halo
from cryosentinel_core.units import CELL_PX

BLUE, GREEN, RED, NIR, SWIR1, SWIR2 = range(1, 7)
DEM = 8
DEM_SCALE = 3.0


@dataclass(frozen=True)
class RealChip:
    """One chip: name, bands (11, H, W) float32 as stored, label and what counts (H, W) bool."""

    name: str
    bands: NDArray[np.float32]
    label: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def read_chips(folder: Path, names: set[str] | None = None) -> list[RealChip]:
    """Chips of a folder by number: all, or those named."""
    chips = []
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # these chips lie nowhere
    for path in sorted((folder / "images").glob("*.tif"), key=lambda one: int(one.stem)):
        if names is not None and path.stem not in names:
            continue
        with rasterio.open(path) as raster:
            bands = raster.read().astype(np.float32)
        with rasterio.open(folder / "labels" / f"{path.stem}.png") as raster:
            label = raster.read(1) > 0
        edge = ndimage.binary_dilation(label) & ~ndimage.binary_erosion(label, border_value=1)
        chips.append(RealChip(path.stem, bands, label, ~edge & (bands[:SWIR2] > 0).any(axis=0)))
    return chips


def batch_of(chip: RealChip) -> tuple[ChipBatch, tuple[slice, slice]]:
    """A chip of 224 px around it, and where in it the real pixels lie."""
    side = chip.label.shape[0]
    start = (CELL_PX - side) // 2
    inside = (slice(start, start + side), slice(start, start + side))
    source = (0, BLUE, GREEN, RED, *[None] * 3, NIR, NIR, NIR, SWIR1, SWIR2)
    s2 = np.zeros((12, CELL_PX, CELL_PX), dtype=np.uint16)
    for band, origin in enumerate(source):
        plane = 0.5 * (chip.bands[RED] + chip.bands[NIR]) if origin is None else chip.bands[origin]
        s2[(band, *inside)] = np.clip(np.rint(plane), 1, 65_535)
    dem = np.full((CELL_PX, CELL_PX), np.nan, dtype=np.float32)
    dem[inside] = chip.bands[DEM] / DEM_SCALE
    none = np.zeros((1, CELL_PX, CELL_PX), dtype=np.float32)
    valid = np.zeros((1, CELL_PX, CELL_PX), dtype=bool)
    valid[0][inside] = True
    return (
        ChipBatch(
            s2=s2[None], s1=None, dem=dem[None, None], valid=valid, shadow=none, snow=none,
            water=np.full_like(none, np.nan), addresses=np.zeros((1, 2), dtype=np.int64),
        ),
        inside,
    )  # fmt: skip


def find_water(chip: RealChip, index: WaterIndex) -> dict[str, NDArray[np.bool_]]:
    """Masks of water by three methods."""
    batch, inside = batch_of(chip)
    logits = index.segment(pad_halo(batch, HALO_PX))[0][inside]
    bands = np.maximum(chip.bands, 1.0)
    return {
        "water-index": logits > 0,
        "NDWI > 0": normalised_difference(bands[GREEN], bands[NIR]) > 0,
        "MNDWI > 0.3": normalised_difference(bands[GREEN], bands[SWIR1]) > 0.3,
    }


def score(chip: RealChip, index: WaterIndex) -> dict[str, Any]:
    """Counts of one chip by method, over what counts."""
    row: dict[str, Any] = {"chip": chip.name, "label_px": int(chip.label.sum())}
    for method, mask in find_water(chip, index).items():
        found, label = mask[chip.counted], chip.label[chip.counted]
        both, either = int((found & label).sum()), int((found | label).sum())
        row[method] = {"both": both, "either": either, "found": int(found.sum()), "label": int(label.sum())}
    return row


def iou(counts: dict[str, int]) -> float:
    """Intersection over union; 1 where both are empty."""
    return counts["both"] / counts["either"] if counts["either"] else 1.0


def paired_interval(
    differences: NDArray[np.float64], *, level: float = 0.9, draws: int = 10_000
) -> tuple[float, float]:
    """Bootstrap interval of a mean of differences, chips drawn with replacement (seeded)."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (draws, len(differences))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [score(chip, WaterIndex()) for chip in read_chips(args.folder)]
    methods = [name for name in rows[0] if name not in ("chip", "label_px")]
    wet, dry = [row for row in rows if row["label_px"]], [row for row in rows if not row["label_px"]]
    print("| chip | label px | " + " | ".join(methods) + " |\n" + "|---" * (2 + len(methods)) + "|")
    for row in wet:
        print(f"| {row['chip']} | {row['label_px']} | " + " | ".join(f"{iou(row[m]):.2f}" for m in methods) + " |")
    for row in dry:
        print(f"| {row['chip']} | 0 | " + " | ".join(f"{row[m]['found']} px" for m in methods) + " |")
    print()
    for method in methods:
        ious = np.array([iou(row[method]) for row in wet])
        pooled = sum(row[method]["both"] for row in rows) / sum(row[method]["either"] for row in rows)
        false = np.mean([row[method]["found"] for row in dry]) if dry else float("nan")
        print(
            f"{method}: mean IoU {ious.mean():.3f} over {len(wet)} chips with water, pooled over all {pooled:.3f}, under 0.3 on "
            f"{int((ious < 0.3).sum())}; false pixels a dry chip {false:.1f}"
        )
    gain = np.array([iou(row["water-index"]) - iou(row["NDWI > 0"]) for row in wet])
    low, high = paired_interval(gain)
    print(f"water-index less NDWI > 0: {gain.mean():+.3f}, 90 % interval {low:+.3f} to {high:+.3f}")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
