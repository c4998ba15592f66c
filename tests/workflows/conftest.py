"""Runs that several files of this room look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_chips import (
    COAST,
    LAND,
    RIVER,
    SNOW,
    Counting,
    assemble,
    run,
)

from cryosentinel_core.report.chip_summary import ChipsSummary
from cryosentinel_core.workflows import chips as chips_module


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChipsSummary]:
    folder = tmp_path_factory.mktemp("real")
    for name in (COAST, LAND, SNOW, RIVER):
        assemble(shared_data / "chips", folder, name)
    root = tmp_path_factory.mktemp("out")
    return root, run(root, folder)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The segmenter of every run over chips in a test, whatever model is asked for."""
    segmenter = Counting()
    monkeypatch.setattr(chips_module, "build_segmenter", lambda *_: segmenter)
    return segmenter
