"""Where the logs of runs lie in a workspace. The command line writes them; `room_taken` counts them and removes them on request."""

from __future__ import annotations

import re
from typing import Final

LOG_FOLDER: Final = "logs"
"""Folder of the logs in a workspace."""

LOG_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[a-z-]+-\d+(-\d+)?\.log")
"""Names of logs; no other file of the folder is touched."""
