"""The model card that stands beside weights: the hub's metadata block, then what they are, from what, how good, and not for what.

Neighbours: `workflows.train` and `workflows.soup` write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryosentinel_core import __version__


def write_card(
    name: str,
    hyper: Mapping[str, Any],
    *,
    scores: Mapping[str, Mapping[str, float]],
    ingredients: Sequence[Mapping[str, str]] = (),
    warnings: Sequence[str] = (),
) -> str:
    """A model card in Markdown.

    Args:
        name: Of the weights.
        hyper: Hyper-parameters of their checkpoint.
        scores: Split -> scores; only what was measured.
        ingredients: Of a soup.
        warnings: What was said while they were made.
    """
    measured = [
        {"type": "iou", "value": round(values["iou"], 4), "name": f"global IoU at 0.5, {split}"}
        for split, values in scores.items()
        if "iou" in values
    ]
    block = {
        "license": "apache-2.0",
        "library_name": "cryosentinel",
        "pipeline_tag": "image-segmentation",
        "tags": ["sentinel-1", "sentinel-2", "glacial-lakes", "terramind", "semantic-segmentation"],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-segmentation"},
                        "dataset": {"name": "chips", "type": "chips"},
                        "metrics": measured,
                    }
                ],
            }
        ],
    }
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in block.items() if measured or key != "model-index")
    width = (hyper.get("decoder_kwargs") or {}).get("decoder_channels", hyper.get("decoder_channels"))
    begun = hyper.get("initial_weights") or {}
    lines = [
        "---", head, "---", "", f"# {name}", "",
        "Segments lakes in Sentinel-2, Sentinel-1 and the Copernicus DEM at 10 m. It maps lakes; it never forecasts outbursts. Not "
        "affiliated with Kazselezashchita, UNESCO GLOFCA or any agency.", "",
        "| what | value |", "|---|---|",
        f"| network | {hyper.get('backbone')} with a UperNet of {width} channels |",
        f"| begun with | {begun.get('source', 'unknown')} {str(begun.get('sha256', ''))[:12]} |",
        f"| chips | {_counts(hyper.get('n_chips') or {})}; digest {str(hyper.get('data_digest', 'unknown'))[:12]} |",
        f"| seed | {hyper.get('seed', 'unknown')} |",
        f"| made with | cryosentinel {__version__} |", "",
    ]  # fmt: skip
    if scores:
        lines += ["| split | global IoU at 0.5 | precision | recall |", "|---|---|---|---|"]
        lines += [
            f"| {split} | {one['iou']:.4f} | {one['precision']:.4f} | {one['recall']:.4f} |"
            for split, one in scores.items()
        ]
        lines += ["", "Without intervals: `cryosentinel evaluate` gives them.", ""]
    if ingredients:
        lines += ["Averaged from:", ""]
        lines += [f"- `{one['name']}` ({one['weights']}), SHA-256 `{one['sha256']}`" for one in ingredients] + [""]
    if warnings:
        lines += ["Said while it was made:", "", *(f"- {text}" for text in warnings), ""]
    lines += [
        "Radar, compositing and offset of the stacks that it was trained on:", "",
        *(f"- {key}: {value}" for key, value in (hyper.get("recipe") or {}).items()), "",
        "Attribution: contains modified Copernicus Sentinel data; Copernicus DEM (ESA, Airbus); TerraMind (Jakubik et al. 2025) and "
        "TerraTorch (Apache-2.0). Labels and chips keep the terms of their own sources.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _counts(n: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {split}" for split, count in n.items())
