"""The second corridor, thin and whole: shards, run, soup, lakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from made_training import TINY, make_chips

from cryosentinel_cli.main import cli
from cryosentinel_core.io.weights.checkpoint import read_checkpoint
from cryosentinel_core.io.weights.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, by the command line."""
    home = tmp_path_factory.mktemp("home")
    make_chips(home / "chips")
    (home / "tiny.json").write_text(json.dumps(TINY))  # JSON is YAML
    done = CliRunner().invoke(
        cli, ["train", "--data", str(home / "chips"), "--config", str(home / "tiny.json"), "-w", str(home), "--json"]
    )
    assert done.exit_code == 0, done.output
    (home / "summary.json").write_text(done.stdout)
    return home / "runs" / "tiny"


def test_a_run_leaves_the_published_layout(run: Path) -> None:
    summary = json.loads((run.parents[1] / "summary.json").read_text())
    assert (summary["epochs"], summary["steps"]) == (2, 6)
    assert summary["n_chips"] == {"train": 6, "val": 2, "test": 1, "none": 0}
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names[0] == "last.ckpt"
    assert names[1:3] == ["snapshot-epoch001-step000003.ckpt", "snapshot-epoch002-step000006.ckpt"]
    best = Path(summary["best_checkpoint"]).name
    assert names[3:] == [best]
    assert best.startswith("step00000")
    assert f"-iou{summary['best']['iou']:.3f}.ckpt" in best
    assert (run / "config.yaml").is_file()
    assert (run / "diagnostics").is_dir()
    rows = RunFolder(run).read_metrics()
    kinds = [(row["kind"], row["epoch"], row["step"]) for row in rows]
    assert kinds == [
        ("train", "1", "2"), ("train", "1", "3"), ("val", "1", "3"),
        ("train", "2", "4"), ("train", "2", "6"), ("val", "2", "6"), ("test", "2", "6"),
    ]  # fmt: skip
    assert all(row["loss_lovasz"] for row in rows if row["kind"] == "train")


def test_a_checkpoint_holds_raw_and_averaged_weights_and_all_that_they_need(run: Path) -> None:
    path = run / "checkpoints" / "snapshot-epoch002-step000006.ckpt"
    raw, average = read_checkpoint(path), read_checkpoint(path, weights="ema")
    assert raw.has_ema
    assert raw.spec.decoder_channels == 8
    assert raw.normalisation_source == "checkpoint"
    assert raw.hyper_parameters["seen_block_sizes_deg"] == [0.15]
    parameters = [name for name in raw.state_dict if name.endswith("conv.weight")]
    assert any(not torch.equal(raw.state_dict[name], average.state_dict[name]) for name in parameters)
    statistics = [name for name in raw.state_dict if name.endswith("running_mean")]
    assert all(torch.equal(raw.state_dict[name], average.state_dict[name]) for name in statistics)


def test_snapshots_become_a_soup_that_maps_lakes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "soup.ckpt"
    chips = run.parents[1] / "chips"
    done = CliRunner().invoke(cli, ["soup", str(run), "-o", str(out), "--greedy", "--data", str(chips), "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["validation"]["soup"]["iou"] >= max(summary["validation"]["singles"])
    info = json.loads(CliRunner().invoke(cli, ["model", "info", str(out), "--json"]).stdout)
    assert info["ingredients"] == summary["ingredients"]
    sources = [read_checkpoint(run / "checkpoints" / one["name"]).sha256 for one in info["ingredients"]]
    assert [one["sha256"] for one in info["ingredients"]] == sources
    mapped = CliRunner().invoke(
        cli,
        ["predict", "--chips", str(chips), "--model", str(out), "-w", str(tmp_path / "w"), "--n-chips", "1", "--no-tta", "--json"],
    )  # fmt: skip
    assert mapped.exit_code == 0, mapped.output


def test_a_soup_has_no_score_where_no_chip_validates(run: Path, tmp_path: Path) -> None:
    """Nothing was judged: a score of 1 would be a lie, and a greedy choice a throw of dice."""
    make_chips(tmp_path / "chips", n_train=4, n_val=0, n_test=0)
    arguments = ["soup", str(run), "-o", str(tmp_path / "soup.ckpt"), "--data", str(tmp_path / "chips")]
    done = CliRunner().invoke(cli, [*arguments, "--batch-norm", "estimated", "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["validation"], summary["test"], summary["batch_norm"]) == ({}, {}, "estimated")
    done = CliRunner().invoke(cli, [*arguments, "--greedy"])
    assert "validates" in getattr(done.exception, "message", ""), done.output


def test_mistakes_are_named(run: Path, tmp_path: Path) -> None:
    home = run.parents[1]
    for arguments, message, hint in (
        (
            ["--set", "trainer.max_epoch=3"],
            "--set trainer.max_epoch: no key trainer.max_epoch",
            "the nearest is trainer.max_epochs",
        ),
        (["--set", "max_epochs=3"], "no key max_epochs", "the nearest is trainer.max_epochs"),
        (["--set", "model.lr=fast"], "model.lr is 'fast'", "docs/training.md"),
        (["--set", "trainer.max_epochs"], "has no value", "--set trainer.max_epochs=10"),
        ([], "holds a run", "--resume"),
        (
            ["--set", "run_name=other", "--set", "data.batch_size=100"],
            "a batch of 100 chips is larger",
            "data.batch_size",
        ),
        (["--set", "run_name=other", "--set", "data.regions=[alps]"], "no region alps", "there are pamir"),
    ):
        done = CliRunner().invoke(
            cli, ["train", "--data", str(home / "chips"), "--config", str(home / "tiny.json"), "-w", str(home), *arguments]
        )  # fmt: skip
        error = done.exception
        assert error is not None
        assert message in getattr(error, "message", ""), error
        assert hint in getattr(error, "hint", ""), error
