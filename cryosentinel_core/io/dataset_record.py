"""`dataset.json`: what a data set of chips that was cut here holds and how, put together from the records beside its shards.

Data sets of others have none. Neighbours: `shards` reads the chips; `workflows.chip_building` cuts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cryosentinel_core.chips.split import BlockSplit
from cryosentinel_core.errors import ConfigError, InputError
from cryosentinel_core.io.workspace import read_json, write_json

DATASET_RECORD: Final = "dataset.json"
SHARD_KIND: Final = "shard of chips"
"""`kind` of the record beside a shard."""

FORMAT_VERSION: Final = 1


def read_dataset_record(root: Path) -> dict[str, Any]:
    """What `dataset.json` says; empty where there is none or it is of another kind."""
    data = read_json(root / DATASET_RECORD)
    return data if isinstance(data, dict) and isinstance(data.get("shards"), dict) else {}


def recorded_split(root: Path) -> BlockSplit | None:
    """The block split that a data set was cut with; None where it does not say.

    Raises:
        InputError: If what it says is no split.
    """
    said = read_dataset_record(root).get("split")
    if said is None:
        return None
    try:
        return BlockSplit(**said)
    except (TypeError, ConfigError) as error:
        raise InputError(f"{root / DATASET_RECORD} holds no block split: {error}", "cut the data set again") from error


def check_same_split(root: Path, blocks: BlockSplit) -> None:
    """Refuse to add chips to a data set that was cut with another split.

    Raises:
        InputError: If it was.
    """
    before = recorded_split(root)
    if before is None or before == blocks:
        return
    ours, theirs = blocks.as_dict(), before.as_dict()
    words = ", ".join(f"{name} {theirs[name]} instead of {ours[name]}" for name in ours if ours[name] != theirs[name])
    raise InputError(
        f"the chips in {root} were cut with another split: {words}",
        "give the same split, or another folder with --out",
    )


def write_dataset_record(root: Path, blocks: BlockSplit) -> None:
    """Write `dataset.json` from the records beside the shards.

    Raises:
        OutputWrite: If the disk refuses.
    """
    shards: dict[str, Any] = {}
    recipes: dict[str, Any] = {}
    for path in sorted(root.glob("*/*/shard_*.json")):
        record = read_json(path)
        if not isinstance(record, Mapping) or record.get("kind") != SHARD_KIND or "result" not in record:
            continue
        inputs = record["inputs"]
        recipes[f"{path.parent.parent.name}/{path.parent.name}"] = inputs["recipe"]
        shards[f"{path.parent.parent.name}/{path.parent.name}/{path.stem}.parquet"] = {
            **record["result"],
            "digest": record["digest"],
            "labels": inputs["labels"],
            "settings": record["settings"],
        }
    write_json(
        root / DATASET_RECORD,
        {
            "kind": "data set of chips",
            "format": FORMAT_VERSION,
            "software": "cryosentinel",
            "split": blocks.as_dict(),
            "recipes": recipes,
            "totals": _totals(shards),
            "shards": shards,
        },
    )


def _totals(shards: Mapping[str, Any]) -> dict[str, Any]:
    """Sums over all shards."""
    total: dict[str, Any] = {
        name: sum(int(one[name]) for one in shards.values())
        for name in ("n_windows", "n_chips", "n_water", "n_water_px", "n_bytes")
    }
    for name in ("splits", "rejected"):
        keys = sorted({key for one in shards.values() for key in one[name]})
        total[name] = {key: sum(int(one[name].get(key, 0)) for one in shards.values()) for key in keys}
    return total


def remove_other_shards(root: Path, region: str, years: Sequence[int], kept: Sequence[Path]) -> None:
    """Delete shards of a region and some years that an earlier build cut here and this one does not want."""
    for year in years:
        for record in sorted((root / region / str(year)).glob("shard_*.json")):
            data = read_json(record)
            shard = record.with_suffix(".parquet")
            if shard not in kept and isinstance(data, Mapping) and data.get("kind") == SHARD_KIND:
                record.unlink()
                shard.unlink(missing_ok=True)
