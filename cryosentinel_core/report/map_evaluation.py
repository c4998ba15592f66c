"""What judging a map against an inventory came to: plain data for `--json`, and a few lines for a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryosentinel_core.io.workspace import writing
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2


@dataclass(frozen=True, kw_only=True)
class MapSummary:
    """What judging a map came to.

    Attributes:
        aoi: Name of the area.
        year: Year of the map.
        model: That made it.
        inventory: File that it was judged by.
        figures: Of `change.map_judgement.judge_map`.
        warnings: What a reader should know.
        files: Kind -> path of what was written.
    """

    aoi: str
    year: int
    model: str
    inventory: str
    figures: dict[str, Any]
    warnings: tuple[str, ...]
    files: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "aoi": self.aoi,
            "year": self.year,
            "model": self.model,
            "inventory": self.inventory,
            **self.figures,
            "warnings": list(self.warnings),
            "files": self.files,
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        area, whole = self.figures["area"], self.figures["classes"][-1]
        lines = [
            f"{self.aoi} {self.year} by {self.model} against {Path(self.inventory).name}: "
            f"{counted(whole['n_matched'], 'lake')} matched, "
            f"{whole['n_missed']} missed, {whole['n_invented']} invented, {whole['n_unobserved']} not seen"
        ]
        for row in self.figures["classes"][:-1]:
            if row["n_matched"] + row["n_missed"] + row["n_invented"] + row["n_unobserved"]:
                below = " and more" if row["below_m2"] is None else f" to {row['below_m2'] / HECTARE_M2:g}"
                lines.append(
                    f"  {row['from_m2'] / HECTARE_M2:g}{below} ha: recall {_share(row['recall'])}, "
                    f"precision {_share(row['precision'])} ({row['n_matched']} matched, {row['n_missed']} missed, "
                    f"{row['n_invented']} invented, {row['n_unobserved']} not seen)"
                )
        ratio = area["matched_ratio"]
        if ratio["value"] is not None:
            ends = [f"{100 * (ratio[end] - 1):+.1f}" for end in ("low", "high") if ratio[end] is not None]
            interval = f" [{', '.join(ends)}]" if ends else ""
            lines.append(
                f"matched lakes: {area['matched_mapped_m2'] / 1e6:.4f} km2 mapped, {area['matched_inventory_m2'] / 1e6:.4f} in the "
                f"inventory, {100 * (ratio['value'] - 1):+.2f} %{interval}; "
                f"a lake is off by {area['median_difference_percent']:.1f} % (median)"
            )
        if self.figures["outline_iou"] is not None:
            lines.append(f"outlines: IoU {self.figures['outline_iou']:.4f}")
        return "\n".join([*lines, *(f"{kind}: {path}" for kind, path in self.files.items())])


def _share(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "none"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.2f}, {estimate['high']:.2f}]"
    return f"{estimate['value']:.2f}{interval}"


def draw_areas(path: Path, table: gpd.GeoDataFrame, title: str) -> None:
    """Mapped over inventory area of every lake, on logarithmic axes; missed and invented lakes along the axes.

    Args:
        path: Of the PNG.
        table: From `change.map_judgement.compare_with_inventory`.
        title: Above the picture.

    Raises:
        OutputWrite: If the disk refuses.
    """
    figure = Figure(figsize=(6.4, 6.0), dpi=140, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    known, found = (table[name].to_numpy(dtype=float) / HECTARE_M2 for name in ("inventory_m2", "mapped_m2"))
    sizes = [value for value in (*known, *found) if value > 0] or [0.5, 1.0]
    low, high = min(sizes) / 2.0, max(sizes) * 1.5
    axes.plot([low, high], [low, high], color="#9aa3ad", linewidth=1)
    kinds = (
        ("matched", "o", "#1f78b4"),
        ("missed", "v", "#e8590c"),
        ("invented", "<", "#7b3294"),
        ("unobserved", "x", "#4d4d4d"),
    )
    for verdict, marker, colour in kinds:
        which = (table["verdict"] == verdict).to_numpy(dtype=bool)
        x = [low if value != value else value for value in known[which]]
        y = [low if value != value else value for value in found[which]]
        axes.plot(x, y, marker, color=colour, alpha=0.75, label=f"{verdict} ({int(which.sum())})", clip_on=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("area in the inventory, ha")
    axes.set_ylabel("area mapped, ha")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "cryosentinel"})
