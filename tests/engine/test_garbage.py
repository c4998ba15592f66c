"""Searches for cycles are rare inside, and as before outside, whatever happens inside."""

from __future__ import annotations

import gc

import pytest

from cryosentinel_core.engine.garbage import rare_collections


def test_the_threshold_is_put_back() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), rare_collections():
        assert gc.get_threshold()[0] > before[0]
        raise KeyError
    assert gc.get_threshold() == before


@pytest.mark.parametrize("own", [0, 1_000_000])
def test_who_has_set_none_or_more_keeps_it(own: int) -> None:
    before = gc.get_threshold()
    gc.set_threshold(own, *before[1:])
    try:
        with rare_collections():
            assert gc.get_threshold()[0] == own
    finally:
        gc.set_threshold(*before)
