"""A fitted network by both paths: terratorch's own model and ours, the same weights, on simulated scenes it has not seen.

    python benchmarks/fitted.py                      # simulate, fit, compare; prints a Markdown table
    python benchmarks/fitted.py --keep DIR           # keeps scenes and weights, and uses those that are there

A tiny network with random weights is fitted to chips of one simulated area (truth polygons as labels, BCE + Dice, flips and
turns), saved in the published layout, and read back twice: by terratorch's model, plainly standardised, window by window,
blended in float64; and by ours as `predict` runs it. Compared on other simulated areas: masks, and every lake over 1 ha.
Random weights put most logits near 0 and say nothing of masks; these have learnt where water is.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import torch
from rasterio.features import rasterize
from rasterio.transform import Affine
from reference import build_reference

from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Grid, hull_of_cells
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.weights.checkpoint_write import write_torch
from cryosentinel_core.io.weights.model_files import load_segmenter
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.lakes.extract import extract_lakes
from cryosentinel_core.lakes.tables import LakeOrigin, LakeReaders
from cryosentinel_core.learn.inference.staging import standardise
from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, ModelSpec
from cryosentinel_core.learn.network.lake_network import LakeNetwork, build_network
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.error_model import NETWORK_ERRORS
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.segment.window_blending import LogitCanvas
from cryosentinel_core.segment.windows import cut_chips, encode_logits
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.simulate import SimulateSettings, simulate
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.workflows.fetch import fetch

YEARS = (2017, 2023)
SIDE, STRIDE = 224, 112
HECTARE_M2 = 10_000.0
MIN_MASK_IOU, MAX_AREA_DIFFERENCE = 0.998, 0.005
TRAINING_SEED, HELD_OUT_SEEDS = 201, (301, 302)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A year of a simulated area: its stack, and its true lakes as pixels.

    Attributes:
        area: Of interest.
        stack: On the hull of the cells that the area touches.
        label: (H, W) bool, pixels whose centre lies in a true lake.
    """

    area: Area
    stack: Stack
    label: np.ndarray


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- scenes


def make_scenes(folder: Path, seed: int, size_km: float, n_lakes: int, years: tuple[int, ...]) -> list[Scene]:
    """Simulate an area, fetch its stacks, burn its truth."""
    catalogue = folder / f"catalogue-{seed}"
    if not (catalogue / "catalog.json").exists():
        simulate(catalogue, SimulateSettings(seed=seed, size_km=size_km, n_lakes=n_lakes, years=YEARS))
    area = load_area(str(catalogue / "aoi.geojson"))
    settings = FetchSettings(catalog=str(catalogue))
    fetched = fetch(Workspace(folder / f"workspace-{seed}"), area, years, settings, reporter=Silent())
    hull = hull_of_cells(area.touched)
    truth = gpd.read_file(catalogue / "truth" / "lakes.gpkg", layer="lakes")
    scenes = []
    for year in years:
        stack = read_stack(fetched.stacks[year], hull.epsg, hull, tile_cells=settings.tile_cells)
        shapes = truth[truth.year == year].to_crs(hull.epsg).geometry
        transform = Affine(10.0, 0.0, 10.0 * hull.col, 0.0, -10.0, -10.0 * hull.row)
        label = rasterize(shapes, out_shape=hull.shape, transform=transform).astype(bool)
        scenes.append(Scene(area=area, stack=stack, label=label))
    return scenes


# ---- fitting


def chips_of_whole(stack: Stack) -> dict[str, torch.Tensor]:
    """The whole stack as one standardised chip: modality -> (C, H, W) float32."""
    empty = np.zeros((1, *stack.grid.shape), np.float32)
    batch = ChipBatch(
        s2=stack.s2[None], s1=None if stack.s1 is None else stack.s1[None], dem=stack.dem[None, None],
        valid=stack.valid[None], shadow=empty, snow=empty, water=empty, addresses=np.zeros((1, 2), np.int64),
    )  # fmt: skip
    return {name: x[0] for name, x in standardise(batch, PUBLISHED_NORMALISATION, torch.device("cpu")).items()}


def draw_batches(scenes: list[Scene], size: int, seed: int) -> Iterator[tuple[dict[str, torch.Tensor], Any, Any]]:
    """Endless batches: windows of 224 px, three of four about a water pixel, flipped and turned at random."""
    rng = np.random.default_rng(seed)
    whole = [chips_of_whole(scene.stack) for scene in scenes]
    masks = [(torch.from_numpy(scene.label), torch.from_numpy(scene.stack.observed)) for scene in scenes]
    wet = [np.argwhere(scene.label) for scene in scenes]
    while True:
        drawn = []
        for _ in range(size):
            k = int(rng.integers(len(scenes)))
            limits = np.array(masks[k][0].shape) - SIDE
            corner = rng.integers(0, limits + 1)
            if rng.random() < 0.75:
                corner = wet[k][rng.integers(len(wet[k]))] - SIDE // 2 + rng.integers(-80, 81, 2)
            row, col = (int(v) for v in np.clip(corner, 0, limits))
            axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
            turned = rng.random() < 0.5

            def cut(x: torch.Tensor, row: int = row, col: int = col, axes: Any = axes, turned: Any = turned) -> Any:
                part = x[..., row : row + SIDE, col : col + SIDE].flip(axes)
                return part.transpose(-1, -2) if turned else part

            drawn.append(({name: cut(x) for name, x in whole[k].items()}, cut(masks[k][0]), cut(masks[k][1])))
        yield (
            {name: torch.stack([chips[name] for chips, _, _ in drawn]) for name in drawn[0][0]},
            torch.stack([label for _, label, _ in drawn]).float(),
            torch.stack([observed for _, _, observed in drawn]).float(),
        )


def loss_of(logits: torch.Tensor, label: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """BCE + Dice over observed pixels."""
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, label, weight=observed, reduction="sum")
    water = torch.sigmoid(logits) * observed
    dice = 1 - (2 * (water * label).sum() + 1) / (water.sum() + (label * observed).sum() + 1)
    return bce / observed.sum().clamp(min=1) + dice


def fit(scenes: list[Scene], args: argparse.Namespace) -> LakeNetwork:
    """A network with seeded random weights, fitted."""
    torch.manual_seed(args.seed)
    network = build_network(ModelSpec(backbone="terramind_v1_tiny", decoder_channels=args.decoder_channels))
    with torch.no_grad():
        network.head.head[2].bias.fill_(-2.0)  # water is rare
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4)
    warm = max(1, args.steps // 12)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / (args.steps - warm)))),
    )
    began, smooth = time.perf_counter(), 0.0
    batches = draw_batches(scenes, args.batch, args.seed)
    for step in range(args.steps):
        chips, label, observed = next(batches)
        loss = loss_of(network(chips), label, observed)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smooth = loss.item() if step == 0 else 0.95 * smooth + 0.05 * loss.item()
        if step % 20 == 19:
            say(f"step {step + 1} of {args.steps}: loss {smooth:.3f}, {time.perf_counter() - began:.0f} s")
    return network.eval()


def save_as_published(network: LakeNetwork, path: Path) -> None:
    """A checkpoint in the published layout: keys `model._orig_mod.`, hyper-parameters beside them."""
    spec = network.spec
    content = {
        "state_dict": {f"model._orig_mod.{key}": value for key, value in network.state_dict().items()},
        "hyper_parameters": {
            "backbone": spec.backbone, "modalities": list(spec.modalities), "decoder": "UperNetDecoder",
            "decoder_kwargs": {"decoder_channels": spec.decoder_channels, "decoder_scale_modules": True},
        },
    }  # fmt: skip
    write_torch(path, content)


# ---- the two paths


def build_plain(path: Path, spec: ModelSpec) -> torch.nn.Module:
    """terratorch's own model with the file's weights, read by PyTorch alone."""
    model = build_reference(spec)
    stored = torch.load(path, weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model._orig_mod."): value for key, value in stored.items()})
    return model.eval()


def standardise_plainly(batch: ChipBatch) -> dict[str, torch.Tensor]:
    """Clip, fill, `(x - mean) / std`, in NumPy."""
    stats = PUBLISHED_NORMALISATION.to_dict()
    parts = {"S2L2A": batch.s2.clip(0, 16_000), "DEM": np.nan_to_num(batch.dem, nan=-500.0).clip(-500, 9000)}
    if batch.s1 is not None and np.isfinite(batch.s1).any():
        parts["S1GRD"] = np.where(np.isfinite(batch.s1), batch.s1, -25.0)
    return {
        name: torch.from_numpy(
            (parts[name].astype(np.float32) - np.float32(stats[name]["means"])[:, None, None])
            / np.float32(stats[name]["stds"])[:, None, None]
        )
        for name in ("S2L2A", "S1GRD", "DEM")
        if name in parts
    }


def plain_windows(model: torch.nn.Module, precision: str) -> Callable[[ChipBatch], np.ndarray]:
    """Logits of one window by terratorch, under PyTorch's own autocast in bf16."""

    def segment(batch: ChipBatch) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits: np.ndarray = model(standardise_plainly(batch)).output.float().numpy()
        return logits.reshape(len(batch), SIDE, SIDE)

    return segment


def addresses_of(grid: Grid) -> list[tuple[int, int]]:
    """Windows at half overlap inside a grid, in lattice order."""
    rows = range(grid.row, grid.row + grid.height - SIDE + 1, STRIDE)
    return [(row, col) for row in rows for col in range(grid.col, grid.col + grid.width - SIDE + 1, STRIDE)]


def blend_plainly(scene: Scene, segment: Callable[[ChipBatch], np.ndarray]) -> np.ndarray:
    """Mosaic of windows under a Gaussian of sigma = side / 4, summed in float64."""
    grid = scene.stack.grid
    line = np.exp(-0.5 * ((np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 4)) ** 2)
    peak = np.outer(line, line)
    total, weight = np.zeros(grid.shape), np.zeros(grid.shape)
    for row, col in addresses_of(grid):
        place = np.s_[row - grid.row : row - grid.row + SIDE, col - grid.col : col - grid.col + SIDE]
        total[place] += peak * segment(cut_chips(scene.stack, [(row, col)], SIDE, 0))[0]
        weight[place] += peak
    return (total / weight).astype(np.float32)


def blend_ours(scene: Scene, segment: Callable[[ChipBatch], np.ndarray]) -> np.ndarray:
    """Mosaic of the same windows as the corridor makes it."""
    canvas = LogitCanvas(scene.stack.grid, SIDE, blended=True)
    for address in addresses_of(scene.stack.grid):
        canvas.add(address, segment(cut_chips(scene.stack, [address], SIDE, 0))[0])
    return canvas.mean()


# ---- comparison


def lakes_of(scene: Scene, logits: np.ndarray) -> gpd.GeoDataFrame:
    """Lakes with their geodesic areas inside the sub-pixel outline, as `predict` finds them."""
    grid = scene.stack.grid
    stored = encode_logits(logits, scene.stack.observed)

    def read(part: Grid) -> np.ndarray:
        shared = part.intersection(grid)
        out = np.full(part.shape, LOGIT_NODATA, np.int16)
        if shared is not None:
            out[shared.slices_in(part)] = stored[shared.slices_in(grid)]
        return out

    readers = LakeReaders(logits=read, processed=lambda part: np.ones(part.shape, dtype=bool))
    origin = LakeOrigin(
        aoi="held-out", year=2023, model="fitted", radar_used=True, is_network=True, error_model=NETWORK_ERRORS
    )
    everywhere = shapely.box(-180, -90, 180, 90)
    return extract_lakes(readers, grid, everywhere, origin, min_area_m2=1.0)


def match_areas(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> tuple[list[float], int]:
    """|area / area - 1| of every lake of `one` over 1 ha against the lake of `other` that shares most; how many have none."""
    differences, lost = [], 0
    tree = shapely.STRtree(other.geometry.to_numpy())
    for row in one[one.area_m2 > HECTARE_M2].itertuples():
        near = tree.query(row.geometry, predicate="intersects")
        if not len(near):
            lost += 1
            continue
        shared = [shapely.area(shapely.intersection(row.geometry, other.geometry.iloc[i])) for i in near]
        differences.append(abs(float(other.area_m2.iloc[int(near[int(np.argmax(shared))])]) / row.area_m2 - 1))
    return differences, lost


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def compare(scenes: list[Scene], wanted: list[np.ndarray], found: list[np.ndarray]) -> dict[str, Any]:
    """All scenes together: logits, masks of observed pixels, lakes over 1 ha, and the masks against the truth."""
    seen = np.concatenate([scene.stack.observed.ravel() for scene in scenes])
    flat_wanted, flat_found, label = (
        np.concatenate([part.ravel() for part in parts])[seen]
        for parts in (wanted, found, [scene.label for scene in scenes])
    )
    differences, lost = [], 0
    for scene, a, b in zip(scenes, wanted, found, strict=True):
        some, gone = match_areas(lakes_of(scene, a), lakes_of(scene, b))
        differences, lost = differences + some, lost + gone
    return {
        "rms_over_std": float(np.sqrt(np.square(flat_found - flat_wanted).mean()) / flat_wanted.std()),
        "mask_iou": iou(flat_wanted > 0, flat_found > 0),
        "n_lakes": len(differences) + lost,
        "n_lost": lost,
        "area_worst": max(differences),
        "area_median": float(np.median(differences)),
        "n_beyond": sum(value > MAX_AREA_DIFFERENCE for value in differences),
        "iou_truth": iou(flat_found > 0, label),
    }


def run(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    began = time.perf_counter()
    torch.set_num_threads(args.threads)
    path = folder / f"fitted-{args.decoder_channels}-{args.steps}.ckpt"
    if not path.exists():
        training = make_scenes(folder, args.train_seed, args.train_km, args.train_lakes, YEARS)
        water = np.mean([scene.label.mean() for scene in training])
        say(f"training scenes: {time.perf_counter() - began:.0f} s, {100 * water:.1f} % water")
        save_as_published(fit(training, args), path)
        del training
    say(f"fitted: {time.perf_counter() - began:.0f} s")
    held_out = [
        scene
        for seed in args.held_out
        for scene in make_scenes(folder, seed, args.held_out_km, args.held_out_lakes, YEARS[-1:])
    ]
    say(f"held-out scenes: {time.perf_counter() - began:.0f} s")
    mosaics: dict[str, list[np.ndarray]] = {}
    spec = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=args.decoder_channels)
    plain = build_plain(path, spec)
    for precision in ("float32", "bf16"):
        segment = plain_windows(plain, precision)
        mosaics[f"terratorch {precision}"] = [blend_plainly(scene, segment) for scene in held_out]
        ours = load_segmenter(path, device="cpu", precision=precision, batch_size=1, tta=False, threads=args.threads)
        mosaics[f"ours {precision}"] = [blend_ours(scene, ours.segment) for scene in held_out]
        say(f"{precision}: {time.perf_counter() - began:.0f} s")
    pairs = [("ours float32", "terratorch float32"), ("ours bf16", "terratorch float32"),
             ("ours bf16", "terratorch bf16"), ("terratorch bf16", "terratorch float32")]  # fmt: skip
    return [
        {"found": found, "against": against, **compare(held_out, mosaics[against], mosaics[found])}
        for found, against in pairs
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    print(
        "\n| path | against | rms difference / std of logits | mask IoU | lakes over 1 ha | not found | "
        "largest area difference | median | beyond 0.5 % | IoU with the truth |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        print(
            f"| {row['found']} | {row['against']} | {row['rms_over_std']:.1e} | {row['mask_iou']:.5f} | {row['n_lakes']} | "
            f"{row['n_lost']} | {100 * row['area_worst']:.3f} % | {100 * row['area_median']:.4f} % | {row['n_beyond']} | "
            f"{row['iou_truth']:.3f} |"
        )
    print()
    for row in rows[:2]:
        met = row["mask_iou"] >= MIN_MASK_IOU and row["n_lost"] == 0 and row["n_beyond"] == 0
        print(f"{row['found']}: mask IoU >= {MIN_MASK_IOU}, every lake within 0.5 %: {'met' if met else 'NOT met'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate at its highest")
    parser.add_argument("--decoder-channels", type=int, default=128, help="the published decoder has 256")
    parser.add_argument("--train-seed", type=int, default=TRAINING_SEED)
    parser.add_argument("--train-km", type=float, default=10.0)
    parser.add_argument("--train-lakes", type=int, default=100)
    parser.add_argument("--held-out", type=int, nargs="+", default=list(HELD_OUT_SEEDS))
    parser.add_argument("--held-out-km", type=float, default=5.0)
    parser.add_argument("--held-out-lakes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads that wait for each other lose on a busy machine"
    )
    parser.add_argument("--keep", type=Path, help="a folder for scenes and weights")
    parser.add_argument("--out", type=Path, help="the rows as JSON")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="fitted-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        rows = run(args, folder)
    finally:
        if args.keep is None:
            shutil.rmtree(folder)
    print_table(rows)
    print(f"{time.perf_counter() - began:.0f} s in all")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
