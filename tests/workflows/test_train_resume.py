"""Killed anywhere, a run goes on with the same chips and the same numbers, to the bit."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_training import make_chips, tiny_settings

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights import run_folder, verified_write
from cryosentinel_core.io.weights.content import read_content
from cryosentinel_core.io.weights.run_folder import RunFolder, find_run
from cryosentinel_core.learn.training.run_keeper import RunKeeper
from cryosentinel_core.learn.training.task import LakeTask
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.train import TrainSettings
from cryosentinel_core.workflows.train import train

TIMES = ("chips_per_second", "seconds")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    make_chips(root / "chips")
    return root


def settings_of(home: Path, name: str, **changes: Any) -> TrainSettings:
    """Three epochs of three steps, the last two in the flat phase; saved after every other step."""
    return tiny_settings(
        home / "chips",
        **{
            "run_name": name,
            "trainer__max_epochs": 3,
            "trainer__checkpoint_every_n_steps": 2,
            "trainer__snapshot_epochs": [2, 3],
            **changes,
        },
    )


@pytest.fixture(scope="module")
def whole(home: Path) -> dict[str, Any]:
    """What a run that nobody disturbs leaves."""
    torch.set_num_threads(1)  # a sum's last bit depends on how many threads share it
    train(settings_of(home, "whole"), home, reporter=Silent())
    return outcome(home / "runs" / "whole")


def outcome(root: Path) -> dict[str, Any]:
    folder = RunFolder(root)
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in folder.read_metrics()]
    names = sorted(path.name for path in (root / "checkpoints").iterdir())
    return {
        "rows": rows,
        "names": names,
        "content": {name: read_content(root / "checkpoints" / name) for name in names},
    }


def assert_same(found: Any, wanted: Any, where: str) -> None:
    """Equal to the bit; run names and folders may differ."""
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted), where
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            if key not in ("run_name", "loops", "max_epochs", "snapshot_epochs"):
                assert_same(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    else:
        assert found == wanted, where


def kill_self(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: Any, name: str, count: int, *, after: bool = False) -> None:
    """Have this process killed before, or after, the n-th call of something."""
    original, calls = getattr(owner, name), [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == count and not after:
            kill_self()
        done = original(*args, **kwargs)
        if calls[0] == count:
            kill_self()
        return done

    setattr(owner, name, wrapped)


def write_half(count: int) -> None:
    """Have the n-th checkpoint cut off in the middle of its file."""
    original, calls = torch.save, [0]

    def save(content: Any, file: Any) -> None:
        calls[0] += 1
        original(content, file)
        if calls[0] == count:
            file.flush()
            file.truncate(file.tell() // 2)
            kill_self()

    torch.save = save


def cut_row(count: int) -> None:
    """Have the n-th row of the log cut off."""
    original, calls = RunFolder.log, [0]

    def log(self: RunFolder, row: Any) -> None:
        calls[0] += 1
        original(self, row)
        if calls[0] == count:
            with self.metrics.open("r+b") as file:
                file.truncate(self.metrics.stat().st_size - 9)
            kill_self()

    RunFolder.log = log  # type: ignore[method-assign]


MOMENTS: dict[str, Callable[[], None]] = {
    "in the first epoch before anything was saved": lambda: at_call(LakeTask, "training_step", 2),
    "in mid-epoch": lambda: at_call(LakeTask, "training_step", 6),
    "in the flat phase": lambda: at_call(LakeTask, "training_step", 8, after=True),
    "while the average is swapped in for validation": lambda: at_call(LakeTask, "judge", 2, after=True),
    "while the last checkpoint is written": lambda: write_half(4),
    "between a checkpoint's bytes and its name": lambda: at_call(verified_write, "_read_back", 4, after=True),
    "between the best checkpoint and the last": lambda: at_call(RunKeeper, "_validate", 2, after=True),
    "while a snapshot is written": lambda: write_half(6),
    "while a row is logged": lambda: cut_row(5),
    "while the test is judged": lambda: at_call(LakeTask, "judge", 4),
}


def run_and_die(moment: str, settings: TrainSettings, home: Path) -> None:
    torch.set_num_threads(1)
    MOMENTS[moment]()
    train(settings, home, reporter=Silent())


def begin_and_kill(moment: str, settings: TrainSettings, home: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=run_and_die, args=(moment, settings, home))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL, f"it was not killed {moment}"


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_anywhere_it_goes_on_with_the_same_numbers(home: Path, whole: dict[str, Any], moment: str) -> None:
    torch.set_num_threads(1)
    name = "killed-" + moment.replace(" ", "-").replace("'", "")
    settings = settings_of(home, name)
    begin_and_kill(moment, settings, home)
    root = home / "runs" / name
    last = root / "checkpoints" / run_folder.LAST
    if last.exists():
        read_content(last)  # whatever was going on, the last one is whole
        train(settings, home, reporter=Silent(), resume=find_run(root)[1])
    else:
        with pytest.raises(CheckpointError, match="nothing was saved yet"):
            find_run(root)
        train(settings, home, reporter=Silent())
    found = outcome(root)
    assert found["rows"] == whole["rows"]
    assert found["names"] == whole["names"]
    assert_same(found["content"], whole["content"], name)
    assert not [path.name for path in root.rglob(".tmp-*")]
    shutil.rmtree(root)
