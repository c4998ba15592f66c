"""Simulated mountains with lakes whose outlines are known, written as satellite archives write real ones.

Proves an installation, calibrates thresholds and uncertainties, and gives tests their truth. Nothing downstream can
tell that the scenes are simulated: they arrive as a static STAC catalogue with local assets.
"""

from __future__ import annotations

from cryosentinel_core.simulate.production import simulate
from cryosentinel_core.simulate.settings import SimulateSettings, SimulationSummary
from cryosentinel_core.simulate.truth import load_truth

__all__ = ["SimulateSettings", "SimulationSummary", "load_truth", "simulate"]
