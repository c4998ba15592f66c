"""Front door: what a notebook may use, and nothing else; each name opens its room when it is first asked for.

`import cryosentinel_core as cs` loads neither NumPy nor torch. The names are listed in `__all__` and pinned by a test; docs/api.md
shows each at work.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryosentinel_core.ground.lattice import Grid
    from cryosentinel_core.notebook.commands import change, fetch, load_area, predict
    from cryosentinel_core.notebook.comparison import compare_lakes
    from cryosentinel_core.notebook.finding import find_lakes
    from cryosentinel_core.notebook.results import read_change, read_lakes, read_results
    from cryosentinel_core.notebook.segmenting import segment_dataset
    from cryosentinel_core.notebook.stacks import read_stack
    from cryosentinel_core.settings.change import ChangeSettings
    from cryosentinel_core.settings.fetch import FetchSettings
    from cryosentinel_core.settings.predict import PredictSettings

__version__ = "0.1.0"

__all__ = [
    "ChangeSettings",
    "FetchSettings",
    "Grid",
    "PredictSettings",
    "change",
    "compare_lakes",
    "fetch",
    "find_lakes",
    "load_area",
    "predict",
    "read_change",
    "read_lakes",
    "read_results",
    "read_stack",
    "segment_dataset",
]

_ROOMS: Final = {
    "ChangeSettings": "settings.change",
    "FetchSettings": "settings.fetch",
    "Grid": "ground.lattice",
    "PredictSettings": "settings.predict",
    "change": "notebook.commands",
    "compare_lakes": "notebook.comparison",
    "fetch": "notebook.commands",
    "find_lakes": "notebook.finding",
    "load_area": "notebook.commands",
    "predict": "notebook.commands",
    "read_change": "notebook.results",
    "read_lakes": "notebook.results",
    "read_results": "notebook.results",
    "read_stack": "notebook.stacks",
    "segment_dataset": "notebook.segmenting",
}
"""Name -> module that it is found in."""


def __getattr__(name: str) -> Any:
    """A name of the front door, its room opened now."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names of the front door, for completion."""
    return [*__all__, "__version__"]


class _FrontDoor(ModuleType):
    """A package whose names are not taken by rooms of the same name: `cs.change` is the function, whatever was imported before."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _ROOMS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor
