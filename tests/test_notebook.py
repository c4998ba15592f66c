"""The notebook of the documentation runs from top to bottom, and shows what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"
MAX_BYTES = 1_500_000


def cells() -> list[dict[str, object]]:
    data = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in data["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_with_its_pictures() -> None:
    kinds = [set(output.get("data", {})) for cell in cells() for output in cell["outputs"]]  # type: ignore[attr-defined]
    assert sum("image/png" in kind for kind in kinds) == 4
    assert not [cell for cell in cells() if any(output["output_type"] == "error" for output in cell["outputs"])]  # type: ignore[attr-defined]
    assert NOTEBOOK.stat().st_size < MAX_BYTES


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    names: dict[str, object] = {}
    for number, cell in enumerate(cells()):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)  # type: ignore[arg-type]
        plt.close("all")
    series = names["series"]
    assert list(series["year"]) == [2017, 2020, 2023]  # type: ignore[index]
    assert (series["sigma"] < 0.1 * series["hectares"]).all()  # type: ignore[index]
