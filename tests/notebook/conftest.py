"""One small area, mapped for two years by the functions of the front door."""

from __future__ import annotations

from pathlib import Path

import pytest
from mapped_area import Mapped

import cryosentinel_core as cs


@pytest.fixture(scope="session")
def mapped(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    """Stacks, lakes and the change table of two years."""
    root = tmp_path_factory.mktemp("workspace")
    area = cs.load_area(small_catalogue / "aoi.geojson")
    cs.change(
        root,
        area,
        [2017, 2023],
        predicting=cs.PredictSettings(model="water-index"),
        fetching=cs.FetchSettings(catalog=str(small_catalogue)),
    )
    return Mapped(root, area, small_catalogue)
