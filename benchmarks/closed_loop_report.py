"""Tables of `closed_loop.py` from what it scored, in Markdown.

Each share stands with its 95 % interval after Clopper and Pearson (1934). Lakes of one seed share scenes, so that they are a little
less than independent, and the intervals a little narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

PLAIN = "plain"
CLASSES = ((0.5, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, np.inf))
"""Classes of size, hectares."""
MIN_M2 = 5_000.0
CLEAR_M2 = 5_500.0
"""From here on a lake's measured area is above the table's cut for certain."""
CHANGED = ("grown", "shrunk", "new", "vanished", "merged", "split", "complex")


def report(results: Sequence[dict[str, Any]]) -> str:
    """All tables, of all seeds and of each condition."""
    conditions = list(dict.fromkeys(result["condition"] for result in results))
    groups = {"all": list(results)}
    if len(conditions) > 1:
        groups |= {name: [result for result in results if result["condition"] == name] for name in conditions}
    columns = {name: measures(group) for name, group in groups.items()}
    names = list(columns["all"])
    parts = [
        table(
            ["measure", *columns], [[name, *(column.get(name, "") for column in columns.values())] for name in names]
        ),
        coverage_of_areas(results),
    ]
    for errors in dict.fromkeys(row["errors"] for result in results for row in result["events"]):
        parts += [coverage_of_changes(results, errors), confusion(results, errors)]
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def share(count: int, of: int) -> str:
    """A share in per cent, its interval and the numbers."""
    if of == 0:
        return "none"
    interval = binomtest(count, of).proportion_ci(confidence_level=0.95, method="exact")
    return f"{100 * count / of:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}] ({count} of {of})"


def name_of_class(low: float, high: float) -> str:
    """A class of size in words."""
    return f"{low:g}-{high:g} ha" if np.isfinite(high) else f"> {low:g} ha"


def lakes_of(results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """True lakes of 0.5 ha and more that both years saw, with the relative error and whether the interval holds the truth."""
    lakes = pd.DataFrame([row for result in results for row in result["lakes"]])
    lakes = lakes[lakes.true_m2 >= MIN_M2].copy()
    lakes["single"] = lakes.found & (lakes.alone.astype(str) == "True")
    lakes["error"] = (lakes.area_m2 - lakes.true_m2) / lakes.true_m2
    lakes["inside"] = (lakes.area_m2 - lakes.true_m2).abs() <= 1.96 * lakes.sigma_m2
    return lakes


def events_of(results: Sequence[dict[str, Any]], errors: str) -> pd.DataFrame:
    """True events by one source of errors, with the larger area and the true change."""
    events = pd.DataFrame([row for result in results for row in result["events"] if row["errors"] == errors])
    events["largest_m2"] = events[["true_from_m2", "true_to_m2"]].max(axis=1)
    events["true_change_m2"] = events.true_to_m2 - events.true_from_m2
    return events


def pairs_of(events: pd.DataFrame) -> pd.DataFrame:
    """Lakes that are one lake in both years, that both saw in truth, and that the table compares."""
    pairs = events[events.true_status.isin(["grown", "shrunk", "stable"]) & (events.largest_m2 >= CLEAR_M2)]
    pairs = pairs[pairs.status.isin(["grown", "shrunk", "stable"])].copy()
    pairs["off_m2"] = pairs.change_m2 - pairs.true_change_m2
    pairs["inside"] = pairs.off_m2.abs() <= 1.96 * pairs.sigma_m2
    return pairs


def measures(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """One column of the main table: measure -> value."""
    lakes, pixels = lakes_of(results), pd.DataFrame([row for result in results for row in result["pixels"]])
    single = lakes[lakes.single]
    found = {
        "seeds": f"{len(results)}",
        "true lakes >= 0.5 ha seen in both years, found": share(int(lakes.found.sum()), len(lakes)),
    }
    for method, group in pixels.groupby("method", sort=False):
        found[f"{method}: pixel IoU; invented patches >= 0.5 ha a scene"] = (
            f"{group.intersection.sum() / group.union.sum():.3f}; {group.invented.sum() / len(group):.2f}"
        )
    found["area error: mean, median absolute, standard deviation"] = (
        f"{100 * single.error.mean():+.2f} %, {100 * single.error.abs().median():.2f} %, {100 * single.error.std():.2f} %"
    )
    found["95 % intervals of area that hold the truth"] = share(int(single.inside.sum()), len(single))
    for errors in dict.fromkeys(row["errors"] for result in results for row in result["events"]):
        strange = [row for result in results for row in result["strange"] if row["errors"] == errors]
        judged = measures_of_changes(events_of(results, errors))
        alarms = sum(row["status"] in CHANGED for row in strange)
        judged["rows on no lake; of these called changed"] = f"{len(strange)}; {alarms}"
        found |= {f"{errors}: {name}": value for name, value in judged.items()}
    found["seconds a seed: simulate; fetch to tables"] = "; ".join(
        f"{np.mean([result[name] for result in results]):.0f}" for name in ("simulate_s", "pipeline_s")
    )
    return found


def measures_of_changes(events: pd.DataFrame) -> dict[str, str]:
    """Measures of the change table: measure -> value."""
    seen = events[(events.true_status != "unobserved") & (events.largest_m2 >= CLEAR_M2)]
    lost = seen[seen.status == "unobserved"]
    found = {"lakes over 0.55 ha seen in truth, called unobserved": share(len(lost), len(seen))}
    judged = seen[seen.status != "unobserved"]
    right = judged.status == judged.true_status
    found["status right"] = share(int(right.sum()), len(judged))
    at_front = judged.kind.isin(["calving", "advance"])
    found["status right at calving fronts"] = share(int(right[at_front].sum()), int(at_front.sum()))
    stable = judged[judged.true_status == "stable"]
    found["stable lakes called changed"] = share(int(stable.status.isin(CHANGED).sum()), len(stable))
    pairs = pairs_of(events)
    found["95 % intervals of change that hold the truth"] = share(int(pairs.inside.sum()), len(pairs))
    found |= powers(pairs)
    blind = events[(events.true_status == "unobserved") & (events.largest_m2 >= MIN_M2)]
    named = blind[blind.status == "unobserved"]
    found["hidden lakes called unobserved"] = share(len(named), len(blind))
    same = [wanted in str(said) for wanted, said in zip(named.true_reason, named.reason, strict=True)]
    found["of these with the right reason"] = share(int(np.sum(same)), len(named))
    return found


def powers(pairs: pd.DataFrame) -> dict[str, str]:
    """How often true changes are found, beside the 80 % that the stated detectable change promises."""
    off, detectable, critical = (
        pairs[name].to_numpy(dtype=float) for name in ("off_m2", "detectable_m2", "critical_m2")
    )
    power = np.mean([detectable + off > critical, detectable - off > critical]) if len(pairs) else np.nan
    size = pairs.true_change_m2.abs()
    hit = (pairs.significant.astype(str) == "True") & (np.sign(pairs.change_m2) == np.sign(pairs.true_change_m2))
    below, above = (size > 0) & (size < detectable), (size > 0) & (size >= detectable)
    return {
        "power at the stated detectable change, by these errors": f"{100 * power:.1f} % of {2 * len(pairs)}",
        "true changes over the stated detectable one, found": share(int(hit[above].sum()), int(above.sum())),
        "true changes under it, found": share(int(hit[below].sum()), int(below.sum())),
    }


def coverage_of_areas(results: Sequence[dict[str, Any]]) -> str:
    """Intervals and errors of single areas by class of size."""
    lakes, rows = lakes_of(results), []
    single = lakes[lakes.single]
    for low, high in CLASSES:
        group = single[(single.true_m2 >= low * 1e4) & (single.true_m2 < high * 1e4)]
        sigma = (group.sigma_m2 / group.area_m2).median()
        rows.append(
            [
                name_of_class(low, high), share(int(group.inside.sum()), len(group)), f"{100 * sigma:.1f} %",
                f"{100 * group.error.mean():+.2f} %", f"{100 * group.error.std():.2f} %",
            ]
        )  # fmt: skip
    return table(["areas", "95 % intervals that hold the truth", "median sigma / area", "mean error", "spread"], rows)


def coverage_of_changes(results: Sequence[dict[str, Any]], errors: str) -> str:
    """Intervals of changes by class of size."""
    pairs, rows = pairs_of(events_of(results, errors)), []
    for low, high in CLASSES:
        group = pairs[(pairs.largest_m2 >= low * 1e4) & (pairs.largest_m2 < high * 1e4)]
        sigma, stated = (group[name] / group.largest_m2 for name in ("sigma_m2", "detectable_m2"))
        actual = (group.off_m2.abs() / group.largest_m2).median() / 0.6745
        rows.append(
            [
                name_of_class(low, high), share(int(group.inside.sum()), len(group)), f"{100 * sigma.median():.2f} %",
                f"{100 * actual:.2f} %", f"{100 * stated.median():.1f} %",
            ]
        )  # fmt: skip
    head = [
        f"changes, errors {errors}",
        "95 % intervals that hold the truth",
        "median sigma",
        "true, by the median",
        "detectable",
    ]
    return table(head, rows)


def confusion(results: Sequence[dict[str, Any]], errors: str) -> str:
    """True statuses against those said, of lakes over 0.55 ha."""
    events = events_of(results, errors)
    events = events[events.largest_m2 >= CLEAR_M2]
    words = ["stable", "grown", "shrunk", "new", "vanished", "merged", "split", "complex", "unobserved", "missing"]
    counts = pd.crosstab(events.true_status, events.status)
    said = [word for word in words if word in counts.columns]
    rows = [[word, *(str(int(counts.loc[word, one])) for one in said)] for word in words if word in counts.index]
    return table([f"truth \\ said, errors {errors}", *said], rows)
