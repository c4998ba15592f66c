"""What a calibration came to: plain data for `--json`, and a few lines for a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.learn.calibration import Calibration
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """What a calibration came to.

    Attributes:
        path: Of the file beside the weights.
        calibration: What it holds.
        failed: Chips that could not be read -> why.
    """

    path: Path
    calibration: Calibration
    failed: dict[str, str]

    @property
    def is_partial(self) -> bool:
        """True if a chip could not be read."""
        return bool(self.failed)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"path": str(self.path), **self.calibration.as_dict(), "failed": self.failed}

    def as_text(self) -> str:
        """A few lines for a person."""
        one, held = self.calibration, self.calibration.evidence["held_out"]
        model = one.error_model
        lines = [
            f"{counted(held['n_lakes'], 'lake')} in {counted(held['n_blocks'], 'block')} of ground",
            f"threshold {one.threshold:.3f}: areas unbiased ({held['bias_percent']:+.2f} % on blocks held out)",
            f"logits: slope {one.slope:.3f}, intercept {one.intercept:+.3f}",
            f"outlines off by {model.displacement_m:.2f} m here and there along a sharp shore, {model.lake_displacement_m:.2f} m a "
            f"lake, {model.systematic_displacement_m:.2f} m in common (one sigma)",
        ]
        for row in held["classes"]:
            ratio = "" if row["width_ratio"] is None else f", width {row['width_ratio']:.2f} times the errors' spread"
            lines.append(
                f"lakes from {row['from_m2'] / HECTARE_M2:g} ha: {row['n_lakes']}, 95 % intervals hold "
                f"{100 * row['coverage']:.1f} % [{100 * row['coverage_low']:.1f}, {100 * row['coverage_high']:.1f}]{ratio}"
            )
        lines += [f"{name}: not read, {why}" for name, why in list(self.failed.items())[:20]]
        return "\n".join([*lines, f"written to {self.path}: predict and change use it"])
