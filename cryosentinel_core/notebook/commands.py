"""The commands as functions: the same corridors with the same results on disk, settings as objects in place of flags.

Neighbours: `stacks` and `results` read what they leave.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.io.tables.area_loading import load_area as load_area_file
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Reporter, Silent
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings

if TYPE_CHECKING:
    from cryosentinel_core.report.change_summary import ChangeSummary
    from cryosentinel_core.report.predict_summary import PredictSummary
    from cryosentinel_core.workflows.fetch import FetchSummary

PathLike = str | os.PathLike[str]
"""A path, as text or as an object."""


def load_area(area: PathLike, *, name: str = "", allow_large: bool = False) -> Area:
    """The area of interest of a vector file in any CRS, or of a region's name.

    Args:
        area: Path of the file, or a name that `cryosentinel regions` lists.
        name: That its results go by; empty for the file's own.
        allow_large: True if a very large area is meant, or coordinates that look swapped are right.

    Returns:
        The area, EPSG:4326.

    Raises:
        AreaError: If there is no such file or region, or it holds no usable polygon.
    """
    found = load_area_file(os.fspath(area), allow_large=allow_large)
    return replace(found, name=name) if name else found


def fetch(
    workspace: PathLike,
    area: Area,
    years: int | Sequence[int],
    settings: FetchSettings | None = None,
    *,
    reporter: Reporter | None = None,
) -> FetchSummary:
    """Stacks of an area, as `cryosentinel fetch` makes them; what is there is kept.

    Args:
        workspace: Folder of all results.
        area: Of interest, from `load_area`.
        years: One or several, ascending.
        settings: Catalogues, season and the like; None for the command's defaults.
        reporter: Hears progress, notes and warnings; None for nobody.

    Raises:
        CryosentinelError: For anything a user can mend.
    """
    from cryosentinel_core.workflows.fetch import fetch as run_fetch

    return run_fetch(_home(workspace), area, _years(years), settings or FetchSettings(), reporter=reporter or Silent())


def predict(
    workspace: PathLike,
    area: Area,
    years: int | Sequence[int],
    settings: PredictSettings | None = None,
    fetching: FetchSettings | None = None,
    *,
    reporter: Reporter | None = None,
) -> PredictSummary:
    """Lakes of an area in some years, as `cryosentinel predict` finds them; fetches what is missing first.

    Args:
        workspace: Folder of all results.
        area: Of interest, from `load_area`.
        years: One or several, ascending.
        settings: Model, threshold and the like; None for the command's defaults.
        fetching: Catalogues, season and the like; None for the command's defaults.
        reporter: Hears progress, notes and warnings; None for nobody.

    Raises:
        CryosentinelError: For anything a user can mend.
    """
    from cryosentinel_core.workflows.predict import predict as run_predict

    return run_predict(
        _home(workspace),
        area,
        _years(years),
        settings or PredictSettings(),
        fetching or FetchSettings(),
        reporter=reporter or Silent(),
    )


def change(
    workspace: PathLike,
    area: Area,
    years: Sequence[int],
    settings: ChangeSettings | None = None,
    predicting: PredictSettings | None = None,
    fetching: FetchSettings | None = None,
    *,
    reporter: Reporter | None = None,
) -> ChangeSummary:
    """Change of an area's lakes between years, as `cryosentinel change` tells it; predicts what is missing first.

    Args:
        workspace: Folder of all results.
        area: Of interest, from `load_area`.
        years: Two or more, ascending.
        settings: How years are compared; None for the command's defaults, with the smallest lake of `predicting`.
        predicting: Model, threshold and the like; None for the command's defaults.
        fetching: Catalogues, season and the like; None for the command's defaults.
        reporter: Hears progress, notes and warnings; None for nobody.

    Raises:
        CryosentinelError: For anything a user can mend.
    """
    from cryosentinel_core.workflows.change import change as run_change

    predicting = predicting or PredictSettings()
    found = predict(workspace, area, years, predicting, fetching, reporter=reporter)
    comparing = settings or ChangeSettings(min_area_m2=predicting.min_area_m2)
    return run_change(_home(workspace), area.name, _years(years), found.model, comparing, reporter=reporter or Silent())


def _home(workspace: PathLike) -> Workspace:
    return Workspace(Path(workspace))


def _years(years: int | Sequence[int]) -> tuple[int, ...]:
    """Years as the corridors want them.

    Raises:
        InputError: If they do not ascend, or there is none.
    """
    asked = (years,) if isinstance(years, int) else tuple(years)
    if not asked or list(asked) != sorted(set(asked)):
        raise InputError(f"years must ascend and differ, got {list(asked)}", "give each year once, the earliest first")
    return asked
