"""From `--model` to a segmenter: the water index, or one network or several whose rooms are opened only now."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from cryosentinel_core.segment.segmenter import MemberSegmenter, Segmenter
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings


def build_segmenter(settings: PredictSettings) -> Segmenter:
    """The segmenter that some settings name; built once a process.

    Raises:
        ModelError: If the weights cannot be had, read or built.
    """
    return _build(
        settings.models,
        settings.device,
        settings.precision,
        settings.batch_size,
        settings.tta,
        settings.weights,
        settings.threads,
        settings.compiling,
        settings.uncertainty,
    )


def plain_of(segmenter: Segmenter) -> dict[str, Any]:
    """What a digest and a record say of a segmenter: name, digest and, of several models, each one's SHA-256."""
    plain: dict[str, Any] = {"segmenter": segmenter.name, "segmenter_digest": segmenter.digest}
    if isinstance(segmenter, MemberSegmenter) and segmenter.members:
        plain["members"] = segmenter.members
    return plain


def devices_of(settings: PredictSettings) -> list[str]:
    """The devices of this machine that some settings mean, one process each where there are several; none for the water index."""
    if settings.model == WATER_INDEX:
        return []
    from cryosentinel_core.learn.inference.devices import list_devices

    return list_devices(settings.device)


@lru_cache(maxsize=2)
def _build(
    models: tuple[str, ...],
    device: str,
    precision: Literal["auto", "float32", "bf16"],
    batch_size: int | None,
    tta: bool,
    weights: Literal["model", "ema"],
    threads: int,
    compiling: Literal["auto", "on", "off"],
    spread: bool,
) -> Segmenter:
    if models == (WATER_INDEX,):
        from cryosentinel_core.segment.water_index import WaterIndex

        return WaterIndex()
    from cryosentinel_core.io.weights.model_files import Computing, load_ensemble, load_segmenter, resolve_model

    paths = [resolve_model(model) for model in models]
    how = Computing(
        device=device,
        precision=precision,
        batch_size=batch_size,
        tta=tta,
        threads=threads,
        compiling=compiling,
        spread=spread,
    )
    if len(paths) == 1:
        return load_segmenter(paths[0], weights=weights, **how)
    return load_ensemble(paths, weights=weights, **how)
