"""`train --seeds`: the same run from several seeds, their mean and spread, and a soup across them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryosentinel_core.chips.score_over_runs import Spread, spread_of
from cryosentinel_core.settings.soup import SoupSettings
from cryosentinel_core.settings.train import TrainSettings
from cryosentinel_core.workflows.soup import SoupSummary, soup
from cryosentinel_core.workflows.train import TrainSummary, train

if TYPE_CHECKING:
    from cryosentinel_core.reporter import Reporter


@dataclass(frozen=True, kw_only=True)
class SeedsSummary:
    """What several runs came to.

    Attributes:
        runs: One for each seed.
        validation_iou: Mean and spread of the best scores.
        test_iou: Of the test scores; None where no test was judged.
        soup: Across the runs: of the last snapshot of each, all begun with the same weights.
    """

    runs: list[TrainSummary]
    validation_iou: Spread | None
    test_iou: Spread | None
    soup: SoupSummary | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def as_text(self) -> str:
        """In words."""
        lines = [run.as_text().splitlines()[0] for run in self.runs]
        for name, spread in (("validation", self.validation_iou), ("test", self.test_iou)):
            if spread is not None:
                lines.append(f"{name} IoU {spread.as_text()}")
        if self.soup is not None:
            lines.append(self.soup.as_text())
        return "\n".join(lines)


def train_seeds(
    settings: TrainSettings, workspace: Path, seeds: tuple[int, ...], *, reporter: Reporter
) -> SeedsSummary:
    """Train once for each seed, or go on with what is there, and average across seeds.

    New weights that are not the initial ones are drawn with the first seed in all runs: networks that begin apart cannot be averaged.

    Raises:
        As `train` and `soup`.
    """
    runs = []
    for seed in seeds:
        one = settings.model_copy(
            update={"seed": seed, "run_name": f"{settings.run_name}-seed{seed}", "weights_seed": seeds[0]}
        )
        last = workspace / one.output_dir / one.run_name / "checkpoints" / "last.ckpt"
        reporter.note(f"seed {seed}")
        runs.append(train(one, workspace, reporter=reporter, resume=last if last.exists() else None))
    mixed = None
    last_snapshots = tuple(Path(run.snapshots[-1]) for run in runs if run.snapshots)
    if len(last_snapshots) == len(seeds):
        output = workspace / settings.output_dir / f"{settings.run_name}-seeds-soup.ckpt"
        mixed = soup(
            SoupSettings(sources=last_snapshots, output=output, data_dir=settings.data.data_dir), reporter=reporter
        )
    return SeedsSummary(
        runs=runs,
        validation_iou=spread_of([run.best["iou"] for run in runs if run.best]),
        test_iou=spread_of([run.test["iou"] for run in runs if run.test]),
        soup=mixed,
    )
