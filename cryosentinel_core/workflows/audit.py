"""The corridor of looking at labels: chips through a model once, the most doubtful drawn, and a table for a person to fill in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.chips.audit import AUDIT_COLUMNS, DoubtList, audit_chip
from cryosentinel_core.engine.chip_logits import logits_of_chips
from cryosentinel_core.engine.model_loading import build_segmenter
from cryosentinel_core.engine.prefetch import prefetch
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.hub_datasets import open_dataset
from cryosentinel_core.io.tables.chip_corrections import write_corrections
from cryosentinel_core.report.audit_panels import draw_sheet
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Engine
from cryosentinel_core.settings.evaluate import EvaluateSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.evaluate import SplitChips


@dataclass(frozen=True, kw_only=True)
class AuditSummary:
    """What an audit came to.

    Attributes:
        model: That looked.
        n_chips: Chips that were looked at.
        n_in_doubt: Of them, those on which label and network differ anywhere.
        rows: The most doubtful, in order.
        failed: Chips and shards that could not be read -> why.
        files: Kind -> path.
    """

    model: str
    n_chips: int
    n_in_doubt: int
    rows: tuple[dict[str, Any], ...]
    failed: dict[str, str]
    files: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "model": self.model,
            "n_chips": self.n_chips,
            "n_in_doubt": self.n_in_doubt,
            "rows": list(self.rows),
            "failed": self.failed,
            "files": self.files,
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        lines = [f"{self.n_in_doubt} of {self.n_chips} chips are in doubt by {self.model}"]
        for row in self.rows[:10]:
            lines.append(
                f"  {row['chip_id']} ({row['region']} {row['year']}): {row['doubt_m2'] / 1e4:.2f} ha in doubt, MNDWI against the "
                f"label on {row['against_label_m2'] / 1e4:.2f}"
            )
        return "\n".join([*lines, f"look at {self.files['sheet']}", f"write wrong or right into {self.files['table']}"])


def audit_chips(
    data: str | Path,
    predicting: PredictSettings,
    settings: EvaluateSettings,
    folder: Path,
    *,
    n_most: int,
    reporter: Reporter,
) -> AuditSummary:
    """Find the chips on which label and model differ most.

    Args:
        data: Folder of shards, or `hf://datasets/...`.
        predicting: Which model, and how it computes.
        settings: Which chips.
        folder: Where table and pictures go.
        n_most: How many chips to draw.
        reporter: Hears progress and warnings.

    Raises:
        InputError: If no chip is of the split.
        ModelError: If the weights cannot be had, read or run.
    """
    dataset = open_dataset(data, regions=settings.regions, years=settings.years, reporter=reporter)
    chips = SplitChips(dataset, settings, reporter)
    if not len(chips.index):
        raise InputError(f"no chip of {data} is of the split {settings.split!r}", "try another --split, or --split all")
    predicting = predicting.model_copy(update={"threshold": predicting.water_threshold})
    segmenter = build_segmenter(predicting)
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(len(chips.index))
    doubts = DoubtList(n_most)
    with closing(prefetch(chips.read(), "chips")) as coming:
        for chip, (logits,) in logits_of_chips(coming, [segmenter]):
            doubts.add(audit_chip(chip, logits, chips.facts.popleft(), predicting.water_threshold))
            reporter.progress("chips", chips.n_read, len(chips.index))
    ranked = doubts.ranked()
    rows = [chip.row(rank) for rank, chip in enumerate(ranked, start=1)]
    table, sheet = folder / "audit.csv", folder / "audit.png"
    write_corrections(table, rows, AUDIT_COLUMNS)
    draw_sheet(sheet, ranked, predicting.water_threshold)
    return AuditSummary(
        model=segmenter.name,
        n_chips=doubts.n_seen,
        n_in_doubt=doubts.n_in_doubt,
        rows=tuple(rows),
        failed=chips.failed,
        files={"table": str(table), "sheet": str(sheet)},
    )
