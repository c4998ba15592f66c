"""Judging on chips: every count against a slow reimplementation in float64, splits, exclusions, damaged shards, the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_chips import lake_chip, make_dataset, with_holes

from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.chips.split import BlockSplit
from cryosentinel_core.errors import InputError
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.settings.evaluate import EvaluateSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows import evaluate as workflow
from cryosentinel_core.workflows.judged_model import seen_split


@dataclass(frozen=True)
class Guesser:
    """A network's stand-in: logits follow the near infrared, with noise that hangs on the chip alone."""

    name: str = "guesser"
    digest: str = "0" * 64
    window_px: int = 224
    halo_px: int = 0
    blended: bool = True
    batch_size: int = 3
    recipe: None = None
    is_network: bool = True
    error_model: UncertaintyModel = NETWORK_ERRORS

    def segment(self, batch: ChipBatch) -> np.ndarray:
        nir = batch.s2[:, 7].astype(np.float64)
        noise = np.stack([np.random.default_rng(int(chip.sum()) % 2**32).normal(0, 2, nir[0].shape) for chip in nir])
        return ((900.0 - nir) / 400.0 + noise).astype(np.float32)


def many_chips() -> dict[str, list[ShardChip]]:
    """Chips of ten blocks, two years apart, one empty, one with holes."""
    rows: dict[str, list[ShardChip]] = {}
    for index in range(10):
        chip = lake_chip(index, chip_id=f"c{index}", lat=40.075 + 0.15 * index, lon=72.075, split="val")
        rows.setdefault("pamir", []).append(with_holes(chip) if index == 3 else chip)
    empty = np.zeros((224, 224), dtype=np.uint8)
    rows["karakoram"] = [
        lake_chip(4, chip_id="dry", region="karakoram", year=2021, mask=empty, lat=40.075, lon=72.075),
        lake_chip(5, chip_id="c5", region="karakoram", year=2021, lat=40.225, lon=72.075, split="test"),
    ]
    return rows


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    for chips in many_chips().values():
        make_dataset(root, chips)
    return root


def judge(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Any:
    monkeypatch.setattr(workflow, "build_segmenter", lambda settings: Guesser())
    predicting = PredictSettings(model="guesser", threshold=asked.pop("threshold", 0.5))
    settings = EvaluateSettings(**{"split": "all", **asked})
    return workflow.evaluate_chips(data, predicting, settings, folder, reporter=Silent())


def slow_counts(chips: list[ShardChip], thresholds: tuple[float, ...]) -> dict[float, dict[str, list[int]]]:
    """tp, fp, fn of each chip at each threshold, pixel by pixel in Python's own float64."""
    found: dict[float, dict[str, list[int]]] = {threshold: {} for threshold in thresholds}
    for chip in chips:
        batch = type("Batch", (), {"s2": chip.s2[None]})
        logits = Guesser().segment(batch)[0].tolist()  # type: ignore[arg-type]
        s2, s1, dem = chip.s2.tolist(), chip.s1.tolist(), chip.dem[0].tolist()
        counts = {threshold: [0, 0, 0] for threshold in thresholds}
        for row in range(224):
            for col in range(224):
                optical = [band[row][col] for band in s2]
                if not any(optical) or min(optical) >= 16_000 or abs(dem[row][col]) >= 32_000:
                    continue
                if not (math.isfinite(s1[0][row][col]) and math.isfinite(s1[1][row][col])):
                    continue
                probability, label = 1.0 / (1.0 + math.exp(-logits[row][col])), chip.mask[row, col] == 1
                for threshold in thresholds:
                    water = probability >= threshold
                    if water or label:
                        counts[threshold][0 if water and label else 1 if water else 2] += 1
        for threshold in thresholds:
            found[threshold][f"{chip.region}/{chip.chip_id}"] = counts[threshold]
    return found


def test_every_figure_equals_a_slow_reimplementation(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = judge(dataset, tmp_path, monkeypatch, threshold=0.7)
    chips = [chip for rows in many_chips().values() for chip in rows]
    told = summary.as_dict()
    rows = pd.read_parquet(tmp_path / "per_chip_all.parquet")
    rows.index = rows.region + "/" + rows.chip_id
    for threshold, slow in slow_counts(chips, (0.1, 0.7)).items():
        total = np.array(list(slow.values())).sum(axis=0)
        assert told["global_iou"][str(threshold)] == total[0] / total.sum()
    assert {name: rows.loc[name, ["tp", "fp", "fn"]].tolist() for name in slow} == slow
    mean = sum((tp + 1) / (tp + fp + fn + 1) for tp, fp, fn in slow.values()) / len(slow)
    assert told["per_chip_iou"] == pytest.approx(mean, rel=1e-14)
    own = summary.figures["guesser"]
    regions = json.loads((tmp_path / "per_region_breakdown.json").read_text())["splits"]["all"]["guesser"]
    for name in ("pamir", "karakoram"):
        tp, fp, fn = np.array([value for key, value in slow.items() if key.startswith(name)]).sum(axis=0)
        assert regions[name]["global_iou"]["value"] == tp / (tp + fp + fn)
        assert (regions[name]["intersection"], regions[name]["union"]) == (tp, tp + fp + fn)
    tp, fp, fn = (int(value) for value in total)
    assert own["precision"]["value"] == tp / (tp + fp)
    assert own["recall"]["value"] == tp / (tp + fn)
    assert own["area"]["over_burned"]["value"] == pytest.approx((tp + fp) / (tp + fn), rel=1e-14)
    assert own["n_blocks"] == 10, "a block of two years is one"
    assert own["global_iou"]["low"] < own["global_iou"]["value"] < own["global_iou"]["high"]
    sweep = json.loads((tmp_path / "threshold_sweep.json").read_text())["splits"]["all"]
    assert [row["threshold"] for row in sweep["guesser"]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert {Path(path).name for path in summary.files.values()} == {path.name for path in tmp_path.iterdir()}
    assert summary.differences["water-index"]["value"] == pytest.approx(
        own["global_iou"]["value"] - summary.figures["water-index"]["global_iou"]["value"]
    )


def test_the_split_is_that_of_the_block_and_else_of_the_column(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips = [chip for rows in many_chips().values() for chip in rows]
    by_block = BlockSplit().assign([chip.lat for chip in chips], [chip.lon for chip in chips])
    for split in ("train", "val", "test"):
        n_wanted = int((by_block == split).sum())
        if n_wanted:
            assert judge(dataset, tmp_path, monkeypatch, split=split).as_dict()["n_chips"] == n_wanted
        else:
            with pytest.raises(InputError, match="no chip"):
                judge(dataset, tmp_path, monkeypatch, split=split)
    assert judge(dataset, tmp_path, monkeypatch, split="test", block_size_deg="column").as_dict()["n_chips"] == 1


def test_wrong_labels_are_left_out(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "wrong.csv"
    table.write_text("chip_id,region,year,verdict\nc5,karakoram,2021,wrong\nc4,pamir,2022,right\nnone,,,wrong\n")
    summary = judge(dataset, tmp_path / "out", monkeypatch, exclude=table)
    assert (summary.n_excluded, summary.as_dict()["n_chips"]) == (1, 11)
    rows = pd.read_parquet(tmp_path / "out" / "per_chip_all.parquet")
    assert "pamir" in rows[rows.chip_id == "c5"].region.tolist()
    assert any("none" in warning for warning in summary.warnings)
    table.write_text("c5\nc4\n")
    assert judge(dataset, tmp_path / "out", monkeypatch, exclude=table).n_excluded == 3
    table.write_text("chip_id,verdict\nc5,maybe\n")
    with pytest.raises(InputError, match=r"wrong\.csv, line 2.*maybe"):
        judge(dataset, tmp_path / "out", monkeypatch, exclude=table)


def test_ground_that_the_weights_have_seen(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same hash with other blocks: which of the chips lay in training ground of 0.25 degrees."""
    chips = [chip for rows in many_chips().values() for chip in rows]
    wanted = BlockSplit(size_deg=0.25).assign([chip.lat for chip in chips], [chip.lon for chip in chips]) == "train"
    seen = judge(dataset, tmp_path, monkeypatch, seen_sizes_deg=(0.25,)).seen
    assert seen["n_seen"] == int(wanted.sum()) > 0
    assert seen["n_unseen"] == 12 - seen["n_seen"]
    assert judge(dataset, tmp_path, monkeypatch).seen is None


def test_ground_seen_in_blocks_smaller_than_the_published_buffer(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the split that a checkpoint says it was trained by, whole; and by a size alone, whose buffer is then a quarter of it."""
    chips = [chip for rows in many_chips().values() for chip in rows]
    own = BlockSplit(size_deg=0.03, buffer_deg=0.001, salt="own", train_below=50, val_below=70)
    assert seen_split({"split": own.as_dict()}) == own
    assert seen_split({"split": {"size_deg": -1}}) is None
    assert seen_split({"split": {"another": 1}}) is None
    assert seen_split({}) is None
    wanted = own.assign([chip.lat for chip in chips], [chip.lon for chip in chips]) == "train"
    seen = judge(dataset, tmp_path, monkeypatch, seen_splits=(own.as_dict(),)).seen
    assert seen["n_seen"] == int(wanted.sum())
    assert seen["sizes_deg"] == [0.03]
    assert judge(dataset, tmp_path, monkeypatch, seen_sizes_deg=(0.03,)).seen["n_chips"] == 12


def test_what_cannot_be_read_is_named_and_the_rest_is_judged(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "damaged"
    make_dataset(root, many_chips()["pamir"])
    broken = root / "hindu_kush" / "2022" / "shard_000.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PAR1 nothing")
    summary = judge(root, tmp_path / "out", monkeypatch)
    assert summary.is_partial
    assert list(summary.failed) == ["hindu_kush/2022/shard_000.parquet"]
    assert summary.as_dict()["n_chips"] == 10


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", "evaluate", *words], capture_output=True, text=True, timeout=300
    )


def test_the_command_judges_the_moving_average_and_the_water_index(dataset: Path, tmp_path: Path) -> None:
    """A tiny network with an average beside its weights; the same by hand, through the segmenter itself."""
    from cryosentinel_core.chips.chip import chip_of_row
    from cryosentinel_core.io.weights.model_files import load_segmenter, write_random_checkpoint

    weights = write_random_checkpoint(tmp_path / "tiny.ckpt", seed=6, decoder_channels=8, ema=True)
    words = ("--model", str(weights), "--data", str(dataset), "--split", "all", "--region", "karakoram", "--no-tta")
    done = run_command(*words, "--modalities", "S2L2A,DEM", "-o", str(tmp_path / "out"), "--json", "-q")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["about"]["weights"] == "ema"
    assert set(told["figures"]) == {told["model"], "water-index"}
    segmenter = load_segmenter(weights, weights="ema", device="cpu", tta=False, precision="float32")
    tp = union = 0
    for row in many_chips()["karakoram"]:
        batch = chip_of_row(row).batch
        bare = ChipBatch(**{**vars(batch), "s1": None})
        answer = segmenter.segment(bare)[0] >= 0
        tp += int((answer & (row.mask > 0)).sum())
        union += int((answer | (row.mask > 0)).sum())
    assert told["global_iou"]["0.5"] == tp / union


def test_mistakes_of_the_command_are_said(dataset: Path, tmp_path: Path) -> None:
    for words, code, said in [
        (("--model", "water-index"), 2, "--data"),
        (("--model", "water-index", "--data", str(dataset), "--block-size", "wide"), 2, "wide"),
        (("--model", "water-index", "--data", str(tmp_path)), 1, "no shard"),
        (("--model", "water-index", "--data", str(dataset), "--region", "alps"), 1, "pamir"),
    ]:
        done = run_command(*words)
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
