"""How often intervals that draw blocks hold the truth: samples of a simulated population of blocks with known IoU.

    python benchmarks/intervals.py [--samples 1000]

Prints coverage and mean width of 95 % intervals of the studentised bootstrap, and of SciPy's BCa, for 8, 18 and 40 blocks of two
populations: one whose blocks are much alike, one in which an eighth of the blocks is hard.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import bootstrap

from cryosentinel_core.chips.bootstrap import ratio_interval


def draw_blocks(rng: np.random.Generator, n_blocks: int, hard_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of blocks: sizes vary several-fold, hard blocks score 0.6 of the others."""
    union = rng.lognormal(0.0, 0.8, n_blocks) * (rng.poisson(36, n_blocks) + 1) * 300.0
    score = rng.beta(20.0, 2.2, n_blocks) * np.where(rng.random(n_blocks) < hard_share, 0.6, 1.0)
    return score * union, union


def ratio(over: np.ndarray, under: np.ndarray, axis: int = -1) -> np.ndarray:
    """Of totals."""
    return np.asarray(over.sum(axis=axis) / under.sum(axis=axis))


def measure(n_blocks: int, hard_share: float, samples: int) -> dict[str, tuple[float, float]]:
    """Coverage and mean width of both kinds."""
    population = draw_blocks(np.random.default_rng(99), 2_000_000, hard_share)
    truth = float(ratio(*population))
    found: dict[str, list[tuple[float, float]]] = {"studentised": [], "BCa": []}
    for seed in range(samples):
        over, under = draw_blocks(np.random.default_rng(seed), n_blocks, hard_share)
        ours = ratio_interval(over, under, seed=seed)
        if ours.low is not None and ours.high is not None:
            found["studentised"].append((ours.low, ours.high))
        theirs = bootstrap(
            (over, under), ratio, paired=True, vectorized=True, n_resamples=2000, rng=np.random.default_rng(seed)
        ).confidence_interval
        found["BCa"].append((float(theirs.low), float(theirs.high)))
    return {
        kind: (
            float(np.mean([low <= truth <= high for low, high in ends])),
            float(np.mean([high - low for low, high in ends])),
        )
        for kind, ends in found.items()
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    samples = parser.parse_args().samples
    print("hard blocks  blocks  kind         coverage  width")
    for hard_share in (0.0, 0.125):
        for n_blocks in (8, 18, 40):
            for kind, (held, width) in measure(n_blocks, hard_share, samples).items():
                print(f"{hard_share:11.3f}  {n_blocks:6d}  {kind:11s}  {held:8.3f}  {width:5.3f}")


if __name__ == "__main__":
    main()
