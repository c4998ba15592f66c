"""Several devices, a process each: order, errors, and the same bytes as one process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from made_stack import cells_of, make_jobs, write_made_stack

from cryosentinel_core.engine.device_processes import run_on_devices
from cryosentinel_core.engine.dispatch import segment_tiles
from cryosentinel_core.engine.model_loading import build_segmenter
from cryosentinel_core.errors import InputError, ModelError
from cryosentinel_core.learn.inference.devices import list_devices
from cryosentinel_core.reporter import Silent


@dataclass(frozen=True)
class Errand:
    """A job that says where it ran."""

    number: int
    what: str = "go"


class Runner:
    """Does errands on one device; says how many it has done."""

    def __init__(self, device: str) -> None:
        self.device, self.n_done = device, 0

    def __call__(self, errand: Errand) -> tuple[int, str, int, int]:
        if errand.what == "fail":
            raise InputError("no such errand", "stay at home")
        if errand.what == "die":
            os._exit(1)
        time.sleep(0.05)
        self.n_done += 1
        return errand.number, self.device, os.getpid(), self.n_done


def test_every_job_once_and_a_process_a_device() -> None:
    found = list(run_on_devices(Runner, [Errand(number) for number in range(6)], ["cpu", "cpu"]))
    assert sorted(index for index, _ in found) == list(range(6))
    assert all(index == number for index, (number, _, _, _) in found)
    assert {device for _, (_, device, _, _) in found} == {"cpu"}
    processes = {process for _, (_, _, process, _) in found}
    most = {process: max(n for _, (_, _, own, n) in found if own == process) for process in processes}
    assert sum(most.values()) == 6, "one worker a process, kept from job to job"
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    assert list(run_on_devices(Runner, [], ["cpu"])) == []


def test_errors_arrive_whole() -> None:
    with pytest.raises(InputError, match="no such errand") as caught:
        list(run_on_devices(Runner, [Errand(0), Errand(1, "fail")], ["cpu", "cpu"]))
    assert caught.value.hint == "stay at home"
    with pytest.raises(ModelError, match="the process on cpu died"):
        list(run_on_devices(Runner, [Errand(0, "die")], ["cpu"]))


def test_cards_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert list_devices("auto") == list_devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert list_devices("cuda:1") == ["cuda:1"]
    assert list_devices("cpu") == ["cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert list_devices("auto") == ["auto"]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    """The path of several GPUs, with two processes on the CPU: the same bytes, and every tile's record with them."""
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    weights = write_random_checkpoint(tmp_path / "tiny.ckpt", decoder_channels=32)
    cells = cells_of(2, 5)
    stack = write_made_stack(tmp_path / "stack", cells)
    settings = {"model": str(weights), "device": "cpu", "tta": False, "overlap": 0.0, "threads": 1, "batch_size": 2}
    folders, done = {}, {}
    for name, devices in (("one", ["cpu"]), ("two", ["cpu", "cpu"])):
        jobs = make_jobs(stack, tmp_path / name, cells, **settings)
        segmenter = build_segmenter(jobs[0].settings)
        done[name] = segment_tiles(jobs, segmenter, jobs[0].settings, Silent(), devices)
        folders[name] = {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}
    assert len(folders["one"]) == 2 * len(cells)
    assert sorted(folders["two"]) == sorted(folders["one"])
    assert [name for name in folders["one"] if folders["one"][name] != folders["two"][name]] == []
    assert done["two"].n_windows == done["one"].n_windows == len(cells)
    assert done["two"].engine["n_processes"] == 2
    assert done["two"].peak_mib["host"] > 100
