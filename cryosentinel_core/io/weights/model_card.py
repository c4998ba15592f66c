"""Description of a checkpoint, in words and as STAC MLM metadata; and its conversion to safetensors.

Neighbours: `checkpoint` reads and writes; here is what is said about the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cryosentinel_core import __version__
from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.io.weights.checkpoint import METADATA_KEY, Checkpoint, read_checkpoint, sha256_of
from cryosentinel_core.io.weights.checkpoint_write import write_safetensors
from cryosentinel_core.learn.model_spec import BANDS_OF_MODALITY, Normalisation
from cryosentinel_core.learn.network.lake_network import count_parameters
from cryosentinel_core.units import CELL_PX

MLM_EXTENSION: Final = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
"""STAC Machine Learning Model extension that the metadata follow."""

_DTYPES: Final = {"S2L2A": "uint16", "S1GRD": "float32", "DEM": "int16"}


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Data that `model info` shows: architecture, parameters, statistics, recipe, digests, training, soup ingredients.

    Args:
        path: A `.ckpt` or `.safetensors` file.

    Returns:
        Plain data, ready for JSON.

    Raises:
        CheckpointError: If the file is damaged, unsafe or of another network.
    """
    checkpoint = read_checkpoint(path)
    return {
        "name": checkpoint.name,
        "file": str(path),
        "sha256": checkpoint.sha256,
        "layout": checkpoint.layout,
        "model": checkpoint.spec.to_dict(),
        "parameters": count_parameters(checkpoint.spec),
        "window_px": CELL_PX,
        "normalisation": checkpoint.normalisation.to_dict(),
        "normalisation_source": checkpoint.normalisation_source,
        "recipe": checkpoint.recipe.as_dict(),
        "has_ema": checkpoint.has_ema,
        "left_out": dict(checkpoint.left_out),
        "training": checkpoint.training,
        "hyper_parameters": checkpoint.hyper_parameters,
        "ingredients": list(checkpoint.ingredients),
        "source_sha256": checkpoint.source_sha256,
    }


def convert_checkpoint(path: Path, out: Path) -> Path:
    """Write a checkpoint's weights as safetensors, with all that is needed to run them and where they came from.

    The metadata hold STAC MLM properties (`mlm`) and, for this software, architecture, statistics, recipe, soup
    ingredients and the source's SHA-256 (`cryosentinel`). The same input gives the same bytes.

    Args:
        path: A `.ckpt` or `.safetensors` file.
        out: The file to write, `.safetensors`.

    Returns:
        `out`.

    Raises:
        CheckpointError: If the source is damaged, unsafe or of another network.
        OutputWrite: If the name is wrong or the disk refuses.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise OutputWrite(f"{out} does not end in .safetensors", "give the new file that ending")
    checkpoint = read_checkpoint(path)
    about = {
        "model": checkpoint.spec.to_dict(),
        "normalisation": checkpoint.normalisation.to_dict(),
        "recipe": checkpoint.recipe.as_dict(),
        "training": checkpoint.training,
        "hyper_parameters": checkpoint.hyper_parameters,
        "ingredients": list(checkpoint.ingredients),
        "source_file": Path(path).name,
        "source_sha256": checkpoint.source_sha256 or sha256_of(Path(path)),
        "software": f"cryosentinel {__version__}",
    }
    metadata = {
        "format": "pt",
        METADATA_KEY: json.dumps(about, sort_keys=True, allow_nan=False),
        "mlm": json.dumps(make_mlm_properties(checkpoint), sort_keys=True),
    }
    write_safetensors(out, checkpoint.state_dict, metadata)
    return out


def make_mlm_properties(checkpoint: Checkpoint) -> dict[str, Any]:
    """Properties of a STAC item for the model, after the MLM extension.

    Source: STAC Machine Learning Model extension 1.4 (stac-extensions/mlm).
    """
    return {
        "stac_extensions": [MLM_EXTENSION],
        "mlm:name": checkpoint.name,
        "mlm:architecture": f"{checkpoint.spec.backbone} + UperNet",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "pytorch",
        "mlm:accelerator": "cuda",
        "mlm:accelerator_constrained": False,
        "mlm:pretrained": True,
        "mlm:total_parameters": count_parameters(checkpoint.spec)["total"],
        "mlm:hyperparameters": checkpoint.spec.to_dict(),
        "mlm:input": [_input(name, checkpoint.normalisation) for name in checkpoint.spec.modalities],
        "mlm:output": [
            {
                "name": "lake logit",
                "tasks": ["semantic-segmentation"],
                "result": {
                    "shape": [-1, CELL_PX, CELL_PX],
                    "dim_order": ["batch", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [{"value": 0, "name": "land"}, {"value": 1, "name": "lake"}],
                "post_processing_function": None,
            }
        ],
    }


def _input(name: str, normalisation: Normalisation) -> dict[str, Any]:
    bands = BANDS_OF_MODALITY[name]
    stats = normalisation.to_dict()[name]
    return {
        "name": name,
        "bands": list(bands),
        "input": {
            "shape": [-1, len(bands), CELL_PX, CELL_PX],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": _DTYPES[name],
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(stats["means"], stats["stds"], strict=True)
        ],
        "resize_type": None,
        "pre_processing_function": None,
    }
