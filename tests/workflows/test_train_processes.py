"""Two processes learn what one learns that averages the losses of their micro-batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_training import STUB, make_chips, stub_backbone, tiny_settings

from cryosentinel_core.io.weights.run_folder import RunFolder
from cryosentinel_core.io.weights.whole_checkpoint import read_content
from cryosentinel_core.reporter import Silent
from cryosentinel_core.workflows.train import train

pytestmark = pytest.mark.slow


def test_two_processes_equal_one_with_two_micro_batches(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    make_chips(tmp_path / "chips", n_train=8, n_val=2, n_test=0)
    alike = {
        "model__backbone": STUB,
        "trainer__max_epochs": 1,
        "model__warmup_steps": 0,
        "trainer__log_every_n_steps": 1,
    }
    one = tiny_settings(tmp_path / "chips", run_name="one", trainer__accumulate_grad_batches=2, **alike)
    two = tiny_settings(tmp_path / "chips", run_name="two", trainer__devices=2, trainer__strategy="ddp_fork", **alike)
    with stub_backbone():
        for settings in (one, two):
            train(settings, tmp_path, reporter=Silent())
    found, wanted = (read_content(tmp_path / "runs" / name / "checkpoints" / "last.ckpt") for name in ("two", "one"))
    assert found["global_step"] == wanted["global_step"] == 2
    for name, value in wanted["state_dict"].items():
        if (
            "running_" not in name and "num_batches" not in name
        ):  # each process has batch-norm statistics of its own chips
            torch.testing.assert_close(found["state_dict"][name], value, rtol=0, atol=2e-5, msg=name)
    rows = [RunFolder(tmp_path / "runs" / name).read_metrics() for name in ("two", "one")]
    assert [(row["kind"], row["step"]) for row in rows[0]] == [(row["kind"], row["step"]) for row in rows[1]]
    for ours, theirs in zip(*rows, strict=True):
        for column in ("loss", "loss_bce", "loss_focal", "loss_dice", "loss_tversky", "loss_boundary", "loss_lovasz"):
            if ours[column] and ours["kind"] == "train":
                assert float(ours[column]) == pytest.approx(float(theirs[column]), rel=1e-4), column
