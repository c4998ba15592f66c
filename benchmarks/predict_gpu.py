"""The network on one GPU: windows a second with four flips, ours and terratorch's own, against the card's rate at matrix products.

    python benchmarks/predict_gpu.py                     # the large backbone; writes predict-gpu.json
    python benchmarks/predict_gpu.py --backbones tiny base large --out FILE
    python benchmarks/predict_gpu.py --precisions bf16 --no-compile    # where time on the card is short

For each backbone and precision: ours by batch size, not compiled; ours compiled at the batch that was fastest; terratorch's model by
batch size; how far ours is from the CPU in float32; and the whole engine over a stack on disk. At the fastest batch also what other
settings would change (memory layout, flips in one pass, cuDNN's search, CUDA graphs, autotuned kernels), so that they can be chosen by
measurement. Every part runs in a process of its own with a limit of time, and the file is written anew after each, so that a part
that fails or hangs costs only itself: it stands in the file with its error. Weights are random and seeded: speed does not depend
on them. `--device cpu` goes through the same lines without a card, to try the script.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import predict as common

BATCHES = [1, 2, 4, 8, 16, 32, 64, 128]
PUBLISHED_GFLOP = {"terramind_v1_large": 698.0}
"""One pass over one window, as published, before the decoder's short cut."""
N_FLIPS = 4


def synchronise(device: str) -> None:
    """Wait for the device."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def describe_machine(device: str) -> dict[str, Any]:
    """Date, versions and card."""
    import torch

    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    for name in ("torch", "terratorch", "cryosentinel", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {
            "card": card.name,
            "card_memory_gib": round(card.total_memory / 2**30, 1),
            "multiprocessors": card.multi_processor_count,
            "compute_capability": f"{card.major}.{card.minor}",
            "n_cards": torch.cuda.device_count(),
        }
    return found


def time_windows(call: Callable[[], object], batch: int, device: str, rounds: int) -> dict[str, Any]:
    """Windows a second over some rounds after two to warm up (one before a single round), and the peak of the device's memory."""
    import torch

    for _ in range(min(2, rounds)):
        call()
    synchronise(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for _ in range(rounds):
        call()
    synchronise(device)
    seconds = time.perf_counter() - began
    row: dict[str, Any] = {"batch": batch, "windows_per_second": batch * rounds / seconds}
    if device == "cuda":
        row["gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return row


def run_matmul(args: argparse.Namespace) -> dict[str, Any]:
    """The card's own rate at square matrix products, 10^12 operations a second; float32 without TF32, as the network runs."""
    import torch

    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(args.matmul, args.matmul, device=args.device, dtype=dtype) for _ in range(2))
        for _ in range(3):
            a @ b
        synchronise(args.device)
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        synchronise(args.device)
        rate = 10 * 2 * args.matmul**3 / (time.perf_counter() - began) / 1e12
        found[f"{str(dtype).removeprefix('torch.')}_tflops"] = rate
    return {"rows": [{"size": args.matmul, **found}]}


def run_exact(args: argparse.Namespace) -> dict[str, Any]:
    """Our logits of one window on the CPU in float32, for the others to be held against."""
    import numpy as np

    from cryosentinel_core.io.weights.model_files import load_segmenter

    segmenter = load_segmenter(args.checkpoint, device="cpu", precision="float32", batch_size=1, tta=True)
    np.save(args.exact, segmenter.segment(common.make_batch(common.make_raster(2 * common.SIDE), [(0, 0)]))[0])
    return {"rows": []}


def run_ours(args: argparse.Namespace) -> dict[str, Any]:
    """Ours by batch size up to the largest that fits; then compiled at the fastest."""
    rows: list[dict[str, Any]] = []
    for batch in args.batches:
        rows.append(_try_ours(args, batch, "off"))
        if "error" in rows[-1]:
            break
    good = [row for row in rows if "error" not in row]
    if good and args.compile:
        best = max(good, key=lambda row: float(row["windows_per_second"]))
        rows.append(_try_ours(args, int(best["batch"]), "on"))
    return {"rows": rows}


def _try_ours(args: argparse.Namespace, batch: int, compiling: str) -> dict[str, Any]:
    """One row, or why there is none: whatever card, driver or compiler say belongs into the file, beside the rows before it."""
    try:
        return _time_ours(args, batch, compiling)
    except Exception as error:
        return {"batch": batch, "compiled": compiling == "on", "error": _first_line(error)}


def _time_ours(args: argparse.Namespace, batch: int, compiling: Any) -> dict[str, Any]:
    """One row; everything of it is freed on return."""
    import numpy as np
    import torch

    from cryosentinel_core.io.weights.model_files import load_segmenter

    segmenter = load_segmenter(
        args.checkpoint, device=args.device, precision=args.precision, batch_size=batch, tta=True, compiling=compiling
    )
    began = time.perf_counter()
    segmenter.prepare_for(1)
    prepared = time.perf_counter() - began
    raster = common.make_raster(2 * common.SIDE)
    chips = common.make_batch(raster, [((7 * i) % common.SIDE, (11 * i) % common.SIDE) for i in range(batch)])
    row = time_windows(lambda: segmenter.segment(chips), batch, args.device, args.rounds)
    if segmenter.batch_size < batch:
        return {"batch": batch, "compiled": segmenter.passes.is_compiled, "error": "does not fit the memory"}
    # The same in steps, as the engine does it: the next batch starts before the last one's logits are fetched.
    staged = segmenter.stage(chips)

    def overlapped() -> None:
        late = segmenter.begin(staged)
        for _ in range(args.rounds):
            coming = segmenter.begin(staged)
            late()
            late = coming
        late()

    steps = time_windows(overlapped, batch * (args.rounds + 1), args.device, 1)
    found = segmenter.segment(common.make_batch(raster, [(0, 0)]))[0]
    row |= {
        "compiled": segmenter.passes.is_compiled,
        "compile_seconds": prepared if segmenter.passes.is_compiled else None,
        "windows_per_second_overlapped": steps["windows_per_second"],
        "against_cpu_float32": common.compare(found, np.load(args.exact)),
    }
    if args.device == "cuda":
        del segmenter, staged
        torch.cuda.empty_cache()
    return row


def run_terratorch(args: argparse.Namespace) -> dict[str, Any]:
    """terratorch's own model with the same flips, by batch size; torch's defaults, so that cuDNN may use TF32 in float32."""
    import torch

    model = common.load_reference(args.checkpoint).to(args.device)
    whole = common.standardise_raster(common.make_raster(2 * common.SIDE))
    rows: list[dict[str, Any]] = []
    for batch in args.batches:
        x = {
            name: t[..., : common.SIDE, : common.SIDE].expand(batch, -1, -1, -1).to(args.device)
            for name, t in whole.items()
        }

        def four_flips(x: dict[str, Any] = x) -> None:
            bf16 = args.precision == "bf16"
            with torch.inference_mode(), torch.autocast(args.device, torch.bfloat16, enabled=bf16):
                total = sum(
                    model({name: t.flip(axes) for name, t in x.items()}).output.float().flip(axes)
                    for axes in ((), (-1,), (-2,), (-2, -1))
                )
                (total / N_FLIPS).cpu()

        try:
            rows.append(time_windows(four_flips, batch, args.device, args.rounds))
        except RuntimeError as error:  # out of memory among them
            rows.append({"batch": batch, "error": _first_line(error)})
            break
    return {"rows": rows}


def _search_cudnn(segmenter: Any) -> None:
    """Let cuDNN try its algorithms on each shape; without effect in float32, where the segmenter sets its flags itself."""
    import torch

    torch.backends.cudnn.benchmark = True


def _store_as(layout: str) -> Callable[[Any], None]:
    """Weights of convolutions, and the maps that the encoder's tokens become, in a memory layout, which what follows then has."""

    def store(segmenter: Any) -> None:
        import torch

        memory_format = getattr(torch, layout)
        segmenter.network.to(memory_format=memory_format)
        to_maps = segmenter.network.neck[1]  # tokens lie channels last, and so do maps that are views of them
        to_maps.register_forward_hook(lambda _, __, maps: [x.contiguous(memory_format=memory_format) for x in maps])

    return store


def _compile_as(mode: str) -> Callable[[Any], None]:
    def compile_network(segmenter: Any) -> None:
        import torch

        segmenter.passes._call = torch.compile(segmenter.network, dynamic=False, mode=mode)

    return compile_network


def _fuse_flips(segmenter: Any) -> None:
    """All four flips of a quarter of the batch in one pass, so that a pass has as many windows as without."""
    import torch

    from cryosentinel_core.learn.inference.flip_passes import FLIPS

    def average(chips: dict[str, Any]) -> Any:
        quarter = max(1, len(chips["DEM"]) // len(FLIPS))
        pieces = zip(*(x.split(quarter) for x in chips.values()), strict=True)
        return torch.cat([average_piece(dict(zip(chips, piece, strict=True))) for piece in pieces])

    def average_piece(chips: dict[str, Any]) -> Any:
        views = {name: torch.cat([x.flip(axes) for axes in FLIPS]) for name, x in chips.items()}
        logits = segmenter.passes._forward(views).float().chunk(len(FLIPS))
        return sum(x.flip(axes) for x, axes in zip(logits, FLIPS, strict=True)) / len(FLIPS)

    segmenter.passes._average_flips = average


VARIANTS: dict[str, Callable[[Any], None]] = {
    "as it is": lambda segmenter: None,
    "channels last": _store_as("channels_last"),
    "channels first": _store_as("contiguous_format"),
    "flips in one pass": _fuse_flips,
    "cuDNN searches": _search_cudnn,
    "compiled, CUDA graphs": _compile_as("reduce-overhead"),
    "compiled, autotuned": _compile_as("max-autotune"),
}
"""What might be faster; each on a segmenter of its own, all but the search alone."""


def run_variants(args: argparse.Namespace) -> dict[str, Any]:
    """Ours at one batch size under other settings of PyTorch."""
    import numpy as np
    import torch

    from cryosentinel_core.io.weights.model_files import load_segmenter

    rows = []
    batch = args.batches[0]
    raster = common.make_raster(2 * common.SIDE)
    chips = common.make_batch(raster, [((7 * i) % common.SIDE, (11 * i) % common.SIDE) for i in range(batch)])
    for name, prepare in VARIANTS.items():
        if name.startswith("compiled") and not args.compile:
            continue
        row: dict[str, Any] = {"variant": name, "batch": batch}
        try:
            segmenter = load_segmenter(
                args.checkpoint, device=args.device, precision=args.precision, batch_size=batch, tta=True
            )
            prepare(segmenter)
            began = time.perf_counter()
            found = segmenter.segment(chips)[0]
            row |= {"first_seconds": time.perf_counter() - began}
            row |= time_windows(lambda: segmenter.segment(chips), batch, args.device, args.rounds)  # noqa: B023
            row |= {"against_cpu_float32": common.compare(found, np.load(args.exact))}
        except Exception as error:
            row |= {"error": _first_line(error)}
        rows.append(row)
        segmenter = None
        torch.backends.cudnn.benchmark = False
        if args.device == "cuda":
            torch.cuda.empty_cache()
    return {"rows": rows}


def run_engine(args: argparse.Namespace) -> dict[str, Any]:
    """The whole engine over a stack on disk, batch size and compiling left to it."""
    found = common.segment_area(
        args.checkpoint, args.tiles, device=args.device, precision=args.precision, batch_size=None, tta=True,
        tile_cells=args.tile_cells,
    )  # fmt: skip
    return {"rows": [found]}


PARTS = {
    "matmul": run_matmul,
    "exact": run_exact,
    "ours": run_ours,
    "terratorch": run_terratorch,
    "variants": run_variants,
    "engine": run_engine,
}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _rows_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The rows that a part printed last, or one that says why there are none."""
    try:
        if done.returncode == 0:
            rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["rows"]
            return rows
    except (IndexError, ValueError):
        pass
    said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    return [{"error": f"exit code {done.returncode}: {said[0][:300]}"}]


def measure(part: str, args: argparse.Namespace, folder: Path, backbone: str, precision: str) -> list[dict[str, Any]]:
    """Run one part in a process of its own: its rows, or one row that says why there are none."""
    command = [
        sys.executable, __file__, "--part", part, "--folder", str(folder), "--device", args.device, "--backbone", backbone,
        "--precision", precision, "--batches", *map(str, args.batches), "--rounds", str(args.rounds), "--matmul",
        str(args.matmul), "--tiles", str(args.tiles), "--tile-cells", str(args.tile_cells),
        "--compile" if args.compile else "--no-compile",
    ]  # fmt: skip
    label = {"part": part, "backbone": backbone, "precision": precision}
    limit = getattr(args, "part_seconds", None)  # a caller with a limit of its own gives none
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, **({} if limit is None else {"timeout": limit})
        )
        rows = _rows_of(done)
    except TimeoutExpired:
        rows = [{"error": f"stopped after {limit:g} s"}]
    rows = [{**label, **row} for row in rows]
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest of each, the gain over terratorch, and the share of the card's rate in operations as published."""
    rates = next((row for row in rows if row["part"] == "matmul" and "error" not in row), {})
    found: dict[str, Any] = {}
    for row in rows:
        if row["part"] == "variants" or "windows_per_second" not in row or row["windows_per_second"] is None:
            continue
        key = f"{row['backbone']} {row['precision']} {row['part']}{' compiled' if row.get('compiled') else ''}"
        if key in found and found[key]["windows_per_second"] >= row["windows_per_second"]:
            continue
        found[key] = {"windows_per_second": row["windows_per_second"], "batch": row.get("batch", row.get("batch_size"))}
        dtype = "bfloat16" if row["precision"] == "bf16" else "float32"
        if row["backbone"] in PUBLISHED_GFLOP and f"{dtype}_tflops" in rates:
            tflops = PUBLISHED_GFLOP[row["backbone"]] * N_FLIPS * row["windows_per_second"] / 1e3
            found[key]["share_of_matmul_rate"] = tflops / rates[f"{dtype}_tflops"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--backbones", nargs="+", default=["large"], choices=["tiny", "small", "base", "large"])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "float32"], choices=["bf16", "float32"])
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--matmul", type=int, default=8192, help="side of the matrices")
    parser.add_argument("--tiles", type=int, default=4, help="tiles of the engine's area")
    parser.add_argument("--tile-cells", type=int, default=10, help="cells along a tile of it")
    parser.add_argument("--part-seconds", type=float, default=600.0, help="limit of each part")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path("predict-gpu.json"))
    parser.add_argument("--decoder-channels", type=int, default=256, help=argparse.SUPPRESS)
    for hidden in ("--part", "--folder", "--backbone", "--precision"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        folder = Path(args.folder)
        args.checkpoint, args.exact = folder / f"{args.backbone}.ckpt", folder / f"{args.backbone}.npy"
        print(json.dumps(PARTS[args.part](args)))
        return
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu goes through the same lines without one")
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    report: dict[str, Any] = {"conditions": describe_machine(args.device), "rows": [], "fastest": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def add(part: str, backbone: str, precision: str, **changes: Any) -> None:
            asked = argparse.Namespace(**{**vars(args), **changes})
            report["rows"] += measure(part, asked, folder, backbone, precision)
            report["fastest"] = summarise(report["rows"])
            args.out.write_text(json.dumps(report, indent=1) + "\n")

        add("matmul", "none", "both")
        for short in args.backbones:
            backbone = f"terramind_v1_{short}"
            write_random_checkpoint(folder / f"{backbone}.ckpt", backbone, decoder_channels=args.decoder_channels)
            add("exact", backbone, "float32")
            for precision in args.precisions:
                for part in ("ours", "terratorch", "engine"):
                    add(part, backbone, precision)
            best = report["fastest"].get(f"{backbone} {args.precisions[0]} ours")
            if best is not None:
                add("variants", backbone, args.precisions[0], batches=[best["batch"]])
    print(json.dumps(report["fastest"], indent=1))


if __name__ == "__main__":
    main()
