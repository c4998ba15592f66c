"""The second corridor from end to end on simulated scenes: chips, training, soup, evaluation on unseen seeds, lakes, change.

    make train-demo
    python examples/train_demo.py FOLDER --cryosentinel .venv/bin/cryosentinel [--shuffle]

Each part says how long it took and what it may take on two idle cores. It fails where the network's IoU on seeds that it never saw is
under 0.80; with `--shuffle` the training labels are dealt out to other chips, and it must fail.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TRAIN_SEEDS, UNSEEN_SEEDS = range(21, 28), (31, 32)
YEARS = ("2021", "2023")
LEAST_IOU = 0.80
SIZE_KM = "4"
"""Side of all areas: the larger an area, the larger its lakes, and a network learns those sizes that it sees."""

ALL_TRAIN = ("--shares", "100,0,0", "--buffer", "0")


class Demo:
    """Runs commands and keeps the time."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self.command = folder, command
        self.began = self.last = time.perf_counter()

    def run(self, *arguments: str) -> Any:
        """A command's summary."""
        done = subprocess.run(
            [*self.command, *arguments, "--json"], cwd=self.folder, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode not in (0, 3):
            sys.exit(f"failed: cryosentinel {' '.join(arguments)}")
        return json.loads(done.stdout)

    def part(self, name: str, budget_s: int) -> None:
        """Say how long a part took."""
        now = time.perf_counter()
        print(f"{name}: {now - self.last:.0f} s of {budget_s}", flush=True)
        self.last = now


def simulate(demo: Demo) -> None:
    """Many small areas to learn from, with lakes close together and little ground around; two more to be judged on."""
    plans = [(f"train{seed}", seed, ("--lakes", "24", "--margin-km", "2")) for seed in TRAIN_SEEDS]
    plans += [(f"unseen{seed}", seed, ("--lakes", "14")) for seed in UNSEEN_SEEDS]
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(simulate_area, demo, name, seed, more) for name, seed, more in plans]
        for one in done:
            one.result()


def simulate_area(demo: Demo, name: str, seed: int, more: tuple[str, ...]) -> None:
    if not (demo.folder / f"scenes/{name}/catalog.json").exists():
        demo.run(
            "simulate", f"scenes/{name}", "--seed", str(seed), "--size-km", SIZE_KM, "--years", ",".join(YEARS), *more
        )


def build_chips(demo: Demo) -> None:
    for seed in TRAIN_SEEDS:
        demo.run(
            "chips", "build", "--truth", f"scenes/train{seed}", "-o", "chips", "--region", f"train{seed}", *ALL_TRAIN
        )
    for seed in UNSEEN_SEEDS:
        demo.run("chips", "build", "--truth", f"scenes/unseen{seed}", "-o", "unseen", "--region", f"unseen{seed}",
                 "--overlap", "0", *ALL_TRAIN)  # fmt: skip
    demo.run("chips", "stats", "chips", "-o", "chips/dataset_stats.json")


def shuffle_labels(source: Path, target: Path) -> None:
    """The same chips with each other's labels."""
    from dataclasses import replace

    from cryosentinel_core.io.shards import ShardDataset, write_shard

    data = ShardDataset(source)
    chips = list(data.read_chips())
    masks = [chips[(i + len(chips) // 3) % len(chips)].mask for i in range(len(chips))]
    dealt = [replace(chip, mask=mask, water_frac=float(mask.mean())) for chip, mask in zip(chips, masks, strict=True)]
    for region in data.regions:
        for year in data.years:
            path = target / region / str(year) / "shard_000.parquet"
            write_shard(path, [chip for chip in dealt if (chip.region, chip.year) == (region, year)])
    for name in ("dataset_stats.json", "dataset.json"):
        (target / name).write_text((source / name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cryosentinel", nargs="+", default=[sys.executable, "-m", "cryosentinel_cli"])
    parser.add_argument("--shuffle", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    demo = Demo(args.folder.resolve(), args.cryosentinel)
    simulate(demo)
    demo.part("simulated scenes", 90)
    build_chips(demo)
    demo.part("chips", 120)
    data, name = "chips", "demo"
    if args.shuffle:
        shuffle_labels(demo.folder / "chips", demo.folder / "shuffled")
        data, name = "shuffled", "shuffled"
    last = demo.folder / "runs" / name / "checkpoints" / "last.ckpt"
    go_on = ("--resume",) if last.exists() else ()
    demo.run("train", "--config", str(HERE / "train-demo.yaml"), "--data", data, "--set", f"run_name={name}", *go_on)
    demo.part("training", 480)
    soup = "soup.ckpt" if name == "demo" else f"soup-{name}.ckpt"
    demo.run("soup", f"runs/{name}", "-o", soup, "--weights", "ema", "--batch-norm", "estimated", "--data", data)
    judged = demo.run("evaluate", "--model", soup, "--data", "unseen", "--split", "all", "--block-size", "column")
    demo.part("soup and evaluation", 90)
    if not args.shuffle:
        area = f"scenes/unseen{UNSEEN_SEEDS[0]}"
        found = demo.run(
            "change",
            *YEARS,
            "--aoi",
            f"{area}/aoi.geojson",
            "--catalog",
            area,
            "--model",
            soup,
            "--overlap",
            "0",
            "--no-tta",
        )
        demo.part("lakes and change", 90)
        print(f"change table: {json.dumps(found)[:300]}")
    print(f"{time.perf_counter() - demo.began:.0f} s in all")
    network, index = read_scores(judged)
    print(f"unseen: IoU {network:.2f} network")
    print(f"unseen: IoU {index:.2f} water-index")
    if network < LEAST_IOU:
        sys.exit(f"failed: the network's IoU {network:.4f} on unseen seeds is under {LEAST_IOU}")


def read_scores(judged: Any) -> tuple[float, float]:
    """IoU of the network and of the water index, from the summary of `evaluate`."""
    found = {}
    for name, figures in judged["figures"].items():
        found[name] = next(row["value"] for row in figures["sweep"] if abs(row["threshold"] - 0.5) < 1e-9)
    return found[judged["model"]], found["water-index"]


if __name__ == "__main__":
    main()
