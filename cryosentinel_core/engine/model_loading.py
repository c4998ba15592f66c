"""Segmenters from `--model`: the water index, or one network or several whose rooms are opened only now.

What is loaded is held by who loaded it: a workflow holds its segmenter, a worker process or a cluster's worker a `SegmenterHolder`.
Neighbours: `dispatch` starts the workers.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from cryosentinel_core.errors import ModelError
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.plugged import load_plugged, plugged_names
from cryosentinel_core.segment.segmenter import CalibratedSegmenter, Engine, MemberSegmenter, Segmenter, has_spread
from cryosentinel_core.settings.predict import DEFAULT_THRESHOLD, WATER_INDEX, PredictSettings


def build_segmenter(settings: PredictSettings, reporter: Reporter | None = None) -> Segmenter:
    """A new segmenter of the kind that some settings name.

    Args:
        settings: Of prediction.
        reporter: Told of what a checkpoint holds and is left out.

    Raises:
        ModelError: If the weights cannot be had, read or built.
    """
    if settings.models == (WATER_INDEX,):
        from cryosentinel_core.segment.water_index import WaterIndex

        return WaterIndex()
    if len(settings.models) == 1 and (plugged := load_plugged(settings.model)) is not None:
        if settings.uncertainty and not has_spread(plugged):
            raise ModelError(f"{plugged.name} has no members whose logits could differ", "leave --uncertainty out")
        return plugged
    from cryosentinel_core.io.weights.model_files import Computing, load_ensemble, load_segmenter

    paths = find_weights(settings)
    how = Computing(
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        tta=settings.tta,
        threads=settings.threads,
        compiling=settings.compiling,
        spread=settings.uncertainty,
        modalities=settings.modalities,
    )
    if len(paths) == 1:
        calibrated = settings.threshold is None and settings.modalities is None
        return load_segmenter(paths[0], weights=settings.weights, calibrated=calibrated, reporter=reporter, **how)
    return load_ensemble(paths, weights=settings.weights, reporter=reporter, **how)


def find_weights(settings: PredictSettings) -> list[Path]:
    """The files of the weights that some settings name, downloaded where they lie in the hub; none for a model without weights.

    Args:
        settings: Of prediction.

    Raises:
        ModelError: If a file is not there, or the hub cannot be reached and the file is not in the cache.
    """
    from cryosentinel_core.io.weights.model_files import resolve_model

    names = (WATER_INDEX, *plugged_names())
    if len(settings.models) == 1 and settings.model in names:
        return []
    return [resolve_model(model, names=names) for model in settings.models]


def decide_threshold(settings: PredictSettings, segmenter: Segmenter, reporter: Reporter) -> PredictSettings:
    """The settings with a threshold: the one given, else the calibrated one of the weights, else 0.5.

    Args:
        settings: As given.
        segmenter: Built from them.
        reporter: Hears that areas are calibrated.
    """
    if settings.threshold is not None:
        return settings
    found = segmenter.calibrated_threshold if isinstance(segmenter, CalibratedSegmenter) else None
    if found is not None:
        model = segmenter.error_model
        reporter.note(
            f"areas by the calibration beside the weights: threshold {found:.3f}, outlines off by {model.lake_displacement_m:.2f} m a "
            f"lake and {model.systematic_displacement_m:.2f} m in common (one sigma); --threshold 0.5 for none"
        )
    return settings.model_copy(update={"threshold": DEFAULT_THRESHOLD if found is None else found})


class SegmenterHolder:
    """The segmenter of one worker: built for its first job, and kept while its jobs want the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[tuple[Any, ...], Segmenter] | None = None

    def segmenter_of(self, settings: PredictSettings) -> Segmenter:
        """The segmenter that a job's settings name; another one that was held is let go.

        Raises:
            ModelError: If the weights cannot be had, read or built.
        """
        key = (
            settings.models, settings.device, settings.precision, settings.batch_size, settings.tta, settings.weights,
            settings.threads, settings.compiling, settings.uncertainty, settings.modalities,
        )  # fmt: skip
        with self._lock:
            if self._held is None or self._held[0] != key:
                self._held = None  # before the next is built: both might not fit the memory
                self._held = key, build_segmenter(settings)
            return self._held[1]


def plain_of(segmenter: Segmenter) -> dict[str, Any]:
    """Plain data of a segmenter for digests and records: name, digest and, of several models, each one's SHA-256."""
    plain: dict[str, Any] = {"segmenter": segmenter.name, "segmenter_digest": segmenter.digest}
    if isinstance(segmenter, MemberSegmenter) and segmenter.members:
        plain["members"] = segmenter.members
    return plain


def devices_for(segmenter: Segmenter, settings: PredictSettings) -> list[str]:
    """The devices of this machine that a segmenter is to compute on, one process each where there are several.

    Args:
        segmenter: Of the run.
        settings: Say which devices are meant.

    Returns:
        Names of devices; none for a segmenter that needs none.
    """
    if not isinstance(segmenter, Engine):
        return []
    from cryosentinel_core.learn.inference.devices import list_devices

    return list_devices(settings.device)
