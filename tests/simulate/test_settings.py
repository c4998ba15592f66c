from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cryosentinel_core.errors import ConfigError, OutputWrite
from cryosentinel_core.simulate import SimulateSettings, SimulationSummary, simulate


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("years", (2023, 2017)),
        ("years", (2023,)),
        ("years", (2017, 2017)),
        ("years", (1990, 2017)),
        ("seed", -1),
        ("size_km", 0.2),
        ("size_km", float("nan")),
        ("cloud", 0.95),
        ("n_lakes", 0),
        ("like", "my-archive"),
        ("optical_dates", 0),
        ("min_lake_ha", 0.01),
        ("workers", 0),
    ],
)
def test_wrong_parameters_are_refused_with_name_and_value(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(SimulateSettings(), **{name: value})
    assert name in caught.value.message
    assert repr(value) in caught.value.message


def test_a_zone_border_has_its_own_centre() -> None:
    assert SimulateSettings(zone_border=True).lon == 78.0
    with pytest.raises(ConfigError, match="centre_lon"):
        SimulateSettings(zone_border=True, centre_lon=77.0)


def test_to_dict_holds_every_parameter_that_decides_content() -> None:
    named = {field.name for field in dataclasses.fields(SimulateSettings)}
    assert set(SimulateSettings(difficulty="real").to_dict()) == named - {"workers"}
    assert set(SimulateSettings().to_dict()) == named - {"workers", "difficulty"}, "bytes from before it existed"
    assert SimulateSettings().to_dict()["n_lakes"] == 40
    assert SimulateSettings(size_km=3).to_dict()["n_lakes"] == 12


def test_a_folder_with_a_catalogue_is_left_alone(small: SimulationSummary) -> None:
    before = small.catalog.read_bytes()
    with pytest.raises(OutputWrite, match="holds a catalogue"):
        simulate(small.directory, SimulateSettings())
    assert small.catalog.read_bytes() == before


def test_a_disk_that_refuses_is_a_known_failure(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OutputWrite, match="could not make"):
        simulate(blocked / "inside", SimulateSettings())
    (tmp_path / "truth").write_text("in the way")
    with pytest.raises(OutputWrite, match="could not write"):
        simulate(tmp_path, SimulateSettings(size_km=1.5, margin_km=0.5, optical_dates=1, radar_dates=0))
