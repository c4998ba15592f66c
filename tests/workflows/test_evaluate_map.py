"""`evaluate --aoi`: a map of simulated scenes against the simulation's own lakes, and mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", *words], capture_output=True, text=True, timeout=300
    )


def test_a_simulated_map_against_its_truth(small_catalogue: Path, tmp_path: Path) -> None:
    aoi, truth = str(small_catalogue / "aoi.geojson"), f"{small_catalogue}/truth/lakes.gpkg?year=2023"
    place = ("--aoi", aoi, "--year", "2023", "-w", str(tmp_path))
    early = run_command("evaluate", *place, "--lakes", truth)
    assert early.returncode == 1
    assert "run predict" in early.stderr
    done = run_command("predict", *place, "--catalog", str(small_catalogue), "--model", "water-index", "-q")
    assert done.returncode == 0, done.stderr
    judged = run_command("evaluate", *place, "--lakes", truth, "--json", "-q")
    assert judged.returncode == 0, judged.stderr
    told = json.loads(judged.stdout)
    rows = pd.read_csv(told["files"]["csv"])
    whole = told["classes"][-1]
    assert (
        len(rows)
        == told["n_lakes"]
        == sum(whole[f"n_{name}"] for name in ("matched", "missed", "invented", "unobserved"))
    )
    assert whole["n_matched"] >= 1
    assert whole["n_invented"] == 0
    assert 0.95 < told["area"]["matched_ratio"]["value"] < 1.05
    assert told["outline_iou"] > 0.9
    assert all(Path(path).is_file() for path in told["files"].values())
    for words, said in [
        ((*place, "--lakes", truth, "--data", str(tmp_path)), "give one"),
        (("--aoi", aoi, "--lakes", truth), "one --year"),
    ]:
        wrong = run_command("evaluate", *words)
        assert wrong.returncode == 2
        assert said in wrong.stderr
