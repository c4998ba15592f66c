"""Seconds by stage, and what adds up to a run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cryosentinel_core.engine.stopwatch import Stopwatch, WorkDone


def test_stages_add_up_and_failures_count() -> None:
    ticks = iter([0.0, 2.0, 10.0, 10.5, 20.0, 23.0])
    watch = Stopwatch(clock=lambda: next(ticks))
    with watch.stage("read"):
        pass
    with watch.stage("network"):
        pass
    with pytest.raises(KeyError), watch.stage("read"):
        raise KeyError
    assert watch.seconds == {"read": 5.0, "network": 0.5}


def test_threads_share_a_watch() -> None:
    watch = Stopwatch(clock=iter(range(10**6)).__next__)

    def work(_: int) -> None:
        for _ in range(200):
            with watch.stage("cut"):
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert watch.seconds["cut"] >= 800


def test_work_adds_up() -> None:
    one = WorkDone(n_windows=3, seconds={"read": 1.0}, peak_mib={"host": 90.0}, engine={"device": "cpu"})
    two = WorkDone(n_windows=5, seconds={"read": 0.5, "write": 2.0}, peak_mib={"host": 70.0, "gpu": 8.0})
    both = one + two
    assert both.n_windows == 8
    assert both.seconds == {"read": 1.5, "write": 2.0}
    assert both.peak_mib == {"host": 90.0, "gpu": 8.0}
    assert both.engine == {"device": "cpu"}
    told = both.as_dict(wall_seconds=4.0)
    assert told["windows_per_second"] == 2.0
    assert told["device"] == "cpu"
    assert WorkDone().as_dict(0.1)["windows_per_second"] is None
