"""Which copy of a checkpoint's weights is judged, and what ground they have seen: what the file itself says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryosentinel_core.chips.split import FINETUNE_SIZE_DEG, PRETRAINING_SIZE_DEG, BlockSplit
from cryosentinel_core.errors import ConfigError, ModelError
from cryosentinel_core.io.weights.model_files import choose_weights, resolve_model
from cryosentinel_core.settings.evaluate import EvaluateSettings
from cryosentinel_core.settings.predict import DEFAULT_MODEL, WATER_INDEX, PredictSettings

PUBLISHED_REPOSITORY: Final = "/".join(DEFAULT_MODEL.split("/")[:4]) + "/"
"""What references to the published weights begin with."""


def choose_judged(
    predicting: PredictSettings, settings: EvaluateSettings, *, is_auto: bool
) -> tuple[PredictSettings, EvaluateSettings]:
    """Settings completed by what the checkpoint says.

    Args:
        predicting: Which model, and how it computes.
        settings: Which chips.
        is_auto: Whether the copy of the weights is chosen by the published rule: the moving average where there is one, of a soup
            its own.

    Raises:
        ModelError: If the weights cannot be had or read.
    """
    if predicting.model == WATER_INDEX:
        return predicting, settings
    said = [choose_weights(resolve_model(model, names=(WATER_INDEX,))) for model in predicting.models]
    if is_auto:
        copies = {weights for weights, _ in said}
        if len(copies) > 1:
            raise ModelError(
                "some of these weights hold a moving average, others do not", "say which copy: --weights model or ema"
            )
        predicting = predicting.model_copy(update={"weights": copies.pop()})
    if not settings.seen_sizes_deg:
        splits = {split for _, hyper in said if (split := seen_split(hyper)) is not None}
        sizes = {size for _, hyper in said for size in seen_sizes(hyper)} - {split.size_deg for split in splits}
        if any(model.startswith(PUBLISHED_REPOSITORY) for model in predicting.models):
            sizes |= {FINETUNE_SIZE_DEG, PRETRAINING_SIZE_DEG}
        settings = settings.model_copy(
            update={
                "seen_sizes_deg": tuple(sorted(sizes)),
                "seen_splits": tuple(split.as_dict() for split in sorted(splits, key=repr)),
            }
        )
    return predicting, settings


def seen_split(hyper_parameters: Mapping[str, Any]) -> BlockSplit | None:
    """The split that a checkpoint's last stage was trained by; None where it does not say, or says what is none."""
    found = hyper_parameters.get("split")
    if not isinstance(found, Mapping):
        return None
    try:
        return BlockSplit(**found)
    except (TypeError, ConfigError):
        return None


def seen_sizes(hyper_parameters: Mapping[str, Any]) -> tuple[float, ...]:
    """Block sizes, degrees, of the splits that a checkpoint was trained by; none where it does not say.

    Args:
        hyper_parameters: As plain data. `seen_block_sizes_deg` lists every stage's.
    """
    found = hyper_parameters.get("seen_block_sizes_deg")
    if not isinstance(found, list):
        return ()
    return tuple(float(size) for size in found if isinstance(size, int | float) and 0 < size <= 90)
