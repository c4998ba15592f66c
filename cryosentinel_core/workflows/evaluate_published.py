"""The corridor of reproduction: released weights on the released chips, and the published table beside what comes out.

Weights and data come through the hub's client and its cache. What a machine without a network can show is that the figures follow from
the files; whether the released files give the published figures only a run with them can show.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryosentinel_core.chips.published import PUBLISHED_TABLE, Comparison, compare_with_table
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.report.published import PublishedSummary
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.settings.evaluate import EvaluateSettings, Split
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.evaluate import evaluate_chips


def evaluate_published(
    data: str | Path,
    predicting: PredictSettings,
    settings: EvaluateSettings,
    folder: Path,
    *,
    table: Path | None = None,
    reporter: Reporter,
) -> PublishedSummary:
    """Judge weights on validation and test chips and compare with a published table.

    Args:
        data: Folder of shards, or `hf://datasets/...`.
        predicting: Which weights, and how they compute.
        settings: Which chips; with chips excluded, test is also compared with the label-corrected column, run once more.
        folder: Where the files of each split go.
        table: JSON of another published table; None for the released weights' own.
        reporter: Hears progress and warnings.

    Raises:
        InputError: If the table cannot be read.
    """
    wanted = _read_table(table)
    runs: list[tuple[str, Split, Path | None]] = [("val", "val", None), ("test", "test", None)]
    if settings.exclude is not None:
        runs.append(("test label-corrected", "test", settings.exclude))
    compared: list[Comparison] = []
    told: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for words, split, exclude in runs:
        if words not in wanted:
            continue
        reporter.note(f"{words}: {predicting.model} on {data}")
        asked = settings.model_copy(update={"split": split, "exclude": exclude})
        summary = evaluate_chips(data, predicting, asked, folder / words.replace(" ", "-"), reporter=reporter)
        told[words] = summary.as_dict()
        failed |= summary.failed
        compared += compare_with_table(words, told[words], wanted[words])
    return PublishedSummary(
        model=predicting.model, data=str(data), comparisons=tuple(compared), evaluations=told, failed=failed
    )


def _read_table(path: Path | None) -> Mapping[str, Any]:
    """The released weights' table, or that of a file.

    Raises:
        InputError: If the file holds none.
    """
    if path is None:
        return PUBLISHED_TABLE
    found = read_json(path)
    if not isinstance(found, dict) or not found.keys() & PUBLISHED_TABLE.keys():
        raise InputError(f"{path} holds no table", f"wanted JSON with {', '.join(PUBLISHED_TABLE)}")
    return found
