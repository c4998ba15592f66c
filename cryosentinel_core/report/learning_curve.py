"""The learning curve of a run as a picture: losses, validation score and learning rates over steps.

Neighbours: `io.weights.run_folder` has the figures; `workflows.train` asks for the picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

Rows = Sequence[Mapping[str, str]]


def draw_learning_curve(rows: Rows, title: str) -> bytes:
    """A PNG of three panels, one above the other.

    Args:
        rows: Of metrics.csv, by column; numbers as text, empty where there is none.
        title: Above it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 8), layout="constrained")
    FigureCanvasAgg(figure)
    loss, score, rate = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title)
    for kind, style in (("train", "-"), ("val", "o-")):
        loss.plot(*_points(rows, kind, "loss"), style, label=kind)
    loss.set_ylabel("loss")
    loss.legend()
    for name in ("iou", "precision", "recall"):
        score.plot(*_points(rows, "val", name), "o-", label=name)
    score.set_ylabel("validation at 0.5")
    score.set_ylim(0, 1)
    score.legend()
    for name, words in (("lr_high", "decoder"), ("lr_low", "lowest")):
        rate.plot(*_points(rows, "train", name), label=words)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    rate.legend()
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=100, metadata={"Software": None})
    return held.getvalue()


def _points(rows: Rows, kind: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows of a kind that have a value."""
    found = [(int(row["step"]), float(row[name])) for row in rows if row["kind"] == kind and row[name]]
    return [step for step, _ in found], [value for _, value in found]
