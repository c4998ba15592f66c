"""Segmenters from what a user calls a model: find the file, read it, build the network.

Neighbours: `hub` downloads; `checkpoint` reads weights; `learn.inference.network_segmenter` runs them. Torch is loaded
only once a network is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from cryosentinel_core.errors import ModelError
from cryosentinel_core.io.weights.hub import HUB_PREFIX, HubReference, fetch_from_hub
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.reporter import Reporter

if TYPE_CHECKING:
    from cryosentinel_core.learn.inference.compiling import Compiling
    from cryosentinel_core.learn.inference.ensemble import EnsembleSegmenter
    from cryosentinel_core.learn.inference.network_segmenter import NetworkSegmenter
    from cryosentinel_core.learn.inference.precision import Precision

Weights = Literal["model", "ema"]
"""Which copy of the weights: as trained, or the moving average that a checkpoint may hold."""


def resolve_model(reference: str, *, cache_dir: Path | None = None, names: Sequence[str] = ()) -> Path:
    """The local file of a model: the path itself, or the hub's file, downloaded once and then read from its cache.

    Args:
        reference: A path, or `hf://owner/repo/path/file.ckpt[@revision]`.
        cache_dir: The hub's cache; None takes the hub's own default.
        names: Models that are no files, of which one may have been meant.

    Raises:
        ModelError: If the file is not there, or the hub cannot be reached and the file is not in the cache.
    """
    if not reference.startswith(HUB_PREFIX):
        path = Path(reference).expanduser()
        if not path.is_file():
            near = get_close_matches(reference, names, 1, 0.75)
            raise ModelError(
                f"no model file {reference!r}",
                (f"did you mean {near[0]}? " if near else "")
                + "give a .ckpt or .safetensors file, hf://owner/repo/file, or water-index",
            )
        return path
    return fetch_from_hub(HubReference.parse(reference), cache_dir)


class Computing(TypedDict, total=False):
    """Settings of how one network or several compute.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bf16`; for several networks `auto` takes bf16 only where each of them passes its check.
        batch_size: Chips per forward pass; None to choose by device and job.
        tta: Whether the logits of four flips are averaged.
        threads: Threads per call on a CPU; None leaves PyTorch's setting alone.
        compiling: `on`, `off` or `auto`: whether the network is compiled for a job.
        spread: Whether the variance over flips and models is given too; the name then ends in `-spread`.
        modalities: Of the network's own, those that it is to see; None for all.
    """

    device: str
    precision: Precision
    batch_size: int | None
    tta: bool
    threads: int | None
    compiling: Compiling
    spread: bool
    modalities: tuple[str, ...] | None


def load_segmenter(
    path: Path,
    *,
    weights: Weights = "model",
    calibrated: bool = False,
    reporter: Reporter | None = None,
    **how: Unpack[Computing],
) -> NetworkSegmenter:
    """A segmenter with the weights of a file, named `<stem>-<first 8 of its SHA-256>`.

    Args:
        path: A `.ckpt` or `.safetensors` file.
        weights: Which copy of them.
        calibrated: Whether the calibration beside the file is taken, if it is of these weights.
        reporter: Told of parts that are left out.
        how: As `Computing` says; defaults are those of `ComputingSettings`.

    Raises:
        CheckpointError: If the file is damaged, unsafe or of another network.
        ModelError: If the network cannot be built or the device is not there.
    """
    from cryosentinel_core.io.weights.calibration_files import find_calibration
    from cryosentinel_core.io.weights.checkpoint import read_checkpoint
    from cryosentinel_core.learn.inference.network_parts import ComputingSettings, KnownWeights
    from cryosentinel_core.learn.inference.network_segmenter import NetworkSegmenter
    from cryosentinel_core.learn.network.lake_network import load_network

    checkpoint = read_checkpoint(path, weights=weights)
    if checkpoint.left_out and reporter is not None:
        parts = ", ".join(f"{name} ({n} weights)" for name, n in sorted(checkpoint.left_out.items()))
        reporter.note(f"{path.name}: {parts} left out, which only training needs")
    known = KnownWeights(
        stem=checkpoint.path.stem,
        file_sha256=checkpoint.sha256,
        normalisation=checkpoint.normalisation,
        recipe=checkpoint.recipe,
        copy=weights,
        calibration=find_calibration(path, checkpoint.state_dict) if calibrated else None,
    )
    network = load_network(checkpoint.spec, checkpoint.state_dict)
    return NetworkSegmenter(network, known, ComputingSettings(**how))


def choose_weights(path: Path) -> tuple[Weights, dict[str, Any]]:
    """The copy of the weights that a checkpoint is judged by: its moving average where it holds one, of a soup its own.

    A soup is known by its list of ingredients or, where its maker kept none, by its name; a moving average that lies in its file
    is that of the run's last checkpoint.

    Args:
        path: A `.ckpt` or `.safetensors` file.

    Returns:
        Which copy, and the file's hyperparameters as plain data.

    Raises:
        CheckpointError: If the file is damaged, unsafe or of another network.
    """
    from cryosentinel_core.io.weights.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path)
    is_soup = bool(checkpoint.ingredients) or "soup" in path.stem.lower()
    return "ema" if checkpoint.has_ema and not is_soup else "model", checkpoint.hyper_parameters


def load_ensemble(
    paths: Sequence[Path], *, weights: Weights = "model", reporter: Reporter | None = None, **how: Unpack[Computing]
) -> EnsembleSegmenter:
    """A segmenter that averages the logits of several files' weights; all are held in memory together.

    Args:
        paths: Two or more `.ckpt` or `.safetensors` files, in any order.
        weights: Which copy of them; each file must hold it.
        reporter: Told of parts that are left out.
        how: As for `load_segmenter`, the same for all.

    Raises:
        CheckpointError: If a file is damaged, unsafe or of another network.
        ModelError: If they cannot be averaged, built, or the device is not there.
    """
    from cryosentinel_core.learn.inference.ensemble import EnsembleSegmenter

    networks = [load_segmenter(path, weights=weights, reporter=reporter, **how) for path in paths]
    if len({network.precision for network in networks}) > 1:
        how["precision"] = "float32"
        networks = [load_segmenter(path, weights=weights, **how) for path in paths]
    return EnsembleSegmenter(networks)


def write_random_checkpoint(
    path: Path,
    backbone: str = "terramind_v1_tiny",
    seed: int = 0,
    *,
    compiled: bool = False,
    ema: bool = False,
    decoder_channels: int = 256,
) -> Path:
    """Write a checkpoint with seeded random weights in the published layout, to try everything without a download.

    Args:
        path: Where to.
        backbone: A TerraMind encoder.
        seed: Of the weights.
        compiled: Whether keys carry `_orig_mod.`.
        ema: Whether an EMA callback keeps a shadow of the weights.
        decoder_channels: Width of the decoder; smaller is faster.

    Returns:
        The path.

    Raises:
        OutputWrite: If the disk refuses.
    """
    from cryosentinel_core.io.weights.checkpoint_write import write_torch
    from cryosentinel_core.learn.network.random_weights import make_random_checkpoint

    spec = ModelSpec(backbone=backbone, decoder_channels=decoder_channels)
    write_torch(path, make_random_checkpoint(spec, seed=seed, compiled=compiled, ema=ema))
    return path
