"""All random generators of the process: seeded for the time of a run, their states as plain data for its checkpoints.

Order and augmentation have generators of their own (`batch_order`); these are for whatever else draws. Neighbours: `fit` seeds them,
`run_keeper` saves and restores them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def get_generators() -> dict[str, Any]:
    """States of all generators of the process, as plain data and tensors."""
    kept, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 (whoever draws from it)
    return {
        "python": [kept, list(words), gauss],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generators(states: Mapping[str, Any]) -> None:
    """Put all generators back; those of GPUs only where there are as many as there were."""
    kept, words, gauss = states["python"]
    random.setstate((kept, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"].to("cpu", torch.uint8))
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.to("cpu", torch.uint8) for state in states["cuda"]])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All generators begun by a seed, for a while; then as they were."""
    before = get_generators()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    finally:
        set_generators(before)
