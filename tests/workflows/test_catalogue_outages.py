"""What a run makes of catalogues that stay away, of items that are none, and of what a year's record says of its neighbours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import shapely
from loopback import Loopback, loopback
from made_items import optical_item

from cryosentinel_core.errors import CatalogError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.io.catalogs.http import RetryPolicy
from cryosentinel_core.io.catalogs.scenes_lock import Lock
from cryosentinel_core.io.catalogs.search import Catalogues
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace, read_json
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows import scene_plan as planning
from cryosentinel_core.workflows import scene_search as finding
from cryosentinel_core.workflows.predict import predict

QUICK = RetryPolicy(attempts=2, wait_s=0.01)


def tiny_area(catalogue: Path) -> Area:
    """One pixel's worth of ground in the middle of the simulated area."""
    point = load_area(str(catalogue / "aoi.geojson")).geometry.centroid
    return Area("tiny", shapely.buffer(point, 0.0005, cap_style="square"))


def plan(root: Path, area: Area, settings: FetchSettings, *years: int) -> tuple[dict[int, Lock], list[str]]:
    warnings: list[str] = []
    locks = planning.plan_years(
        Workspace(root), area, years or (2023,), settings, reporter=Silent(), warnings=warnings, catalogues=Catalogues(QUICK)
    )  # fmt: skip
    return locks, warnings


@pytest.mark.parametrize("role", ["radar", "terrain"])
def test_role_that_nobody_answered_for_is_asked_for_again(small_catalogue: Path, tmp_path: Path, role: Any) -> None:
    area = tiny_area(small_catalogue)
    with loopback(small_catalogue) as server:
        address = f"{server.address}/files/catalog.json"
        settings = FetchSettings(catalog=str(small_catalogue), workers=1).model_copy(update={role: address})
        server.faults = {"catalog.json": [503] * 99}
        locks, warnings = plan(tmp_path, area, settings, 2017, 2023)
        written = json.loads((tmp_path / "tiny" / "2023" / "scenes.json").read_text())["cryosentinel"]["tiles"]
        for lock in locks.values():
            assert all("HTTP 503" in unanswered[role] for unanswered in lock.unanswered.values())
            assert set(lock.unanswered) == set(lock.tiles)
        assert all("HTTP 503" in entry["unanswered"][role] for tiles in written.values() for entry in tiles.values())
        assert not any("no radar scene" in warning for warning in warnings)
        again, _ = plan(tmp_path, area, settings, 2017, 2023)
        assert again[2023].unanswered == locks[2023].unanswered
        server.faults = {}
        healed, warnings = plan(tmp_path, area, settings, 2017, 2023)
    whole, _ = plan(tmp_path / "whole", area, FetchSettings(catalog=str(small_catalogue), workers=1), 2017, 2023)
    assert not warnings
    for year, lock in healed.items():
        assert not any(lock.unanswered.values())
        assert lock.tiles == whole[year].tiles
        assert lock.notes == whole[year].notes
    assert "unanswered" not in (tmp_path / "tiny" / "2023" / "scenes.json").read_text()


def test_radar_that_is_not_wanted_any_more_makes_nothing_partial(small_catalogue: Path, tmp_path: Path) -> None:
    area = tiny_area(small_catalogue)
    settings = FetchSettings(catalog=str(small_catalogue), radar="http://127.0.0.1:9/api", workers=1)
    assert plan(tmp_path, area, settings)[0][2023].unanswered
    without = settings.model_copy(update={"radar": "none"})
    assert "radar" not in planning.roles_of(without)
    assert plan(tmp_path, area, without)[1] == []


def test_optical_outage_is_one_error_and_no_decision(small_catalogue: Path, tmp_path: Path, monkeypatch: Any) -> None:
    order = ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")
    monkeypatch.setattr(finding, "DEFAULT_CATALOGS", dict.fromkeys(("optical", "radar", "terrain"), order))
    warnings: list[str] = []
    with pytest.raises(CatalogError, match="do not answer") as error:
        planning.plan_years(
            Workspace(tmp_path), tiny_area(small_catalogue), (2023,), FetchSettings(), reporter=Silent(), warnings=warnings,
            catalogues=Catalogues(QUICK),
        )  # fmt: skip
    assert error.value.message == (
        "the catalogues http://127.0.0.1:9/a and http://127.0.0.1:9/b do not answer: the connection is refused"
    )
    assert warnings == []
    assert list(tmp_path.iterdir()) == []


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120"},
        check=False,
        timeout=300,
    )


def fetch(catalogue: Path, cwd: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return run("fetch", "--aoi", cwd / "tiny.geojson", "--year", "2023", "--catalog", catalogue, *more, cwd=cwd)


@pytest.fixture
def here(small_catalogue: Path, tmp_path: Path) -> Path:
    """A folder with the outline of a tiny area."""
    outline = shapely.geometry.mapping(tiny_area(small_catalogue).geometry)
    (tmp_path / "tiny.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": outline}))
    return tmp_path


@pytest.mark.slow
def test_radar_outage_is_partial_and_the_next_run_completes_it(small_catalogue: Path, here: Path) -> None:
    with loopback(small_catalogue) as server:
        radar = ("--radar", f"{server.address}/files/catalog.json")
        server.faults = {"catalog.json": [503] * 99}
        began = time.monotonic()
        away = fetch(small_catalogue, here, *radar, "--json")
        assert away.returncode == 3, away.stderr
        assert time.monotonic() - began < 90
        told = json.loads(away.stdout)
        assert "HTTP 503" in told["years"][0]["unanswered"]["radar"]
        assert not list(here.rglob("s1.tif"))
        server.faults = {}
        healed = fetch(small_catalogue, here, *radar, "--json")
        assert healed.returncode == 0, healed.stderr
    told = json.loads(healed.stdout)
    assert told["years"][0]["chosen"]["radar"]
    assert told["years"][0]["tiles_done"]
    assert list(here.rglob("s1.tif"))


def answer_with_items(server: Loopback, items: list[Any]) -> tuple[str, str]:
    server.answers["/items.json"] = {"type": "FeatureCollection", "features": items}
    return "--optical", f"{server.address}/items.json"


def test_names_from_a_catalogue_do_not_reach_the_terminal_as_they_are(small_catalogue: Path, here: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe"
    item = optical_item(evil)
    item["assets"].pop("B02")
    with loopback(small_catalogue) as server:
        done = fetch(small_catalogue, here, *answer_with_items(server, [item, None, "text"]))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "\\x1b[2J" in done.stderr
    assert "no asset for B02" in done.stderr
    assert not set("\x1b\x07\u202e") & set(done.stderr + done.stdout)


@pytest.mark.parametrize("command", ["fetch", "predict"])
def test_a_plan_that_lacks_what_nobody_answered_for_is_partial(small_catalogue: Path, here: Path, command: str) -> None:
    done = run(
        command, "--aoi", here / "tiny.geojson", "--year", "2023", "--catalog", small_catalogue, "--radar",
        "http://127.0.0.1:9/api", "--dry-run", cwd=here,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr


def test_a_year_without_scenes_is_not_blamed_on_the_collection(small_catalogue: Path, here: Path) -> None:
    done = run("fetch", "--aoi", here / "tiny.geojson", "--year", "2020", "--catalog", small_catalogue, cwd=here)
    assert done.returncode == 1
    assert "no usable Sentinel-2 scene of 2020" in done.stderr
    assert "wanted is" not in done.stderr


def test_unknown_collection_is_named_with_its_assets(small_catalogue: Path, here: Path) -> None:
    item = optical_item("a")
    item |= {"collection": "my-s2", "assets": {"blue_10m": {"href": "a.tif"}, "nir_10m": {"href": "b.tif"}}}
    with loopback(small_catalogue) as server:
        done = fetch(small_catalogue, here, *answer_with_items(server, [item]))
    assert done.returncode == 1
    assert "'my-s2' (assets blue_10m, nir_10m)" in done.stderr
    assert "sentinel-2-l2a" in done.stderr


def test_page_that_is_no_answer_ends_with_exit_1_in_time(small_catalogue: Path, here: Path) -> None:
    with loopback(small_catalogue) as server:
        server.search_with = lambda body: {"message": "busy"}
        began = time.monotonic()
        done = fetch(small_catalogue, here, "--optical", f"{server.address}/api")
    assert done.returncode == 1
    assert "no FeatureCollection" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_record_of_a_year_holds_its_own_warnings_alone(small_catalogue: Path, tmp_path: Path) -> None:
    broken = tmp_path / "catalogue"
    for path in small_catalogue.rglob("*"):
        target = broken / path.relative_to(small_catalogue)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            target.symlink_to(path) if path.suffix == ".tif" else target.write_bytes(path.read_bytes())
    area, settings = tiny_area(small_catalogue), FetchSettings(catalog=str(broken), radar="none", workers=1)
    locks, _ = plan(tmp_path / "first", area, settings, 2017, 2023)
    chosen = next(key for roles in locks[2023].tiles.values() for key in roles["optical"]).split("/")[1]
    asset = next(broken.glob(f"sentinel-2-l2a/{chosen}/*B05*.tif"))
    asset.unlink()
    root = Workspace(tmp_path / "w")
    summary = predict(root, area, (2017, 2023), PredictSettings(model="water-index"), settings, reporter=Silent())
    assert summary.is_partial
    assert any(text.startswith("2023: ") and chosen in text for text in summary.warnings)
    records = {year: read_json(root.model(area.name, year, "water-index") / "run.json") for year in (2017, 2023)}
    assert any(chosen in text for text in records[2023]["warnings"])
    assert not any(chosen in text or text.startswith("20") for text in records[2017]["warnings"])
    assert not any(text.startswith("20") for text in records[2023]["warnings"])
