"""The network's speed: terratorch's own model under its `tiled_inference`, against ours, on the same raster and weights.

    python benchmarks/predict.py                          # CPU: tiny, base, large; float32 and bf16; about 15 minutes
    python benchmarks/predict.py --backbones tiny --areas # also memory over 1, 4 and 16 tiles
    python benchmarks/predict.py --host                   # windows a second that the engine could feed to a GPU, and whether one waits
    python benchmarks/predict_gpu.py                      # one GPU: see there

Every measurement runs in a process of its own, so that its peak memory is its own. Weights are random and seeded: speed
does not depend on them. Results go to stdout as JSON lines and, at the end, as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cryosentinel_core.segment.arrays import HOST
from cryosentinel_core.segment.error_model import NETWORK_ERRORS

STRIDE = 112
NO_TIME = 1e9
CARD_RATE = 185.0
"""Windows a second with four flips at half of what an H200-class card does in matrix products; 10,000 km2 in under a minute."""
SIDE = 224
BACKBONES = ("tiny", "base", "large")


def make_raster(side: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A smooth scene with flat dark patches for lakes: S2 (12, H, W) uint16, S1 (2, H, W) dB, DEM (1, H, W) metres."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side].astype(np.float32)
    relief = sum(
        np.sin(rows / p + rng.uniform(0, 6)) * np.cos(cols / q + rng.uniform(0, 6)) for p, q in ((31, 47), (90, 70))
    )
    lake = relief < -0.9
    bands = np.stack([1500 + 60 * k + 500 * relief + rng.normal(0, 60, relief.shape) for k in range(12)])
    bands[:, lake] = (np.array([900, 850, 800, 500, 400, 300, 280, 250, 240, 220, 120, 100])[:, None]
                      + rng.normal(0, 20, (12, int(lake.sum()))))  # fmt: skip
    radar = np.stack([-9 + 2 * relief, -17 + 2 * relief]) + rng.normal(0, 1, (2, side, side))
    radar[:, lake] -= 9
    return {
        "S2L2A": bands.clip(1, 16_000).astype(np.uint16),
        "S1GRD": radar.astype(np.float32),
        "DEM": (4200 + 300 * relief)[None].astype(np.float32),
    }


def standardise_raster(raster: dict[str, np.ndarray]) -> dict[str, Any]:
    """The whole raster as the reference wants it: standardised tensors (1, C, H, W)."""
    import torch

    from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION

    stats = PUBLISHED_NORMALISATION.to_dict()
    return {
        name: torch.from_numpy(
            (array.astype(np.float32) - np.float32(stats[name]["means"])[:, None, None])
            / np.float32(stats[name]["stds"])[:, None, None]
        )[None]
        for name, array in raster.items()
    }


def load_reference(checkpoint: Path) -> Any:
    """terratorch's own model with the checkpoint's weights."""
    from reference import build_reference

    from cryosentinel_core.io.weights.checkpoint import read_checkpoint

    read = read_checkpoint(checkpoint)
    model = build_reference(read.spec)
    model.load_state_dict(dict(read.state_dict))
    return model


def make_batch(raster: dict[str, np.ndarray], addresses: list[tuple[int, int]]) -> Any:
    """The chips of some windows, as the corridor hands them to a segmenter."""
    from cryosentinel_core.segment.segmenter import ChipBatch

    def cut(array: np.ndarray) -> np.ndarray:
        return np.stack([array[..., r : r + SIDE, c : c + SIDE] for r, c in addresses])

    flat = np.zeros((len(addresses), SIDE, SIDE), np.float32)
    return ChipBatch(
        s2=cut(raster["S2L2A"]), s1=cut(raster["S1GRD"]), dem=cut(raster["DEM"]), valid=np.ones(flat.shape, bool),
        shadow=flat, snow=flat, water=flat, addresses=np.array(addresses, np.int64),
    )  # fmt: skip


def peak_memory_mib() -> float:
    """Largest resident memory of this process (Linux; `getrusage` would count the parent's before `exec`)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_reference(args: argparse.Namespace) -> dict[str, Any]:
    """terratorch's model under its tiled_inference: whole raster in memory, our batch, windows where ours are.

    Its default pads by 8 px, which moves every window by as much: with random weights the logits are then others
    altogether, and nothing could be compared.
    """
    import torch

    torch.set_num_threads(args.threads)
    model = load_reference(args.checkpoint)
    from terratorch.tasks.tiled_inference import tiled_inference

    raster = standardise_raster(make_raster(args.side))
    windows = 0

    def forward(x: Any) -> Any:
        nonlocal windows
        windows += len(x["DEM"])
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            return model(x).output.float()

    with torch.inference_mode():
        forward({name: x[..., :SIDE, :SIDE] for name, x in raster.items()})  # warm up
        windows = 0
        started = time.perf_counter()
        logits = tiled_inference(
            forward, raster, crop=SIDE, stride=STRIDE, delta=0, padding=False, batch_size=args.batch
        )
        seconds = time.perf_counter() - started
    np.save(args.out, logits[0].squeeze().numpy())
    return {"windows": windows, "seconds": seconds}


def run_ours(args: argparse.Namespace) -> dict[str, Any]:
    """Our segmenter over the same stride, window by window from the raster, blended as the corridor blends."""
    from cryosentinel_core.ground.lattice import Grid
    from cryosentinel_core.io.weights.model_files import load_segmenter
    from cryosentinel_core.segment.window_blending import LogitCanvas

    raster = make_raster(args.side)
    started = time.perf_counter()
    segmenter = load_segmenter(
        args.checkpoint, device="cpu", precision=args.precision, batch_size=args.batch, tta=False, threads=args.threads
    )
    load_seconds = time.perf_counter() - started
    starts = range(0, args.side - SIDE + 1, STRIDE)
    addresses = [(row, col) for row in starts for col in starts]
    segmenter.segment(make_batch(raster, addresses[:1]))  # warm up
    canvas = LogitCanvas(Grid(epsg=32643, row=0, col=0, height=args.side, width=args.side), SIDE, blended=True)
    started = time.perf_counter()
    for at in range(0, len(addresses), args.batch):
        some = addresses[at : at + args.batch]
        for address, logits in zip(some, segmenter.segment(make_batch(raster, some)), strict=True):
            canvas.add(address, logits)
    mosaic = canvas.mean()
    seconds = time.perf_counter() - started
    np.save(args.out, mosaic)
    return {"windows": len(addresses), "seconds": seconds, "load_seconds": load_seconds}


def run_same_windows(args: argparse.Namespace) -> dict[str, Any]:
    """Both models on the same windows in turn: the best time of each, and how far the logits differ.

    Taking turns and keeping the best makes the comparison fair where other work shares the machine. Ours includes
    standardising; the reference gets its windows standardised.
    """
    import torch

    from cryosentinel_core.io.weights.model_files import load_segmenter

    torch.set_num_threads(args.threads)
    raster = make_raster(args.side)
    segmenter = load_segmenter(
        args.checkpoint, device="cpu", precision=args.precision, batch_size=args.batch, tta=False, threads=args.threads
    )
    batch = make_batch(raster, [(0, 0)] * args.batch)
    model = load_reference(args.checkpoint)
    chips = {name: x[..., :SIDE, :SIDE].repeat(args.batch, 1, 1, 1) for name, x in standardise_raster(raster).items()}

    def theirs(precision: str) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return model(dict(chips)).output.float().numpy()

    times: dict[str, list[float]] = {"ours": [], "terratorch": []}
    for _ in range(args.rounds):
        for who, call in (("ours", lambda: segmenter.segment(batch)), ("terratorch", lambda: theirs(args.precision))):
            started = time.perf_counter()
            call()
            times[who].append((time.perf_counter() - started) / args.batch)
    return {
        "ours_seconds": min(times["ours"]),
        "terratorch_seconds": min(times["terratorch"]),
        **compare(segmenter.segment(batch)[0], theirs("float32")[0]),
    }


def run_area(args: argparse.Namespace) -> dict[str, Any]:
    """Ours over `tiles` tiles of one cell each, from a stack on disk as the corridor runs it: does memory grow with the area?"""
    return segment_area(
        args.checkpoint, args.tiles, device="cpu", precision=args.precision, batch_size=args.batch, tta=False,
        threads=args.threads,
    )  # fmt: skip


class PretendedCard:
    """A network whose answers are there after the time that a card would take, and which costs the host nothing.

    Args:
        rate: Windows a second.
    """

    name, digest, recipe = "pretended-00000000", "pretended", None
    window_px, halo_px, blended, batch_size = SIDE, 0, True, 32
    is_network, error_model = True, NETWORK_ERRORS
    conditions: dict[str, Any] = {"device": "pretended", "precision": "float32"}
    peak_device_mib = None
    arrays = HOST

    def __init__(self, rate: float) -> None:
        import torch  # not to be counted with the first batch

        self.rate, self.host = rate, torch.device("cpu")
        self.logits = np.random.default_rng(0).normal(0, 3, (self.batch_size, SIDE, SIDE)).astype(np.float32)
        self.busy_until: float | None = None
        self.idle_seconds = 0.0

    def prepare_for(self, n_windows: int) -> None:
        """Nothing to settle."""

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """As a network's, without a GPU."""
        return np.empty(shape, dtype)

    def stage(self, batch: Any) -> Any:
        """As a network's, without a GPU."""
        from cryosentinel_core.learn.inference.staging import stage_chips

        return stage_chips(batch, self.host)

    def begin(self, staged: Any) -> Any:
        """Computing starts when the batch before is done; until when it is idle once the first has come is counted."""
        now = time.perf_counter()
        if self.busy_until is not None:
            self.idle_seconds += max(0.0, now - self.busy_until)
        done = self.busy_until = max(now, self.busy_until or 0.0) + len(staged) / self.rate

        def fetch() -> np.ndarray:
            time.sleep(max(0.0, done - time.perf_counter()))
            return self.logits[: len(staged)]

        return fetch

    begin_on_device = begin

    def segment(self, batch: Any) -> np.ndarray:
        """(N, 224, 224) float32."""
        return self.begin(self.stage(batch))()


def run_host(args: argparse.Namespace) -> dict[str, Any]:
    """The engine around a pretended card, over tiles of ten cells: the most that it can be fed, or how long one of a rate waits."""
    card = PretendedCard(args.rate)
    found = segment_area(Path("water-index"), args.tiles, tile_cells=10, segmenter=card)
    return {**found, "card_waited_seconds": card.idle_seconds}


def segment_area(
    checkpoint: Path, tiles: int, *, tile_cells: int = 1, segmenter: Any = None, **settings: Any
) -> dict[str, Any]:
    """The corridor's engine over a square of tiles at 50 % overlap: write a stack, segment it, write the tiles.

    Args:
        checkpoint: The weights.
        tiles: A square number of them.
        tile_cells: Cells along a tile.
        segmenter: Instead of the one that the settings name.
        settings: Of prediction.
    """
    from cryosentinel_core.engine.model_loading import build_segmenter
    from cryosentinel_core.engine.tile_jobs import TileJob, segment_run
    from cryosentinel_core.ground.lattice import Cell, group_cells
    from cryosentinel_core.provenance import Provenance
    from cryosentinel_core.settings.predict import PredictSettings

    side = round(tiles**0.5) * tile_cells
    first_row, first_col = -2100, 300  # the first cell of a tile of any size
    cells = [Cell(32643, first_row + r, first_col + c) for r in range(side) for c in range(side)]
    plain = PredictSettings(model=str(checkpoint), tile_cells=tile_cells, **settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_area(folder / "stack", cells, tile_cells)
        jobs = [
            TileJob(
                stack=folder / "stack", stack_tile_cells=tile_cells, tile=tile, cells=held, part=folder / f"{tile.name}.tif",
                settings=plain, provenance=Provenance(kind="logits of a tile"),
            )
            for tile, held in group_cells(cells, tile_cells).items()
        ]  # fmt: skip
        started = time.perf_counter()
        segmenter = segmenter or build_segmenter(plain)
        loaded = time.perf_counter()
        done = segment_run(jobs, segmenter)
        seconds = time.perf_counter() - started
    return {
        **done.as_dict(seconds - (loaded - started) - done.seconds["prepare"]), "windows": done.n_windows, "seconds": seconds,
        "stages": done.seconds, "tiles": len(jobs),
    }  # fmt: skip


def write_area(folder: Path, cells: list[Any], tile_cells: int) -> None:
    """A stack on disk over some cells and a ring around them."""
    from cryosentinel_core.ground.lattice import group_cells, hull_of_cells
    from cryosentinel_core.io.rasters.stack_files import write_stack_tile
    from cryosentinel_core.provenance import Provenance
    from cryosentinel_core.stack.stack import Stack

    ground = {near for core in cells for near in core.neighbours(1)}
    for number, (tile, held) in enumerate(group_cells(ground, tile_cells).items()):
        grid = hull_of_cells(held)
        h, w = grid.shape
        raster = {name: array[:, :h, :w] for name, array in make_raster(max(h, w), seed=number).items()}
        stack = Stack(
            grid=grid, s2=raster["S2L2A"], s1=raster["S1GRD"], dem=raster["DEM"][0], counts=np.ones((5, h, w), np.uint8),
            condition=np.zeros((h, w), np.uint8), dates=np.zeros((3, h, w), np.uint16),
        )  # fmt: skip
        write_stack_tile(folder, tile, stack, Provenance(kind="stack tile"))


def compare(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Root mean square and largest difference over the standard deviation of the reference; masks that differ."""
    difference = np.abs(found - wanted)
    return {
        "rms_over_std": float(np.sqrt(np.square(difference).mean()) / wanted.std()),
        "max_over_std": float(difference.max() / wanted.std()),
        "masks_differ": float(((found > 0) != (wanted > 0)).mean()),
    }


PARTS = {
    "terratorch": run_reference,
    "ours": run_ours,
    "same windows": run_same_windows,
    "area": run_area,
    "host": run_host,
}


def measure(part: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """Run one part in a process of its own; its result, with its peak memory."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    for key, value in settings.items():
        command += [f"--{key}", *([str(v) for v in value] if isinstance(value, list) else [str(value)])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = {"part": part, **settings, **json.loads(done.stdout.splitlines()[-1])}
    print(json.dumps(row), flush=True)
    return row


def run_cpu(args: argparse.Namespace, folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for short in args.backbones:
        common: dict[str, Any] = {
            "backbone": f"terramind_v1_{short}", "side": args.side, "batch": args.batch, "threads": args.threads,
        }  # fmt: skip
        for precision in ("float32", "bf16"):
            theirs = measure("terratorch", folder, precision=precision, **common)
            ours = measure("ours", folder, precision=precision, **common)
            a, b = (np.load(folder / f"{who}-{precision}.npy") for who in ("terratorch", "ours"))
            ours |= {f"mosaic_{key}": value for key, value in compare(b, a).items()}
            turns = measure("same windows", folder, precision=precision, rounds=args.rounds, **common)
            ours |= {"best": turns["ours_seconds"], "rms_over_std": turns["rms_over_std"]}
            theirs |= {"best": turns["terratorch_seconds"]}
            rows += [theirs, ours]
        if args.areas and short == args.backbones[0]:
            rows += [measure("area", folder, precision="float32", tiles=tiles, **common) for tiles in (1, 4, 16)]
    print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """One row a measurement: best time of a window (models in turn), whole raster, memory, differences."""
    print(
        "\n| backbone | precision | who | best s a window | times as fast | windows in the raster | s for the raster "
        "| peak MiB | same window, rms / std | mosaic, rms / std |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    base: dict[str, float] = {}
    for row in rows:
        key = f"{row['backbone']} {row['precision']}"
        if row["part"] == "terratorch":
            base[key] = row["best"]
        best = f"{row['best']:.2f}" if "best" in row else ""
        gain = f"{base[key] / row['best']:.2f}" if row["part"] == "ours" else ""
        who = f"ours, {row['tiles']} tiles" if row["part"] == "area" else row["part"]
        rms, mosaic = (f"{row[k]:.1e}" if k in row else "" for k in ("rms_over_std", "mosaic_rms_over_std"))
        print(
            f"| {row['backbone'].removeprefix('terramind_v1_')} | {row['precision']} | {who} | {best} | {gain} | "
            f"{row['windows']} | {row['seconds']:.1f} | {row['peak_mib']:.0f} | {rms} | {mosaic} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=[*BACKBONES, "small"])
    parser.add_argument("--side", type=int, default=336, help="side of the raster in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4, help="turns of both models on the same windows")
    parser.add_argument("--areas", action="store_true", help="also memory over 1, 4 and 16 tiles")
    parser.add_argument("--host", action="store_true", help="only the engine around a pretended card")
    for hidden in ("--part", "--folder", "--backbone", "--precision"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--tiles", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.host:
        with tempfile.TemporaryDirectory() as name:
            for rate in (NO_TIME, CARD_RATE):
                measure("host", Path(name), precision="float32", backbone="none", tiles=4, rate=rate)
        return
    if args.part:
        folder = Path(args.folder)
        args.checkpoint = folder / f"{args.backbone}.ckpt"
        args.out = folder / f"{args.part}-{args.precision}.npy"
        result = PARTS[args.part](args)
        print(json.dumps(result | {"peak_mib": peak_memory_mib()}))
        return
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for short in args.backbones:
            backbone = f"terramind_v1_{short}"
            write_random_checkpoint(folder / f"{backbone}.ckpt", backbone)
        run_cpu(args, folder)


if __name__ == "__main__":
    main()
