"""The part of a year in which lakes are mapped: late summer, when ice is least and lakes are largest."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from cryosentinel_core.errors import ConfigError

_SEASON = re.compile(r"^(\d{2})-(\d{2}):(\d{2})-(\d{2})$")
EPOCH = dt.date(1970, 1, 1)
"""Stored dates count days from here."""


@dataclass(frozen=True, order=True)
class Season:
    """A window of days inside one calendar year, both ends included.

    Attributes:
        first: (month, day) of the first day.
        last: (month, day) of the last day.
    """

    first: tuple[int, int] = (7, 1)
    last: tuple[int, int] = (9, 30)

    def __post_init__(self) -> None:
        for month, day in (self.first, self.last):
            try:
                dt.date(2023, month, day)
            except ValueError:
                raise ConfigError(
                    f"season {self}: {month:02d}-{day:02d} is not a day", "write it as 07-01:09-30"
                ) from None
        if self.first > self.last:
            raise ConfigError(f"season {self} ends before it begins", "a season lies inside one year, as 07-01:09-30")

    def __str__(self) -> str:
        return f"{self.first[0]:02d}-{self.first[1]:02d}:{self.last[0]:02d}-{self.last[1]:02d}"

    @classmethod
    def parse(cls, text: str) -> Season:
        """The season of a text such as `07-01:09-30`.

        Raises:
            ConfigError: If the text has another form or no such days.
        """
        found = _SEASON.match(text.strip())
        if found is None:
            raise ConfigError(f"season {text!r} has another form than MM-DD:MM-DD", "write it as 07-01:09-30")
        a, b, c, d = (int(part) for part in found.groups())
        return cls((a, b), (c, d))

    def interval(self, year: int) -> str:
        """The STAC `datetime` interval of this season in a year (UTC, closed)."""
        first, last = dt.date(year, *self.first), dt.date(year, *self.last)
        return f"{first.isoformat()}T00:00:00Z/{last.isoformat()}T23:59:59Z"

    def contains(self, moment: dt.datetime, year: int) -> bool:
        """True if a moment (UTC) falls into the season of a year."""
        return moment.year == year and self.first <= (moment.month, moment.day) <= self.last


OCTOBER = Season((10, 1), (10, 31))
"""The fallback where late summer holds no usable scene."""


def days_of_date(date: dt.date) -> int:
    """Days since 1970-01-01, as stored in `dates.tif`."""
    return (date - EPOCH).days


def date_of_days(days: int) -> dt.date:
    """The date of a stored number of days since 1970-01-01."""
    return EPOCH + dt.timedelta(days=int(days))
