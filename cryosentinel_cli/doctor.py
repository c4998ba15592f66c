"""`cryosentinel doctor`: what this machine has and lacks."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.environment import environment_notes, proxies
from cryosentinel_cli.options import common, workspace_root

_HOSTS = {
    "Earth Search": "https://earth-search.aws.element84.com/v1",
    "Planetary Computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
    "Hugging Face": "https://huggingface.co",
}


@click.command()
@click.option("--offline", is_flag=True, help="Do not try the network.")
@common
def doctor(offline: bool, workspace: str | None, verbose: bool, quiet: bool, as_json: bool) -> None:
    """Say what this machine has and lacks: GPU, GDAL drivers, network, tokens, disk.

    \b
    Example:
      cryosentinel doctor --offline
    """
    data = {
        "python": platform.python_version(),
        **_hardware(),
        **_gdal(),
        **_environment(),
        **_workspace(workspace_root(workspace)),
        **_extras(),
        **({} if offline else _network()),
    }
    width = max(len(key) for key in data)
    Console(as_json=as_json).summary(
        data, "\n".join(f"{key:{width}}  {_in_words(value)}" for key, value in data.items())
    )


def _in_words(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _hardware() -> dict[str, Any]:
    found: dict[str, Any] = {"cpu cores": os.cpu_count() or 1}
    if importlib.util.find_spec("torch") is None:
        return {**found, "torch": "not installed: only water-index can run"}
    import torch

    found["torch"] = torch.__version__
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = (
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, bf16 {torch.cuda.is_bf16_supported()}"
        )
    else:
        found["gpu"] = "none: networks run on the CPU, slowly; water-index needs none"
    return found


def _gdal() -> dict[str, Any]:
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    with rasterio.Env() as environment:
        drivers = set(environment.drivers())
    missing = sorted({"GTiff", "COG", "VRT"} - drivers) + ([] if _has_zstd() else ["ZSTD compression"])
    return {
        "gdal": rasterio.__gdal_version__,
        "gdal drivers": f"lacks {', '.join(missing)}"
        if missing
        else f"{len(raster_driver_extensions())} raster formats, COG, ZSTD",
    }


def _environment() -> dict[str, Any]:
    """Variables that were taken out, whether coordinates are transformed right, and proxies."""
    from pyproj.exceptions import ProjError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    mended = environment_notes()
    try:
        east, north = transform("EPSG:4326", "EPSG:32643", [75.0], [43.0])
        is_right = abs(east[0] - 500_000.0) < 0.01 and abs(north[0] - 4_760_814.8) < 0.1
    except (RasterioError, ProjError, ValueError):
        is_right = False
    told = proxies(os.environ)
    return {
        "coordinates": "transformed right"
        if is_right
        else "transformed wrong or not at all: another installation's PROJ is in the way, use a fresh shell and .venv",
        "variables not used": "; ".join(mended) or "none",
        "proxies": ", ".join(f"{name}={value}" for name, value in told.items()) or "none",
    }


def _has_zstd() -> bool:
    """Whether GDAL packs GeoTIFFs as stacks are packed."""
    import numpy as np
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    profile = {"driver": "COG", "count": 1, "height": 16, "width": 16, "dtype": "uint8", "compress": "ZSTD"}
    try:
        with rasterio.Env(), MemoryFile() as memory:
            with memory.open(**profile, transform=rasterio.Affine(1, 0, 0, 0, -1, 16)) as target:
                target.write(np.zeros((1, 16, 16), np.uint8))
            with memory.open() as source:
                return source.compression is not None and source.compression.name == "zstd"
    except RasterioError:
        return False


def _workspace(root: Path) -> dict[str, Any]:
    place = root
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return {
        "workspace": str(root),
        "workspace writable": _takes_files(place),
        "disk free": f"{usage.free / 2**30:.1f} GiB",
    }


def _takes_files(folder: Path) -> bool:
    """Whether a file can be made there; permissions alone do not tell."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _extras() -> dict[str, Any]:
    token = bool(os.environ.get("HF_TOKEN")) or (Path.home() / ".cache/huggingface/token").is_file()
    return {
        "terratorch": importlib.util.find_spec("terratorch") is not None,
        "extra distributed": importlib.util.find_spec("distributed") is not None,
        "Hugging Face token": "found" if token else "none (only private repositories need one)",
    }


def _network() -> dict[str, Any]:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    found: dict[str, Any] = {}
    for name, url in _HOSTS.items():
        try:
            with urlopen(Request(url, method="HEAD"), timeout=5):
                found[name] = "reached"
        except HTTPError as error:
            found[name] = f"reached (HTTP {error.code})"
        except (URLError, OSError) as error:
            found[name] = f"not reached: {getattr(error, 'reason', error)}"
    return found
