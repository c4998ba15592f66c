"""Segmenters of other packages: found by name, held to the protocol, never run from a path."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from made_stack import FakeNetwork, cells_of, make_jobs, write_made_stack

from cryosentinel_core.engine.model_loading import build_segmenter
from cryosentinel_core.engine.tile_jobs import segment_run
from cryosentinel_core.errors import CryosentinelError, ModelError
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.segment import plugged
from cryosentinel_core.settings.predict import PredictSettings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "two-threshold"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example and some broken ones, as if they were installed."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    points = {
        "two-threshold": ["two_threshold:TwoThreshold"],
        "broken": ["two_threshold:Nothing"],
        "no-segmenter": ["pathlib:Path"],
        "twice": ["two_threshold:TwoThreshold", "pathlib:Path"],
        "large": ["test_plugged_segmenters:Large"],
    }
    found = EntryPoints(EntryPoint(name, value, plugged.GROUP) for name, values in points.items() for value in values)
    monkeypatch.setattr(plugged, "entry_points", lambda **asked: found.select(**asked))
    monkeypatch.setitem(sys.modules, "test_plugged_segmenters", sys.modules[__name__])


class Large(FakeNetwork):
    """Wants another window."""

    window_px = 512


@pytest.mark.usefixtures("installed")
def test_the_example_maps_a_stack(tmp_path: Path) -> None:
    assert "two-threshold" in plugged.plugged_names()
    segmenter = build_segmenter(PredictSettings(model="two-threshold"))
    cells = cells_of(2, 2)
    jobs = make_jobs(write_made_stack(tmp_path / "stack", cells), tmp_path / "out", cells)
    segment_run(jobs, segmenter)
    logits = read_part(jobs[0].part, jobs[0].cells[0].grid, -32768)
    assert -8000 <= logits.min() < 0 < logits.max() <= 8000


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", "could not be made: AttributeError"),
        ("no-segmenter", "which is no Segmenter"),
        ("twice", "several packages"),
        ("large", "windows of 512 px"),
    ],
)
def test_what_cannot_work_is_told(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        build_segmenter(PredictSettings(model=name))
    assert caught.value.hint


@pytest.mark.usefixtures("installed")
def test_no_spread_is_made_up_and_no_path_is_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no members"):
        build_segmenter(PredictSettings(model="two-threshold", uncertainty=True))
    path = tmp_path / "two_threshold.py"
    path.write_text("raise SystemExit('run')")
    with pytest.raises(CryosentinelError):
        build_segmenter(PredictSettings(model=str(path)))
