"""Tables of corrections to chips' labels: CSV with a column `chip_id`, or a plain list of ids, one a line."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryosentinel_core.chips.corrections import CORRECTION_COLUMNS, WRONG, Correction
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.workspace import writing


def read_corrections(path: Path) -> list[Correction]:
    """The rows of a table of corrections.

    Without a column `verdict`, and in a plain list, every chip named is called wrong. Columns that are not known are passed over.

    Args:
        path: CSV whose first line names the columns, `chip_id` among them, or a text file with an id a line.

    Raises:
        DataError: If it cannot be read.
        InputError: If a row says what cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", "wanted a CSV file with a column chip_id") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    header = next(csv.reader([lines[0]]))
    if "chip_id" not in header:
        if len(header) > 1:
            raise InputError(f"{path} has no column chip_id", f"it has {', '.join(header)}")
        return [Correction(chip_id=line.strip()) for line in lines]
    return [_correction(path, number, row) for number, row in enumerate(csv.DictReader(lines), start=2)]


def _correction(path: Path, number: int, row: Mapping[str, Any]) -> Correction:
    """One row.

    Raises:
        InputError: Naming file and line.
    """
    year = (row.get("year") or "").strip()
    try:
        return Correction(
            chip_id=(row["chip_id"] or "").strip(),
            region=(row.get("region") or "").strip(),
            year=int(year) if year else None,
            verdict=(row["verdict"] or "").strip().lower() if "verdict" in row else WRONG,
            note=(row.get("note") or "").strip(),
        )
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {year!r} is no year", "write it as 2022") from error
    except InputError as error:
        raise InputError(f"{path}, line {number}: {error.message}", error.hint) from error


def write_corrections(path: Path, rows: Sequence[Mapping[str, Any]], more: Sequence[str] = ()) -> None:
    """Write a table for a person to fill in.

    Args:
        path: Of the CSV.
        rows: Values by column.
        more: Columns behind those of `CORRECTION_COLUMNS`.

    Raises:
        OutputWrite: If the disk refuses.
    """
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [*CORRECTION_COLUMNS, *more], extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
