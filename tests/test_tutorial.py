"""What the tutorial shows is what the software says: on the demo's table as it was recorded, and on mistakes as they are made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import shapely
from click.testing import CliRunner

from cryosentinel_cli.main import cli
from cryosentinel_cli.simulate import _in_words
from cryosentinel_core.errors import CryosentinelError
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.report.change_summary import ChangeSummary
from cryosentinel_core.simulate import SimulationSummary

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
TABLE = pd.read_csv(
    Path(__file__).parent / "recorded" / "demo_change.csv", keep_default_na=False, na_values={"change_percent": [""]}
)
"""`change.csv` of `make demo`."""

AREA = [(77.07181, 42.99469), (77.075449, 43.10268), (76.92807, 43.10526), (76.92469, 42.99726)]
"""Corners of the demo's area."""


def block(begin: str) -> list[str]:
    """The lines of the one code block that begins so."""
    found = [text for text in BLOCKS if text.startswith(begin)]
    assert len(found) == 1, f"{len(found)} blocks begin with {begin!r}"
    return found[0].splitlines()


def test_the_table_of_the_demo() -> None:
    reasons = TABLE.loc[TABLE["reason"] != "", "reason"].value_counts()
    summary = ChangeSummary(
        folder=Path("aoi/change_2017_2023_water-index"),
        years=(2017, 2023),
        model="water-index",
        n_rows=len(TABLE),
        statuses={"2017-2023": {str(one): int((TABLE["status"] == str(one)).sum()) for one in sorted(Status)}},
        reasons={str(name): int(reasons[name]) for name in sorted(reasons.index)},
        lake_area_m2={},
        is_reused=False,
        errors=json.loads((Path(__file__).parent / "recorded" / "demo_errors.json").read_text(encoding="utf-8")),
        table=numbers(TABLE),
    )
    said, shown = summary.as_text().splitlines(), block("2017-2023: 33 lakes")
    gap = shown.index("...")
    assert [line.rstrip() for line in said[:gap]] == shown[:gap]
    assert said[-(len(shown) - gap - 1) :] == shown[gap + 1 :]


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its columns of numbers as numbers."""
    names = [name for name in table.columns if name.endswith(("_m2", "_percent"))]
    flags = {"significant": table["significant"].map({"True": True, "False": False, True: True, False: False})}
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in names}, **flags)


def test_what_the_simulation_says() -> None:
    shown = block("11 Sentinel-2")
    statuses = {status: int(number) for number, status in re.findall(rf"(\d+) ({'|'.join(Status)})", shown[1])}
    summary = SimulationSummary(
        directory=Path("demo/catalogue"), catalog=Path(), aoi=Path(), n_optical_items=11, n_radar_items=8,
        n_terrain_items=4, n_lakes=40, n_events=40, statuses=statuses, bytes_written=853_000_000,
    )  # fmt: skip
    assert _in_words(summary).splitlines() == shown
    assert sum(statuses.values()) == 40


def test_counts_add_up() -> None:
    for begin in ("2017-2023: 33 lakes", "2017-2023: 36 lakes"):
        line = block(begin)[0]
        total = int(re.findall(r"(\d+) lakes", line)[0])
        assert total == sum(int(number) for number, _ in re.findall(rf"(\d+) ({'|'.join(Status)})", line))


def test_the_area_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("catalogue").mkdir()
    Path("catalogue/aoi.geojson").write_text(shapely.to_geojson(shapely.Polygon(AREA)))
    said = load_area("catalogue/aoi.geojson").as_text()
    assert [text.splitlines()[0] for text in BLOCKS if text.startswith("area catalogue")] == [said, said]


def test_typical_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["change", "2023", "2017"], prog_name="cryosentinel")
    assert (result.exit_code, result.output.splitlines()) == (2, block("Usage:"))
    Path("swapped.geojson").write_text(shapely.to_geojson(shapely.Polygon([(y, x) for x, y in AREA])))
    assert said("--aoi", "swapped.geojson") == block("error: swapped.geojson")
    for folder, west in (("lakes", 77.0), ("b", 77.97)):
        Path(folder).mkdir()
        box = json.loads(shapely.to_geojson(shapely.box(west, 43.0, west + (0.05 if west == 77 else 0.06), 43.03)))
        name = "aoi.geojson" if folder == "lakes" else "lakes.geojson"
        Path(folder, name).write_text(json.dumps({"type": "Feature", "geometry": box}))
    assert said("--aoi", "b/lakes.geojson") == block("error: b/lakes.geojson")


def said(*arguments: str) -> list[str]:
    """The two lines of a failure of `fetch`, with paths from the current folder."""
    error = CliRunner().invoke(cli, ["fetch", "--year", "2023", "--catalog", "nowhere", *arguments]).exception
    assert isinstance(error, CryosentinelError)
    return f"error: {error.message}\ntry: {error.hint}".replace(f"{Path.cwd()}/", "").splitlines()
