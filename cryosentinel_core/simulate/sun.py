"""Where the sun stands, so that scenes are lit and shaded as their date and place demand."""

from __future__ import annotations

from datetime import datetime

import numpy as np


def sun_position(when: datetime, lon: float, lat: float) -> tuple[float, float]:
    """Azimuth (degrees clockwise from north) and elevation (degrees) of the sun.

    Args:
        when: Instant in UTC (naive or aware).
        lon: Degrees east.
        lat: Degrees north.

    Source: Spencer (1971) series for declination and the equation of time; within half a degree (it knows no leap
    years), no refraction.
    """
    day = when.timetuple().tm_yday - 1 + (when.hour + when.minute / 60 + when.second / 3600 - 12) / 24
    g = 2 * np.pi * day / 365
    declination = (
        0.006918 - 0.399912 * np.cos(g) + 0.070257 * np.sin(g) - 0.006758 * np.cos(2 * g) + 0.000907 * np.sin(2 * g)
        - 0.002697 * np.cos(3 * g) + 0.00148 * np.sin(3 * g)
    )  # fmt: skip
    equation_min = 229.18 * (
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.04089 * np.sin(2 * g)
    )
    solar_min = when.hour * 60 + when.minute + when.second / 60 + equation_min + 4 * lon
    hour = np.radians(solar_min / 4 - 180)
    phi = np.radians(lat)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    elevation = np.arcsin(np.clip(sine, -1, 1))
    azimuth = np.arctan2(np.sin(hour), np.cos(hour) * np.sin(phi) - np.tan(declination) * np.cos(phi)) + np.pi
    return float(np.degrees(azimuth) % 360), float(np.degrees(elevation))
