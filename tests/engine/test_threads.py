"""CPU threads: recorded with each tile and in run.json, and kept by a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_stack import FakeNetwork

from cryosentinel_core.engine.model_loading import SegmenterHolder
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.segmenter import ThreadedSegmenter
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows import predict


class Threaded(FakeNetwork):
    """Says how many threads it would compute with."""

    def __init__(self, settings: PredictSettings) -> None:
        super().__init__()
        self.cpu_threads = settings.threads

    def use_threads(self, threads: int) -> None:
        self.cpu_threads = threads


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_an_interrupted_run_goes_on_with_its_threads(
    small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Threaded] = []

    def build(settings: PredictSettings, *_: object) -> Threaded:
        built.append(Threaded(settings))
        return built[-1]

    assert isinstance(build(PredictSettings()), ThreadedSegmenter)
    monkeypatch.setattr(predict, "build_segmenter", build)
    area = load_area(str(small_catalogue / "aoi.geojson"))
    notes = Notes()

    def run(threads: int) -> Path:
        settings = PredictSettings(model="made.ckpt", overlap=0.0, device="cpu", tile_cells=1, threads=threads)
        fetching = FetchSettings(catalog=str(small_catalogue))
        return predict.predict(Workspace(tmp_path), area, [2023], settings, fetching, reporter=notes).years[0].folder

    folder = run(3)
    records = sorted((folder / "tiles").rglob("*.json"))
    assert {json.loads(path.read_text())["threads"] for path in records} == {3}
    assert json.loads((folder / "run.json").read_text())["threads"] == [3]
    assert not [note for note in notes.notes if "threads" in note]

    records[0].unlink()
    assert run(5) == folder
    assert (built[-1].cpu_threads, len(built[-1].batches)) == (3, 1)
    assert [note for note in notes.notes if "begun with 3 CPU threads" in note]
    assert {json.loads(path.read_text())["threads"] for path in records} == {3}

    for path in (*records, folder / "run.json"):
        path.unlink()
    run(5)
    assert json.loads((folder / "run.json").read_text())["threads"] == [5], (
        "a run from the start takes what is asked for"
    )


def test_a_worker_holds_one_segmenter_and_never_another_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[PredictSettings] = []

    def build(settings: PredictSettings, *_: object) -> Threaded:
        built.append(settings)
        return Threaded(settings)

    monkeypatch.setattr("cryosentinel_core.engine.model_loading.build_segmenter", build)
    holder = SegmenterHolder()
    exact, rough = (PredictSettings(model="a.ckpt", precision=name) for name in ("float32", "bf16"))
    first = holder.segmenter_of(exact)
    assert holder.segmenter_of(exact.model_copy(update={"threshold": 0.7})) is first, (
        "what changes no logit builds nothing"
    )
    assert holder.segmenter_of(rough) is not first
    assert [settings.precision for settings in built] == ["float32", "bf16"]
    assert holder.segmenter_of(exact) is not first
    assert built[-1].precision == "float32"
