"""Kill it anywhere, run it again: the same bytes as an uninterrupted run, finished work not done twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIMED = {"run.json"}
"""Files with durations in them."""

LOGS = "logs"
"""Folder of a workspace with one file a call, named by its hour and process."""


def command(catalogue: Path, workspace: Path) -> list[str]:
    return [
        sys.executable, "-m", "cryosentinel_cli", "change", "2017", "2023", "--aoi", str(catalogue / "aoi.geojson"),
        "--catalog", str(catalogue), "--model", "water-index", "-w", str(workspace), "--tile-cells", "2", "-q",
    ]  # fmt: skip


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in TIMED and path.relative_to(root).parts[0] != LOGS
    }


@pytest.mark.slow
def test_killed_ten_times(small_catalogue: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    began = time.perf_counter()
    subprocess.run(command(small_catalogue, whole), check=True, capture_output=True)
    duration = time.perf_counter() - began
    wanted = files_of(whole)
    dice = random.Random(7)
    kills = 0
    finished: dict[str, int] = {}
    while kills < 10:
        process = subprocess.Popen(
            command(small_catalogue, torn), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(timeout=dice.uniform(0.1, 0.4) * duration)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            assert_same(files_of(torn), wanted)
            shutil.rmtree(torn)
            finished = {}
            continue
        now = {str(path): path.stat().st_mtime_ns for path in torn.rglob("tile.json")}
        for path, stamp in finished.items():
            assert now.get(path) == stamp, f"{path} was done twice"
        finished = now
        for path in torn.rglob("*.json"):
            if ".tmp-" not in path.name:
                assert path.read_bytes().endswith(b"}\n")
    subprocess.run(command(small_catalogue, torn), check=True, capture_output=True)
    assert_same(files_of(torn), wanted)


def assert_same(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
