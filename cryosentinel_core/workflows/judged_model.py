"""Which copy of a checkpoint's weights is judged, and what ground they have seen: what the file itself says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryosentinel_core.chips.split import FINETUNE_SIZE_DEG, PRETRAINING_SIZE_DEG
from cryosentinel_core.errors import ModelError
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
    said = [choose_weights(resolve_model(model)) for model in predicting.models]
    if is_auto:
        copies = {weights for weights, _ in said}
        if len(copies) > 1:
            raise ModelError(
                "some of these weights hold a moving average, others do not", "say which copy: --weights model or ema"
            )
        predicting = predicting.model_copy(update={"weights": copies.pop()})
    if not settings.seen_sizes_deg:
        sizes = {size for _, hyper in said for size in seen_sizes(hyper)}
        if any(model.startswith(PUBLISHED_REPOSITORY) for model in predicting.models):
            sizes |= {FINETUNE_SIZE_DEG, PRETRAINING_SIZE_DEG}
        settings = settings.model_copy(update={"seen_sizes_deg": tuple(sorted(sizes))})
    return predicting, settings


def seen_sizes(hyper_parameters: Mapping[str, Any]) -> tuple[float, ...]:
    """Block sizes, degrees, of the splits that a checkpoint was trained by; none where it does not say.

    Args:
        hyper_parameters: As plain data. `seen_block_sizes_deg` lists every stage's.
    """
    found = hyper_parameters.get("seen_block_sizes_deg")
    if not isinstance(found, list):
        return ()
    return tuple(float(size) for size in found if isinstance(size, int | float) and 0 < size <= 90)
