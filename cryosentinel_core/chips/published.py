"""The published results, to be made again from the released weights and data: what is compared, and how.

Figures are printed to four decimals, so that they are equal if they round to the same four. Source: the model card of the released
weights; `test label-corrected` leaves out the seven chips that the card calls mislabelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryosentinel_core.errors import InputError

PUBLISHED_DATA: Final = "hf://datasets/abzal-glw/cryosentinel-glof-v3"
"""The released data set."""

PUBLISHED_REGIONS: Final = ("ile_alatau", "tien_shan_full", "zhetysu_alatau")
"""Regions of the published fine-tune, whose chips it was judged on."""

DECIMALS: Final = 4

PUBLISHED_TABLE: Final[dict[str, dict[str, Any]]] = {
    "val": {
        "n_chips": 666,
        "global_iou": {"0.3": 0.9421, "0.4": 0.9505, "0.5": 0.9557, "0.6": 0.9586, "0.7": 0.9596, "0.8": 0.9580},
        "per_chip_iou": 0.9740,
        "regions": {"ile_alatau": 0.8867, "tien_shan_full": 0.9564, "zhetysu_alatau": 0.9559},
    },
    "test": {
        "n_chips": 665,
        "global_iou": {"0.3": 0.8769, "0.4": 0.8848, "0.5": 0.8918, "0.6": 0.8946, "0.7": 0.8959, "0.8": 0.8941},
        "per_chip_iou": 0.9556,
        "regions": {"ile_alatau": 0.7664, "tien_shan_full": 0.9027, "zhetysu_alatau": 0.9312},
    },
    "test label-corrected": {
        "n_chips": 658,
        "global_iou": {"0.5": 0.9082},
        "regions": {"ile_alatau": 0.9285, "tien_shan_full": 0.9027, "zhetysu_alatau": 0.9312},
    },
}
"""Split -> what the card prints."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One published figure and ours.

    Attributes:
        split: That it is of.
        figure: What it is, as `global IoU @0.5`.
        published: As printed.
        ours: Unrounded; None where there is none.
    """

    split: str
    figure: str
    published: float
    ours: float | None

    @property
    def agrees(self) -> bool:
        """True if both are the same to four decimals."""
        return self.ours is not None and round(self.ours, DECIMALS) == round(self.published, DECIMALS)


def compare_with_table(split: str, told: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Comparison]:
    """Every published figure of a split beside ours.

    Args:
        split: In words.
        told: `EvaluationSummary.as_dict`.
        wanted: Of the table: `n_chips`, `global_iou` by threshold, and, where there are some, `per_chip_iou` and `regions`.

    Raises:
        InputError: If the table has another form.
    """
    own = told["figures"][told["model"]]
    rows: list[tuple[str, Any, float | None]] = []
    try:
        rows.append(("chips", wanted["n_chips"], told["n_chips"]))
        rows += [
            (f"global IoU @{level}", value, told["global_iou"].get(level))
            for level, value in wanted["global_iou"].items()
        ]
        if "per_chip_iou" in wanted:
            rows.append(("mean per-chip IoU", wanted["per_chip_iou"], told["per_chip_iou"]))
        for region, value in wanted.get("regions", {}).items():
            there = own["regions"].get(region)
            rows.append((f"{region} @{own['threshold']:g}", value, there and there["global_iou"]["value"]))
        return [Comparison(split=split, figure=name, published=float(value), ours=ours) for name, value, ours in rows]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"the table of published figures has another form: {error}", "see docs/evaluation.md"
        ) from error
