"""terratorch's own model, for tests that hold ours against it; they are skipped where terratorch has no such decoder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from cryosentinel_core.learn.model_spec import ModelSpec

BUILDER = Path(__file__).resolve().parents[1] / "benchmarks" / "reference.py"


def build_reference(spec: ModelSpec) -> torch.nn.Module:
    """As the benchmarks build it."""
    pytest.importorskip("terratorch")
    found = importlib.util.spec_from_file_location("benchmarks_reference", BUILDER)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    try:
        model: torch.nn.Module = module.build_reference(spec)
    except TypeError as error:
        pytest.skip(f"this terratorch has no scale_modules: {error}")
    return model
