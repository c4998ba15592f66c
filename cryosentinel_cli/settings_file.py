"""The settings file, `cryosentinel.toml`: its values become click's default map.

So the merge with defaults and flags happens once, and help, types and checks are the same for both. A value that its flag would
not take is refused here, with the file's name.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Final

import click

from cryosentinel_core.errors import ConfigError

FILE_NAME: Final = "cryosentinel.toml"

KEYS: Final[dict[str, str]] = {
    "aoi": "aoi", "area_layer": "area_layer", "years": "years", "catalog": "catalog", "optical": "optical",
    "radar": "radar", "terrain": "terrain", "season": "season", "max_cloud": "max_cloud", "composite": "composite",
    "radar_filter": "radar_filter", "allow_mixed": "allow_mixed", "workers": "workers", "scheduler": "scheduler",
    "model": "model", "threshold": "threshold", "overlap": "overlap", "tta": "tta", "device": "device",
    "precision": "precision", "batch_size": "batch_size", "min_area": "min_area", "min_elevation": "min_elevation",
    "compile": "compiling", "weights": "weights", "uncertainty": "uncertainty", "confidence": "confidence",
    "min_observed": "min_observed", "watch": "watch", "glaciers": "glaciers", "errors": "errors", "threads": "threads",
    "yes": "yes",
}  # fmt: skip
"""Keys that a settings file may hold -> the parameter that they set."""

_FOLDER_KEYS = frozenset({"catalog", "optical", "radar", "terrain"})
_PATH_KEYS = frozenset({"aoi", "watch", "glaciers", "model"}) | _FOLDER_KEYS
_LISTS = {"model": 'model = "soup.ckpt", or a list of such', "area_layer": 'area_layer = "lakes", or a list of such'}


def load_settings_file(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Eager callback of `--config`: the file's values become the command's defaults."""
    if context.resilient_parsing:
        return value
    workspace = context.params.get("workspace") or os.environ.get("CRYOSENTINEL_WORKSPACE") or "."
    path = Path(value) if value else Path(workspace) / FILE_NAME
    if value or path.is_file():
        parameters = {parameter.name: parameter for parameter in context.command.params}
        values = {name: item for name, item in read_settings_file(path).items() if name in parameters}
        for name, item in values.items():
            _check_value(context, parameters[name], item, path)
        context.default_map = {**(context.default_map or {}), **values}
        context.meta["cryosentinel.config"] = str(path)
    return value


def read_settings_file(path: Path) -> dict[str, Any]:
    """Parameter -> value of a settings file; paths in it are relative to its folder.

    Raises:
        ConfigError: If it cannot be read, is no TOML, or has keys or lists that mean nothing.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "check --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: it is no text in UTF-8", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", "strings want quotes, lists want brackets") from error
    unknown = sorted(set(data) - set(KEYS))
    if unknown:
        raise ConfigError(f"{path}: unknown keys {', '.join(unknown)}", f"known are {', '.join(KEYS)}")
    found: dict[str, Any] = {}
    for key, value in data.items():
        found[KEYS[key]] = _place(path.parent, value, folders=key in _FOLDER_KEYS) if key in _PATH_KEYS else value
    for name, wanted in _LISTS.items():
        if name in found:
            found[name] = _as_list_of_texts(found[name], f"{path}: {name}", wanted)
    if "years" in found:
        years = found["years"]
        if not isinstance(years, list) or not all(type(year) is int for year in years):
            raise ConfigError(f"{path}: years is {years!r}", "write it as years = [2017, 2023]")
        found["year"] = years
    return found


def _as_list_of_texts(value: Any, what: str, wanted: str) -> list[str]:
    """One text, or several, as a list."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
        raise ConfigError(f"{what} is {value!r}", f"write it as {wanted}")
    return listed


def _check_value(context: click.Context, parameter: click.Parameter, value: Any, path: Path) -> None:
    """Refuse a value that the flag would not take, and a list, truth or table where a text or number belongs."""
    key = next(
        key for key, name in KEYS.items() if name == parameter.name or (key, parameter.name) == ("years", "year")
    )
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    is_list = parameter.multiple if isinstance(parameter, click.Option) else parameter.nargs != 1
    is_text = parameter.type.name in ("text", "path", "file", "choice")
    if isinstance(value, bool) != is_flag or isinstance(value, list) != is_list or isinstance(value, dict):
        raise ConfigError(f"{path}: {key} is {value!r}", f"write it as the flag takes it; see {key} in --help")
    if is_text and not isinstance(value, list | str) and key not in ("overlap", "batch_size"):
        raise ConfigError(f"{path}: {key} is {value!r}, wanted a text", f'write it in quotes, as {key} = "..."')
    try:
        parameter.type_cast_value(context, value)
    except click.BadParameter as error:
        raise ConfigError(f"{path}: {key} is {value!r}: {error.message}", f"see {key} in --help") from None


def _place(folder: Path, value: Any, *, folders: bool) -> Any:
    """A path of a settings file, or each of several, from the file's folder where something lies there.

    A folder counts only where `folders` says so: an area `ile_alatau` is no path, though its results lie in such a folder.
    """
    if isinstance(value, list):
        return [_place(folder, one, folders=folders) for one in value]
    if not isinstance(value, str):
        return value
    path = folder / value
    return str(path) if path.is_file() or (path.is_dir() and (folders or path.suffix == ".gdb")) else value
