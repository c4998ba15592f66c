"""The named areas of High Mountain Asia that the published data set is cut into."""

from __future__ import annotations

from typing import Final

REGIONS: Final[dict[str, tuple[float, float, float, float]]] = {
    "ile_alatau": (76.5, 42.7, 78.2, 43.55),
    "zhetysu_alatau": (78.0, 43.8, 81.5, 45.5),
    "kungey_alatau": (76.5, 42.4, 78.0, 42.7),
    "tien_shan_full": (70.0, 38.0, 83.0, 45.5),
    "pamir": (70.0, 36.0, 76.0, 40.0),
    "karakoram": (73.0, 34.0, 78.0, 37.0),
    "hindu_kush": (67.0, 33.0, 72.0, 38.0),
    "western_himalaya": (73.0, 30.0, 80.0, 35.0),
    "central_himalaya": (79.0, 26.0, 89.0, 32.0),
    "eastern_himalaya": (88.0, 26.0, 96.0, 30.5),
    "hengduan_nyainqentanglha": (94.0, 28.0, 104.0, 33.0),
    "tibetan_plateau": (79.0, 30.0, 94.0, 36.0),
    "hma_other": (67.46, 26.97, 103.87, 45.40),
}
"""Name -> (west, south, east, north) in degrees, EPSG:4326. Source: the published data set's region table."""
