"""Imports point one way, and heavy packages stay behind their doors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "cryosentinel_core"
LAYERS: dict[str, int] = {
    **dict.fromkeys(["errors", "units", "reporter"], 0),
    **dict.fromkeys(
        [
            "lattice",
            "bands",
            "season",
            "scene",
            "lake",
            "segmenter",
            "recipe",
            "provenance",
            "settings",
            "regions",
            "arrays",
        ],
        1,
    ),
    **dict.fromkeys(["model_spec"], 1),
    **dict.fromkeys(["io", "simulate"], 3),
    "learn": 2,
    "workflows": 4,
}
"""Room -> layer; a module that is not named here is pure arithmetic, layer 2."""

HEAVY_BY_LAYER = {
    0: {"numpy", "pandas", "geopandas", "rasterio", "torch", "scipy"},
    1: {"pandas", "geopandas", "rasterio", "torch"},
}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _room(path: Path) -> str:
    first = path.relative_to(CORE).parts[0]
    return first.removesuffix(".py")


MODULES = sorted(path for path in CORE.rglob("*.py") if path != CORE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_point_up_the_list(path: Path) -> None:
    own = LAYERS.get(_room(path), 2)
    for name in _imports(path):
        parts = name.split(".")
        assert parts[0] not in ("click", "cryosentinel_cli"), f"core imports {name}"
        if parts[0] == "cryosentinel_core" and len(parts) > 1:
            other = LAYERS.get(parts[1], 2)
            assert other <= own, f"layer {own} imports {name} of layer {other}"
            if own == 0:
                pytest.fail(f"layer 0 imports {name}")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_torch_and_disk_stay_in_their_rooms(path: Path) -> None:
    room, names = _room(path), {name.split(".")[0] for name in _imports(path)}
    inside = str(path.relative_to(CORE))
    if room != "learn" and not inside.startswith(("io/checkpoint", "io/unpickle", "io/model_files")):
        assert not names & {"torch", "terratorch", "torchvision", "lightning"}
    own = LAYERS.get(room, 2)
    assert not names & HEAVY_BY_LAYER.get(own, set())
    if own < 3:
        assert not names & {"rasterio", "pyogrio", "pystac", "pystac_client", "requests", "urllib3", "socket"}


def test_no_print_and_no_environment_in_the_core() -> None:
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in calls, path
