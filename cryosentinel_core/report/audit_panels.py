"""A contact sheet of chips in doubt: true colour with the label's shore, the network, MNDWI, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryosentinel_core.chips.audit import AuditedChip
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.units import HECTARE_M2

_PANEL_IN: Final = 1.9
_LABEL_ALONE, _NETWORK_ALONE, _BOTH = (232, 89, 12), (31, 120, 180), (190, 215, 235)


def draw_sheet(path: Path, chips: Sequence[AuditedChip], threshold: float) -> None:
    """Draw the chips, a row of four panels each, saved whole or not at all.

    Args:
        path: Of the PNG.
        chips: In the order of the rows.
        threshold: Probability from which a pixel is water.

    Raises:
        OutputWrite: If the disk refuses.
    """
    n_rows = max(len(chips), 1)
    figure = Figure(figsize=(4 * _PANEL_IN + 1.6, n_rows * (_PANEL_IN + 0.28) + 0.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, 4, squeeze=False)
    titles = ("true colour, label's shore", "network", "MNDWI", "label alone / network alone")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    for row, chip in zip(grid, chips, strict=False):
        row[0].imshow(_stretch(chip.colour), interpolation="nearest")
        if chip.label.any() and not chip.label.all():
            row[0].contour(chip.label, levels=[0.5], colors="#ffe14d", linewidths=0.8)
        row[1].imshow(
            np.where(chip.valid, chip.probability, np.nan), vmin=0, vmax=1, cmap="Blues", interpolation="nearest"
        )
        row[2].imshow(chip.mndwi, vmin=-0.8, vmax=0.8, cmap="RdBu", interpolation="nearest")
        row[3].imshow(_differences(chip, threshold), interpolation="nearest")
        where = f"{chip.facts.region} {chip.facts.year}"
        row[0].set_ylabel(
            f"{chip.facts.chip_id[:26]}\n{where}\n{chip.doubt_m2 / HECTARE_M2:.2f} ha in doubt",
            fontsize=6.5, rotation=0, ha="right", va="center",
        )  # fmt: skip
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
    if not chips:
        grid[0][0].set_ylabel("no chip in doubt", rotation=0, ha="right")
    top = 1.0 - 0.35 / (n_rows * (_PANEL_IN + 0.28) + 0.4)
    figure.subplots_adjust(left=0.16, right=0.995, top=top, bottom=0.005, wspace=0.03, hspace=0.05)
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "cryosentinel"})


def _stretch(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) of 0..1, the brightest and darkest two per cent cut off."""
    low, high = np.nanpercentile(colour, [2, 98])
    scaled = np.clip((colour - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    return np.asarray(np.moveaxis(scaled, 0, -1), dtype=np.float32)


def _differences(chip: AuditedChip, threshold: float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: label alone, network alone, both, neither, not judged."""
    answer = chip.probability >= threshold
    picture = np.full((*chip.label.shape, 3), 245, dtype=np.uint8)
    picture[chip.label & answer] = _BOTH
    picture[chip.label & ~answer] = _LABEL_ALONE
    picture[answer & ~chip.label] = _NETWORK_ALONE
    picture[~chip.valid] = 150
    return picture
