"""`train --seeds`: runs that begin alike and part by their order of chips, spread and soup; the card and the curve of each run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from made_training import STUB, TINY, make_chips, stub_backbone
from PIL import Image

from cryosentinel_cli.main import cli
from cryosentinel_core.io.weights.checkpoint import read_checkpoint

SEEDS = (17, 42)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of two epochs, by the command line; the summary beside."""
    home = tmp_path_factory.mktemp("home")
    make_chips(home / "chips")
    settings = {**TINY, "model": {**TINY["model"], "backbone": STUB}}
    (home / "stub.json").write_text(json.dumps(settings))
    (home / "summary.json").write_text(json.dumps(train(home)))
    return home


def train(home: Path) -> dict[str, object]:
    with stub_backbone():
        done = CliRunner().invoke(
            cli,
            ["train", "--data", str(home / "chips"), "--config", str(home / "stub.json"), "-w", str(home), "--seeds", "17,42",
             "--json"],
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_mean_and_spread_are_those_of_the_runs(home: Path) -> None:
    summary = json.loads((home / "summary.json").read_text())
    scores = [run["best"]["iou"] for run in summary["runs"]]
    assert len(scores) == len(SEEDS)
    assert summary["validation_iou"]["mean"] == pytest.approx(statistics.mean(scores))
    assert summary["validation_iou"]["std"] == pytest.approx(statistics.stdev(scores))
    assert [Path(run["snapshots"][-1]).parents[1].name for run in summary["runs"]] == ["tiny-seed17", "tiny-seed42"]


def test_the_soup_is_the_mean_of_both_runs_last_snapshots(home: Path) -> None:
    summary = json.loads((home / "summary.json").read_text())
    kind = summary["soup"]["ingredients"][0]["weights"]
    with stub_backbone():
        parts = [read_checkpoint(Path(run["snapshots"][-1]), weights=kind) for run in summary["runs"]]
        soup = read_checkpoint(home / "runs" / "tiny-seeds-soup.ckpt")
    names = [name for name, tensor in soup.state_dict.items() if tensor.is_floating_point() and "running" not in name]
    assert any(not torch.equal(parts[0].state_dict[name], parts[1].state_dict[name]) for name in names)
    for name in names:
        mean = (parts[0].state_dict[name].double() + parts[1].state_dict[name].double()) / 2
        assert torch.allclose(soup.state_dict[name].double(), mean, atol=1e-6), name


def test_each_run_leaves_a_card_with_the_hub_s_block_and_a_curve(home: Path) -> None:
    for seed in SEEDS:
        run = home / "runs" / f"tiny-seed{seed}"
        card = (run / "model_card.md").read_text()
        block = yaml.safe_load(card.split("---")[1])
        assert block["library_name"] == "cryosentinel"
        names = {metric["name"] for metric in block["model-index"][0]["results"][0]["metrics"]}
        assert any("val" in name for name in names)
        assert f"| seed | {seed} |" in card
        assert "never forecasts outbursts" in card
        with Image.open(run / "diagnostics" / "learning_curve.png") as curve:
            assert curve.size == (700, 800)
            assert np.unique(np.asarray(curve)).size > 10, "something is drawn"


def test_a_second_call_goes_on_with_what_is_there(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("snapshot-*.ckpt")}
    again = train(home)
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("snapshot-*.ckpt")} == before
    first = json.loads((home / "summary.json").read_text())
    assert again["validation_iou"] == first["validation_iou"]
