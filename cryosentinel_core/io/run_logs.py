"""Where the logs of runs lie in a workspace, and what is one. The command line writes them, `room_taken` counts and removes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

LOG_FOLDER: Final = "logs"
"""Folder of the logs in a workspace."""

LOG_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[a-z-]+-\d+(-\d+)?\.log")
"""Names of logs; no other file of the folder is touched."""

_MARKS: Final = (LOG_FOLDER, "chip-results", "registries", "cryosentinel.toml")


def is_workspace(root: Path) -> bool:
    """True if a folder holds an area, results of chips, keys of inventories, logs or a settings file."""
    try:
        if any((root / name).exists() for name in _MARKS):
            return True
        return any((path / "aoi.geojson").is_file() or path.name.startswith("change_") for path in root.iterdir())
    except OSError:
        return False
