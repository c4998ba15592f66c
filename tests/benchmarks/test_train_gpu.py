"""The benchmark for a lent card runs from end to end without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_line_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    done = subprocess.run(
        [
            sys.executable, str(ROOT / "benchmarks" / "train_gpu.py"), "--out", str(out), "--device", "cpu",
            "--backbone", "terramind_v1_tiny", "--decoder-channels", "8", "--chips", "4", "--batches", "2", "--window", "0",
            "--no-compile", "--seconds", "600",
        ],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    smoke, row = report["rows"]
    assert smoke["is_sound"]
    assert row["chips_per_second"] > 0
    assert set(row["ms_a_step"]) >= {"forward", "backward", "losses", "clip and AdamW"}
    assert all(value == value for value in row["loss"])
