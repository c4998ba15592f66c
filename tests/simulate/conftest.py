"""Small simulated catalogues that this folder's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryosentinel_core.simulate import SimulateSettings, SimulationSummary, simulate

SMALL = SimulateSettings(size_km=3.0, margin_km=1.2, n_lakes=12)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimulationSummary:
    """A catalogue like Planetary Computer's: 3 km, two years, every kind of lake."""
    return simulate(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="session")
def small_settings() -> SimulateSettings:
    """The settings of `small`."""
    return SMALL


@pytest.fixture(scope="session")
def earth_search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny catalogue like Earth Search's, of three years, without radar."""
    settings = SimulateSettings(
        size_km=2.0,
        margin_km=1.0,
        like="earth-search",
        years=(2017, 2021, 2023),
        optical_dates=2,
        radar_dates=0,
        seed=3,
    )
    return simulate(tmp_path_factory.mktemp("earth-search"), settings).directory


@pytest.fixture(scope="session")
def border(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny catalogue across the border of UTM zones 43 and 44."""
    settings = SimulateSettings(
        size_km=2.0,
        margin_km=1.0,
        zone_border=True,
        optical_dates=1,
        radar_dates=1,
        misregistration_m=0,
        year_shift_m=0,
    )
    return simulate(tmp_path_factory.mktemp("border"), settings).directory
