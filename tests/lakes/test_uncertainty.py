"""The error model against its own formulas, worked by hand, and the directions in which it must move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryosentinel_core.errors import ConfigError
from cryosentinel_core.lakes.uncertainty import area_sigmas, change_sigma, inventory_sigma
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, WATER_INDEX_ERRORS, UncertaintyModel

MODEL = UncertaintyModel(
    displacement_m=2.0,
    transition_share=0.5,
    max_transition_m=20.0,
    correlation_length_m=25.0,
    lake_displacement_m=0.0,
    reference_observations=4.0,
    systematic_displacement_m=1.0,
    no_radar_factor=1.5,
    unobserved_displacement_m=10.0,
    systematic_change_share=0.5,
    registration_m=2.0,
)


def test_parts_are_those_of_the_formulas() -> None:
    # Transition 0.4 px = 4 m: s = 2 + 0.5 x 4 = 4 m; sigma = 4 sqrt(25 x 400) = 400 m2; systematic 1 m x 400 m.
    random, systematic = area_sigmas([400.0], [0.4], [0.0], [4], model=MODEL)
    assert random == pytest.approx([400.0])
    assert systematic == pytest.approx([400.0])


def test_a_lakes_own_displacement_grows_with_its_perimeter() -> None:
    # 0.75 m x 400 m = 300 m2, and 400 m2 from above.
    model = replace(MODEL, lake_displacement_m=0.75)
    assert area_sigmas([400.0], [0.4], [0.0], [4], model=model)[0] == pytest.approx([500.0])
    assert area_sigmas([400.0], [0.4], [0.0], [64], model=model)[0] == pytest.approx([np.hypot(200.0, 300.0)])


def test_more_dates_narrow_and_unknown_widens() -> None:
    def random(transition: float = 0.4, blind: float = 0.0, dates: float = 4.0, lacks_radar: bool = False) -> float:
        return float(area_sigmas([400.0], [transition], [blind], [dates], lacks_radar=lacks_radar, model=MODEL)[0][0])

    assert random(dates=64) == pytest.approx(random() / 2)
    assert random(dates=float("nan")) == random(dates=1) == random(dates=0) > random()
    assert random(transition=float("nan")) == random(transition=2.0) == random(transition=50.0) > random()
    assert random(lacks_radar=True) == pytest.approx(1.5 * random())
    assert random(blind=0.5) > random()
    assert random(blind=1.0) == pytest.approx(10.0 * 400.0)


def test_what_both_years_share_cancels() -> None:
    alike = float(change_sigma(300.0, 400.0, 500.0, 500.0, 400.0, 400.0, model=MODEL))
    # 300^2 + 400^2, registration 2^2 x 25 x 400, and half of the systematic part: 0.25 x 500^2.
    assert alike == pytest.approx(np.sqrt(300**2 + 400**2 + 4 * 25 * 400 + 0.25 * 500**2))
    assert alike < np.hypot(np.hypot(300, 500), np.hypot(400, 500))
    unlike = float(change_sigma(300.0, 400.0, 500.0, 900.0, 400.0, 720.0, model=MODEL))
    assert unlike > np.sqrt(300**2 + 400**2 + 400**2)


def test_inventories_take_the_published_half_pixel() -> None:
    # Hanshaw and Bookhagen (2014), equation 1, for a perimeter of 1,200 m at 30 m: 40 pixels x 900 / 2 x 0.6872.
    assert inventory_sigma([1200.0], 30.0) == pytest.approx([40 * 900 / 2 * 0.6872])


def test_a_network_that_nobody_calibrated_takes_the_customary_half_pixel() -> None:
    """Both parts together are those of an inventory drawn at 10 m; between years most of it cancels."""
    model = NETWORK_ERRORS
    both = np.hypot(model.lake_displacement_m, model.systematic_displacement_m) * 1200.0
    assert both == pytest.approx(float(inventory_sigma([1200.0], 10.0)[0]), rel=0.01)
    random, systematic = area_sigmas([1200.0], [0.2], [0.0], [4], model=model)
    change = change_sigma(random, random, systematic, systematic, [1200.0], [1200.0], model=model)
    assert change < both
    assert area_sigmas([1200.0], [0.2], [0.0], [4], model=WATER_INDEX_ERRORS)[1] < systematic


@pytest.mark.parametrize(("name", "value"), [("displacement_m", -1.0), ("registration_m", float("nan"))])
def test_constants_check_themselves(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        UncertaintyModel(**{name: value})


def test_correlation_length_cannot_be_zero() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        UncertaintyModel(correlation_length_m=0.0)


def test_model_travels_as_plain_data() -> None:
    assert UncertaintyModel(**MODEL.as_dict()) == MODEL
