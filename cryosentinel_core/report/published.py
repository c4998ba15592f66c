"""The published table and ours, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryosentinel_core.chips.published import DECIMALS, Comparison


@dataclass(frozen=True, kw_only=True)
class PublishedSummary:
    """What a reproduction came to.

    Attributes:
        model: Weights, as named.
        data: Data set, as named.
        comparisons: Every published figure beside ours.
        evaluations: Split -> `EvaluationSummary.as_dict`.
        failed: Chips and shards that could not be read -> why.
    """

    model: str
    data: str
    comparisons: tuple[Comparison, ...]
    evaluations: dict[str, dict[str, Any]]
    failed: dict[str, str]

    @property
    def agrees(self) -> bool:
        """True if every figure is the same to four decimals."""
        return all(one.agrees for one in self.comparisons)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        rows = [
            {
                "split": one.split,
                "figure": one.figure,
                "published": one.published,
                "ours": one.ours,
                "agrees": one.agrees,
            }
            for one in self.comparisons
        ]
        return {
            "model": self.model,
            "data": self.data,
            "agrees": self.agrees,
            "comparisons": rows,
            "evaluations": self.evaluations,
            "failed": self.failed,
        }

    def as_text(self) -> str:
        """A table for a person."""
        lines = [f"{'split':22} {'figure':24} {'published':>10} {'ours':>10}"]
        for one in self.comparisons:
            ours = "none" if one.ours is None else f"{one.ours:.{0 if one.figure == 'chips' else DECIMALS}f}"
            said = f"{one.published:.{0 if one.figure == 'chips' else DECIMALS}f}"
            lines.append(f"{one.split:22} {one.figure:24} {said:>10} {ours:>10}{'' if one.agrees else '   differs'}")
        n_off = sum(not one.agrees for one in self.comparisons)
        lines.append(
            f"all {len(self.comparisons)} figures agree"
            if not n_off
            else f"{n_off} of {len(self.comparisons)} figures differ"
        )
        return "\n".join(lines)
