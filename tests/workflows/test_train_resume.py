"""Killed anywhere, a run goes on with the same chips and the same numbers, to the bit."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from made_training import STUB, make_chips, stub_backbone, tiny_settings

from cryosentinel_core.errors import CheckpointError, ConfigError, ModelError, OutputWrite
from cryosentinel_core.io.weights import run_folder, verified_write
from cryosentinel_core.io.weights.run_folder import RunFolder, find_run
from cryosentinel_core.io.weights.whole_checkpoint import read_content
from cryosentinel_core.learn.training.run_keeper import RunKeeper
from cryosentinel_core.learn.training.task import LakeTask
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.train import TrainSettings
from cryosentinel_core.workflows.train import train

pytestmark = pytest.mark.slow

TIMES = ("chips_per_second", "seconds")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("home")
    make_chips(root / "chips")
    with stub_backbone():
        yield root


def settings_of(home: Path, name: str, **changes: Any) -> TrainSettings:
    """Three epochs of three steps, the last two in the flat phase; saved after every other step."""
    return tiny_settings(
        home / "chips",
        **{
            "run_name": name,
            "model__backbone": STUB,
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


class Saying(Silent):
    """Passes warnings on."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def warn(self, message: str) -> None:
        self.said.put(message)


def run_to_its_end(settings: TrainSettings, home: Path, said: Any, number: signal.Signals) -> None:
    torch.set_num_threads(1)
    original, calls = LakeTask.training_step, [0]

    def step(self: LakeTask, batch: Any, batch_idx: int) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            os.kill(os.getpid(), number)
        return original(self, batch, batch_idx)

    LakeTask.training_step = step  # type: ignore[method-assign]
    try:
        train(settings, home, reporter=Saying(said))
    except ModelError as error:
        said.put(error.message)
    except KeyboardInterrupt:
        said.put("interrupted")


def test_told_to_stop_a_run_saves_where_it_is_and_says_so(home: Path, whole: dict[str, Any]) -> None:
    """As a scheduler does when time is up; Lightning would exit as if all were done."""
    settings = settings_of(home, "told", trainer__checkpoint_every_n_steps=100)
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    process = context.Process(target=run_to_its_end, args=(settings, home, said, signal.SIGTERM))
    process.start()
    assert any("SIGTERM) after step 5" in heard for heard in iter(lambda: said.get(timeout=300), "end"))
    process.join(60)
    last = find_run(home / "runs" / "told")[1]
    assert read_content(last)["global_step"] == 5
    train(settings, home, reporter=Silent(), resume=last)
    found = outcome(home / "runs" / "told")
    assert_same(found["content"]["last.ckpt"]["state_dict"], whole["content"]["last.ckpt"]["state_dict"], "told")


def test_interrupted_a_run_says_how_to_go_on(home: Path) -> None:
    """Ctrl-C; Lightning would exit with 1 and not a word."""
    settings = settings_of(home, "interrupted")
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    process = context.Process(target=run_to_its_end, args=(settings, home, said, signal.SIGINT))
    process.start()
    heard = list(iter(lambda: said.get(timeout=300), "interrupted"))
    process.join(60)
    last = find_run(home / "runs" / "interrupted")[1]
    assert heard[-1].startswith("interrupted after step ")
    assert heard[-1].endswith(f"go on with --resume {last}")


def test_only_a_few_keys_may_change(home: Path, whole: dict[str, Any]) -> None:
    _, last = find_run(home / "runs" / "whole")
    before = {path.name: path.read_bytes() for path in last.parent.iterdir()}
    for changes, key in (
        ({"model__lr": 2e-3}, "model.lr"),
        ({"seed": 7}, "seed"),
        ({"data__rot90": True}, "data.rot90"),
    ):
        with pytest.raises(ConfigError, match=rf"cannot change {key} \(was") as error:
            train(settings_of(home, "whole", **changes), home, reporter=Silent(), resume=last)
        assert "trainer.max_epochs" in error.value.hint
    assert {path.name: path.read_bytes() for path in last.parent.iterdir()} == before


def test_a_run_may_be_made_longer_and_fed_otherwise(home: Path, whole: dict[str, Any]) -> None:
    shutil.copytree(home / "runs" / "whole", home / "runs" / "longer")
    longer = settings_of(home, "longer", trainer__max_epochs=4, feed={"place": "disk"})
    summary = train(longer, home, reporter=Silent(), resume=find_run(home / "runs" / "longer")[1])
    assert (summary.epochs, summary.steps) == (4, 12)
    steps = [row["step"] for row in RunFolder(home / "runs" / "longer").read_metrics() if row["kind"] == "val"]
    assert steps == ["3", "6", "9", "12"]


def test_a_finished_run_says_again_what_it_came_to(home: Path, whole: dict[str, Any]) -> None:
    shutil.copytree(home / "runs" / "whole", home / "runs" / "again")
    summary = train(settings_of(home, "again"), home, reporter=Silent(), resume=find_run(home / "runs" / "again")[1])
    assert summary.epochs == 3
    assert summary.test["iou"] == float(whole["rows"][-1]["iou"])
    assert outcome(home / "runs" / "again")["rows"] == whole["rows"]


def test_a_full_disk_leaves_the_last_good_checkpoint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = torch.save
    calls = [0]

    def save(content: Any, file: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        saved(content, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OutputWrite, match="no space left while writing"):
        train(settings_of(home, "full"), home, reporter=Silent())
    root = home / "runs" / "full"
    assert read_content(root / "checkpoints" / "last.ckpt")["global_step"] == 2
    assert not list(root.rglob(".tmp-*"))
    monkeypatch.setattr(torch, "save", saved)
    assert train(settings_of(home, "full"), home, reporter=Silent(), resume=find_run(root)[1]).epochs == 3


def test_a_checkpoint_that_reads_back_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are turned on the way to the disk; the file of before stays."""
    path = tmp_path / "last.ckpt"
    verified_write.write_verified(path, {"w": torch.arange(1000)})
    before = path.read_bytes()
    saved = torch.save

    def save(content: Any, file: Any) -> None:
        saved(content, file)
        file.flush()
        middle = file.tell() // 2
        file.seek(middle)
        file.write(b"\xff\x13\xff")
        file.seek(0, 2)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OutputWrite, match="read"):
        verified_write.write_verified(path, {"w": torch.arange(1000) + 5})
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_published_last_checkpoint_is_gone_on_with(home: Path, whole: dict[str, Any]) -> None:
    """As Lightning's own callbacks leave it at a validation's end: no place of ours, a schedule, names of a compiled model."""
    content = dict(whole["content"]["last.ckpt"])
    del content["cryosentinel"]
    content["state_dict"] = {
        name.replace("model.", "model._orig_mod.", 1): value for name, value in content["state_dict"].items()
    }
    shadow = content["callbacks"]["EMA"]["shadow"]
    content["callbacks"] = {
        "EMA": {
            "decay": 0.5,
            "shadow": {name.replace("model.", "model._orig_mod.", 1): x for name, x in shadow.items()},
        }
    }
    content |= {"epoch": 2, "global_step": 9, "lr_schedulers": [{"last_epoch": 9}]}
    content["loops"] = {"fit_loop": {"epoch_loop.batch_progress": {"current": {"ready": 3}, "is_last_batch": True}}}
    root = home / "runs" / "published"
    verified_write.write_verified(root / "last.ckpt", content)
    folder, last = find_run(root / "last.ckpt")
    assert folder == root
    settings = settings_of(home, "published", trainer__max_epochs=4)
    summary = train(settings, home, reporter=Silent(), resume=last)
    assert (summary.epochs, summary.steps) == (4, 12)
    found = read_content(root / "checkpoints" / "last.ckpt")
    steps = {int(state["step"]) for state in found["optimizer_states"][0]["state"].values()}
    assert steps == {12}, "the optimiser's state was taken over"
