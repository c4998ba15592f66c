"""The closed loop's tables against counts made by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import geopandas as gpd
import pytest
import shapely

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import closed_loop_report

    return closed_loop_report


def event(true: str, said: str, before_m2: float, after_m2: float, change_m2: float, **more: Any) -> dict[str, Any]:
    """A lake whose change has a standard deviation of 100 m2."""
    return {
        "errors": "measured", "true_status": true, "true_reason": "", "status": said, "reason": "", "kind": "stable",
        "true_from_m2": before_m2, "true_to_m2": after_m2, "change_m2": change_m2, "sigma_m2": 100.0,
        "critical_m2": 196.0, "detectable_m2": 280.0, "significant": abs(change_m2) > 196.0, **more,
    }  # fmt: skip


EVENTS = [
    event("stable", "stable", 2e4, 2e4, 50.0),
    event("stable", "grown", 2e4, 2e4, 250.0),
    event("grown", "grown", 2e4, 2.1e4, 1050.0, kind="calving"),
    event("grown", "stable", 7e4, 7.01e4, 90.0, kind="calving"),
    event("shrunk", "unobserved", 2e4, 1e4, 0.0, reason="cloud"),
    event("unobserved", "unobserved", 2e4, 1e4, 0.0, reason="ice", true_reason="ice"),
    event("new", "missing", 0.0, 5_200.0, 0.0),
]
"""The last one is too near the table's cut to be asked for."""

LAKES = [
    {"true_m2": 1e4, "found": True, "alone": True, "area_m2": 1.01e4, "sigma_m2": 100.0},
    {"true_m2": 2e4, "found": True, "alone": True, "area_m2": 1.9e4, "sigma_m2": 100.0},
    {"true_m2": 2e4, "found": False},
]
PIXELS = [{"method": "ours", "intersection": 90, "union": 100, "invented": 1}]


def result(condition: str = "plain") -> dict[str, Any]:
    return {
        "seed": 0, "condition": condition, "events": EVENTS, "lakes": LAKES, "pixels": PIXELS, "simulate_s": 1.0,
        "pipeline_s": 2.0, "strange": [{"errors": "measured", "status": "new"}, {"errors": "measured", "status": "stable"}],
    }  # fmt: skip


def test_a_share_has_the_exact_interval(tables: ModuleType) -> None:
    """Of none in n the upper end is 1 - 0.025 ** (1 / n)."""
    assert tables.share(0, 10) == f"0.0 % [0.0, {100 * (1 - 0.025**0.1):.1f}] (0 of 10)"
    assert tables.share(0, 0) == "none"


def test_measures_of_a_seed(tables: ModuleType) -> None:
    found = tables.measures([result()])
    for name, value in {
        "true lakes >= 0.5 ha seen in both years, found": "(2 of 3)",
        "ours: pixel IoU; invented patches >= 0.5 ha a scene": "0.900; 1.00",
        "area error: mean, median absolute, standard deviation": "-2.00 %, 3.00 %, 4.24 %",
        "95 % intervals of area that hold the truth": "(1 of 2)",
        "measured: lakes over 0.55 ha seen in truth, called unobserved": "(1 of 5)",
        "measured: status right": "(2 of 4)",
        "measured: status right at calving fronts": "(1 of 2)",
        "measured: stable lakes called changed": "(1 of 2)",
        "measured: 95 % intervals of change that hold the truth": "(3 of 4)",
        "measured: true changes over the stated detectable one, found": "(1 of 1)",
        "measured: true changes under it, found": "(0 of 1)",
        "measured: hidden lakes called unobserved": "(1 of 1)",
        "measured: of these with the right reason": "(1 of 1)",
        "measured: rows on no lake; of these called changed": "2; 1",
    }.items():
        assert found[name].endswith(value), name
    # errors of 50, 250, 50 and -10 m2, both ways, on top of 280: 30 and 270 of eight stay or fall under 196
    assert found["measured: power at the stated detectable change, by these errors"] == "87.5 % of 8"


def test_statuses_are_counted(tables: ModuleType) -> None:
    assert tables.confusion([result()], "measured").splitlines()[2:] == [
        "| stable | 1 | 1 | 0 |", "| grown | 1 | 1 | 0 |", "| shrunk | 0 | 0 | 1 |", "| unobserved | 0 | 0 | 1 |",
    ]  # fmt: skip


def test_each_condition_has_a_column(tables: ModuleType) -> None:
    text = tables.report([result(), result("half under cloud")])
    assert text.splitlines()[0] == "| measure | all | plain | half under cloud |"
    assert "(4 of 6)" in text.splitlines()[3]


def test_a_watched_lake_without_outline_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from closed_loop import named

    place = shapely.box(77.0, 43.0, 77.01, 43.01)
    rows = gpd.GeoDataFrame({"aliases": ["L01;L02", "L09", None]}, geometry=[place, None, None], crs=4326)
    assert named(rows, ["L09"]) == 1
    assert named(rows, ["L01"]) is None
