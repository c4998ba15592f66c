"""The benchmark for a lent card runs from end to end without one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from made_training import STUB, stub_backbone

ROOT = Path(__file__).resolve().parents[2]


def test_every_line_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import train_gpu

    out = tmp_path / "rows.json"
    arguments = [
        "--out", str(out), "--device", "cpu", "--backbone", STUB, "--decoder-channels", "8", "--chips", "4",
        "--batches", "2", "--window", "0", "--no-compile", "--seconds", "600",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["train_gpu.py", *arguments])
    with stub_backbone():
        train_gpu.main()
    report = json.loads(out.read_text())
    smoke, row = report["rows"]
    assert smoke["is_sound"]
    assert row["chips_per_second"] > 0
    assert set(row["ms_a_step"]) >= {"forward", "backward", "losses", "clip and AdamW"}
    assert all(value == value for value in row["loss"])
