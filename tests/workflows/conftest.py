"""Runs that several files of this room look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_chips import (
    COAST,
    LAND,
    RIVER,
    SNOW,
    assemble,
)

from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.chips import ChipsSummary, predict_chips


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChipsSummary]:
    folder = tmp_path_factory.mktemp("real")
    for name in (COAST, LAND, SNOW, RIVER):
        assemble(shared_data / "chips", folder, name)
    root = tmp_path_factory.mktemp("out")
    return root, predict_chips(Workspace(root), folder, PredictSettings(model="water-index"), reporter=Silent())
