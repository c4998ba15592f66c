"""What an evaluation on chips came to: plain data for `--json`, a few lines for a person, and the published files.

Neighbours: `chips.judgement` makes the figures; `evaluation_pictures` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cryosentinel_core.io.workspace import read_json, write_json, writing
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2


@dataclass(frozen=True, kw_only=True)
class EvaluationSummary:
    """What judging one model on chips came to.

    Attributes:
        folder: Of the files.
        data: Folder of the data set, or what names it on the hub.
        split: That was judged on.
        model: Name of the judged model, a key of `figures`.
        about: Plain data of how it was judged: weights, flips, modalities, block size.
        figures: Name -> what `chips.judgement.judge` says, of the model and of what was judged beside it.
        differences: Name of the other -> the model's global IoU minus its own, with an interval.
        seen: What of the ground the weights have seen in training; None where that is not known.
        n_excluded: Chips left out because their label is called wrong.
        failed: Chips and shards that could not be read -> why.
        warnings: What a reader should know.
        files: Kind -> path of what was written.
    """

    folder: Path
    data: str | Path
    split: str
    model: str
    about: dict[str, Any]
    figures: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, Any]]
    seen: dict[str, Any] | None
    n_excluded: int
    failed: dict[str, str]
    warnings: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """True if a chip or a shard could not be read."""
        return bool(self.failed)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`; every figure unrounded."""
        own = self.figures[self.model]
        return {
            "folder": str(self.folder),
            "data": str(self.data),
            "split": self.split,
            "model": self.model,
            "about": self.about,
            "n_chips": own["n_chips"],
            "global_iou": {str(row["threshold"]): row["value"] for row in own["sweep"]},
            "per_chip_iou": own["per_chip_iou"]["value"],
            "figures": self.figures,
            "differences": self.differences,
            "seen": self.seen,
            "n_excluded": self.n_excluded,
            "failed": self.failed,
            "warnings": list(self.warnings),
            "files": self.files,
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        own = self.figures[self.model]
        lines = [
            f"{self.split}: {counted(own['n_chips'], 'chip')} in {counted(own['n_blocks'], 'block')} of ground, "
            f"threshold {own['threshold']:g}"
        ]
        for name, figures in self.figures.items():
            lines += [
                f"{name}",
                f"  global IoU {_words(figures['global_iou'])}, per chip {_words(figures['per_chip_iou'])}",
                f"  precision {_words(figures['precision'])}, recall {_words(figures['recall'])}",
                f"  area {_over(figures['area']['over_outlined'])} of the outlines, "
                f"{_over(figures['area']['over_burned'])} of the labels as burned",
                f"  best threshold {_best(figures)}; lakes found {_lakes(figures)}",
            ]
        for name, difference in self.differences.items():
            lines.append(f"{self.model} minus {name}: {_words(difference)}")
        withheld = own["global_iou"]["withheld"]
        if withheld:
            lines.append(f"no intervals: {withheld}")
        if self.seen is not None:
            lines.append(words_of_seen(self.seen))
        if self.n_excluded:
            lines.append(f"{counted(self.n_excluded, 'chip')} left out: their labels are called wrong")
        lines += [f"{name}: not read, {why}" for name, why in list(self.failed.items())[:20]]
        return "\n".join([*lines, f"files in {self.folder}"])


def words_of_seen(seen: Mapping[str, Any]) -> str:
    """What of the ground the weights have seen, in a sentence."""
    sizes = " and ".join(f"{size:g}" for size in seen["sizes_deg"])
    return (
        f"{seen['n_seen']} of {seen['n_chips']} chips lie on ground that the weights may have trained on (blocks of {sizes} "
        f"degrees); on the other {seen['n_unseen']}: global IoU {_words(seen['unseen_global_iou'])}"
    )


def _words(estimate: Mapping[str, Any]) -> str:
    """As `0.8918 [0.8512, 0.9203]`."""
    if estimate["value"] is None:
        return "none"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.4f}, {estimate['high']:.4f}]"
    return f"{estimate['value']:.4f}{interval}"


def _over(estimate: Mapping[str, Any]) -> str:
    """A ratio of areas as a difference in per cent."""
    if estimate["value"] is None:
        return "none"
    low, high = estimate["low"], estimate["high"]
    interval = "" if low is None else f" [{100 * (low - 1):+.1f}, {100 * (high - 1):+.1f}]"
    return f"{100 * (estimate['value'] - 1):+.1f} %{interval}"


def _best(figures: Mapping[str, Any]) -> str:
    """The threshold of the highest global IoU."""
    rows = [row for row in figures["sweep"] if row["value"] is not None]
    if not rows:
        return "none"
    best = max(rows, key=lambda row: row["value"])
    return f"{best['threshold']:g} ({best['value']:.4f})"


def _lakes(figures: Mapping[str, Any]) -> str:
    """Lakes found by size class, as `3 of 4 from 0.5 ha`."""
    told = []
    for row in figures["lakes"][:-1]:
        if row["n_labelled"]:
            told.append(f"{row['n_found']} of {row['n_labelled']} from {row['from_m2'] / HECTARE_M2:g} ha")
    return ", ".join(told) or "none, as there is none"


def write_evaluation(summary: EvaluationSummary, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Write the published files and the whole summary.

    `per_chip_<split>.parquet`, `per_region_breakdown.json` and `threshold_sweep.json` (both hold every split judged so far with these
    weights) and `evaluation_<split>.json`.

    Args:
        summary: What came of it.
        rows: One a chip.

    Returns:
        Kind -> path.

    Raises:
        OutputWrite: If the disk refuses.
    """
    folder, split = summary.folder, summary.split
    own = summary.figures[summary.model]
    per_chip = folder / f"per_chip_{split}.parquet"
    with writing(per_chip) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)
    regions = folder / "per_region_breakdown.json"
    _add_split(regions, summary, {name: figures["regions"] for name, figures in summary.figures.items()})
    sweep = folder / "threshold_sweep.json"
    _add_split(sweep, summary, {name: figures["sweep"] for name, figures in summary.figures.items()})
    whole = folder / f"evaluation_{split}.json"
    told = {key: value for key, value in summary.as_dict().items() if key not in ("folder", "files")}
    write_json(whole, {**told, "n_chips": own["n_chips"]})
    return {
        "per_chip": str(per_chip),
        "per_region": str(regions),
        "threshold_sweep": str(sweep),
        "evaluation": str(whole),
    }


def _add_split(path: Path, summary: EvaluationSummary, figures: Mapping[str, Any]) -> None:
    """Put a split's figures beside those of other splits, if these are of the same model."""
    there = read_json(path)
    same = isinstance(there, dict) and there.get("model") == summary.model and isinstance(there.get("splits"), dict)
    splits = dict(there["splits"]) if same else {}
    write_json(path, {"model": summary.model, "splits": {**splits, summary.split: dict(figures)}})
