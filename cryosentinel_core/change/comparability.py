"""Years that are compared: which pairs they form, and in what their runs differ so that a reader should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from cryosentinel_core.errors import InputError


def pairs_of_years(years: Sequence[int]) -> list[tuple[int, int]]:
    """Each consecutive pair of years, then first and last if that is another.

    Args:
        years: Ascending and distinct, two or more.

    Raises:
        InputError: If they are not.
    """
    if len(years) < 2 or list(years) != sorted(set(years)):
        raise InputError(
            f"years {', '.join(map(str, years)) or 'none'}: wanted two or more, ascending and distinct",
            "give them as 2017 2023",
        )
    found = list(pairwise(years))
    if len(years) > 2:
        found.append((years[0], years[-1]))
    return found


def describe_differences(
    min_area_m2: float, mapped_from_m2: Mapping[int, float], radar_used: Mapping[int, bool]
) -> list[str]:
    """Warnings of what differs between the runs of some years.

    Args:
        min_area_m2: Smallest lake of the comparison.
        mapped_from_m2: Year -> smallest lake of that year's own table.
        radar_used: Year -> whether radar took part.
    """
    warnings = [
        f"{year}: lakes were mapped from {area_m2:g} m2 up, so lakes from {min_area_m2:g} m2 may lack a row"
        for year, area_m2 in mapped_from_m2.items()
        if area_m2 > min_area_m2
    ]
    without = [str(year) for year, used in radar_used.items() if not used]
    if 0 < len(without) < len(radar_used):
        warnings.append(
            f"radar was not used in {', '.join(without)}, but in the other years: part of a change may come from that"
        )
    return warnings
