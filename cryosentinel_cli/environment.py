"""Environment variables of another installation of GDAL and PROJ, taken away before anything reads them.

A shell of QGIS, OSGeo4W or conda says in `PROJ_DATA`, `PROJ_LIB` and `GDAL_DATA` where its own tables lie. The packages that
Python installs bring theirs, and a table of another version breaks every coordinate transformation. Extra grids for PROJ are
still found in its user folder.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

FOREIGN: Final[dict[str, str]] = {
    "PROJ_DATA": "proj_data",
    "PROJ_LIB": "proj_data",
    "GDAL_DATA": "gdal_data",
    "GDAL_DRIVER_PATH": "gdal_data",
}
"""Variable -> folder in the package rasterio whose presence says that the package brings its own."""

PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "GDAL_HTTP_PROXY")

_NOTES = "cryosentinel.environment"


def mend_environment(environment: MutableMapping[str, str]) -> list[str]:
    """Take out what leads to another installation's tables; a sentence for each.

    Args:
        environment: Changed in place, as `os.environ`, before rasterio, pyproj or pyogrio is imported.
    """
    notes = []
    for name, value in foreign_variables(environment).items():
        del environment[name]
        notes.append(f"{name}={value} is another installation's: not used here")
    return notes


def foreign_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `FOREIGN` that lead out of this Python's own folders, though rasterio brings what they lead to."""
    found = importlib.util.find_spec("rasterio")
    if found is None or found.origin is None:
        return {}
    package = Path(found.origin).parent
    own = [package.parent.resolve(), Path(sys.prefix).resolve()]
    return {
        name: environment[name]
        for name, folder in FOREIGN.items()
        if environment.get(name) and (package / folder).is_dir() and not _lies_in(environment[name], own)
    }


def _lies_in(value: str, folders: list[Path]) -> bool:
    place = Path(value).resolve()
    return any(place.is_relative_to(folder) for folder in folders)


def mend_for_command(context: click.Context) -> None:
    """Mend this process's environment once; the notes wait for the command's console."""
    context.meta[_NOTES] = mend_environment(os.environ)


def environment_notes() -> list[str]:
    """What was mended in this process, each once."""
    context = click.get_current_context(silent=True)
    return list(context.meta.get(_NOTES, [])) if context is not None else []


def proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxies that this environment names, in upper case, without user names and passwords."""
    found = {name: environment.get(name) or environment.get(name.lower()) for name in PROXIES}
    return {name: _without_secret(value) for name, value in found.items() if value}


def _without_secret(address: str) -> str:
    """An address without what stands before its `@`."""
    before, at, host = address.rpartition("@")
    scheme = urlsplit(address).scheme if "://" in before else ""
    return f"{scheme}://***@{host}" if at and scheme else f"***@{host}" if at else address
