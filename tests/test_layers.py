"""The house in rooms: every module in one, imports one way, heavy packages behind their doors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "cryosentinel_core"

LAYERS: dict[str, int] = {
    **dict.fromkeys(["errors", "units", "reporter", "provenance"], 0),
    **dict.fromkeys(["ground", "stack", "settings"], 1),
    **dict.fromkeys(["scenes", "segment", "lakes", "change", "chips", "learn"], 2),
    **dict.fromkeys(["io", "simulate"], 3),
    **dict.fromkeys(["engine", "report"], 4),
    "workflows": 5,
    "notebook": 6,
}
"""Room -> layer: imports point to the same layer or a lower one. Every room is named here."""

MAX_LOOSE_FILES = 8

DISK = {"rasterio", "pyogrio", "pystac", "pystac_client", "requests", "urllib3", "socket", "filelock"}
"""Packages that touch network or disk; `rasterio.features`, which burns and traces arrays, is none of them."""

TORCH = {"torch", "terratorch", "torchvision", "lightning"}

HEAVY_BY_LAYER = {
    0: {"numpy", "pandas", "geopandas", "rasterio", "torch", "scipy"},
    1: {"pandas", "geopandas", "rasterio", "torch"},
}


def _imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, also inside functions and for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _room(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in CORE.rglob("*.py") if path != CORE / "__init__.py")


def test_every_module_has_a_room() -> None:
    assert {_room(path) for path in MODULES} == set(LAYERS)
    loose = sorted(path.name for path in CORE.glob("*.py"))
    assert len(loose) <= MAX_LOOSE_FILES, loose
    for folder in (path for path in CORE.rglob("*") if path.is_dir() and any(path.glob("*.py"))):
        assert (folder / "__init__.py").exists(), folder


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_point_up_the_list(path: Path) -> None:
    own = LAYERS[_room(path)]
    for name in _imports(path):
        parts = name.split(".")
        assert parts[0] not in ("click", "cryosentinel_cli"), f"core imports {name}"
        if parts[0] == "cryosentinel_core" and len(parts) > 1:
            other = LAYERS[parts[1]]
            assert other <= own, f"layer {own} imports {name} of layer {other}"
            if own == 0:
                pytest.fail(f"layer 0 imports {name}")


def test_no_circle_of_rooms() -> None:
    """Rooms of one layer may use one another, but never in a circle; nor do modules within a room."""
    rooms: dict[str, set[str]] = {room: set() for room in LAYERS}
    modules: dict[str, set[str]] = {}
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = {other for other in _imports(path) if other.startswith("cryosentinel_core.")}
        rooms[_room(path)] |= {other.split(".")[1] for other in modules[name]} - {_room(path)}
    assert not _circle(rooms), _circle(rooms)
    assert not _circle(modules), _circle(modules)


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """What is left once all that nothing left leads to has been taken away: empty if there is no circle."""
    left = dict(graph)
    while True:
        free = [name for name, others in left.items() if not (others & set(left)) - {name}]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_torch_and_disk_stay_in_their_rooms(path: Path) -> None:
    room, modules = _room(path), _imports(path)
    names = {name.split(".")[0] for name in modules if name != "rasterio.features"}
    inside = str(path.relative_to(CORE))
    if room != "learn" and not inside.startswith("io/weights/"):
        assert not names & TORCH
    own = LAYERS[room]
    assert not names & HEAVY_BY_LAYER.get(own, set())
    if own < 3:
        assert not names & DISK


PURE_WORKFLOWS = ["chips", "predict", "predict_year", "result_plan"]
"""Workflows that decide nothing: they open doors, call rooms and save, so arrays and tables pass through them unseen."""


@pytest.mark.parametrize("name", PURE_WORKFLOWS)
def test_workflows_decide_nothing(name: str) -> None:
    names = {other.split(".")[0] for other in _imports(CORE / "workflows" / f"{name}.py")}
    assert not names & {"numpy", "scipy", "pandas", "geopandas", "shapely", "pyproj", "affine", *DISK}


def test_no_print_and_no_environment_in_the_core() -> None:
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in calls, path


WORKFLOWS_ON_ARRAYS: set[str] = set()
"""Workflows that still work on arrays themselves: the list only shrinks."""


def _imports_at_work(path: Path) -> set[str]:
    """Names of all modules that a file imports, but for what it needs for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize("path", sorted((CORE / "workflows").glob("*.py")), ids=lambda path: path.name)
def test_workflows_work_on_no_arrays(path: Path) -> None:
    """Arrays pass through workflows untouched: NumPy is there for types alone."""
    works_on_arrays = bool(_imports_at_work(path) & {"numpy", "scipy"})
    assert works_on_arrays == (path.name in WORKFLOWS_ON_ARRAYS)


@pytest.mark.parametrize("path", sorted((CORE / "io").rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_io_holds_no_science(path: Path) -> None:
    assert "scipy" not in _imports_at_work(path)
