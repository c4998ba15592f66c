"""Audit: labels shifted or left out come first, the table it writes is the one that `evaluate --exclude` reads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from made_chips import lake_chip, make_dataset
from PIL import Image


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", *words], capture_output=True, text=True, timeout=300
    )


def test_wrong_labels_come_first_and_can_be_left_out(tmp_path: Path) -> None:
    chips = [lake_chip(number, chip_id=f"c{number}") for number in range(3)]
    shifted = lake_chip(0, chip_id="shifted", mask=np.roll(chips[0].mask, 40, axis=1))
    missing = lake_chip(4, chip_id="missing", mask=np.zeros((224, 224), dtype=np.uint8))
    data = make_dataset(tmp_path / "data", [*chips, shifted, missing])
    words = ("--model", "water-index", "--data", str(data), "--split", "all")
    done = run_command("audit", *words, "-n", "4", "-o", str(tmp_path / "audit"), "--json", "-q")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [row["chip_id"] for row in told["rows"]][:2] == ["shifted", "missing"]
    assert len(told["rows"]) == 4
    assert told["rows"][1]["network_only_m2"] == told["rows"][1]["doubt_m2"] > 300_000
    assert told["rows"][1]["against_label_m2"] == told["rows"][1]["doubt_m2"], "MNDWI sees that lake too"
    sheet = np.asarray(Image.open(told["files"]["sheet"]).convert("RGB"))
    assert sheet.shape[0] > 600
    assert (sheet == (31, 120, 180)).all(axis=-1).sum() > 1000, "what the label lacks is blue"
    table = Path(told["files"]["table"])
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["verdict"] for row in rows] == [""] * 4
    before = run_command("evaluate", *words, "--exclude", str(table), "-w", str(tmp_path), "--json", "-q")
    assert json.loads(before.stdout)["n_excluded"] == 0, "nobody has decided yet"
    for row in rows[:2]:
        row["verdict"] = "wrong"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    after = json.loads(
        run_command("evaluate", *words, "--exclude", str(table), "-w", str(tmp_path), "--json", "-q").stdout
    )
    assert (after["n_excluded"], after["n_chips"]) == (2, 3)
    assert after["global_iou"]["0.5"] > json.loads(before.stdout)["global_iou"]["0.5"] + 0.1
