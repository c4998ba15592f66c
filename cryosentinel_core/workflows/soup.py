"""`soup`: several checkpoints' weights averaged into one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryosentinel_core.engine.machine import free_memory_bytes
from cryosentinel_core.errors import DataError, OutputWrite, SoupMismatch
from cryosentinel_core.settings.soup import SoupSettings
from cryosentinel_core.settings.train import TrainSettings
from cryosentinel_core.workflows.training_inputs import open_chips

if TYPE_CHECKING:
    from cryosentinel_core.io.weights.checkpoint import Checkpoint
    from cryosentinel_core.learn.training.soup_judging import Kitchen
    from cryosentinel_core.reporter import Reporter


@dataclass(frozen=True, kw_only=True)
class SoupSummary:
    """What was averaged.

    Attributes:
        output: The file.
        sha256: Of it.
        method: `uniform` or `greedy`.
        batch_norm: `averaged` or `estimated`.
        ingredients: Name, SHA-256 and set of weights of each that went in.
        left_out: Names of those that a greedy soup did not take.
        validation: Scores of the soup, and of each ingredient by itself, on the validation split; empty where no chip
            validates.
        test: Scores of the soup on the test split; empty where it has no chip.
    """

    output: str
    sha256: str
    method: str
    batch_norm: str
    ingredients: list[dict[str, str]]
    left_out: list[str]
    validation: dict[str, Any] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def as_text(self) -> str:
        """In words."""
        names = ", ".join(one["name"] for one in self.ingredients)
        lines = [f"{self.method} soup of {len(self.ingredients)} ({names}) in {self.output}"]
        if self.left_out:
            lines.append(f"left out: {', '.join(self.left_out)}")
        if self.validation:
            singles = ", ".join(f"{value:.4f}" for value in self.validation["singles"])
            lines.append(f"validation IoU {self.validation['soup']['iou']:.4f}; each by itself {singles}")
        if self.test:
            lines.append(f"test IoU {self.test['iou']:.4f}")
        return "\n".join(lines)


def soup(settings: SoupSettings, *, reporter: Reporter) -> SoupSummary:
    """Average checkpoints.

    Raises:
        SoupMismatch: If they are unlike in architecture, statistics or recipe.
        CheckpointError: If one cannot be read.
        DataError: If chips were named and cannot be used.
    """
    from cryosentinel_core.io.weights.checkpoint import sha256_of
    from cryosentinel_core.io.weights.soup_file import make_content
    from cryosentinel_core.io.weights.verified_write import write_verified
    from cryosentinel_core.learn.training.soup import average_states, check_alike

    if settings.output.suffix != ".ckpt":
        raise OutputWrite(f"{settings.output} does not end in .ckpt", "give the soup that ending")
    read = [read_ingredient(path, settings.weights) for path in find_ingredients(settings.sources)]
    ingredients = [one for one, _ in read]
    check_alike(ingredients)
    kitchen = open_kitchen(settings, read[0][1], reporter)
    members = list(range(len(ingredients)))
    validation: dict[str, Any] = {}
    states = [one.state for one in ingredients]
    if kitchen is not None and settings.greedy and not kitchen.has_validation:
        kitchen.close()
        raise DataError(
            f"no chip of {settings.data_dir} validates", "leave out --greedy, or give chips of which some do"
        )
    if kitchen is not None and kitchen.has_validation:
        if settings.greedy:
            choice = kitchen.choose(states)
            members, validation["singles"] = sorted(choice.members), list(choice.singles)
        else:
            validation["singles"] = [kitchen.judge(state)["iou"] for state in states]
    state = average_states([states[i] for i in members])
    test: dict[str, float] = {}
    if kitchen is not None:
        if settings.batch_norm == "estimated":
            state = kitchen.estimate(state, settings.n_batches)
        if kitchen.has_validation:
            validation["soup"] = kitchen.judge(state)
        test = kitchen.judge_test(state)
        kitchen.close()
    about: dict[str, Any] = {
        "method": "greedy" if settings.greedy else "uniform",
        "batch_norm": settings.batch_norm,
        "ingredients": [ingredients[i].as_dict() for i in members],
    }
    write_verified(settings.output, make_content(state, read[0][1], about))
    return SoupSummary(
        output=str(settings.output),
        sha256=sha256_of(settings.output),
        left_out=[one.name for i, one in enumerate(ingredients) if i not in members],
        validation=validation,
        test=test,
        **about,
    )


def find_ingredients(sources: tuple[Path, ...]) -> list[Path]:
    """The files meant: a run's folder stands for its snapshots.

    Raises:
        SoupMismatch: If a folder has none.
    """
    found: list[Path] = []
    for source in sources:
        if not source.is_dir():
            found.append(source)
            continue
        snapshots = sorted((source / "checkpoints").glob("snapshot-*.ckpt")) or sorted(source.glob("*.ckpt"))
        if not snapshots:
            raise SoupMismatch(f"{source} has no snapshots", "name the checkpoints themselves")
        found += snapshots
    return found


def read_ingredient(path: Path, weights: Any) -> tuple[Any, Checkpoint]:
    """An ingredient and its whole checkpoint."""
    from cryosentinel_core.io.weights.checkpoint import read_checkpoint
    from cryosentinel_core.learn.training.soup import Ingredient

    found = read_checkpoint(path, weights=weights)
    ingredient = Ingredient(
        name=path.name,
        sha256=found.sha256,
        weights=weights,
        state=found.state_dict,
        spec=found.spec,
        normalisation=found.normalisation,
        recipe=found.recipe,
    )
    return ingredient, found


def open_kitchen(settings: SoupSettings, first: Checkpoint, reporter: Reporter) -> Kitchen | None:
    """Chips to judge by, split as the first ingredient's run split them; None without chips."""
    if settings.data_dir is None:
        return None
    from cryosentinel_core.learn.training.soup_judging import Kitchen

    config = first.hyper_parameters.get("config")
    run = TrainSettings.model_validate(config) if isinstance(config, dict) else TrainSettings()
    data = run.data.model_copy(update={"data_dir": settings.data_dir})
    chips = open_chips(data, run.feed.cache_dir, reporter)
    return Kitchen(
        run,
        first.spec,
        first.normalisation,
        arrays=chips.cached.arrays,
        rows=chips.rows,
        water_frac=chips.cached.index.water_frac,
        host_free_bytes=free_memory_bytes(),
    )
