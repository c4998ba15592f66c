"""Seasons, recipes, provenance, settings, bands: values that cannot exist invalid."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryosentinel_core import provenance
from cryosentinel_core.errors import BandError, CatalogError, ConfigError
from cryosentinel_core.ground.season import Season, date_of_days, days_of_date
from cryosentinel_core.provenance import ALGORITHM_VERSIONS, Provenance, digest_of
from cryosentinel_core.reporter import without_control_characters
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.bands import S2_NAMES, index_of_band
from cryosentinel_core.stack.recipe import Recipe


def test_season_is_closed_on_both_sides() -> None:
    season = Season.parse("07-01:09-30")
    assert str(season) == "07-01:09-30"
    assert season.interval(2023) == "2023-07-01T00:00:00Z/2023-09-30T23:59:59Z"
    days = {"2023-07-01T00:00": True, "2023-09-30T23:59": True, "2023-06-30T23:59": False, "2022-08-01T00:00": False}
    for text, inside in days.items():
        assert season.contains(dt.datetime.fromisoformat(text), 2023) is inside


@pytest.mark.parametrize("text", ["", "7-1:9-30", "07-01", "02-30:03-01", "09-30:07-01", "13-01:13-02"])
def test_bad_seasons_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Season.parse(text)
    assert caught.value.hint


@given(st.dates(dt.date(1970, 1, 1), dt.date(2149, 1, 1)))
def test_stored_dates_come_back(date: dt.date) -> None:
    days = days_of_date(date)
    assert 0 <= days < 2**16
    assert date_of_days(days) == date


def test_recipe_survives_the_disk_and_names_differences() -> None:
    recipe = Recipe(composite="best", radar="none", radar_filter="none")
    assert Recipe.from_dict(recipe.as_dict()) == recipe
    assert len(recipe.digest) == 8
    assert recipe.digest != Recipe().digest
    wanted = Recipe(radar="sigma0-tc", composite="unknown")
    assert recipe.differences(wanted) == [
        "composite: best, the weights' is unknown",
        "radar: none, the weights were trained on sigma0-tc",
        "radar_filter: none, the weights were trained on lee5",
    ]
    assert recipe.differences(recipe) == []


def test_recipes_refuse_nonsense() -> None:
    with pytest.raises(ConfigError, match="composite is 'mean'"):
        Recipe(composite="mean")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown keys colour"):
        Recipe.from_dict({"colour": 1})


def test_digests_know_order_from_content() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    one = Provenance(kind="x", settings={"t": 0.5}, inputs={"i": "1"}, warnings=("w",))
    assert one.digest == Provenance(kind="x", settings={"t": 0.5}, inputs={"i": "1"}).digest, (
        "a warning changes no pixel"
    )
    assert one.digest != Provenance(kind="x", settings={"t": 0.6}, inputs={"i": "1"}).digest
    assert one.as_tags()["CRYOSENTINEL_DIGEST"] == one.digest
    assert one.as_dict()["warnings"] == ["w"]


def test_a_release_makes_nothing_again_but_another_algorithm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, others = "lakes", [name for name in ALGORITHM_VERSIONS if name != "lakes"]
    before = {name: Provenance(kind=name, version="0.1.0").digest for name in ALGORITHM_VERSIONS}
    assert before[kind] == Provenance(kind=kind, version="9.0.0").digest
    assert Provenance(kind=kind, version="9.0.0").as_dict()["version"] == "9.0.0"
    monkeypatch.setattr(provenance, "ALGORITHM_VERSIONS", {**ALGORITHM_VERSIONS, kind: 99})
    assert Provenance(kind=kind).digest != before[kind]
    assert all(Provenance(kind=name).digest == before[name] for name in others)


def test_names_on_a_terminal_hold_no_control_characters() -> None:
    assert without_control_characters("a\x1b[2Jb\x9b\r\u202ec\nd\te") == "a\\x1b[2Jb\\x9b\\r\\u202ec\nd\te"
    plain = "Озеро Иле-Алатау, 12.3 km² · ±0.3 — «ок» 湖"
    assert without_control_characters(plain) == plain


def test_settings_check_themselves() -> None:
    with pytest.raises(ValidationError, match="leaves the lattice"):
        PredictSettings(overlap=0.3)
    with pytest.raises(ValidationError, match="no members"):
        PredictSettings(model="water-index", uncertainty=True)
    with pytest.raises(ValidationError, match="one member"):
        PredictSettings(tta=False, uncertainty=True)
    with pytest.raises(ValidationError, match="is no network"):
        PredictSettings(model="a.ckpt", more_models=("water-index",))
    assert PredictSettings(model="a", more_models=("b",), tta=False, uncertainty=True).models == ("a", "b")
    with pytest.raises(ValidationError):
        FetchSettings(max_cloud=0)
    with pytest.raises(ValidationError):
        FetchSettings(typo=1)  # type: ignore[call-arg]
    assert PredictSettings(overlap=0.75).stride_px == 56
    assert FetchSettings(radar="none").recipe.radar == "none"
    assert FetchSettings(radar="none").recipe.radar_filter == "none"
    assert FetchSettings().recipe == Recipe()


def test_bands_are_found_by_name() -> None:
    assert [index_of_band(name) for name in ("B01", "B8A", "B12")] == [0, 8, 11]
    assert "B10" not in S2_NAMES
    with pytest.raises(BandError, match="B10"):
        index_of_band("B10")


def test_errors_cross_process_borders_whole() -> None:
    error = pickle.loads(pickle.dumps(CatalogError("no answer", "try again")))
    assert (error.message, error.hint) == ("no answer", "try again")
    assert str(error) == "no answer\ntry again"
