"""What a run over chips came to, for a person and for programs.

Neighbours: `chips.chip_result` holds what one chip came to; the workflow `chips` asks for the summary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from cryosentinel_core.chips.chip_result import ChipResult
from cryosentinel_core.chips.metrics import Counts
from cryosentinel_core.reporter import counted

NAMED_AT_MOST: Final = 20
"""Chips that a summary's text and its warnings name one by one; `run.json` holds all of them."""

_NAMED_IN_NOTES: Final = 5


@dataclass(frozen=True, kw_only=True)
class ChipsSummary:
    """What a run over chips came to.

    Attributes:
        folder: Of the results.
        water_share: Chip -> share of its observed pixels that is water; None if nothing of it was observed.
        sources: Chip -> where in its source it lies, as `north/a.tif`.
        n_lakes: Lakes from the minimum area up.
        n_reused: Chips that were done already.
        n_labelled: Chips with a label.
        counts: Of all labelled chips together.
        failed: Chips that could not be read -> why.
        warnings: What a reader should know.
    """

    folder: Path
    water_share: dict[str, float | None]
    sources: dict[str, str]
    n_lakes: int
    n_reused: int
    n_labelled: int
    counts: Counts
    failed: dict[str, str]
    warnings: tuple[str, ...]

    def with_lakes(self, n_lakes: int) -> ChipsSummary:
        """The same with the number of lakes in the table."""
        return replace(self, n_lakes=n_lakes)

    @property
    def is_partial(self) -> bool:
        """True if a chip could not be read."""
        return bool(self.failed)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        labels = {"n_chips": self.n_labelled, **asdict(self.counts), "iou": self.counts.iou}
        return {
            "folder": str(self.folder),
            "water_share": self.water_share,
            "sources": self.sources,
            "n_lakes": self.n_lakes,
            "n_reused": self.n_reused,
            "labels": labels if self.n_labelled else None,
            "failed": self.failed,
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        chips = [
            f"{name}: {'unobserved' if share is None else f'{100 * share:.2f} % water'}"
            for name, share in self.water_share.items()
        ]
        lines = _first_of(chips, "chips") + _first_of([f"{k}: skipped, {v}" for k, v in self.failed.items()], "skipped")
        if self.n_labelled:
            c = self.counts
            lines.append(
                f"against the labels of {counted(self.n_labelled, 'chip')}: {c.intersection} px water in both, {c.union} in either "
                f"({c.fp} found alone, {c.fn} labelled alone), "
                + ("no IoU, as there is no water in either" if c.iou is None else f"IoU {c.iou:.4f}")
            )
        return "\n".join([*lines, f"{counted(self.n_lakes, 'lake')}, in {self.folder}"])


def _first_of(lines: Sequence[str], what: str) -> list[str]:
    """At most `NAMED_AT_MOST` lines, and how many more there are."""
    more = len(lines) - NAMED_AT_MOST
    return [*lines[:NAMED_AT_MOST], f"... and {more} more {what}"] if more > 0 else list(lines)


def warnings_of(results: Mapping[str, ChipResult]) -> list[str]:
    """What a reader should know, however many chips it concerns."""
    found = _first_of(
        [f"{name}: {result.offset_warning}" for name, result in results.items() if result.offset_warning],
        "chips whose numbers look as if an offset were left in or taken off twice",
    )
    by_words: dict[str, dict[str, int]] = defaultdict(dict)
    for name, result in results.items():
        for note in result.notes:
            by_words[note.words][name] = note.n_px
    for words, chips in sorted(by_words.items()):
        named = ", ".join(f"{name} ({n_px} px)" for name, n_px in list(chips.items())[:_NAMED_IN_NOTES])
        more = f" and {len(chips) - _NAMED_IN_NOTES} more" if len(chips) > _NAMED_IN_NOTES else ""
        found.append(f"{words}: {named}{more}")
    n_lost = sum(not result.is_placed for result in results.values())
    if n_lost:
        found.append(
            f"{n_lost} of {len(results)} chips have no latitude and longitude (in reach of UTM): their rasters have no "
            "coordinate reference system, and their lakes are in no table"
        )
    return found


def summarise(
    folder: Path, results: Mapping[str, ChipResult], failed: Mapping[str, str], n_reused: int
) -> ChipsSummary:
    """The summary of a run, its lakes not counted yet.

    Args:
        folder: Of the results.
        results: Chip -> what it came to.
        failed: Chip or file that could not be read -> why.
        n_reused: Chips that were done already.
    """
    labelled = [result.counts for result in results.values() if result.counts is not None]
    return ChipsSummary(
        folder=folder,
        water_share={name: result.water_share for name, result in results.items()},
        sources={name: result.source for name, result in results.items()},
        n_lakes=0,
        n_reused=n_reused,
        n_labelled=len(labelled),
        counts=sum(labelled, Counts()),
        failed=dict(failed),
        warnings=tuple(warnings_of(results)),
    )
