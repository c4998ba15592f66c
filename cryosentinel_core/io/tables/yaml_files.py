"""YAML files of settings: plain data in, plain data out.

Neighbours: the command line merges what is read here; `workflows.train` writes what was resolved.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cryosentinel_core.errors import ConfigError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.1 as PyYAML reads it, but 6e-5 is a number, as in YAML 1.2, and a key that stands twice an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(twice)} stands there twice", node.start_mark
            )
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def load_yaml(path: Path) -> dict[str, Any]:
    """The keys of a settings file.

    Raises:
        ConfigError: If it cannot be read, is no YAML, or holds no keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", "check --config") from error
    found = parse_yaml(text, str(path))
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"{path} holds no keys", "wanted lines like `seed: 42`")
    return found


def parse_yaml(text: str, where: str) -> Any:
    """Any YAML value.

    Raises:
        ConfigError: If it is none.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{where} is no YAML: {' '.join(str(error).split())}", "check indentation and colons"
        ) from error


def dump_yaml(data: Any) -> str:
    """Plain data as YAML, keys in the order given."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return text
