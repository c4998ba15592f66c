"""What all settings share: they are checked once, when they are made, and never change.

Messages of pydantic are turned into `ConfigError` by the command line.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Settings that cannot be changed and know no other key than their own."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
