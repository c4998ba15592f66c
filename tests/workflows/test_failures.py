"""What a tired user, a full disk and a broken archive get: a clear error, the right exit code, a workspace that still works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120"},
        check=False,
        timeout=300,
    )


def predict(catalogue: Path, cwd: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return run(
        "predict", "--aoi", catalogue / "aoi.geojson", "--year", "2023", "--catalog", catalogue, "--model", "water-index",
        *more, cwd=cwd,
    )  # fmt: skip


def assert_known_failure(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert "try: " in done.stderr
    for word in words:
        assert word in done.stderr


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp-" in path.name]


def test_a_year_without_scenes(small_catalogue: Path, tmp_path: Path) -> None:
    done = run(
        "predict", "--aoi", small_catalogue / "aoi.geojson", "--year", "2019", "--catalog", small_catalogue, "--model", "water-index",
        cwd=tmp_path,
    )  # fmt: skip
    assert_known_failure(done, "2019")


def test_a_catalogue_that_is_none(small_catalogue: Path, tmp_path: Path) -> None:
    done = run(
        "fetch",
        "--aoi",
        small_catalogue / "aoi.geojson",
        "--year",
        "2023",
        "--catalog",
        tmp_path / "nowhere",
        cwd=tmp_path,
    )
    assert_known_failure(done, "nowhere")


def test_a_model_that_is_no_checkpoint(small_catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").write_bytes(b"not a checkpoint")
    done = run(
        "predict", "--aoi", small_catalogue / "aoi.geojson", "--year", "2023", "--catalog", small_catalogue, "--model",
        tmp_path / "weights.ckpt", cwd=tmp_path,
    )  # fmt: skip
    assert_known_failure(done, "weights.ckpt")


@pytest.mark.slow
def test_a_truncated_cog_makes_a_partial_stack_that_heals(small_catalogue: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue"
    shutil.copytree(small_catalogue, catalogue)
    lock = tmp_path / "w"
    first = predict(catalogue, tmp_path, "-w", lock, "--json")
    assert first.returncode == 0, first.stderr
    used = json.loads(next(lock.glob("*/2023/scenes.json")).read_text())["features"]
    item = next(feature for feature in used if "MSIL2A" in feature["id"])
    victim = next((catalogue / "sentinel-2-l2a").glob(f"{item['id']}/*B03*"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 3])
    broken = tmp_path / "broken"
    done = predict(catalogue, tmp_path, "-w", broken)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert item["id"] in done.stderr
    victim.write_bytes(whole)
    healed = predict(catalogue, tmp_path, "-w", broken)
    assert healed.returncode == 0, healed.stderr
    for name in ("lakes.gpkg", "lakes.parquet"):
        one, two = (next(root.glob(f"*/2023/water-index/{name}")).read_bytes() for root in (lock, broken))
        assert one == two


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, made for the test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_catalogue: Path, tmp_path: Path, small_disk: Path) -> None:
    done = predict(small_catalogue, tmp_path, "-w", small_disk)
    assert_known_failure(done)
    assert not leftovers(small_disk)
    for path in small_disk.rglob("*.json"):
        json.loads(path.read_text())
    subprocess.run(["mount", "-o", "remount,size=500m", str(small_disk)], check=True)
    assert predict(small_catalogue, tmp_path, "-w", small_disk).returncode == 0


def test_a_read_only_workspace(small_catalogue: Path, tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_known_failure(predict(small_catalogue, tmp_path, "-w", small_disk), str(small_disk))
    assert list(small_disk.iterdir()) == []
