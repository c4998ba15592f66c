"""The Python of the documentation runs, page by page, on a simulated catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import rioxarray  # noqa: F401
import xarray as xr
from made_items import simulated_items

DOCS = Path(__file__).resolve().parents[1] / "docs"


def snippets(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_api_page(small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("catalogue").symlink_to(small_catalogue)
    names: dict[str, object] = {}
    for code in snippets("api.md"):
        exec(compile(code, "api.md", "exec"), names)
    assert len(names["found"]) == len(names["lakes"]) > 0  # type: ignore[arg-type]
    assert len(names["change"]) > 0  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
def test_odc_page(small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = snippets("odc-stac.md")
    lines = [line for line in first.splitlines() if line]
    assert len(lines) - sum(line.startswith(("import", "from", "bands =")) for line in lines) <= 10
    names: dict[str, object] = {
        "items": simulated_items(small_catalogue / "sentinel-2-l2a", 2023),
        "height_items": simulated_items(small_catalogue / "cop-dem-glo-30"),
    }
    exec(compile(first, "odc-stac.md", "exec"), names)
    assert len(names["lakes"]) > 0  # type: ignore[arg-type]
    summer = names["summer"]
    assert isinstance(summer, xr.Dataset)
    summer.fillna(0).astype("uint16").rio.to_raster("scene.tif")
    exec(compile(second, "odc-stac.md", "exec"), names)
    assert {"logits.tif", "lakes.gpkg"} <= {path.name for path in tmp_path.iterdir()}
