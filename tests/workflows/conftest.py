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
    run,
)

from cryosentinel_core.report.chip_summary import ChipsSummary


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChipsSummary]:
    folder = tmp_path_factory.mktemp("real")
    for name in (COAST, LAND, SNOW, RIVER):
        assemble(shared_data / "chips", folder, name)
    root = tmp_path_factory.mktemp("out")
    return root, run(root, folder)
