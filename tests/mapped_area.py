"""A workspace that the functions of the front door have filled."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryosentinel_core.ground.area import Area


class Mapped(NamedTuple):
    """A workspace with its area, and the catalogue that it was made from."""

    root: Path
    area: Area
    catalogue: Path
