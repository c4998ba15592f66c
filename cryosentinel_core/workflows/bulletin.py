"""What is new since an earlier comparison: its table is read, the newer one's beside it, and `since.csv` written.

Neighbours: `change` makes tables; `change.since` compares two of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cryosentinel_core.change.since import DROPPED, news_since, share_in_common
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.tables.vector import read_columns, write_csv
from cryosentinel_core.report.change_summary import RECORD
from cryosentinel_core.reporter import Reporter, counted
from cryosentinel_core.workflows.comparing import SINCE

_FEW: Final = 0.5
"""Share of the earlier table's lakes below which the two tables are hardly of the same area."""

_TOLD_AT_MOST: Final = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Earlier:
    """An earlier comparison.

    Attributes:
        folder: Folder of its results.
        table: Its change table.
    """

    folder: Path
    table: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class NewsSummary:
    """What is new.

    Attributes:
        earlier: Folder of the earlier comparison.
        path: File of the news.
        counts: Status now, or `dropped` -> lakes.
        sentences: One a lake, the most urgent first.
    """

    earlier: Path
    path: Path
    counts: dict[str, int]
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"earlier": str(self.earlier), "path": str(self.path), "counts": dict(self.counts)}

    def as_text(self) -> str:
        """The first sentences, for a person."""
        told = ", ".join(f"{number} {status}" for status, number in self.counts.items()) or "nothing"
        lines = [f"new since {self.earlier}: {told}"]
        lines += [f"  {sentence}" for sentence in self.sentences[:_TOLD_AT_MOST]]
        if len(self.sentences) > _TOLD_AT_MOST:
            lines.append(f"  ... and {counted(len(self.sentences) - _TOLD_AT_MOST, 'more lake')} in {self.path}")
        return "\n".join(lines)


def read_earlier(folder: Path) -> Earlier:
    """The comparison in a folder.

    Raises:
        InputError: If there is none, or it was never finished.
        DataError: If its table is damaged.
    """
    if not (folder / RECORD).is_file() or not (folder / "change.parquet").is_file():
        raise InputError(
            f"{folder} holds no finished comparison", "give the folder of an earlier one, such as almaty/change_2017_2023_water-index"
        )  # fmt: skip
    return Earlier(folder=folder, table=read_columns(folder / "change.parquet"))


def tell_news(folder: Path, earlier: Earlier, reporter: Reporter) -> NewsSummary:
    """Write what a comparison says and an earlier one does not.

    Args:
        folder: Folder of the newer comparison.
        earlier: The earlier one.
        reporter: Hears it if the two have few lakes in common.

    Raises:
        InputError: If both are the same.
        OutputWrite: If the disk refuses.
    """
    if folder.resolve() == earlier.folder.resolve():
        raise InputError(f"{folder} is this comparison itself", "give the folder of an earlier one with --since")
    now = read_columns(folder / "change.parquet")
    share = share_in_common(now, earlier.table)
    if share < _FEW:
        reporter.warn(
            f"of the lakes in {earlier.folder} only {share:.0%} are in this comparison: is it of this area and workspace?"
        )
    news = news_since(now, earlier.table)
    path = folder / SINCE
    write_csv(path, news)
    kinds = [
        str(status) if kind != DROPPED else DROPPED
        for status, kind in zip(news["status_now"], news["news"], strict=True)
    ]
    return NewsSummary(
        earlier=earlier.folder, path=path, counts=dict(Counter(kinds)), sentences=tuple(news["sentence"].tolist())
    )
