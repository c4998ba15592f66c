"""Variables and proxies of other installations: found before anything is read, put right, and said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from cryosentinel_cli.environment import foreign_variables, mend_environment, proxies

BOX = '{"type": "Polygon", "coordinates": [[[500000, 4760000], [501000, 4760000], [501000, 4761000], [500000, 4760000]]], '


def test_own_tables_stay_and_foreign_ones_go(tmp_path: Path) -> None:
    own = str(Path(rasterio.__file__).parent / "proj_data")
    environment = {"PROJ_DATA": own, "PROJ_LIB": str(tmp_path), "GDAL_DATA": "/usr/share/gdal", "HOME": str(tmp_path)}
    assert foreign_variables(environment) == {"PROJ_LIB": str(tmp_path), "GDAL_DATA": "/usr/share/gdal"}
    notes = mend_environment(environment)
    assert environment == {"PROJ_DATA": own, "HOME": str(tmp_path)}
    assert [note.split("=")[0] for note in notes] == ["PROJ_LIB", "GDAL_DATA"]
    assert mend_environment(environment) == []


def test_a_package_without_tables_needs_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in conda, where rasterio is linked with the environment's own GDAL."""
    monkeypatch.setattr("cryosentinel_cli.environment.FOREIGN", {"PROJ_DATA": "no_such_folder"})
    assert foreign_variables({"PROJ_DATA": str(tmp_path)}) == {}


@pytest.mark.parametrize("name", ["PROJ_LIB", "PROJ_DATA", "GDAL_DATA"])
def test_a_shell_of_another_installation(tmp_path: Path, name: str) -> None:
    """Whatever the variable leads to, an area in metres and rasterio's own transformations come out right."""
    (tmp_path / "proj.db").write_bytes(b"SQLite format 3\0 of another version")
    (tmp_path / "a.geojson").write_text(BOX + '"crs": "EPSG:32643"}')
    environment = {**os.environ, name: str(tmp_path), "https_proxy": "http://ann:secret@proxy:3128"}
    arguments = ["fetch", "--aoi", "a.geojson", "--year", "2023", "--catalog", "nowhere"]
    done = run(arguments, tmp_path, environment)
    assert done.stderr.splitlines()[:2] == [
        f"{name}={tmp_path} is another installation's: not used here",
        "area a.geojson: 1 polygon, 0.5 km2, 1 tile, zone 43",
    ]
    if name == "PROJ_DATA":
        assert run(["-q", *arguments], tmp_path, environment).stderr.startswith("error: no catalogue")
        told = json.loads(run(["doctor", "--offline", "--json"], tmp_path, environment).stdout)
        assert told["coordinates"] == "transformed right"
        assert told["variables not used"].startswith(f"PROJ_DATA={tmp_path} is another")
        assert told["proxies"] == "HTTPS_PROXY=http://***@proxy:3128"


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cryosentinel_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_no_proxy_shows_a_password() -> None:
    told = proxies({"http_proxy": "ann:secret@proxy:3128", "ALL_PROXY": "socks5://a:b@c@d:1", "NO_PROXY": "localhost"})
    assert told == {"HTTP_PROXY": "***@proxy:3128", "ALL_PROXY": "socks5://***@d:1", "NO_PROXY": "localhost"}
