"""`train`: from shards to checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryosentinel_core.engine.machine import describe_machine, free_memory_bytes
from cryosentinel_core.errors import ConfigError
from cryosentinel_core.reporter import counted
from cryosentinel_core.settings.train import RESUMABLE, TrainSettings
from cryosentinel_core.workflows.training_inputs import (
    SplitChips,
    describe_run,
    find_normalisation,
    find_recipe,
    make_spec,
    open_chips,
)

if TYPE_CHECKING:
    from cryosentinel_core.io.weights.run_folder import RunFolder
    from cryosentinel_core.learn.training.fit import FitResult, MachineSettings
    from cryosentinel_core.learn.training.rehearsal import Rehearsal
    from cryosentinel_core.learn.training.run_keeper import KeepSettings
    from cryosentinel_core.learn.training.task import LakeTask
    from cryosentinel_core.reporter import Reporter


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a run came to.

    Attributes:
        run: Its folder.
        epochs: Done.
        steps: Optimiser steps.
        n_chips: Split -> chips.
        best: Scores of the best checkpoint.
        best_checkpoint: Its path; empty without a validation.
        snapshots: Paths of the snapshots.
        test: Scores on the test split; empty where it was not judged.
    """

    run: str
    epochs: int
    steps: int
    n_chips: dict[str, int]
    best: dict[str, float]
    best_checkpoint: str
    snapshots: list[str]
    test: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def as_text(self) -> str:
        """In words."""
        lines = [f"{counted(self.epochs, 'epoch')}, {counted(self.steps, 'step')}, in {self.run}"]
        if self.best_checkpoint:
            lines.append(f"best: validation IoU {self.best['iou']:.4f}, {Path(self.best_checkpoint).name}")
        if self.test:
            lines.append(f"test IoU {self.test['iou']:.4f} (moving average of the last step)")
        if len(self.snapshots) > 1:
            lines.append(
                f"{len(self.snapshots)} snapshots: average them with `cryosentinel soup {self.run} -o soup.ckpt`"
            )
        return "\n".join(lines)


def train(settings: TrainSettings, workspace: Path, *, reporter: Reporter, resume: Path | None = None) -> TrainSummary:
    """Train a network, or go on with a run.

    Args:
        settings: All of it.
        workspace: That `output_dir` is relative to.
        reporter: Hears of progress.
        resume: The checkpoint to go on from; settings are then the run's own, changed at most in `RESUMABLE`.

    Raises:
        ConfigError: If a run of that name is there already, or the machine cannot do what is asked.
        DataError: If the data set cannot be used.
    """
    from cryosentinel_core.io.weights.run_folder import RunFolder
    from cryosentinel_core.learn.training.fit import FitStart, fit

    root = workspace / settings.output_dir / settings.run_name
    if resume is None and (root / "checkpoints" / "last.ckpt").exists():
        raise ConfigError(f"{root} holds a run", f"go on with --resume {root}, or give another run_name")
    chips = open_chips(settings.data, settings.feed.cache_dir, reporter)
    prepared = prepare(settings, chips, reporter)
    folder = RunFolder(root)
    if resume is None:
        folder.forget_after(0, kept_rows=0)
    write_inputs(folder, settings, chips, prepared.task.settings.hyper_parameters)
    task = prepared.task
    try:
        result = fit(
            task,
            prepared.machine,
            prepared.keep,
            folder,
            FitStart(
                identity=identity_of(settings, chips),
                seed=settings.seed,
                resume=resume,
                check=lambda before: check_identity(before, settings, chips.cached.digest),
            ),
            reporter=reporter,
        )
    finally:
        folder.close()
        if task.feed is not None:
            task.feed.close()
    return finish(folder, settings, chips, task.settings.hyper_parameters, result)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that is ready to begin.

    Attributes:
        task: Network, feed and settings.
        machine: Where, how long.
        keep: What is kept when.
    """

    task: LakeTask
    machine: MachineSettings
    keep: KeepSettings


def prepare(settings: TrainSettings, chips: SplitChips, reporter: Reporter) -> Prepared:
    """Build network, feed and task of a run."""
    from cryosentinel_core.io.weights.initial_weights import begin_network
    from cryosentinel_core.learn.training import training_recipe as recipe

    spec = make_spec(settings)
    seed = settings.seed if settings.weights_seed is None else settings.weights_seed
    initial = begin_network(settings.initial_weights, spec, seed=seed)
    normalisation, source = find_normalisation(settings.data, initial, reporter)
    reporter.note(f"statistics: {source}")
    made = find_recipe(settings.data, initial, reporter)
    hyper = describe_run(settings, initial, normalisation, made, chips)
    task = recipe.make_task(
        settings,
        initial.network,
        normalisation,
        recipe.ChipSet(
            arrays=chips.cached.arrays,
            rows=chips.rows,
            water_frac=chips.cached.index.water_frac,
            host_free_bytes=free_memory_bytes(),
        ),
        hyper,
    )
    return Prepared(task=task, machine=recipe.machine_settings(settings), keep=recipe.keep_settings(settings))


def rehearse(settings: TrainSettings, *, reporter: Reporter) -> Rehearsal:
    """Try one batch of a run, and say what the run would take; nothing is written but the decoded chips.

    Raises:
        As `train`.
    """
    from cryosentinel_core.learn.training.rehearsal import rehearse as try_batch

    chips = open_chips(settings.data, settings.feed.cache_dir, reporter)
    prepared = prepare(settings, chips, reporter)
    try:
        return try_batch(prepared.task, prepared.machine)
    finally:
        if prepared.task.feed is not None:
            prepared.task.feed.close()


def identity_of(settings: TrainSettings, chips: SplitChips) -> dict[str, Any]:
    """What a run that goes on must share with its beginning: all settings but those that may change, and the chips."""
    return {"settings": settings.model_dump(mode="json"), "data": chips.cached.digest}


def check_identity(before: Mapping[str, Any], now: TrainSettings, data: str) -> None:
    """Refuse to go on with other settings or chips.

    Args:
        before: The identity in a checkpoint.
        now: Settings to go on with.
        data: Digest of the chips now.

    Raises:
        ConfigError: Naming what is different.
    """
    old, new = (_flat(one) for one in (before.get("settings") or {}, now.model_dump(mode="json")))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key) and not _may_change(key)]
    if changed:
        words = ", ".join(f"{key} (was {old.get(key)!r}, is {new.get(key)!r})" for key in changed)
        raise ConfigError(
            f"a run that goes on cannot change {words}",
            f"begin a new run with --init; only these may change: {', '.join(RESUMABLE)}",
        )
    if before.get("data") != data:
        raise ConfigError("the data set holds other chips than when the run was begun", "begin a new run with --init")


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in RESUMABLE)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        key: value
        for name, inner in data.items()
        for key, value in _flat(inner, f"{prefix}.{name}" if prefix else name).items()
    }


def write_inputs(folder: RunFolder, settings: TrainSettings, chips: SplitChips, hyper: Mapping[str, Any]) -> None:
    """config.yaml, and what went in: chips, machine, versions."""
    from cryosentinel_core.io.tables.yaml_files import dump_yaml

    folder.write_text("config.yaml", dump_yaml(settings.model_dump(mode="json")))
    folder.write_record(
        "inputs.json",
        {
            "data_digest": chips.cached.digest,
            "n_chips": chips.counts,
            "faults": list(chips.cached.faults),
            "hyper_parameters": dict(hyper),
        },
    )
    folder.write_record("environment.json", describe_machine())


def finish(
    folder: RunFolder, settings: TrainSettings, chips: SplitChips, hyper: Mapping[str, Any], result: FitResult
) -> TrainSummary:
    """Draw the learning curve, write the card, say what there is."""
    from cryosentinel_core.report.learning_curve import draw_learning_curve
    from cryosentinel_core.report.training_card import write_card

    standing = result.standing
    place = folder.root / "checkpoints"
    folder.write_bytes("diagnostics/learning_curve.png", draw_learning_curve(folder.read_metrics(), settings.run_name))
    scores = {"validation": standing.best_scores, "test": result.test_scores}
    folder.write_text(
        "model_card.md", write_card(settings.run_name, hyper, scores={name: one for name, one in scores.items() if one})
    )
    return TrainSummary(
        run=str(folder.root),
        epochs=result.epochs,
        steps=result.steps,
        n_chips=chips.counts,
        best=standing.best_scores,
        best_checkpoint=str(place / standing.best_name) if standing.best_name else "",
        snapshots=[str(place / name) for name in standing.snapshots],
        test=result.test_scores,
    )
