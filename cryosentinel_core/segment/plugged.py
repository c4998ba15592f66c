"""Segmenters that other installed packages bring, by the names of their entry points.

A package declares `[project.entry-points."cryosentinel.segmenters"]`, a name and what makes the segmenter, called without arguments.
Only what is installed beside this software is looked at; a file or an address is never run. Neighbours: `segmenter` is the protocol;
`engine.model_loading` asks here.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from cryosentinel_core.errors import ModelError
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.units import CELL_PX

GROUP: Final = "cryosentinel.segmenters"
"""Group of entry points."""


def plugged_names() -> tuple[str, ...]:
    """Names that may stand for a model, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_plugged(name: str) -> Segmenter | None:
    """The segmenter of an entry point; None if no installed package has one of this name.

    Args:
        name: As given to `--model`.

    Raises:
        ModelError: If two packages have one, or it cannot be made, or is no segmenter.
    """
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        raise ModelError(
            f"several packages bring a segmenter {name!r}: {', '.join(sorted(point.value for point in points))}",
            "uninstall all but one",
        )
    return _checked(_make(points[0]), points[0])


def _make(point: EntryPoint) -> object:
    """What an entry point makes.

    Raises:
        ModelError: If it fails; whatever it says is passed on.
    """
    try:
        return point.load()()
    except Exception as error:
        raise ModelError(
            f"the segmenter {point.name!r} ({point.value}) could not be made: {type(error).__name__}: {error}",
            "ask those who made that package",
        ) from error


def _checked(made: object, point: EntryPoint) -> Segmenter:
    """A segmenter that the corridor can work with.

    Raises:
        ModelError: If it is none.
    """
    if not isinstance(made, Segmenter):
        raise ModelError(
            f"{point.value} makes a {type(made).__name__}, which is no Segmenter",
            "it needs all members of the protocol in cryosentinel_core/segment/segmenter.py",
        )
    if made.window_px != CELL_PX or made.halo_px < 0 or made.halo_px > CELL_PX or made.batch_size < 1:
        raise ModelError(
            f"{made.name} wants windows of {made.window_px} px, a halo of {made.halo_px} px and batches of {made.batch_size}",
            f"windows are {CELL_PX} px, halos at most as much, batches at least 1",
        )
    return made
