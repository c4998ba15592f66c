"""The GPU benchmark has no card to run on here: its lines run on the CPU, so that no slip waits for whoever has one."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "predict_gpu.py"


ONE_PROCESS = """
import contextlib, io, subprocess, sys, types
import predict_gpu

def call(command, **how):
    if command[command.index("--part") + 1] == "matmul":
        return subprocess.run(command, **how)
    sys.argv, said = command[1:], io.StringIO()
    with contextlib.redirect_stdout(said):
        predict_gpu.main()
    return subprocess.CompletedProcess(command, 0, said.getvalue(), "")

predict_gpu.subprocess = types.SimpleNamespace(run=call, CompletedProcess=subprocess.CompletedProcess)
predict_gpu.main()
"""
"""The script with one part in a process of its own, as for a user, and the others in one, which need not start again."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ONE_PROCESS, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SCRIPT.parent)])},
    )


@pytest.mark.slow
def test_every_part_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = run(
        "--device", "cpu", "--backbones", "tiny", "--decoder-channels", "8", "--batches", "1", "--rounds", "1",
        "--matmul", "64", "--tiles", "1", "--tile-cells", "1", "--precisions", "float32", "--no-compile", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(out.read_text())
    rows = report["rows"]
    assert [row for row in rows if "error" in row] == []
    assert [row["part"] for row in rows] == ["matmul", "ours", "terratorch", "engine", *["variants"] * 5]
    for row in rows:
        if row["part"] == "ours":
            assert row["against_cpu_float32"]["max_over_std"] < 1e-3
            assert row["windows_per_second_overlapped"] > 0
        if row["part"] == "variants":
            assert row["against_cpu_float32"]["max_over_std"] < 1e-3
            assert row["windows_per_second"] > 0
        if row["part"] == "engine":
            assert row["n_windows"] == 9
    assert {"date", "torch", "terratorch", "device", "cuda"} <= set(report["conditions"])
    assert set(report["fastest"]) == {f"terramind_v1_tiny float32 {part}" for part in ("ours", "terratorch", "engine")}


def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a card")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import predict_gpu

    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit) as ended:
        predict_gpu.main()
    assert ended.value.code == 2
    assert "there is no GPU" in capsys.readouterr().err


def test_a_part_that_hangs_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a limit the row says so; a caller that limits parts itself gives none, and is given none."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import predict_gpu

    asked: list[dict[str, Any]] = []

    def hang(command: list[str], **how: Any) -> Any:
        asked.append(how)
        raise subprocess.TimeoutExpired(command, how.get("timeout", 1.0))

    monkeypatch.setattr(predict_gpu.subprocess, "run", hang)
    args = argparse.Namespace(
        device="cpu", batches=[1], rounds=1, matmul=64, tiles=1, tile_cells=1, compile=False, part_seconds=0.5
    )
    assert predict_gpu.measure("matmul", args, Path("."), "none", "both")[0]["error"] == "stopped after 0.5 s"
    del args.part_seconds
    monkeypatch.setattr(
        predict_gpu.subprocess, "run", lambda command, **how: subprocess.CompletedProcess(command, 124, "", "stopped")
    )
    assert predict_gpu.measure("matmul", args, Path("."), "none", "both")[0]["error"] == "exit code 124: stopped"
    assert asked[0]["timeout"] == 0.5
    assert "stopped" in capsys.readouterr().out
