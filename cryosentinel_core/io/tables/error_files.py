"""Files that state how far outlines are off: `--errors FILE`."""

from __future__ import annotations

import json
import math
from pathlib import Path

from cryosentinel_core.change.shore_noise import ShoreNoise
from cryosentinel_core.errors import InputError

_HINT = 'a JSON file such as {"change_shore_m": 2.5} is wanted: metres of shore of a change, one standard deviation'


def read_stated_noise(path: Path) -> ShoreNoise:
    """The noise that a JSON file states: `change_shore_m`, and, if it knows, `change_along_m`, the part that averages out along 1 km.

    Raises:
        InputError: If the file cannot be read or says something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        lake, along = float(data["change_shore_m"]), float(data.get("change_along_m", 0.0))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", _HINT) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} does not say change_shore_m as a number", _HINT) from error
    if not (math.isfinite(lake) and math.isfinite(along) and lake >= 0 and along >= 0 and lake + along > 0):
        raise InputError(f"{path}: change_shore_m {lake:g} and change_along_m {along:g}, wanted above 0", _HINT)
    shore = math.hypot(lake, along)
    return ShoreNoise(shore_m=shore, lake_m=lake, along_m=along, prior_m=shore)
