"""Settings of a training run from a YAML file, `--set key=value` and flags, merged once and checked once."""

from __future__ import annotations

import difflib
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryosentinel_core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cryosentinel_core.settings.train import TrainSettings

_PATHS = (("data", "data_dir"), ("data", "norm_stats_path"), ("data", "exclude"), ("feed", "cache_dir"))


def read_settings(config: Path | None, changes: tuple[str, ...], said: dict[str, Any]) -> TrainSettings:
    """Defaults, then the file, then `--set`, then flags.

    Args:
        config: A YAML file; None for the bundled recipe.
        changes: `key=value`, values as YAML.
        said: What other flags say, nested.

    Raises:
        ConfigError: At the first key or value that is not allowed; a key's nearest right one is named.
    """
    from pydantic import ValidationError

    from cryosentinel_core.io.tables.yaml_files import load_yaml, parse_yaml
    from cryosentinel_core.settings.train import TrainSettings

    data = load_yaml(config) if config is not None else {}
    if config is not None:
        _place_paths(data, config.parent)
    set_here = set()
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {change!r} has no value", "write it as --set trainer.max_epochs=10")
        _put(data, key.split("."), parse_yaml(text, f"--set {key}"))
        set_here.add(key)
    merged = _merge(data, said)
    try:
        return TrainSettings.model_validate(merged)
    except ValidationError as error:
        raise _explain(error.errors()[0], TrainSettings, config, set_here) from None


def _place_paths(data: dict[str, Any], folder: Path) -> None:
    """Paths in a file are relative to its folder, where something lies there; else to the current one."""
    for block, key in _PATHS:
        inner = data.get(block)
        value = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(value, str) and (folder / value).exists():
            inner[key] = str(folder / value)


def _put(data: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = data.get(name)
        if not isinstance(inner, dict):
            inner = data[name] = {}
        data = inner
    data[path[-1]] = value


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in over.items():
        old = found.get(key)
        found[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return found


def _explain(fault: Any, kind: type[BaseModel], config: Path | None, set_here: Set[str]) -> ConfigError:
    """pydantic's complaint in one sentence; of a key that `--set` gave it is not the file's."""
    path = [str(part) for part in fault["loc"]]
    key = ".".join(path)
    where = f"--set {key}: " if key in set_here else f"{config}: " if config else ""
    if fault["type"] != "extra_forbidden":
        return ConfigError(
            f"{where}{key} is {fault.get('input')!r}: {fault['msg'].removeprefix('Value error, ')}",
            "see docs/training.md for what it can be",
        )
    known = _keys_below(kind, path[:-1])
    everywhere = _all_keys(kind)
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    if near:
        best = ".".join([*path[:-1], near[0]])
    else:
        elsewhere = [one for one in everywhere if one.rsplit(".", 1)[-1] == path[-1]]
        best = (elsewhere or difflib.get_close_matches(key, everywhere, n=1, cutoff=0.0))[0]
    return ConfigError(f"{where}no key {key}", f"the nearest is {best}")


def _keys_below(kind: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        field = kind.model_fields.get(name)
        inner = _model_of(field.annotation) if field is not None else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _all_keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in kind.model_fields.items():
        inner = _model_of(field.annotation)
        found += _all_keys(inner, f"{prefix}{name}.") if inner is not None else [f"{prefix}{name}"]
    return found


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The settings class that a field holds, also where it may be None."""
    from typing import get_args

    from pydantic import BaseModel

    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None
