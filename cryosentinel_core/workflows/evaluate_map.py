"""The corridor of judging a mapped area: its lakes of one year against an inventory, lake by lake."""

from __future__ import annotations

from pathlib import Path

from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.map_judgement import MapRules, compare_with_inventory, judge_map
from cryosentinel_core.errors import DataError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.io.tables.inventories import read_inventory
from cryosentinel_core.io.tables.vector import write_csv, write_geopackage
from cryosentinel_core.io.workspace import Workspace, write_json
from cryosentinel_core.io.year_results import YearOfLakes
from cryosentinel_core.lakes.observed_ground import observe_ground
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.report.map_evaluation import MapSummary, draw_areas
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.units import MIN_OBSERVED


def evaluate_map(
    workspace: Workspace,
    area: Area,
    inventory: Inventory,
    folder: Path | None,
    *,
    model: str = "",
    confidence: float = 0.95,
    reporter: Reporter,
) -> MapSummary:
    """Judge the lakes of an area and year in a workspace against an inventory.

    Args:
        workspace: That holds the map.
        area: Of interest.
        inventory: Truth; its year is the map's.
        folder: Where the files go; None for `evaluation` beside the map's lakes.
        model: Name of the map's folder, or of the weights' file; empty for the only one.
        confidence: Of the intervals.
        reporter: Hears what was put right in the inventory.

    Raises:
        DataError: If there is no such map, or several, or a file cannot be read.
    """
    results = YearOfLakes.open(find_map(workspace, area.name, inventory.year, model), inventory.year)
    truth = read_inventory(inventory, reporter)
    mapped, _ = results.read_outlines()
    zones = {inventory.year: results.zone_classes()}

    def observed_share(ground: BaseGeometry) -> float:
        return observe_ground(zones, ground, 0)[inventory.year].observed_share

    rules = MapRules(
        area=area.geometry,
        min_area_m2=results.min_area_m2,
        min_observed=MIN_OBSERVED,
        observed_share=observed_share,
        confidence=confidence,
    )
    table = compare_with_inventory(truth, mapped, rules)
    home = folder or results.folder / "evaluation"
    files = {
        name: home / f"lakes_judged.{ending}" for name, ending in (("csv", "csv"), ("gpkg", "gpkg"), ("png", "png"))
    }
    write_csv(files["csv"], table.drop(columns="geometry"))
    write_geopackage(files["gpkg"], {"lakes_judged": table})
    draw_areas(files["png"], table, f"{area.name} {inventory.year}, {results.folder.name}")
    summary = MapSummary(
        aoi=area.name,
        year=inventory.year,
        model=results.folder.name,
        inventory=inventory.path,
        figures=judge_map(table, truth, mapped, rules),
        warnings=tuple(results.warnings),
        files={kind: str(path) for kind, path in files.items()},
    )
    write_json(home / "evaluation.json", summary.as_dict())
    return summary


def find_map(workspace: Workspace, aoi: str, year: int, model: str) -> Path:
    """The folder of a year's lakes.

    Args:
        workspace: That holds them.
        aoi: Name of the area.
        year: Year of the imagery.
        model: Name of the folder, or the path of the weights; empty for the only one.

    Raises:
        DataError: If there is none, or several.
    """
    there = sorted(path.parent for path in workspace.year(aoi, year).glob("*/run.json"))
    stem = Path(model).stem
    found = [path for path in there if not model or path.name == model or path.name.startswith(f"{stem}-")]
    if len(found) != 1:
        names = ", ".join(path.name for path in there) or "none"
        raise DataError(
            f"{len(found)} maps of {aoi} in {year} fit (there are: {names})",
            "say which with --model NAME" if found else f"run predict --aoi {aoi} --year {year} first",
        )
    return found[0]
