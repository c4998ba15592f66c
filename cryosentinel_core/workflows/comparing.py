"""The second half of the corridor `change`: years of lakes, however they came, to a table: match, name, compare, save, draw.

Neighbours: `change` opens the years, own ones and inventories, and says how to look at the ground.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely

from cryosentinel_core.change.change_table import ChangeTables, compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.cross_check import describe_check
from cryosentinel_core.change.lake_keys import Key, assign_keys, is_same_registry, name_keys
from cryosentinel_core.change.matching import Match, add_watched, match_years, matches_in_table
from cryosentinel_core.change.noise_report import describe_noise, describe_shift, errors_of_result
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.tables.inventories import read_watched
from cryosentinel_core.io.tables.registry import read_registry, write_registry
from cryosentinel_core.io.tables.vector import newest_date, write_csv, write_geopackage, write_parquet
from cryosentinel_core.io.workspace import is_current, read_json, remove_file, remove_leftovers, write_json
from cryosentinel_core.io.year_results import TrueColour
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.change_picture import draw_change
from cryosentinel_core.report.change_summary import RECORD, ChangeSummary, counts_of_result, read_summary
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.registration import Registration
from cryosentinel_core.settings.change import ChangeSettings

if TYPE_CHECKING:
    import geopandas as gpd
    import numpy as np
    from numpy.typing import NDArray

CHECK, SINCE = "check.csv", "since.csv"
"""File names of what another model says of the lakes, and of the news since an earlier comparison."""

PICTURE = "change.png"
"""File name of the picture: the one file that may be missing, with a warning."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Everything that is compared, read and checked.

    Attributes:
        folder: Folder of the results.
        registry: File of the lake keys.
        tables: Year -> outlines.
        in_table: Year -> (N,) bool, True for outlines that earn their lake a row.
        basis: How to compare, and what was seen.
        provenance: Provenance of the results.
        sources: Year -> true colour, as far as there is any.
        registrations: Pair of years -> shift of the later year's images.
    """

    folder: Path
    registry: Path
    tables: Mapping[int, gpd.GeoDataFrame]
    in_table: Mapping[int, NDArray[np.bool_]]
    basis: ComparisonBasis
    provenance: Provenance
    sources: Mapping[int, TrueColour] = field(default_factory=dict)
    registrations: Mapping[tuple[int, int], Registration] = field(default_factory=dict)


def compare_once(
    folder: Path,
    years: Sequence[int],
    model_name: str,
    provenance: Provenance,
    compare: Callable[[Provenance], None],
    reporter: Reporter,
) -> ChangeSummary:
    """The summary of a comparison, made now unless it is there already; another process that makes it is waited for."""

    def is_done() -> bool:
        return is_current(folder / RECORD, provenance, *_files(folder, years))

    is_reused = is_done()
    if not is_reused:
        with hold_part(folder, f"change {years[0]} to {years[-1]} in {folder.parent.name}", reporter):
            is_reused = is_done()
            if not is_reused:
                compare(provenance)
    if is_reused:
        reporter.note(f"the change table is there already, in {folder}")
    return read_summary(folder, tuple(years), model_name, is_reused=is_reused)


def compare_and_write(this: Comparison, reporter: Reporter) -> None:
    """Match, name, compare, write and draw; the record comes last."""
    remove_leftovers(this.folder)
    for name in (RECORD, CHECK, SINCE):  # the last two are made on request: those of an earlier table would lie
        remove_file(this.folder / name)
    reporter.progress("compare lakes", 0, 4)
    kept, keys = _name_lakes(this, reporter)
    reporter.progress("compare lakes", 1, 4)
    found = compare_years(this.tables, kept, keys, this.basis)
    told = _tell_errors(found, this, reporter)
    provenance = replace(this.provenance, warnings=(*this.provenance.warnings, *told))
    reporter.progress("compare lakes", 2, 4)
    _write_tables(found, this, provenance)
    reporter.progress("compare lakes", 3, 4)
    failed = _draw(found, this, reporter)
    errors = errors_of_result(
        found.change,
        found.noises,
        found.outline_shifts,
        this.basis.common_m,
        this.basis.errors.source,
        this.basis.pixel_m,
    )
    record = {
        **replace(provenance, warnings=(*provenance.warnings, *failed)).as_dict(),
        "registration": {
            f"{a}-{b}": {**shift.as_dict(), "is_applied": (a, b) in this.basis.shifts}
            for (a, b), shift in this.registrations.items()
        },
        "errors": errors,
        "has_picture": not failed,
        "check": describe_check(found.check, this.provenance.settings["check"]) if this.basis.checks else None,
        "result": counts_of_result(found, this.tables, this.in_table),
    }
    write_json(this.folder / RECORD, record)
    reporter.progress("compare lakes", 4, 4)


def _write_tables(found: ChangeTables, this: Comparison, provenance: Provenance) -> None:
    """All tables of a comparison."""
    write_csv(this.folder / "change.csv", found.change)
    write_parquet(this.folder / "change.parquet", found.change, provenance=provenance)
    layers = {"change": found.change, "gained": found.gained, "lost": found.lost}
    stamp = newest_date(this.tables.values())
    write_geopackage(this.folder / "change.gpkg", layers, provenance=provenance, stamp=stamp)
    write_csv(this.folder / "totals.csv", found.totals)
    write_csv(this.folder / "alerts.csv", found.alerts)
    if len(this.tables) > 2:
        write_csv(this.folder / "series.csv", found.series)
    if this.basis.checks:
        write_csv(this.folder / CHECK, found.check)


def _tell_errors(found: ChangeTables, this: Comparison, reporter: Reporter) -> list[str]:
    """Tell how sure changes are; the warnings among it."""
    told: list[str] = []
    for (a, b), noise in found.noises.items():
        note, doubts = describe_noise(f"{a}-{b}", noise, this.basis.errors.source, this.basis.pixel_m)
        reporter.note(note)
        told += [*doubts, *describe_shift(f"{a}-{b}", found.outline_shifts.get((a, b)), this.basis.pixel_m)]
    for warning in told:
        reporter.warn(warning)
    return told


def _draw(found: ChangeTables, this: Comparison, reporter: Reporter) -> list[str]:
    """Draw the picture; what went wrong as a warning, since the tables are there and whole without it."""
    path, title = this.folder / PICTURE, this.provenance.settings.get("aoi", "")
    remove_file(path)
    try:
        draw_change(path, found, this.tables, this.sources, min_observed=this.basis.settings.min_observed, title=title)
    except Exception as error:
        told = f"{PICTURE} could not be drawn ({type(error).__name__}: {error}); the tables are whole"
        reporter.warn(told)
        return [told]
    return []


def _name_lakes(this: Comparison, reporter: Reporter) -> tuple[list[Match], list[Key]]:
    """The lakes of the table and their keys; the registry learns those that are new."""
    settings, pixel_m = this.basis.settings, this.basis.pixel_m
    matches = match_years(this.tables, pixel_m=pixel_m)
    watched = read_watched(settings.watch) if settings.watch is not None else []
    kept, names = add_watched(matches_in_table(matches, this.in_table), matches, this.tables, watched)
    with hold_part(this.registry, f"change {' '.join(map(str, this.tables))}", reporter):
        registry = read_registry(this.registry)
        keys, extended = assign_keys(kept, this.tables, registry, min_area_m2=settings.min_area_m2, pixel_m=pixel_m)
        if not this.registry.exists() or not is_same_registry(extended, registry):
            write_registry(this.registry, extended)
    return kept, name_keys(keys, names)


def plain_settings(years: Sequence[int], settings: ChangeSettings, basis: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data of all that changes a result; files that are named in settings count by their content, elsewhere."""
    plain = {name: value for name, value in settings.as_plain().items() if name not in ("watch", "glaciers", "errors")}
    return {**plain, "years": list(years), **basis}


def plain_inventory(inventory: Inventory, table: gpd.GeoDataFrame) -> dict[str, Any]:
    """Plain data of an inventory; its outlines count by their digest."""
    outlines = b"".join(shapely.to_wkb(table.geometry.to_numpy()))
    return {
        "file": Path(inventory.path).name,
        "resolution_m": inventory.resolution_m,
        "error_m": inventory.error_m,
        "select": list(inventory.select or ()),
        "outlines": hashlib.sha256(outlines).hexdigest(),
    }


def _files(folder: Path, years: Sequence[int]) -> list[Path]:
    """The results without their record; without the picture if it could not be drawn."""
    names = ["change.csv", "change.parquet", "change.gpkg", "totals.csv", "alerts.csv"]
    names += ["series.csv"] if len(years) > 2 else []
    record = read_json(folder / RECORD)
    if not (isinstance(record, dict) and record.get("has_picture") is False):
        names.append(PICTURE)
    if isinstance(record, dict) and record.get("check"):
        names.append(CHECK)
    return [folder / name for name in names]
