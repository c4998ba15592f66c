"""The corridor from lakes of several years to a change table: open the years, look at the ground, then compare (`comparing`).

Years are ours, as `predict` left them, or inventories that others drew, or both. How far own years' images lie apart is measured
on their stacks, reported, and taken out of gained and lost ground; areas, their uncertainty, statuses and lakes never depend on it.

Writes `<aoi>/change_<years>_<model>/`: `change.csv`, `change.parquet`, `change.gpkg` (layers `change`, `gained`, `lost`),
`totals.csv`, `alerts.csv`, with three or more years `series.csv`, `change.png`, and last `change.json`, the record.
`<aoi>/registry.gpkg` keeps the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryosentinel_core.change.change_errors import ChangeErrors, ErrorSource, prior_of_model
from cryosentinel_core.change.comparability import describe_differences, describe_places, pairs_of_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.image_shifts import (
    REGISTRATION_BAND,
    describe_shifts,
    measure_registration,
    shifts_to_apply,
)
from cryosentinel_core.change.matching import rows_in_area, rows_in_table
from cryosentinel_core.engine.garbage import rare_collections
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.tables.error_files import read_stated_noise
from cryosentinel_core.io.tables.inventories import digest_of_file, read_glaciers, read_inventory
from cryosentinel_core.io.tables.registry import registry_of_ground
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.io.year_results import YearOfLakes, shared_error_model
from cryosentinel_core.lakes.observed_ground import observe_ground
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.lakes.uncertainty import INVENTORY_ERRORS
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.change_summary import ChangeSummary
from cryosentinel_core.reporter import Reporter, WarningKeeper
from cryosentinel_core.scenes.registration import registration_constants
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.units import PIXEL_M
from cryosentinel_core.workflows.comparing import (
    Comparison,
    compare_and_write,
    compare_once,
    plain_inventory,
    plain_settings,
)

if TYPE_CHECKING:
    import geopandas as gpd


@rare_collections()
def change(
    workspace: Workspace,
    area_name: str,
    years: Sequence[int],
    model_name: str,
    settings: ChangeSettings,
    *,
    reporter: Reporter,
    inventories: Sequence[Inventory] = (),
    uncertainty: UncertaintyModel | None = None,
    check_model: str | None = None,
) -> ChangeSummary:
    """Compare the lakes of some years that `predict` has found, also with inventories; kept if nothing changed since.

    Args:
        workspace: Workspace of the area.
        area_name: Name of the area of interest.
        years: Own years, ascending and distinct; two or more together with those of the inventories.
        model_name: Name of the results' folder: `water-index` or the weights' name and digest.
        settings: How to compare.
        reporter: Hears progress, notes and warnings.
        inventories: Outlines that others drew, of other years.
        uncertainty: Constants of the error model; None for those that the years' lakes were found with.
        check_model: Name of another model's results of the own years, to check the lakes against; None for no check.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a year's lakes are missing or damaged.
        OutputWrite: If the disk refuses.
        WorkspaceBusy: If another process goes on with the same comparison.
    """
    all_years = sorted([*years, *(inventory.year for inventory in inventories)])
    pairs = pairs_of_years(all_years if inventories else years)
    opened = {year: YearOfLakes.open(workspace.model(area_name, year, model_name), year) for year in years}
    checking = {
        year: YearOfLakes.open(workspace.model(area_name, year, check_model), year) for year in years if check_model
    }
    model = uncertainty or shared_error_model(opened)
    heard = WarningKeeper(reporter)
    drawn = {inventory.year: read_inventory(inventory, heard) for inventory in inventories}
    folder = workspace.change(area_name, tuple(all_years), f"{model_name}{'_inventories' if inventories else ''}")
    told = [f"{year}: {text}" for year, results in opened.items() for text in results.warnings]
    told += describe_differences(
        settings.min_area_m2,
        {year: results.min_area_m2 for year, results in opened.items()},
        {year: results.radar_used for year, results in opened.items()},
    )
    errors = _errors_of(settings, model, inventories, years, floor=None if inventories else WATER_INDEX_ERRORS)
    plain = {
        **plain_settings(all_years, settings, errors.as_plain()),
        "aoi": area_name,
        "model": model_name,
        "registration": {"band": REGISTRATION_BAND, **registration_constants()},
    }
    inputs = {
        "years": {str(year): results.digest for year, results in opened.items()},
        "inventories": {str(item.year): plain_inventory(item, drawn[item.year]) for item in inventories},
        "watch": digest_of_file(settings.watch),
        "glaciers": digest_of_file(settings.glaciers),
    }

    if check_model:
        plain["check"] = check_model
        inputs["check"] = {str(year): results.digest for year, results in checking.items()}

    def compare(provenance: Provenance) -> None:
        images = {year: results.image_readers() for year, results in opened.items()}
        measured = {(a, b): measure_registration(images[a], images[b]) for a, b in pairs if a in images and b in images}
        notes, doubts = describe_shifts(measured)
        for note in notes:
            reporter.note(note)
        for warning in (*told, *doubts):
            reporter.warn(warning)
        glaciers = read_glaciers(settings.glaciers)
        read = {year: results.read_outlines() for year, results in opened.items()}
        zones = {year: results.zone_classes() for year, results in opened.items()}
        colours = {year: results.true_colour() for year, results in opened.items()}
        tables = {year: table for year, (table, _) in read.items()} | drawn
        in_table = {
            year: rows_in_table(table, settings.min_area_m2, is_lake) for year, (table, is_lake) in read.items()
        }
        if inventories:
            area = workspace.read_area(area_name)
            in_table |= {year: rows_in_area(table, settings.min_area_m2, area) for year, table in drawn.items()}
        basis = ComparisonBasis(
            settings=settings,
            observe_ground=lambda ground, grow_px: observe_ground(zones, ground, grow_px, glaciers),
            glaciers=glaciers,
            errors=errors,
            shifts=shifts_to_apply(measured, model.registration_m),
            drawn={year: year in settings.complete for year in drawn},
            pixel_m=max([float(PIXEL_M), *(inventory.resolution_m for inventory in inventories)]),
            checks={year: _outlines_to_check(results) for year, results in checking.items()},
            common_m=dict.fromkeys(years, model.systematic_displacement_m) | errors.prior_of_years(drawn),
        )
        comparison = Comparison(
            folder=folder,
            registry=workspace.registry(area_name),
            tables={year: tables[year] for year in all_years},
            in_table=in_table,
            basis=basis,
            provenance=replace(provenance, warnings=(*told, *heard.warnings, *doubts)),
            sources={year: colour for year, colour in colours.items() if colour is not None},
            registrations=measured,
        )
        compare_and_write(comparison, reporter)

    provenance = Provenance(kind="change", settings=plain, inputs=inputs, warnings=(*told, *heard.warnings))
    return compare_once(folder, all_years, model_name, provenance, compare, reporter)


@rare_collections()
def change_inventories(
    inventories: Sequence[Inventory],
    out_dir: Path,
    settings: ChangeSettings,
    *,
    reporter: Reporter,
    registry: Path | None = None,
    workspace: Workspace | None = None,
) -> ChangeSummary:
    """Compare inventories that others drew, with no imagery at all; a lake that one does not draw is not observed in it.

    Args:
        inventories: Two or more, in ascending order of their years.
        out_dir: Folder of the results.
        settings: How to compare.
        reporter: Hears progress, notes and warnings.
        registry: File of the lake keys; None for the one in the workspace that knows most of this ground, or a new one.
        workspace: Where registries lie; None for one beside the results.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a file cannot be used.
        OutputWrite: If the disk refuses.
        WorkspaceBusy: If another process goes on with the same comparison.
    """
    years = [inventory.year for inventory in inventories]
    pairs_of_years(years)
    heard = WarningKeeper(reporter)
    tables = {inventory.year: read_inventory(inventory, heard) for inventory in inventories}
    for warning in describe_places(tables):
        heard.warn(warning)
    errors = _errors_of(settings, INVENTORY_ERRORS, inventories, floor=None)
    inputs = {
        "inventories": {str(item.year): plain_inventory(item, tables[item.year]) for item in inventories},
        "watch": digest_of_file(settings.watch),
        "glaciers": digest_of_file(settings.glaciers),
    }
    provenance = Provenance(
        kind="change of inventories",
        settings=plain_settings(years, settings, errors.as_plain()),
        inputs=inputs,
        warnings=tuple(heard.warnings),
    )
    pixel_m = max(inventory.resolution_m for inventory in inventories)

    def compare(provenance: Provenance) -> None:
        comparison = Comparison(
            folder=out_dir,
            registry=registry or _registry_of(tables, pixel_m, out_dir, workspace),
            tables=tables,
            in_table={year: rows_in_table(table, settings.min_area_m2) for year, table in tables.items()},
            basis=ComparisonBasis(
                settings=settings,
                errors=errors,
                glaciers=read_glaciers(settings.glaciers),
                drawn={year: year in settings.complete for year in years},
                pixel_m=pixel_m,
                common_m=errors.prior_of_years(tables),
            ),
            provenance=provenance,
        )
        compare_and_write(comparison, reporter)

    return compare_once(out_dir, years, "inventories", provenance, compare, reporter)


def _outlines_to_check(results: YearOfLakes) -> gpd.GeoDataFrame:
    """Lakes and candidates of another model, with `is_lake`."""
    table, is_lake = results.read_outlines()
    return table.assign(is_lake=is_lake)


def _registry_of(
    tables: Mapping[int, gpd.GeoDataFrame], pixel_m: float, out_dir: Path, workspace: Workspace | None
) -> Path:
    """The file of the keys of inventories for which none was named."""
    return out_dir / "registry.gpkg" if workspace is None else registry_of_ground(workspace.root, tables, pixel_m)


def _errors_of(
    settings: ChangeSettings,
    model: UncertaintyModel,
    inventories: Sequence[Inventory],
    own_years: Sequence[int] = (),
    *,
    floor: UncertaintyModel | None,
) -> ChangeErrors:
    """How the errors of changes are found, by what the settings say."""
    unknown = sorted(set(settings.complete) - {inventory.year for inventory in inventories})
    if unknown:
        raise InputError(
            f"--complete {unknown[0]}: there is no inventory of that year",
            "it speaks of an inventory given with --lakes",
        )
    is_word = settings.errors in (ErrorSource.MEASURED, ErrorSource.SIMULATED)
    return ChangeErrors(
        source=ErrorSource(settings.errors) if is_word else ErrorSource.FILE,
        model=model,
        prior_m=dict.fromkeys(own_years, prior_of_model(model))
        | {inventory.year: inventory.displacement_m for inventory in inventories},
        floor=floor,
        stated=None if is_word else read_stated_noise(Path(settings.errors)),
    )
