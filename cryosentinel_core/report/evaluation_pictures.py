"""Pictures of an evaluation, one a question: which threshold, which region, which size of lake, are the probabilities true.

matplotlib's object API draws without a screen and without global state; the same figures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryosentinel_core.io.workspace import writing
from cryosentinel_core.report.maps import QUIET
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2

COLOURS: Final = ("#1f78b4", "#e8590c", "#4d4d4d")
"""Of the judged models, in order: told apart by all common kinds of colour blindness."""

_SIZE_IN: Final = (7.2, 4.6)
_DPI: Final = 140


def draw_evaluation(folder: Path, split: str, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Draw every picture of an evaluation.

    Args:
        folder: Where to.
        split: In titles and names of files.
        figures: Name of a model -> its figures, the judged one first.

    Returns:
        Kind -> path of the PNG.

    Raises:
        OutputWrite: If the disk refuses.
    """
    makers = {
        "threshold_sweep": (_draw_sweep, "Global IoU by threshold"),
        "regions": (_draw_regions, "Global IoU by region"),
        "lakes": (_draw_lakes, "Lakes by size"),
        "reliability": (_draw_bins, "Are the probabilities true?"),
    }
    paths = {}
    for kind, (draw, title) in makers.items():
        figure = Figure(figsize=_SIZE_IN, dpi=_DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        draw(axes, figures)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e3e6ea", linewidth=0.7)
        axes.set_axisbelow(True)
        n_chips = next(iter(figures.values()))["n_chips"]
        axes.set_title(f"{title} ({split}, {counted(n_chips, 'chip')})", loc="left", fontsize=11)
        path = folder / f"{kind}_{split}.png"
        with writing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": "cryosentinel"})
        paths[f"picture_{kind}"] = str(path)
    return paths


def _draw_sweep(axes: Axes, figures: Mapping[str, Mapping[str, Any]]) -> None:
    axes.set_xlabel("probability from which a pixel is water")
    axes.set_ylabel("global IoU")
    for colour, (name, one) in zip(COLOURS, figures.items(), strict=False):
        rows = [row for row in one["sweep"] if row["value"] is not None]
        levels = [row["threshold"] for row in rows]
        axes.plot(levels, [row["value"] for row in rows], "o-", color=colour, markersize=4, label=name)
        banded = [row for row in rows if row["low"] is not None]
        axes.fill_between(
            [row["threshold"] for row in banded],
            [row["low"] for row in banded],
            [row["high"] for row in banded],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    _add_legend(axes, figures, "95 % band by blocks of ground")


def _draw_regions(axes: Axes, figures: Mapping[str, Mapping[str, Any]]) -> None:
    axes.set_xlabel("global IoU")
    names = list(next(iter(figures.values()))["regions"])
    for number, (colour, (label, one)) in enumerate(zip(COLOURS, figures.items(), strict=False)):
        shift = 0.12 * (number - (len(figures) - 1) / 2)
        for place, name in enumerate(names):
            row = one["regions"][name]["global_iou"]
            if row["value"] is None:
                continue
            axes.plot(row["value"], place + shift, "o", color=colour, label=label if place == 0 else None)
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=1.6)
    first = next(iter(figures.values()))["regions"]
    axes.set_yticks(range(len(names)), [f"{name}\n{counted(first[name]['n_chips'], 'chip')}" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    _add_legend(axes, figures, "no bar: fewer than 8 blocks")


def _draw_lakes(axes: Axes, figures: Mapping[str, Mapping[str, Any]]) -> None:
    axes.set_ylabel("share of lakes")
    rows = next(iter(figures.values()))["lakes"][:-1]
    for number, (colour, (name, one)) in enumerate(zip(COLOURS, figures.items(), strict=False)):
        for kind, marker, side in (("recall", "o", -1), ("precision", "s", 1)):
            shift = 0.07 * side + 0.28 * (number - (len(figures) - 1) / 2)
            for place, row in enumerate(one["lakes"][:-1]):
                estimate = row[kind]
                if estimate["value"] is None:
                    continue
                fill = colour if kind == "recall" else "white"
                axes.plot(place + shift, estimate["value"], marker, color=colour, markerfacecolor=fill, markersize=6)
                if estimate["low"] is not None:
                    axes.plot([place + shift] * 2, [estimate["low"], estimate["high"]], color=colour, linewidth=1.2)
        axes.plot([], [], "o", color=colour, label=f"{name}: labelled lakes found")
        axes.plot([], [], "s", color=colour, markerfacecolor="white", label=f"{name}: answered lakes true")
    axes.set_xticks(range(len(rows)), [_size_words(row) for row in rows])
    axes.set_ylim(-0.03, 1.05)
    _legend(axes)


def _draw_bins(axes: Axes, figures: Mapping[str, Mapping[str, Any]]) -> None:
    axes.set_xlabel("mean probability of the pixels of a bin")
    axes.set_ylabel("share of them that is water by the label")
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    for colour, (name, one) in zip(COLOURS, figures.items(), strict=False):
        bins = one["reliability"]["bins"]
        error = one["reliability"]["expected_calibration_error"]
        told = "" if error is None else f", expected error {error:.4f}"
        axes.plot(
            [row["mean_probability"] for row in bins],
            [row["water_share"] for row in bins],
            "o-",
            color=colour,
            markersize=4,
            label=f"{name}{told}",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _legend(axes)


def _size_words(row: Mapping[str, Any]) -> str:
    """A size class as `1 - 5 ha`, and how many lakes of it are labelled."""
    low, high = row["from_m2"] / HECTARE_M2, row["below_m2"]
    span = f"from {low:g} ha" if high is None else f"{low:g} - {high / HECTARE_M2:g} ha"
    return f"{span}\n{row['n_labelled']} labelled"


def _add_legend(axes: Axes, figures: Mapping[str, Any], note: str) -> None:
    if any(one["global_iou"]["low"] is not None for one in figures.values()):
        axes.plot([], [], color="none", label=note)
    _legend(axes)


def _legend(axes: Axes) -> None:
    handles: Sequence[Any] = axes.get_legend_handles_labels()[0]
    if handles:
        axes.legend(frameon=False, fontsize=8.5)
