"""The front door: its names are pinned, it is light, and rooms of the same name do not stand in it."""

from __future__ import annotations

import subprocess
import sys

import cryosentinel_core as cs

NAMES = [
    "ChangeSettings",
    "FetchSettings",
    "Grid",
    "PredictSettings",
    "change",
    "compare_lakes",
    "fetch",
    "find_lakes",
    "load_area",
    "predict",
    "read_change",
    "read_lakes",
    "read_results",
    "read_stack",
    "segment_dataset",
]


def said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_names_are_pinned_and_documented() -> None:
    assert cs.__all__ == NAMES
    assert [name for name in dir(cs) if not name.startswith("_")] == NAMES
    for name in NAMES:
        assert getattr(cs, name).__doc__, name


def test_import_is_light() -> None:
    """Counted in modules, which a busy machine does not change: at most three times as many as NumPy's."""
    count = "import sys; before = set(sys.modules); import {}; print(len(set(sys.modules) - before))"
    assert int(said(count.format("cryosentinel_core"))) <= 3 * int(said(count.format("numpy")))
    heavy = ("torch", "geopandas", "pandas", "xarray", "rasterio", "dask", "numpy")
    assert said(f"import sys, cryosentinel_core; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_a_room_does_not_hide_the_function_of_its_name() -> None:
    code = "import cryosentinel_core as cs, cryosentinel_core.change.matching; print(cs.change.__module__)"
    assert said(code) == "cryosentinel_core.notebook.commands"
