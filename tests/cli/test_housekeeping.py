"""`du` counts what is ours, `clean` removes only what can be made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cryosentinel_cli.main import cli
from cryosentinel_core.errors import WorkspaceBusy
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.reporter import Silent

FILES = {
    "valley/aoi.geojson": 10,
    "valley/curation.gpkg": 500,
    "valley/registry.gpkg": 400,
    "valley/2023/scenes.json": 300,
    "valley/2023/stack-01234567/32643/n0212e0030/s2.tif": 90_000,
    "valley/2023/water-index/run.json": 20,
    "valley/2023/water-index/logit_32643.tif": 5_000,
    "valley/2023/water-index/tiles/32643/n0212e0030.tif": 7_000,
    "valley/change_2017_2023_water-index/change.csv": 600,
    "chip-results/scene/water-index/scene_logit.tif": 800,
    "photos/2023/stack-of-hay/cow.jpg": 1_000,
    "demo/catalog.json": 5,
    "demo/aoi.geojson": 5,
    "demo/2023/stack-1/s2.tif": 6,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name, size in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return tmp_path


def said(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def left(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and ".locks" not in path.parts
    }


def test_du_counts_what_is_ours(workspace: Path) -> None:
    told = said("du", "-w", str(workspace))
    sizes = {one["path"]: (one["kind"], one["bytes"]) for one in told["folders"]}  # type: ignore[attr-defined]
    assert sizes == {
        "valley/2023/stack-01234567": ("stack", 90_000),
        "valley/2023/water-index/tiles": ("tiles", 7_000),
        "valley/2023/water-index": ("results", 5_020),
        "chip-results/scene/water-index": ("chips", 800),
        "valley/change_2017_2023_water-index": ("change", 600),
    }
    assert told["bytes"] == 103_420
    text = CliRunner().invoke(cli, ["du", "-w", str(workspace)]).stdout
    assert "90 kB  stack   valley/2023/stack-01234567" in text


def test_clean_takes_only_what_is_made_again(workspace: Path) -> None:
    before = left(workspace)
    assert said("clean", "--dry-run", "--stacks", "-w", str(workspace))["bytes"] == 97_000
    assert left(workspace) == before == set(FILES)
    said("clean", "-w", str(workspace))
    assert before - left(workspace) == {"valley/2023/water-index/tiles/32643/n0212e0030.tif"}
    said("clean", "--stacks", "-w", str(workspace))
    assert before - left(workspace) == {
        name for name in FILES if name.startswith("valley") and ("/tiles/" in name or "/stack-" in name)
    }


def test_links_are_not_followed(workspace: Path) -> None:
    outside = workspace / "photos"
    (workspace / "valley" / "2023" / "stack-link").symlink_to(outside)
    (workspace / "valley" / "2024").symlink_to(outside)
    said("clean", "--stacks", "-w", str(workspace))
    assert (outside / "2023" / "stack-of-hay" / "cow.jpg").exists()


def test_what_is_in_use_is_waited_for(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryosentinel_core.workflows.cleaning.hold_part", lambda *given: hold_part(*given, wait_s=0.1))
    with hold_part(workspace / "valley" / "2023" / "water-index", "predict", Silent()):
        result = CliRunner().invoke(cli, ["clean", "-w", str(workspace)])
    assert isinstance(result.exception, WorkspaceBusy)
    assert left(workspace) == set(FILES)
