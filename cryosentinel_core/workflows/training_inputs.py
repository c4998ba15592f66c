"""From settings to what a fit needs: chips and their splits, a network, its statistics, a task.

Neighbours: `train` opens doors before and after; `io.chip_cache` decodes; `learn.training` does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryosentinel_core.chips.split import BlockSplit
from cryosentinel_core.chips.training_rows import Rows, check_rows, find_rows
from cryosentinel_core.errors import ConfigError
from cryosentinel_core.io.chip_cache import CachedChips, open_cache
from cryosentinel_core.io.dataset_record import read_dataset_record, recorded_split
from cryosentinel_core.io.shards import ShardDataset
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.learn.model_spec import (
    PRETRAINING_NORMALISATION,
    PUBLISHED_RECIPE,
    ModelSpec,
    Normalisation,
)
from cryosentinel_core.stack.recipe import Recipe

if TYPE_CHECKING:
    from cryosentinel_core.io.weights.initial_weights import InitialWeights
    from cryosentinel_core.reporter import Reporter
    from cryosentinel_core.settings.train import DataSettings, TrainSettings

STATISTICS_NAMES = ("dataset_stats.json", "dataset_stats_v3.json")
"""Files in a data set's folder that hold its statistics."""


@dataclass(frozen=True, kw_only=True)
class SplitChips:
    """Chips of a data set, with the rows of each split.

    Attributes:
        cached: All chips.
        rows: Split -> (n,) int64 rows of `cached`: `train`, `val`, `test`.
    """

    cached: CachedChips
    rows: Rows

    @property
    def counts(self) -> dict[str, int]:
        """Chips of each split, and those of none: near a block's edge, or excluded."""
        found = {name: len(rows) for name, rows in self.rows.items()}
        return {**found, "none": len(self.cached) - sum(found.values())}


def open_chips(settings: DataSettings, cache_dir: Path | None, reporter: Reporter) -> SplitChips:
    """The chips that settings name, decoded, and their splits.

    Raises:
        InputError: If regions or years are not there.
        DataError: If no chip can be read, or none trains, or none that trains has water.
    """
    if settings.data_dir is None:
        raise ConfigError("no data set", "say where the shards lie with --data DIR")
    dataset = ShardDataset(settings.data_dir)
    cached = open_cache(dataset, settings.regions or (), settings.years or (), cache_dir, reporter=reporter)
    for fault in cached.faults[:3]:
        reporter.warn(f"left out: {fault}")
    if len(cached.faults) > 3:
        reporter.warn(f"left out: {len(cached.faults) - 3} more chips or shards that cannot be read")
    excluded = settings.exclude.read_text(encoding="utf-8").split() if settings.exclude else ()
    rows = find_rows(
        cached.index, find_blocks(settings), unknown_trains=settings.include_unknown_in_train, excluded=excluded
    )
    check_rows(rows, cached.index, str(settings.data_dir))
    if not len(rows["val"]):
        reporter.warn(
            "no chip validates: no checkpoint is called the best and nothing stops a run early; chips of more blocks, or a smaller "
            "data.block_size_deg, give some"
        )
    return SplitChips(cached=cached, rows=rows)


def find_blocks(settings: DataSettings) -> BlockSplit | None:
    """The block split: the data set's own, or the published one, with what settings say put in; None if there shall be none."""
    if not settings.use_block_split:
        return None
    base = recorded_split(settings.data_dir or Path()) or BlockSplit()
    said = {
        "size_deg": settings.block_size_deg,
        "buffer_deg": settings.block_buffer_deg,
        "salt": settings.block_salt,
        "rule": settings.block_rule,
    }
    return BlockSplit(**(base.as_dict() | {name: value for name, value in said.items() if value is not None}))


def find_normalisation(
    settings: DataSettings, initial: InitialWeights, reporter: Reporter
) -> tuple[Normalisation, str]:
    """Statistics to standardise with, and where they are from.

    Those that settings name; else the data set's own; else those of the initial weights; else TerraMind's.

    Raises:
        ConfigError: If the file that settings name is not there or holds none.
    """
    folder = settings.data_dir or Path()
    named = settings.norm_stats_path
    if named is not None:
        places = (named, folder / named.name)
        found = next((read_json(place) for place in places if place.is_file()), None)
        if not isinstance(found, dict):
            raise ConfigError(
                f"data.norm_stats_path: {named} holds no statistics", "make them with `cryosentinel chips stats`"
            )
        return Normalisation.from_dict(found), named.name
    for name in STATISTICS_NAMES:
        found = read_json(folder / name)
        if isinstance(found, dict):
            return Normalisation.from_dict(found), name
    if initial.normalisation is not None:
        return initial.normalisation, "initial weights"
    reporter.warn(
        "the data set has no statistics of its own: TerraMind's are taken (`cryosentinel chips stats` makes some)"
    )
    return PRETRAINING_NORMALISATION, "TerraMind"


def find_recipe(settings: DataSettings, initial: InitialWeights, reporter: Reporter) -> Recipe:
    """How the chips' stacks were made: as the data set says, else as the initial weights do, else as published.

    Where regions and years were made differently, what is different becomes `unknown`, with a warning.
    """
    said = read_dataset_record(settings.data_dir or Path()).get("recipes", {})
    used = [
        Recipe.from_dict(recipe)
        for name, recipe in sorted(said.items())
        if (not settings.regions or name.split("/")[0] in settings.regions)
        and (not settings.years or int(name.split("/")[1]) in settings.years)
    ]
    if not used:
        return initial.recipe or PUBLISHED_RECIPE
    common = used[0].as_dict()
    unlike = sorted({name for other in used for name, value in other.as_dict().items() if value != common[name]})
    if unlike:
        reporter.warn(
            f"the chips' stacks were made differently ({', '.join(unlike)}): the weights' recipe says unknown there"
        )
        common |= dict.fromkeys((name for name in unlike if name != "version"), "unknown")
    return Recipe.from_dict(common)


def make_spec(settings: TrainSettings) -> ModelSpec:
    """The architecture that settings describe.

    Raises:
        ModelError: If it cannot be built.
        ConfigError: If settings contradict themselves.
    """
    model = settings.model
    spec = ModelSpec(
        backbone=model.backbone,
        modalities=model.modalities,
        decoder_channels=model.width,
        scale_modules=model.scale_modules,
    )
    if model.llrd_n_blocks not in (None, spec.shape.depth):
        raise ConfigError(
            f"model.llrd_n_blocks is {model.llrd_n_blocks}, and {spec.backbone} has {spec.shape.depth} blocks",
            "leave it out",
        )
    return spec


def describe_run(
    settings: TrainSettings, initial: InitialWeights, normalisation: Normalisation, recipe: Recipe, chips: SplitChips
) -> dict[str, Any]:
    """Plain hyper-parameters for checkpoints: what readers of weights look for, and what led to them."""
    spec = initial.network.spec
    blocks = find_blocks(settings.data)
    sizes = list(initial.seen_block_sizes_deg)
    if blocks is not None and blocks.size_deg not in sizes:
        sizes.append(blocks.size_deg)
    return {
        "backbone": spec.backbone,
        "modalities": list(spec.modalities),
        "decoder": "UperNetDecoder",
        "decoder_kwargs": {"decoder_channels": spec.decoder_channels, "decoder_scale_modules": spec.scale_modules},
        "neck_indices": list(spec.neck_indices),
        "normalisation": normalisation.to_dict(),
        "recipe": recipe.as_dict(),
        "lr": settings.model.lr,
        "seed": settings.seed,
        "initial_weights": {"source": initial.source, "sha256": initial.sha256},
        "data_digest": chips.cached.digest,
        "n_chips": chips.counts,
        "seen_block_sizes_deg": sizes,
        "split": None if blocks is None else blocks.as_dict(),
        "config": settings.model_dump(mode="json"),
    }
