"""From `--model` to a segmenter: the water index, or a network whose rooms are opened only now."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from cryosentinel_core.segmenter import Segmenter
from cryosentinel_core.settings import WATER_INDEX, PredictSettings


def build_segmenter(settings: PredictSettings) -> Segmenter:
    """The segmenter that some settings name; built once a process.

    Raises:
        ModelError: If the weights cannot be had, read or built.
    """
    return _build(
        settings.model,
        settings.device,
        settings.precision,
        settings.batch_size,
        settings.tta,
        settings.weights,
        settings.threads,
        settings.compiling,
    )


@lru_cache(maxsize=2)
def _build(
    model: str,
    device: str,
    precision: Literal["auto", "float32", "bf16"],
    batch_size: int | None,
    tta: bool,
    weights: Literal["model", "ema"],
    threads: int,
) -> Segmenter:
    if model == WATER_INDEX:
        from cryosentinel_core.water_index import WaterIndex

        return WaterIndex()
    from cryosentinel_core.io.model_files import load_segmenter, resolve_model

    return load_segmenter(
        resolve_model(model),
    compiling: Literal["auto", "on", "off"],
        device=device,
        precision=precision,
        batch_size=batch_size,
        tta=tta,
        weights=weights,
        threads=threads,
    )
        compiling=compiling,
